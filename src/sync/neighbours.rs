//! What instances tell each other about one environment, through one state in the ledger: `governor:{environment}`.
//!
//! Written only when something changed (a pause that an environment asked for, a breaker that opened or closed) and by
//! whoever works on an event at that moment; nothing runs in the background. Read at most every [`LOOK_EVERY`], before work
//! on an event begins and before a request is sent. A ledger that can't be read or written stops nothing: every instance
//! still has its own gate.

use crate::clock::Clock;
use crate::ledger::claim::LedgerError;
use crate::ledger::system::System;
use crate::outbound::gate::{Gate, Notice};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How old what is known may be when a request is sent: one round trip per environment and instance in this time, and only
/// while there is work.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for the ledger. Then the work goes on without.
const PATIENCE: Duration = Duration::from_secs(2);

/// One environment's notice, as one instance sees it.
#[derive(Debug)]
pub(super) struct Neighbours {
    system: System,
    /// The state's name.
    name: String,
    clock_skew: Duration,
    /// When it was last looked at, or tried to.
    looked_at: Mutex<Option<Duration>>,
    /// When it could not be written.
    failed_at: Mutex<Option<Duration>>,
    /// One at a time; who finds another looking waits for what that one hears.
    turn: tokio::sync::Mutex<()>,
}

impl Neighbours {
    /// The notice about `environment`, which is its address without the scheme.
    pub(super) fn new(system: System, environment: &str, clock_skew: Duration) -> Self {
        let name = format!("governor:{environment}");
        let (looked_at, failed_at) = (Mutex::default(), Mutex::default());
        Self { system, name, clock_skew, looked_at, failed_at, turn: tokio::sync::Mutex::default() }
    }

    /// Tells the gate what others have found, if that was not done lately. Whether the ledger was asked, or somebody waited
    /// for whoever asked it.
    pub(super) async fn look(&self, gate: &Gate, clock: &dyn Clock) -> bool {
        if self.is_fresh(clock) {
            return false;
        }
        let _turn = self.turn.lock().await;
        if !self.is_fresh(clock) {
            let found = self.bounded(self.system.state::<Notice>(&self.name)).await;
            if let Some(found) = found {
                gate.hear(found.map(|found| found.record).unwrap_or_default(), self.clock_skew);
                self.write(gate).await;
            }
            self.looked(clock);
        }
        true
    }

    /// Tells the others what the gate knows, if that is news. What could not be told is told with the next look.
    pub(super) async fn tell(&self, gate: &Gate, clock: &dyn Clock) {
        let failed = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !gate.has_news() || failed.is_some_and(|at| clock.monotonic().saturating_sub(at) < LOOK_EVERY) {
            return;
        }
        let _turn = self.turn.lock().await;
        if self.write(gate).await {
            self.looked(clock);
        } else {
            *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.monotonic());
        }
    }

    /// Whether the notice says what the gate knows.
    async fn write(&self, gate: &Gate) -> bool {
        if !gate.has_news() {
            return true;
        }
        let merged = self.system.update::<Notice>(&self.name, |there| gate.notice(there));
        match self.bounded(merged).await {
            Some(there) => {
                gate.hear(there.unwrap_or_default(), self.clock_skew);
                true
            }
            None => false,
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, LedgerError>>) -> Option<T> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::warn!(%error, state = self.name, "what instances tell each other cannot be exchanged now");
                None
            }
            Err(_) => {
                tracing::warn!(state = self.name, "what instances tell each other takes too long");
                None
            }
        }
    }

    fn is_fresh(&self, clock: &dyn Clock) -> bool {
        let looked_at = *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.is_some_and(|at| clock.monotonic().saturating_sub(at) < LOOK_EVERY)
    }

    fn looked(&self, clock: &dyn Clock) {
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.monotonic());
    }
}
