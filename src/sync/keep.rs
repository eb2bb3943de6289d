//! Keeping what cannot be finished now (P1, P5): the event goes into the ledger, an entry into the inbox, and only then
//! is it acknowledged.
//!
//! * **With the claim (R9, R11).** What nobody redelivers (webhooks), and messages that come a second time, get an inbox
//!   entry *beside* the claim, durable before the first request to the target. It is due after the lease has ended, so
//!   it is also how abandoned claims are found. When the work ends well it is removed lazily: with others of its shard in
//!   one request, before it is due; or, if this process ends before that, by the sweep that finds the event done.
//! * **On deferral (R9, M14)** the entry is written before the row is given back and before the acknowledgement.
//! * **On parking** the parked entry comes first, then the ledger's record says parked; the payload stays.
//! * **Without a claim** (the row is busy, the target cannot even be asked for its metadata) the event is stored in the
//!   partition of its row, or, while that is not known, in a waiting partition of its own; then the entry is written.
//! * **Overtaken (R7).** Somebody else holds the row: if the event is done it is a duplicate, otherwise it is made sure
//!   that it is owed. It is never a success.
//! * If ledger or inbox cannot be reached the event is not acknowledged: its sender keeps it.

use super::engine::Engine;
use super::failure::Failure;
use super::pause;
use super::paused::PAUSED;
use crate::chance::jitter;
use crate::domain::delivery::{Channel, Delivery};
use crate::domain::event::ChangeEvent;
use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Inbox, InboxError, Raw, Slip};
use crate::ledger::owed::Owed;
use crate::ledger::parked::Parking;
use crate::ledger::record::event_key;
use crate::outbound::gate::Permit;
use chrono::DateTime;
use std::time::Duration;

/// First and longest pause before a deferred event is tried again.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(900);
/// An entry written beside a claim is due this long after the lease's end, the skew included: its worker is dead then.
const ABANDONED_AFTER: Duration = Duration::from_secs(1);
/// Longest time that the removal of old entries may hold up the work beside it.
const CLEAR_UP_MAX: Duration = Duration::from_secs(1);

/// One delivery's way through the engine, as far as keeping needs to know it.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The ledger partition, once the event was mapped.
    pub(super) partition: Option<String>,
    /// The event's entry in the inbox, if it has one.
    pub(super) slip: Option<(Slip, Entry)>,
    /// The event is about several links, each with a partition of its own: it is only ever kept whole, in a waiting
    /// partition, because an entry for one of them would be settled when that one is done.
    pub(super) whole: bool,
    /// How it was kept, if it was, before the row was given back.
    pub(super) kept: Option<Outcome>,
    /// The partition in which the ledger was just seen to hold the event, not ended.
    pub(super) stored_in: Option<String>,
    /// A place at the target's gate that was taken before anything was read.
    pub(super) place: Option<Permit>,
}

impl Engine {
    /// The entry of an event, due `after` from now.
    fn entry(&self, event: &ChangeEvent, track: &Track, delivery: &Delivery, after: Duration, reason: &str) -> Entry {
        let now_ms = self.parts.clock.now().timestamp_millis();
        let due_ms = now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
        let before = track.slip.as_ref().map(|(_, entry)| entry);
        let known = track.partition.as_ref().or(before.map(|entry| &entry.partition));
        let partition = known.cloned().unwrap_or_else(|| format!("wait:{}", event.id.fingerprint()));
        Entry {
            partition,
            event_key: event_key(&event.id),
            due_ms,
            first_ms: before.map_or(now_ms, |entry| entry.first_ms),
            attempts: before.map_or(0, |entry| entry.attempts),
            reason: reason.to_owned(),
            table: event.table.clone(),
            channel: before.map_or(delivery.channel, |entry| entry.channel),
            handed: 0,
        }
    }

    /// Whether an event is written into the inbox beside its claim.
    pub(super) fn owes_from_the_start(delivery: &Delivery, track: &Track) -> bool {
        let alone = match delivery.channel {
            Channel::Webhook => true,
            Channel::Queue => delivery.delivery_count >= 2,
            Channel::Inbox => false,
        };
        alone && track.slip.is_none()
    }

    /// The entry beside the claim. While the inbox cannot be reached the delivery waits: sent back it would return at once
    /// and soon not any more (R11).
    pub(super) async fn owe_beside(
        &self,
        event: &ChangeEvent,
        track: &Track,
        delivery: &Delivery,
        deadline: Duration,
    ) -> Result<Option<(Slip, Entry)>, Failure> {
        let Some(inbox) = self.parts.inbox.as_ref().filter(|_| Self::owes_from_the_start(delivery, track)) else {
            return Ok(None);
        };
        let limits = &self.parts.mapping.limits;
        let after = limits.lease + limits.clock_skew + ABANDONED_AFTER;
        let entry = self.entry(event, track, delivery, after, "claimed");
        let mut attempt = 0;
        loop {
            let error = match inbox.owe(&entry).await {
                Ok(slip) => return Ok(Some((slip, entry))),
                Err(error) => unkept(error),
            };
            attempt += 1;
            pause::within(deadline.saturating_sub(self.parts.clock.monotonic()), attempt, None, error).await?;
        }
    }

