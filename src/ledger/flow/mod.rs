//! Claims on ids that are not about a row: "has this been done, and if not, may I do it?" for flows and other programs that
//! cannot put their work and its mark into one transaction.
//!
//! Each id has a partition of its own kind (`claim:{hash}:{id}`) with one record. The record is free, held by the token of one
//! owner until some time, or done. It is written only on condition of the version that was read, so of any number of
//! callers at any moment one write wins, and the others read again and decide again.
//!
//! # Why at most one holds it, and no one finishes what is not his
//! * **Taking** is allowed if there is no record, if it is free, if it is ours already, or if its lease ended more than
//!   `clock_skew` ago by the taker's clock. Instances' clocks differ by less, so nobody takes what its holder may still
//!   rely on. The holder was told an end that counts from *before* its write was sent.
//! * **Finishing and giving up** need the token that the record holds, and the version that was read with it. Whoever took
//!   over has changed both: a stale owner is told that it was overtaken, and nothing is written. A lease that ended
//!   without a taker may still be finished: nobody else has begun.
//! * **Done is the end.** No call writes over a done record; each tells what it holds. It goes with the purge, after
//!   `dedup_window`.
//! * **Lost answers.** A write without an answer may have worked, or may land later. Its author reads again: our token on
//!   the record means that it worked, and repeating the call is harmless, because it leads to the same record; what lands later
//!   fails on its condition, unless nothing came between, and then it is what was asked for. The same holds for a caller
//!   whose own answer was lost, as long as it calls with the same token: it chooses the token, so that it knows it
//!   whatever happens. One that let us choose and lost the answer waits for the end of its lease.
//!
//! # What this cannot promise
//! The lease fences the record, not the work. A holder that goes on after its end may work beside its successor; only one of
//! them can finish, and it learns that at the end (PROTOCOL, "What `guard = "lease"` cannot promise"). Taking again with the
//! same token extends the lease, so long work can keep it. `attempt` tells whether somebody may have begun before.

mod record;
mod store;

pub use record::{BadToken, FlowPhase, FlowRecord, TOKEN_BYTES_MAX, Token};
pub use store::FlowStore;
pub(in crate::ledger) use store::{FLOW_KEY, partition};

use super::claim::{LedgerError, ROUNDS_MAX, millis};
use super::store::{Expect, StoreError};
use crate::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Claims on ids.
#[derive(Clone, Debug)]
pub struct Flows {
    store: Arc<dyn FlowStore>,
    clock: Arc<dyn Clock>,
    clock_skew: Duration,
}

/// The answer to taking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the caller's.
    Held {
        /// Until when, by the clock of the instance that gave it, in milliseconds.
        until_ms: i64,
        /// How many have taken it so far, this one included: more than one means that somebody may have begun before.
        attempt: u32,
    },
    /// Somebody else holds it.
    Busy {
        /// When it may be taken, at the earliest, from now.
        free_in: Duration,
        /// When the lease ends, in milliseconds.
        until_ms: i64,
    },
    /// It is done.
    Done {
        /// What the one who did it left, JSON.
        result: Option<String>,
        /// When, in milliseconds.
        done_ms: i64,
    },
}

/// The answer to finishing and giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is as asked, by this call or an earlier one like it.
    Settled,
    /// Somebody else holds it, held it since, or finished it.
    Overtaken,
    /// The caller finished it before: with another result, or it wants to give up what is done.
    Finished,
    /// The caller gave it up before.
    GivenUp,
    /// Nobody holds it, or it is too long ago.
    Missing,
}

/// What a call makes of the record it read.
enum Next {
    Write(FlowRecord),
    Answer(Settled),
}

impl Flows {
    /// On a store; `clock_skew` is how far clocks may differ.
    #[must_use]
    pub fn new(store: Arc<dyn FlowStore>, clock: Arc<dyn Clock>, clock_skew: Duration) -> Self {
        Self { store, clock, clock_skew }
    }

    /// Takes an id for `hold` from now, or holds it for another `hold` if it is the token's already. Two round trips, one if
    /// it is not to be had.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again with the same token is safe.
    pub async fn take(&self, id: &str, token: &Token, hold: Duration) -> Result<Taken, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let found = self.store.flow(id).await?;
            let now_ms = self.clock.now().timestamp_millis();
            let before = found.as_ref().map(|stored| &stored.record);
            match before.map(|record| &record.phase) {
                Some(FlowPhase::Done { result, .. }) => {
                    let done_ms = before.map(|record| record.updated_ms).unwrap_or_default();
                    return Ok(Taken::Done { result: result.clone(), done_ms });
                }
                Some(FlowPhase::Held { owner, until_ms }) if owner != token => {
                    let free_ms = until_ms.saturating_add(millis(self.clock_skew)).saturating_sub(now_ms);
                    if free_ms > 0 {
                        let free_in = Duration::from_millis(free_ms.unsigned_abs());
                        return Ok(Taken::Busy { free_in, until_ms: *until_ms });
                    }
                }
                Some(FlowPhase::Held { .. } | FlowPhase::Free { .. }) | None => {}
            }
            let record = FlowRecord::held(id, before, token, now_ms, now_ms.saturating_add(millis(hold)));
            match self.store.put_flow(id, &record, &Expect::unchanged(found.as_ref())).await {
                Ok(_) => {
                    let until_ms = now_ms.saturating_add(millis(hold));
                    return Ok(Taken::Held { until_ms, attempt: record.attempts });
                }
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }

    /// Marks an id as done, with what later callers are told. Two round trips, one if it is not to be.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again is safe.
    pub async fn finish(&self, id: &str, token: &Token, result: Option<&str>) -> Result<Settled, LedgerError> {
        self.settle(id, |record, now_ms| match &record.phase {
            FlowPhase::Held { owner, .. } if owner == token => Next::Write(record.done(token, result, now_ms)),
            FlowPhase::Done { owner, result: before } if owner == token => {
                let same = before.as_deref() == result;
                Next::Answer(if same { Settled::Settled } else { Settled::Finished })
            }
            FlowPhase::Free { last } if last == token => Next::Answer(Settled::GivenUp),
            FlowPhase::Held { .. } | FlowPhase::Done { .. } | FlowPhase::Free { .. } => {
                Next::Answer(Settled::Overtaken)
            }
        })
        .await
    }

    /// Gives an id back undone: anybody may take it at once. Two round trips, one if it is not to be.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again is safe, and the lease ends by itself.
    pub async fn give_up(&self, id: &str, token: &Token) -> Result<Settled, LedgerError> {
        self.settle(id, |record, now_ms| match &record.phase {
            FlowPhase::Held { owner, .. } if owner == token => Next::Write(record.free(token, now_ms)),
            FlowPhase::Done { owner, .. } if owner == token => Next::Answer(Settled::Finished),
            FlowPhase::Free { last } if last == token => Next::Answer(Settled::Settled),
            FlowPhase::Held { .. } | FlowPhase::Done { .. } | FlowPhase::Free { .. } => {
                Next::Answer(Settled::Overtaken)
            }
        })
        .await
    }

    async fn settle(&self, id: &str, next: impl Fn(&FlowRecord, i64) -> Next) -> Result<Settled, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let Some(found) = self.store.flow(id).await? else { return Ok(Settled::Missing) };
            let record = match next(&found.record, self.clock.now().timestamp_millis()) {
                Next::Answer(settled) => return Ok(settled),
                Next::Write(record) => record,
            };
            match self.store.put_flow(id, &record, &Expect::Is(found.etag)).await {
                Ok(_) => return Ok(Settled::Settled),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }
}
