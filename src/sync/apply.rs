//! One claimed job: claim, merge, apply, finish.

use super::claiming::Acquire;
use super::compared::is_absence;
use super::delete;
use super::engine::Engine;
use super::failure::Failure;
use super::job::Job;
use super::keep::{Track, words};
use super::keys;
use super::links;
use super::lookups::Sources;
use super::parents::Changed;
use super::vanished;
use super::witness::is_signal;
use super::work::Work;
use super::write::{RowToWrite, write};
use crate::domain::delivery::{Channel, Delivery};
use crate::domain::event::ChangeEvent;
use crate::domain::merge::{Change, Done, Plan, advance, plan};
use crate::domain::outcome::{Applied, Outcome};
use crate::domain::row::RowState;
use crate::domain::value::{RowRef, Value};
use crate::domain::version::Version;
use crate::ledger::claim::Finished;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Works on a job in the partition that holds its row's history.
    pub(super) async fn claimed(
        &self,
        job: &Job<'_>,
        delivery: &Delivery,
        deadline: Duration,
        track: &mut Track,
    ) -> Result<Outcome, Failure> {
        let mut home = job.partition.key().to_owned();
        for _ in 0..keys::HOPS_MAX {
            match self.claimed_in(&home, job, delivery, deadline, track).await {
                Err(Failure::Moved { to }) => home = to,
                ended => return ended,
            }
        }
        Err(Failure::not_now("row_moved: its history is being moved"))
    }

    async fn claimed_in(
        &self,
        partition: &str,
        job: &Job<'_>,
        delivery: &Delivery,
        deadline: Duration,
        track: &mut Track,
    ) -> Result<Outcome, Failure> {
        let parts = &self.parts;
        if !track.whole {
            track.partition = Some(partition.to_owned());
        }
        self.way_is_open(delivery, deadline, track).await?;
        let (_turn, mut reserved) = self.turn_and_place(partition, delivery, deadline, track).await?;
        // a link says all there is to say about it
        let signal = job.link.is_none() && (is_signal(job.table, job.event) || is_absence(job.event));
        let touches = |state: &RowState, arrival_ms: i64| {
            if signal {
                // which of them will be known when the source has answered
                return job.schema.columns.keys().cloned().collect();
            }
            let version = version(state, job.event, arrival_ms);
            plan(state, &change(&version, job), &job.groups).touches()
        };
        let (limits, clock) = (&parts.mapping.limits, parts.clock.as_ref());
        let duplicate_wait = match (delivery.channel, &parts.inbox) {
            // a message that fails comes back at once and soon dies: without an inbox, waiting costs less
            (Channel::Queue, None) => limits.queue_deadline,
            _ => limits.duplicate_wait,
        };
        let acquire = Acquire { ledger: &parts.ledger, clock, limits, deadline, duplicate_wait };
        let claim = acquire.claim_with(&mut reserved, partition, job.event, delivery.arrival_ms, &touches);
        let (claim, beside) =
            futures_util::future::join(claim, self.owe_beside(job.event, track, delivery, deadline)).await;
        if let Ok(Some(slip)) = &beside {
            track.slip = Some(slip.clone());
        }
        let mut claim = match claim? {
            Ok(claim) => claim,
            Err(before) => return Ok(Outcome::Duplicate(words(&before))),
        };
        let key_before = claim.state.key.clone();
        let mut work = self.begin(&mut claim, job.event, delivery, deadline, reserved);
        if let Err(failure) = beside {
            return self.leave(job, delivery, track, work, failure).await;
        }
        if let Some(to) = work.claim.state.moved.clone() {
            return self.leave(job, delivery, track, work, Failure::Moved { to }).await;
        }
        let applied = if signal {
            self.apply_from_source(job, &mut work).await
        } else {
            match self.apply(job, &mut work).await {
                Err(Failure::AskSource { .. }) => self.apply_from_source(job, &mut work).await,
                applied => applied,
            }
        };
        let applied = match applied {
            Err(Failure::Vanished) => self.apply_anew(job, &mut work).await,
            applied => applied,
        };
        let failure = match applied {
            Ok((state, outcome)) => match work.settled().await {
                Ok(()) => {
                    let key = state.key.clone();
                    return match parts.ledger.finish(work.claim, state, &outcome).await? {
                        Finished::Done => {
                            keys::note_let_go(&parts.ledger, partition, key_before, key.as_deref()).await;
                            Ok(outcome)
                        }
                        Finished::Overtaken => Err(Failure::Overtaken),
                    };
                }
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.leave(job, delivery, track, work, failure).await
    }

    /// Ends work without an outcome. The event is kept first (R9); then the row is given back, unless an unanswered request
    /// may still land on it (R3) or it is not ours any more (R7).
    async fn leave(
        &self,
        job: &Job<'_>,
        delivery: &Delivery,
        track: &mut Track,
        mut work: Work<'_>,
        failure: Failure,
    ) -> Result<Outcome, Failure> {
        let failure = match failure {
            Failure::Overtaken | Failure::Unsettled { .. } => failure,
            failure => work.settled().await.err().unwrap_or(failure),
        };
        match &failure {
            Failure::Overtaken => return Err(failure),
            Failure::Unsettled { .. } => {
                if !track.whole {
                    self.note_deferral(job.event, track, delivery, &failure).await?;
                }
                return Err(failure);
            }
            // kept as a whole, when the row is free
            _ if track.whole => {}
            // tried again in a moment, by this very delivery
            Failure::ParentBusy
            | Failure::Moved { .. }
            | Failure::NamesChanged
            | Failure::AskSource { .. }
            | Failure::Vanished
            | Failure::TooLarge { .. }
            | Failure::Ledger { .. } => {}
            Failure::Never { reason } => self.note_parking(job.event, track, delivery, reason).await?,
            Failure::NotNow { .. }
            | Failure::Shut { .. }
            | Failure::Paused
            | Failure::OutOfOrder { .. }
            | Failure::Busy { .. }
            | Failure::IdReused
            | Failure::ImpostorKept => {
                self.note_deferral(job.event, track, delivery, &failure).await?;
            }
        }
        let freed = match &track.kept {
            Some(Outcome::Parked { reason }) => self.parts.ledger.park(work.claim, reason, work.sent).await,
            _ => self.parts.ledger.give_up(work.claim, work.sent).await,
        };
        match freed {
            Ok(Finished::Done) => {}
            Ok(Finished::Overtaken) => {
                track.kept = None;
                return Err(Failure::Overtaken);
            }
            // not known to be parked: its sender, or its entry, brings it again
            Err(error) if matches!(track.kept, Some(Outcome::Parked { .. })) => {
                track.kept = None;
                return Err(error.into());
            }
            Err(error) => tracing::warn!(%error, "the row could not be given back; its lease runs out by itself"),
        }
        Err(failure)
    }

    /// Does what the merge says, and says what the row is then.
    pub(super) async fn apply(&self, job: &Job<'_>, work: &mut Work<'_>) -> Result<(RowState, Outcome), Failure> {
        let mut state = if work.sent { work.claim.state.clone() } else { work.claim.state_before() };
        if work.vanished {
            state.exists = false;
            state.target = state.target.filter(|_| matches!(job.row, RowRef::Id(_)));
        }
        if let Some(event) = self.looked_again(job, &state, work).await? {
            return match self.job(&event, job.table, Arc::clone(&job.schema))? {
                Ok(missing) => Box::pin(self.apply(&Job { witness: job.witness, ..missing }, work)).await,
                Err(ignored) => Ok((state, Outcome::Ignored(ignored))),
            };
        }
        let renamed = self.renamed(job, &state, work).await?;
        let version = version(&state, job.event, work.claim.arrival_ms);
        let sources = Sources { source: self.parts.source.as_ref(), mapping: &self.parts.mapping, known: &self.known };
        let mut row = RowToWrite {
            table: job.table,
            schema: &job.schema,
            row: &job.row,
            known_id: job.seen().filter(|_| !work.vanished).or(renamed).or(state.target),
            exists: !work.vanished
                && if job.differs.is_some() { job.was_there() || renamed.is_some() } else { state.exists },
            tag: &self.parts.tag,
            may_create: true,
            at: version.at,
            folded: None,
        };
        let mut changed = Changed::default();
        let mut key = state.key.clone();
        let mut plan = plan(&state, &change(&version, job), &job.groups);
        if let (Plan::Stale { ties }, Some(_), Some(_)) = (&mut plan, &job.link, &job.differs) {
            // a link that changed after it was compared: its own event has said so
            ties.clear();
        }
        if let Some(reason) = self.witness_wanted(job, &plan) {
            return Err(Failure::AskSource { reason });
        }
        let (done, applied) = match &mut plan {
            Plan::Stale { ties } => (Done::Stale { ties }, None),
            // a link goes with either of its rows, so one that is known may be gone
            Plan::Write(columns)
                if columns.send.is_empty() && (state.exists || job.was_there()) && job.link.is_none() =>
            {
                if job.was_there() {
                    let used = keys::before_write(work, job, &state, &columns.send).await;
                    key = used.map_err(|failure| self.or_ask(job, failure))?;
                }
                (Done::Written(columns), Some(Applied::Unchanged))
            }
            Plan::Write(columns) if let Some(link) = &job.link => {
                match links::apply(work, link, &self.parts.tag, version.at, &sources).await? {
                    Some(applied) => (Done::Written(columns), Some(applied)),
                    None => (Done::Stale { ties: &columns.ties }, None),
                }
            }
            Plan::Write(columns) => {
                let used = keys::before_write(work, job, &state, &columns.send).await;
                key = used.map_err(|failure| self.or_ask(job, failure))?;
                let written = write(work, &row, &columns.send, &sources).await;
                let written = written.map_err(|failure| self.or_ask(job, failure))?;
                row.known_id = written.written.id.or(row.known_id);
                work.claim.state.target_etag.clone_from(&written.written.etag);
                let applied = written.applied();
                changed = written.changed;
                for column in &changed.cleared {
                    columns.advance.entry(column.clone()).and_modify(|value| *value = Value::Null);
                }
                (Done::Written(columns), Some(applied))
            }
            Plan::LateDelete { clear } => {
                row.may_create = false;
                row.known_id = delete::clear(work, &row, clear, &sources).await?;
                (Done::Cleared(clear), Some(Applied::Cleared))
            }
            Plan::Delete if !keys::may_delete(work, job, &state).await? => (Done::Deleted, Some(Applied::Deleted)),
            Plan::Delete => (Done::Deleted, Some(self.remove(job, work, &mut row, &sources).await?)),
        };
        let mut next = advance(&state, &version, &done, &job.groups);
        next.scale = state.version_of(&job.event.stamp, job.event.operation.rank(), 0, "").1;
        changed.forget_omitted(&mut next);
        if let (true, Done::Written(columns)) = (work.vanished, &done) {
            vanished::forget(&mut next, columns);
        }
        if applied.is_some() {
            next.placeholder_ms = None;
        }
        match (applied, &job.row) {
            (None, _) => {}
            (Some(Applied::Deleted), RowRef::Id(id)) => self.known.forget(&job.schema.name, *id),
            (Some(Applied::Deleted), RowRef::Key(_)) => {}
            (Some(_), _) => {
                // a row that is only set inactive lets its key go: whoever gets that in the source takes the row over
                let key = key.filter(|_| applied != Some(Applied::Deactivated));
                job.is_there(&mut next, row.known_id.or(state.target), key);
                next.target_etag.clone_from(&work.claim.state.target_etag);
            }
        }
        Ok((next, applied.map_or(Outcome::Stale, Outcome::Applied)))
    }
}

impl Engine {
    /// Whether only the source knows what to write; without a source the plan stands (ties: arrival decides).
    fn witness_wanted(&self, job: &Job<'_>, plan: &Plan) -> Option<&'static str> {
        if job.witness || job.asked || self.parts.source.is_none() || job.link.is_some() {
            return None;
        }
        let (ties, missing) = match plan {
            Plan::Write(write) => (!write.ties.is_empty(), !write.missing.is_empty()),
            Plan::Stale { ties } => (!ties.is_empty(), false),
            Plan::Delete | Plan::LateDelete { .. } => (false, false),
        };
        if ties { Some("tie") } else { missing.then_some("group_incomplete") }
    }

    /// A refusal that only the order of events can explain is tried with the source's values before it is anything else.
    fn or_ask(&self, job: &Job<'_>, failure: Failure) -> Failure {
        match failure {
            Failure::OutOfOrder { reason, .. } if !job.witness && !job.asked && self.parts.source.is_some() => {
                tracing::info!(reason, "asking the source");
                Failure::AskSource { reason: "refused" }
            }
            other => other,
        }
    }
}

pub(super) fn version(state: &RowState, event: &ChangeEvent, arrival_ms: i64) -> Version {
    state.version_of(&event.stamp, event.operation.rank(), arrival_ms, &event.id.fingerprint()).0
}

pub(super) fn change<'a>(version: &'a Version, job: &'a Job<'_>) -> Change<'a> {
    Change {
        version,
        columns: &job.mapped.columns,
        image: &job.mapped.image,
        witness: job.witness,
        differs: job.differs.as_ref(),
    }
}