    /// The entry beside a claim whose event has ended may go, with others some time later.
    pub(super) async fn settle_beside(&self, outcome: &Outcome, track: &Track) {
        let ended = match outcome {
            Outcome::Applied(_) | Outcome::Duplicate(_) | Outcome::Stale | Outcome::Ignored(_) => true,
            Outcome::Deferred { .. } | Outcome::Parked { .. } => false,
        };
        if let (Some(inbox), Some((slip, _)), true) = (&self.parts.inbox, &track.slip, ended) {
            inbox.settle_soon(slip, self.parts.clock.monotonic()).await;
        }
    }

    /// Removes entries of events that ended a while ago, beside other work: what is not removed in time is a sweep's.
    pub(super) async fn clear_up(&self) {
        if let Some(inbox) = &self.parts.inbox {
            let old = inbox.settle_old(self.parts.clock.monotonic());
            let _ = tokio::time::timeout(CLEAR_UP_MAX, old).await;
        }
    }

    /// Writes the entry for another try; before the row is given back.
    pub(super) async fn note_deferral(
        &self,
        event: &ChangeEvent,
        track: &mut Track,
        delivery: &Delivery,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let Some(inbox) = &self.parts.inbox else { return Ok(()) };
        let (reason, after) = failure.told();
        let tried = track.slip.as_ref().map_or(0, |(_, entry)| entry.attempts);
        // no call to the target may start: whatever went wrong, it is not the event's fault
        let shut = failure.is_shut() || self.parts.target.gate.opens_in().is_some();
        let attempts = failure.attempts(tried, shut);
        let after = after.max(again_after(attempts));
        let mut entry = Entry { attempts, ..self.entry(event, track, delivery, after, &reason) };
        let paused = matches!(failure, Failure::Paused);
        // the time that a pause took is not the event's: its age counts from the first try after it
        if !paused && track.slip.as_ref().is_some_and(|(_, before)| before.reason == PAUSED) {
            entry.first_ms = self.parts.clock.now().timestamp_millis();
        }
        // what may still land holds its row: it can't be parked before that is over; a pause may outlast every limit
        let settled = !matches!(failure, Failure::Unsettled { .. }) && !paused;
        let counted = if shut { 0 } else { attempts };
        if let Some(why) = self.exhausted(&entry, counted).filter(|_| settled) {
            return self.note_parking(event, track, delivery, &format!("{why}: {reason}")).await;
        }
        let slip = match &track.slip {
            Some((slip, _)) => inbox.reschedule(slip, &entry).await,
            None => inbox.owe(&entry).await,
        };
        let retry_at = DateTime::from_timestamp_millis(entry.due_ms).unwrap_or_default();
        track.slip = Some((slip.map_err(unkept)?, entry));
        track.kept = Some(Outcome::Deferred { retry_at, reason });
        Ok(())
    }

