//! Events of one row that came together: one claim, one write, one finish for those that can be folded, and each by itself
//! for the others. How several become one write: [`apply`].
//!
//! **What is folded.** Neighbours that create or change the row and that nobody has seen before. A delete, a link, a
//! comparison, a synchronous step goes by itself, at its place in the order; so does what was delivered before, because whatever
//! became of it then may have been its own fault.
//!
//! **Each ends for itself.** A fold ends well for all of its events, with the outcome of each, or the row is given back by the
//! rules for any claim (R2, R3, R7) and none of them has ended: then
//!
//! * what is nobody's fault (the target cannot be asked now, the time is over) defers each of them, its entry in the inbox
//!   first, the row after that; an unanswered request does so too and keeps the row until it can no longer land;
//! * anything else (a refusal, a parent that is busy, a row that was taken over) *unfolds*: each event goes by itself, and the
//!   one that cannot be applied is parked without the others.
//!
//! A fold never decides about an event that is known: the ledger leaves those out ([`crate::ledger::fold`]), and they go by
//! themselves. So does every event after a fold that came to nothing, because by then they are known.
//!
//! # Decision (2026-11-21): folded after the claim, not before
//! *Context:* 64 changes of one row in one batch cost 64 claims, writes and finishes. *Options:* make one event of them
//! before anything is claimed, and end the others with it; claim each and leave out the writes; claim all in one transaction.
//! *Choice:* one transaction. Made into one before the claim, an event that is a duplicate, or that another worker holds,
//! would be written again or take the others with it, and after a crash only the one that was claimed would be known. Claimed one
//! by one they cost what they cost before. *Would change it:* rows whose events mostly are known already; there the
//! transaction is refused, and reading them costs a round trip for a dozen.

mod apply;

use super::claiming::{Acquire, PLACE_HELD_MAX};
use super::engine::{Engine, REMAPS_MAX};
use super::failure::Failure;
use super::job::Job;
use super::keep::Track;
use super::keys;
use super::witness::is_signal;
use super::work::Work;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report};
use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use crate::domain::schema::TableSchema;
use crate::ledger::claim::Finished;
use crate::ledger::fold::FoldEvent;
use futures_util::future::{join, join_all};
use std::sync::Arc;
use std::time::Duration;

/// One event of a fold, in the target's terms.
struct Member<'a> {
    /// Its place among those that came together.
    place: usize,
    job: Job<'a>,
    delivery: &'a Delivery,
    track: Track,
}

/// An event and its outcome, as far as a fold decided about it.
struct Incoming<'a> {
    event: &'a ChangeEvent,
    delivery: &'a Delivery,
    track: Track,
    ended: Option<Outcome>,
}

/// Whether an event may be folded with its neighbours.
fn may_fold((event, delivery): &(ChangeEvent, Delivery)) -> bool {
    let writes = matches!(event.operation, Operation::Create | Operation::Update | Operation::Upsert);
    let alone = event.synchronous || event.origin.comparison.is_some() || delivery.delivery_count > 1;
    writes && !alone && delivery.channel != Channel::Inbox
}

impl Engine {
    /// Events of one row, in their order.
    pub(super) async fn row(&self, events: &[(ChangeEvent, Delivery)]) -> Vec<Result<Report, NotHandled>> {
        let mut reports = Vec::with_capacity(events.len());
        for run in events.chunk_by(|one, next| may_fold(one) && may_fold(next)) {
            let incoming = |(event, delivery)| Incoming { event, delivery, track: Track::default(), ended: None };
            let mut run: Vec<Incoming<'_>> = run.iter().map(|(event, delivery)| incoming((event, delivery))).collect();
            if run.len() > 1
                && let (Err(failure), ()) = join(self.run(&mut run), self.clear_up()).await
            {
                tracing::info!(reason = failure.told().0, events = run.len(), "each event by itself");
            }
            for Incoming { event, delivery, mut track, ended } in run {
                reports.push(match ended {
                    Some(outcome) => {
                        self.settle_beside(&outcome, &track).await;
                        let (event_id, table) = (event.id.id().to_owned(), event.table.clone());
                        Ok(Report { outcome, event_id, table, row: event.row.to_string() })
                    }
                    None => self.work(event.clone(), delivery, &mut track).await,
                });
            }
        }
        reports
    }

