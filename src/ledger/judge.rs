//! What a claim finds: a pure decision about the two records that were read (PROTOCOL R8).

use super::record::Phase;
use super::store::Snapshot;
use crate::domain::event::same_content;
use crate::domain::outcome::Outcome;
use uuid::Uuid;

/// What may be done with an event, given what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nobody works on the row: it may be claimed.
    Free,
    /// We hold it already: our own claim worked although its answer was lost.
    Mine,
    /// The event has an outcome.
    Done(Outcome),
    /// Somebody works on the row.
    Busy {
        /// When the lease ends, by the holder's clock.
        until_ms: i64,
        /// Whether it is this very event.
        same_event: bool,
    },
    /// The same id says something else.
    IdReused,
    /// The records contradict themselves: nobody may work on them before a person has looked.
    Corrupt(&'static str),
}

/// Judges. `token` is ours, `hash` that of the event in hand; a lease ends `skew_ms` after its time, because clocks differ.
///
/// An event record in phase `claimed` proves nothing by itself: its owner is working only while the row's lease has
/// the same owner and has not run out. Everything else is an orphan that anybody may take.
#[must_use]
pub fn judge(snapshot: &Snapshot, hash: &str, token: Uuid, now_ms: i64, skew_ms: i64) -> Judgement {
    let event = snapshot.event.as_ref().map(|stored| &stored.record);
    let lease = snapshot.row.as_ref().and_then(|stored| stored.record.lease);
    if event.is_some_and(|event| !same_content(&event.hash, hash)) {
        return Judgement::IdReused;
    }
    if let Some(done) = event.filter(|event| event.phase.is_ended()) {
        return done.outcome.clone().map_or(Judgement::Corrupt("event is done and has no outcome"), Judgement::Done);
    }
    match lease {
        Some(lease) if lease.owner == token => Judgement::Mine,
        Some(lease) if lease.until_ms.saturating_add(skew_ms) > now_ms => Judgement::Busy {
            until_ms: lease.until_ms,
            same_event: event.is_some_and(|event| event.phase == Phase::Claimed(lease.owner)),
        },
        _ => Judgement::Free,
    }
}
