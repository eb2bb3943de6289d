//! One claimed job: claim, merge, apply, finish.

use super::claiming::Acquire;
use super::delete;
use super::engine::Engine;
use super::failure::Failure;
use super::job::Job;
use super::links;
use super::lookups::Sources;
use super::parents::Changed;
use super::work::Work;
use super::write::{RowToWrite, write};
use crate::dataverse::client::Call;
use crate::domain::delivery::{Channel, Delivery};
use crate::domain::event::ChangeEvent;
use crate::domain::map::Mapped;
use crate::domain::mapping::Deletes;
use crate::domain::merge::{Change, Done, Plan, advance, plan};
use crate::domain::outcome::{Applied, Outcome};
use crate::domain::row::RowState;
use crate::domain::value::{RowRef, Value};
use crate::domain::version::Version;
use crate::ledger::claim::Finished;
use std::time::Duration;

impl Engine {
    pub(super) async fn claimed(
        &self,
        job: &Job<'_>,
        delivery: &Delivery,
        deadline: Duration,
    ) -> Result<Outcome, Failure> {
        let parts = &self.parts;
        let _turn = self.locks.turn(job.partition.key(), parts.clock.as_ref(), deadline).await?;
        let touches = |state: &RowState, arrival_ms: i64| {
            let version = version(state, job.event, arrival_ms);
            plan(state, &change(&version, &job.mapped), &job.groups).touches()
        };
        // a message that fails comes back at once and soon dies: until it can be stored for later, waiting costs less
        let duplicate_wait = match delivery.channel {
            Channel::Webhook => parts.mapping.limits.duplicate_wait,
            Channel::Queue => parts.mapping.limits.queue_deadline,
        };
        let (limits, clock) = (&parts.mapping.limits, parts.clock.as_ref());
        let acquire = Acquire { ledger: &parts.ledger, clock, limits, deadline, duplicate_wait };
        let mut claim = match acquire.claim(job.partition.key(), job.event, delivery.arrival_ms, &touches).await? {
            Ok(claim) => claim,
            Err(before) => return Ok(Outcome::Duplicate(words(&before))),
        };
        let mut work = Work {
            claim: &mut claim,
            ledger: &parts.ledger,
            target: &parts.target,
            clock: parts.clock.as_ref(),
            limits: &parts.mapping.limits,
            deadline,
            traces: Call {
                correlation: job.event.origin.correlation.clone(),
                traceparent: delivery.traceparent.clone(),
                ..Call::default()
            },
            sent: false,
            unsettled_until: None,
            requests: 0,
        };
        match self.apply(job, &mut work).await {
            Ok((state, outcome)) => {
                let settled = work.settled().await;
                if let Err(failure) = settled {
                    return self.leave(work, failure).await;
                }
                match parts.ledger.finish(work.claim, state, &outcome).await? {
                    Finished::Done => Ok(outcome),
                    Finished::Overtaken => Err(Failure::Overtaken),
                }
            }
            Err(failure) => self.leave(work, failure).await,
        }
    }

    /// Ends work without an outcome: the row is given back, unless an unanswered request may still land on it (R3) or it
    /// is not ours any more (R7).
    async fn leave(&self, mut work: Work<'_>, failure: Failure) -> Result<Outcome, Failure> {
        let ours = !matches!(failure, Failure::Overtaken | Failure::Unsettled { .. });
        if let (true, Err(unsettled)) = (ours, work.settled().await) {
            return Err(unsettled);
        }
        if ours && let Err(error) = self.parts.ledger.give_up(work.claim, work.sent).await {
            tracing::warn!(%error, "the row could not be given back; its lease runs out by itself");
        }
        Err(failure)
    }

    /// Does what the merge says, and says what the row is then.
    async fn apply(&self, job: &Job<'_>, work: &mut Work<'_>) -> Result<(RowState, Outcome), Failure> {
        let state = work.claim.state.clone();
        let version = version(&state, job.event, work.claim.arrival_ms);
        let sources = Sources { source: self.parts.source.as_ref(), mapping: &self.parts.mapping, known: &self.known };
        let mut row = RowToWrite {
            table: job.table,
            schema: &job.schema,
            row: &job.row,
            known_id: state.target,
            exists: state.exists,
            tag: &self.parts.tag,
            may_create: true,
            at: version.at,
        };
        let mut changed = Changed::default();
        let mut plan = plan(&state, &change(&version, &job.mapped), &job.groups);
        let (done, applied) = match &mut plan {
            Plan::Stale { ties } => (Done::Stale { ties }, None),
            Plan::Write(columns) if columns.send.is_empty() && state.exists => {
                (Done::Written(columns), Some(Applied::Unchanged))
            }
            Plan::Write(columns) if let Some(link) = &job.link => {
                match links::apply(work, link, &self.parts.tag, version.at, &sources).await? {
                    Some(applied) => (Done::Written(columns), Some(applied)),
                    None => (Done::Stale { ties: &columns.ties }, None),
                }
            }
            Plan::Write(columns) => {
                let written = write(work, &row, &columns.send, &sources).await?;
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
            Plan::Delete => match job.table.deletes {
                Deletes::Deactivate => {
                    row.may_create = false;
                    (Done::Deleted, Some(delete::deactivate(work, &row, &sources).await?))
                }
                Deletes::Delete | Deletes::Ignore => (Done::Deleted, Some(delete::delete(work, &row).await?)),
            },
        };
        let mut next = advance(&state, &version, &done, &job.groups);
        next.scale = state.version_of(&job.event.stamp, job.event.operation.rank(), 0, "").1;
        // what was left out is not known to be in the target, so it is never taken as equal
        for column in &changed.omitted {
            if let Some(written) = next.columns.get_mut(column) {
                written.digest.clear();
            }
        }
        match (applied, &job.row) {
            (None, _) => {}
            (Some(Applied::Deleted), RowRef::Id(id)) => self.known.forget(&job.schema.name, *id),
            (Some(Applied::Deleted), RowRef::Key(_)) => {}
            (Some(_), _) => {
                next.exists = true;
                next.placeholder_ms = None;
                next.target = row.known_id.or(match &job.row {
                    RowRef::Id(id) => Some(*id),
                    RowRef::Key(_) => state.target,
                });
                next.target_etag.clone_from(&work.claim.state.target_etag);
            }
        }
        Ok((next, applied.map_or(Outcome::Stale, Outcome::Applied)))
    }
}

fn version(state: &RowState, event: &ChangeEvent, arrival_ms: i64) -> Version {
    state.version_of(&event.stamp, event.operation.rank(), arrival_ms, &event.id.fingerprint()).0
}

fn change<'a>(version: &'a Version, mapped: &'a Mapped) -> Change<'a> {
    Change { version, columns: &mapped.columns, image: &mapped.image }
}

/// `applied: created`, for the detail of a duplicate.
fn words(outcome: &Outcome) -> String {
    match outcome.detail() {
        "" => outcome.name().to_owned(),
        detail => format!("{}: {detail}", outcome.name()),
    }
}