    /// Folds as many of these as can be; the others are left without an outcome.
    async fn run(&self, run: &mut [Incoming<'_>]) -> Result<(), Failure> {
        let Some(Incoming { event: first, delivery, .. }) = run.first() else { return Ok(()) };
        let (source, deadline) = (first.table.as_str(), self.deadline(delivery));
        let Some(table) = self.parts.mapping.tables.get(source) else { return Ok(()) };
        if self.parts.clock.monotonic() >= deadline || self.is_paused(&table.source, deadline).await? {
            return Ok(());
        }
        if self.parts.target.schemas.peek(&table.target).is_none() {
            self.way_is_open(delivery, deadline, &Track::default()).await?;
        }
        let schema = self.schema_for(run, deadline).await?;
        let mut members: Vec<Member<'_>> = Vec::with_capacity(run.len());
        let mut written = Vec::with_capacity(run.len());
        for (place, incoming) in run.iter_mut().enumerate() {
            let Incoming { event, delivery, ref mut track, ref mut ended } = *incoming;
            let job = match self.admitted(event, deadline).await? {
                Ok(table) => self.job(event, table, Arc::clone(&schema)),
                Err(ignored) => Ok(Err(ignored)),
            };
            let job = match job {
                Ok(Ok(job)) => job,
                Ok(Err(ignored)) => {
                    *ended = Some(Outcome::Ignored(ignored));
                    continue;
                }
                // it alone is parked
                Err(_) => continue,
            };
            let fits = members.first().is_none_or(|first: &Member<'_>| {
                first.job.partition == job.partition && first.job.row == job.row && first.job.event.row == job.event.row
            });
            let silent = is_signal(job.table, event) && self.parts.source.is_none();
            if let Some(event) =
                self.parts.ledger.fold_event(event, delivery.arrival_ms).ok().filter(|_| fits && !silent)
            {
                written.push(event);
                members.push(Member { place, job, delivery, track: std::mem::take(track) });
            }
        }
        let mut failure = None;
        let mut rest = members.as_mut_slice();
        for group in FoldEvent::cut(written) {
            let members;
            (members, rest) = rest.split_at_mut(group.len().min(rest.len()));
            if group.len() < 2 {
                continue;
            }
            match self.fold(members, &group, deadline).await {
                Ok(ended) => {
                    for (place, outcome) in ended {
                        if let Some(incoming) = run.get_mut(place) {
                            incoming.ended = Some(outcome);
                        }
                    }
                }
                Err(reason) => failure = Some(reason),
            }
        }
        for member in members {
            if let Some(incoming) = run.get_mut(member.place) {
                incoming.track = member.track;
            }
        }
        for environment in [Some(&self.parts.target), self.parts.source.as_ref()].into_iter().flatten() {
            environment.tell().await;
        }
        failure.map_or(Ok(()), Err)
    }