    /// Too many attempts, or too old: a person must look.
    fn exhausted(&self, entry: &Entry, attempts: u32) -> Option<&'static str> {
        let limits = &self.parts.mapping.limits;
        let age_ms = self.parts.clock.now().timestamp_millis().saturating_sub(entry.first_ms);
        if attempts >= limits.attempts_max {
            return Some("attempts_exhausted");
        }
        (i128::from(age_ms) > i128::try_from(limits.age_max.as_millis()).unwrap_or(i128::MAX)).then_some("too_old")
    }

    /// Writes the parked entry; the ledger's record follows.
    pub(super) async fn note_parking(
        &self,
        event: &ChangeEvent,
        track: &mut Track,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), Failure> {
        let Some(inbox) = &self.parts.inbox else { return Ok(()) };
        let entry = self.entry(event, track, delivery, Duration::ZERO, reason);
        inbox.park(&entry, reason, self.parts.clock.now().timestamp_millis()).await.map_err(unkept)?;
        track.kept = Some(Outcome::Parked { reason: reason.to_owned() });
        Ok(())
    }

    /// Keeps an event whose work ended without an outcome and without being kept on the way.
    pub(super) async fn keep(
        &self,
        event: &ChangeEvent,
        track: &mut Track,
        delivery: &Delivery,
        failure: Failure,
    ) -> Result<Outcome, Failure> {
        let Some(inbox) = &self.parts.inbox else { return Err(failure) };
        match self.keep_as_event(inbox, event, track, delivery, failure).await {
            // no ledger will ever hold it; a parked payload may be larger
            Err(Failure::TooLarge { reason }) => {
                self.park_beside(inbox, event, track, delivery, &reason).await?;
                Ok(Outcome::Parked { reason })
            }
            kept => kept,
        }
    }

    async fn keep_as_event(
        &self,
        inbox: &Inbox,
        event: &ChangeEvent,
        track: &mut Track,
        delivery: &Delivery,
        failure: Failure,
    ) -> Result<Outcome, Failure> {
        if let Some(kept) = track.kept.take() {
            return Ok(kept);
        }
        if failure.is_of_the_ledger() {
            return Err(failure);
        }
        if matches!(failure, Failure::IdReused) {
            return self.keep_impostor(inbox, event, track, delivery).await;
        }
        let is_first = self.owe_waiting(inbox, event, track, delivery).await?;
        let entry = self.entry(event, track, delivery, Duration::ZERO, "");
        // nothing was tried, so what was just read there is as it was, or further
        if matches!(failure, Failure::Shut { .. } | Failure::Paused)
            && track.stored_in.as_ref() == Some(&entry.partition)
        {
            self.note_deferral(event, track, delivery, &failure).await?;
            return self.kept_as_noted(&entry, inbox, is_first, track, failure).await;
        }
        match self.parts.ledger.owe(&entry.partition, event, delivery.arrival_ms).await? {
            Owed::Known { outcome: Some(outcome), .. } => return Ok(Outcome::Duplicate(words(&outcome))),
            Owed::New | Owed::Known { outcome: None, .. } => {}
            Owed::IdReused => return self.keep_impostor(inbox, event, track, delivery).await,
        }
        if let Failure::Never { reason } = &failure {
            self.note_parking(event, track, delivery, reason).await?;
        } else {
            self.note_deferral(event, track, delivery, &failure).await?;
        }
        self.kept_as_noted(&entry, inbox, is_first, track, failure).await
    }

    /// The ledger says what the inbox says: parked, if that is what became of it; `is_first`: there is an entry that came before
    /// the event's record.
    async fn kept_as_noted(
        &self,
        entry: &Entry,
        inbox: &Inbox,
        is_first: bool,
        track: &mut Track,
        failure: Failure,
    ) -> Result<Outcome, Failure> {
        if let Some(Outcome::Parked { reason }) = &track.kept {
            match self.parts.ledger.park_event(&entry.partition, &entry.event_key, reason).await? {
                Parking::Parked | Parking::Missing => {
                    if let Some((slip, _)) = track.slip.as_ref().filter(|_| is_first)
                        && let Err(error) = inbox.settle(slip).await
                    {
                        tracing::debug!(%error, "the entry of a parked event stays until it is due");
                    }
                }
                Parking::Done(outcome) => return Ok(Outcome::Duplicate(words(&outcome))),
                // somebody works on it: whatever comes of that is said there
                Parking::Busy { .. } => return Err(failure),
            }
        }
        track.kept.take().ok_or(failure)
    }

    /// The entry of an event whose row is not known comes before its record, and once more after it. If the inbox cannot be
    /// written, nothing was; else the record, which no delivery looks at again once the row is known, would be owed for
    /// ever. The first entry is due when this delivery cannot write the record any more, so nobody settles it too early.
    /// Whether there is such an entry now.
    async fn owe_waiting(
        &self,
        inbox: &Inbox,
        event: &ChangeEvent,
        track: &mut Track,
        delivery: &Delivery,
    ) -> Result<bool, Failure> {
        if track.partition.is_some() || track.slip.is_some() {
            return Ok(false);
        }
        let limits = &self.parts.mapping.limits;
        let after = limits.lease + limits.clock_skew + ABANDONED_AFTER;
        let entry = self.entry(event, track, delivery, after, "row_unknown");
        track.slip = Some((inbox.owe(&entry).await.map_err(unkept)?, entry));
        Ok(true)
    }

    /// The same id with other content: kept as it came, beside the event whose id it uses.
    async fn keep_impostor(
        &self,
        inbox: &Inbox,
        event: &ChangeEvent,
        track: &Track,
        delivery: &Delivery,
    ) -> Result<Outcome, Failure> {
        self.park_beside(inbox, event, track, delivery, "id_reused").await?;
        Err(Failure::ImpostorKept)
    }

    /// Parks an event outside of the ledger, beside whatever the ledger has under its id.
    async fn park_beside(
        &self,
        inbox: &Inbox,
        event: &ChangeEvent,
        track: &Track,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), Failure> {
        let entry = self.entry(event, track, delivery, Duration::ZERO, reason);
        let bytes = serde_json::to_vec(event).map_err(|error| Failure::never(error.to_string()))?;
        let raw = Raw {
            bytes,
            headers: Vec::new(),
            channel: delivery.channel,
            first_ms: entry.first_ms,
            attempts: 0,
            table: event.table.clone(),
            event: Some((entry.partition, entry.event_key)),
        };
        inbox.park_raw(&raw, reason, self.parts.clock.now().timestamp_millis()).await.map_err(unkept)?;
        Ok(())
    }
}

/// From 1 s doubling to 15 min, less up to half by chance, so that what was deferred together does not come back together.
fn again_after(attempts: u32) -> Duration {
    let full = AGAIN_MIN.saturating_mul(1 << attempts.min(16)).min(AGAIN_MAX);
    full.mul_f64(0.5 + jitter() / 2.0)
}

fn unkept(error: InboxError) -> Failure {
    Failure::ledger(format!("the inbox cannot be used: {error}"))
}

/// `applied: created`, for the detail of a duplicate.
pub(super) fn words(outcome: &Outcome) -> String {
    match outcome.detail() {
        "" => outcome.name().to_owned(),
        detail => format!("{}: {detail}", outcome.name()),
    }
}
