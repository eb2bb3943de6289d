//! What people have paused: a state in the ledger, written by `pause` and `resume` and looked at by every instance. Decides
//! only whether a table is paused; what is held back is kept like everything that cannot be finished now.
//!
//! An instance asks the ledger at most every [`KNOWN_FOR`], so a pause costs no event a round trip beyond that. While the
//! state cannot be read, what was known last holds. Where nothing is known yet it must be read: the ledger is away then,
//! and nothing could be claimed anyway.

use super::engine::Engine;
use super::failure::Failure;
use super::pause::until_known;
use crate::chance::jitter;
use crate::clock::Clock;
use crate::inbox::{Entry, InboxError, Slip};
use crate::ledger::claim::LedgerError;
use crate::ledger::system::System;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The state's name.
pub const PAUSED_STATE: &str = "pause";
/// The reason of deferral that what is held back has.
pub const PAUSED: &str = "paused";
/// How old what an instance knows may be. So long after `pause` an event may still begin to be applied.
pub const KNOWN_FOR: Duration = Duration::from_secs(5);
/// When somebody looks again at what is held back. `resume` does not wait for it: it makes such entries due.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// What is paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paused {
    /// Everything.
    pub all: bool,
    /// Single tables, by their names in the source.
    pub tables: BTreeSet<String>,
}

impl Paused {
    /// Whether events of this source table are stored instead of applied.
    #[must_use]
    pub fn holds(&self, table: &str) -> bool {
        self.all || self.tables.contains(table)
    }

    /// What the ledger says. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn read(system: &System) -> Result<Self, LedgerError> {
        Ok(system.state::<Self>(PAUSED_STATE).await?.map(|stored| stored.record).unwrap_or_default())
    }
}

/// When to look again at what is held back: not all of it at the same time.
pub(super) fn look_again() -> Duration {
    AGAIN.mul_f64(0.5 + jitter() / 2.0)
}

/// What an instance knows of the state, and since when.
#[derive(Debug, Default)]
pub(super) struct PauseWatch {
    known: Mutex<Option<(Duration, Arc<Paused>)>>,
    looking: tokio::sync::Mutex<()>,
}

impl PauseWatch {
    /// Whether a source table is paused.
    ///
    /// # Errors
    /// Of the ledger, if nothing was ever known until the deadline.
    pub(super) async fn holds(
        &self,
        system: &System,
        clock: &dyn Clock,
        table: &str,
        deadline: Duration,
    ) -> Result<bool, Failure> {
        let Some((at, before)) = self.known() else {
            let first = || async {
                let _turn = self.looking.lock().await;
                match self.known() {
                    Some((_, paused)) => Ok(paused),
                    None => Paused::read(system).await.map(|paused| self.learn(clock, Arc::new(paused))),
                }
            };
            return Ok(until_known(clock, deadline, first).await?.holds(table));
        };
        if clock.monotonic().saturating_sub(at) < KNOWN_FOR {
            return Ok(before.holds(table));
        }
        // one looks, the others go on with what is known
        let Ok(_turn) = self.looking.try_lock() else { return Ok(before.holds(table)) };
        let paused = match Paused::read(system).await {
            Ok(paused) => Arc::new(paused),
            Err(error) => {
                tracing::warn!(%error, "what is paused cannot be read; what was known last holds");
                before
            }
        };
        Ok(self.learn(clock, paused).holds(table))
    }

    fn known(&self) -> Option<(Duration, Arc<Paused>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, clock: &dyn Clock, paused: Arc<Paused>) -> Arc<Paused> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock.monotonic(), Arc::clone(&paused)));
        paused
    }
}

impl Engine {
    /// Whether events of this source table are held back now; waits for the ledger until the deadline if it must.
    pub(super) async fn is_paused(&self, table: &str, deadline: Duration) -> Result<bool, Failure> {
        let Some(system) = &self.parts.system else { return Ok(false) };
        self.paused.holds(system, self.parts.clock.as_ref(), table, deadline).await
    }

    /// Puts an entry off if its table is paused: without a look at its event, which costs no round trip to the ledger. What
    /// is not known to be paused is worked on, and held back there if it must be.
    ///
    /// # Errors
    /// [`InboxError`]: the entry is where it was.
    pub(super) async fn put_off(&self, slip: &Slip, entry: &Entry) -> Result<bool, InboxError> {
        let (Some(inbox), clock) = (&self.parts.inbox, &self.parts.clock) else { return Ok(false) };
        let deadline = clock.monotonic() + KNOWN_FOR;
        if !self.is_paused(&entry.table, deadline).await.unwrap_or(false) {
            return Ok(false);
        }
        let after_ms = i64::try_from(look_again().as_millis()).unwrap_or(i64::MAX);
        let due_ms = clock.now().timestamp_millis().saturating_add(after_ms);
        inbox.reschedule(slip, &entry.again(due_ms, entry.attempts, PAUSED)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_paused_by_itself_or_with_everything() {
        let one = Paused { all: false, tables: BTreeSet::from(["account".to_owned()]) };
        assert!(one.holds("account") && !one.holds("contact"));
        assert!(Paused { all: true, ..Paused::default() }.holds("contact"));
        assert!(!Paused::default().holds("contact"));
    }
}