    /// The table's metadata, with whatever new columns these events carry.
    async fn schema_for(&self, run: &[Incoming<'_>], deadline: Duration) -> Result<Arc<TableSchema>, Failure> {
        let Some(table) = run.first().and_then(|first| self.parts.mapping.tables.get(&first.event.table)) else {
            return Err(Failure::not_now("the table is not in the mapping"));
        };
        let (mut schema, mut remaps) = (self.schema(&table.target, deadline).await?, 0);
        for incoming in run {
            if remaps < REMAPS_MAX && self.has_new_columns(incoming.event, table, &schema, deadline).await? {
                remaps += 1;
                schema = self.schema(&table.target, deadline).await?;
            }
        }
        Ok(schema)
    }

    /// One claim, one write, one finish. What is not among the outcomes was left out by the ledger.
    async fn fold(
        &self,
        members: &mut [Member<'_>],
        events: &[FoldEvent],
        deadline: Duration,
    ) -> Result<Vec<(usize, Outcome)>, Failure> {
        let Some(Member { job: Job { partition, event, .. }, delivery, .. }) = members.first() else {
            return Ok(Vec::new());
        };
        let (partition, event, delivery) = (partition.key().to_owned(), *event, *delivery);
        members.iter_mut().for_each(|member| member.track.partition = Some(partition.clone()));
        let (parts, clock) = (&self.parts, self.parts.clock.as_ref());
        let mut track = Track::default();
        self.way_is_open(delivery, deadline, &track).await?;
        let (_turn, reserved) = self.turn_and_place(&partition, delivery, deadline, &mut track).await?;
        let limits = &parts.mapping.limits;
        // a place is not kept from others while the row does not come
        let until = reserved.as_ref().map_or(deadline, |_| deadline.min(clock.monotonic() + PLACE_HELD_MAX));
        let acquire =
            Acquire { ledger: &parts.ledger, clock, limits, deadline: until, duplicate_wait: limits.duplicate_wait };
        let (claimed, beside) = {
            let members = &*members;
            let touches = |state: &RowState, places: &[usize]| {
                let some: Vec<&Member<'_>> = places.iter().filter_map(|n| members.get(*n)).collect();
                self.touched_by(state, &some)
            };
            let claim = acquire.fold(&partition, events, &touches);
            let owe = |member| self.owe_beside_its_claim(member, deadline);
            join(claim, join_all(members.iter().map(owe))).await
        };
        let mut failed = None;
        for (member, slip) in members.iter_mut().zip(beside) {
            match slip {
                Ok(Some(slip)) => member.track.slip = Some(slip),
                Ok(None) => {}
                Err(failure) => failed = Some(failure),
            }
        }
        let Some((mut claim, taken)) = claimed? else { return Ok(Vec::new()) };
        let mut members: Vec<&mut Member<'_>> =
            members.iter_mut().enumerate().filter(|(n, _)| taken.contains(n)).map(|(_, member)| member).collect();
        let key_before = claim.state.key.clone();
        let mut work = self.begin(&mut claim, event, delivery, deadline, reserved);
        let applied = match failed {
            Some(failure) => Err(failure),
            None => self.apply_fold(&members, &mut work).await,
        };
        let failure = match applied {
            Ok((state, outcomes)) => match work.settled().await {
                Ok(()) => {
                    let key = state.key.clone();
                    return match parts.ledger.finish_all(work.claim, state, &outcomes).await? {
                        Finished::Done => {
                            keys::note_let_go(&parts.ledger, &partition, key_before, key.as_deref()).await;
                            Ok(members.iter().map(|member| member.place).zip(outcomes).collect())
                        }
                        Finished::Overtaken => Err(Failure::Overtaken),
                    };
                }
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.leave_fold(&mut members, work, failure).await
    }

    async fn owe_beside_its_claim(
        &self,
        member: &Member<'_>,
        deadline: Duration,
    ) -> Result<Option<(crate::inbox::Slip, crate::inbox::Entry)>, Failure> {
        self.owe_beside(member.job.event, &member.track, member.delivery, deadline).await
    }

    /// Ends a fold that came to nothing: what is nobody's fault defers each event before the row is given back (R9), the rest
    /// is left to each event by itself. After an unanswered request the row is not given back (R3).
    async fn leave_fold(
        &self,
        members: &mut [&mut Member<'_>],
        mut work: Work<'_>,
        failure: Failure,
    ) -> Result<Vec<(usize, Outcome)>, Failure> {
        let failure = match failure {
            Failure::Overtaken => return Err(failure),
            Failure::Unsettled { .. } => failure,
            failure => work.settled().await.err().unwrap_or(failure),
        };
        let passing = matches!(failure, Failure::NotNow { .. } | Failure::Shut { .. } | Failure::Busy { .. });
        // what would be parked by this first attempt is parked by itself
        let passing = passing && self.parts.mapping.limits.attempts_max > 1;
        let mut ended = Vec::new();
        if passing || matches!(failure, Failure::Unsettled { .. }) {
            let kept = members.iter_mut().map(|member| async {
                let Member { place, job, delivery, track } = &mut **member;
                let noted = self.note_deferral(job.event, track, delivery, &failure).await;
                noted.ok().and_then(|()| track.kept.take()).map(|outcome| (*place, outcome))
            });
            ended = join_all(kept).await.into_iter().flatten().collect();
        }
        if matches!(failure, Failure::Unsettled { .. }) {
            return if ended.is_empty() { Err(failure) } else { Ok(ended) };
        }
        match self.parts.ledger.give_up(work.claim, work.sent).await {
            Ok(Finished::Done) => {}
            Ok(Finished::Overtaken) => return Err(Failure::Overtaken),
            Err(error) => tracing::warn!(%error, "the row could not be given back; its lease runs out by itself"),
        }
        if ended.is_empty() { Err(failure) } else { Ok(ended) }
    }
}
