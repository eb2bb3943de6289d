//! The gate in front of one environment: closed while `Retry-After` runs, and narrow (`max_in_flight`).
//!
//! Shared by every call to that environment in this process. It knows no protocol; whoever reads the answers
//! tells it. Across instances the closing time travels through the ledger, which is not the gate's business.

use crate::clock::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// One environment's gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    max_in_flight: u32,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// On [`Clock::monotonic`]'s scale.
    closed_until: Duration,
    in_flight: u32,
    /// What the other side advises, at least 1.
    hint: u32,
}

/// The right to make one call; gives the place back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back at once"]
pub struct Permit(Arc<Shared>);

/// Why a call may not start within the caller's patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The environment asked for a pause.
    #[error("the environment asked for a pause of another {after:?}")]
    Closed {
        /// How much of it is left.
        after: Duration,
    },
    /// As many calls as allowed are under way.
    #[error("{in_flight} calls are under way already")]
    Full {
        /// How many.
        in_flight: u32,
    },
}

impl Gate {
    /// An open gate that lets `max_in_flight` calls through at a time (0 counts as 1).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_in_flight: u32) -> Self {
        let state = State { closed_until: Duration::ZERO, in_flight: 0, hint: u32::MAX };
        let shared =
            Shared { clock, max_in_flight: max_in_flight.max(1), state: Mutex::new(state), freed: Notify::new() };
        Self(Arc::new(shared))
    }

    /// Lets nobody start a call for this long from now. A longer pause that runs already stays.
    pub fn close_for(&self, pause: Duration) {
        let until = self.0.clock.monotonic().saturating_add(pause);
        let mut state = self.0.state();
        state.closed_until = state.closed_until.max(until);
    }

    /// How long it stays closed; `None` when open.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        let left = self.0.state().closed_until.saturating_sub(self.0.clock.monotonic());
        (!left.is_zero()).then_some(left)
    }

    /// What `x-ms-dop-hint` advises: a cap below `max_in_flight`, never above it (0 counts as 1).
    pub fn advise(&self, hint: u32) {
        self.0.state().hint = hint.max(1);
        self.0.freed.notify_waiters();
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.state().in_flight
    }

    /// A place now, or why not.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn try_enter(&self) -> Result<Permit, NotNow> {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        let after = state.closed_until.saturating_sub(now);
        if !after.is_zero() {
            return Err(NotNow::Closed { after });
        }
        if state.in_flight >= self.0.max_in_flight.min(state.hint) {
            return Err(NotNow::Full { in_flight: state.in_flight });
        }
        state.in_flight += 1;
        Ok(Permit(Arc::clone(&self.0)))
    }

    /// A place within `patience`. A pause that is longer than that is reported at once.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn enter(&self, patience: Duration) -> Result<Permit, NotNow> {
        let deadline = self.0.clock.monotonic().saturating_add(patience);
        loop {
            let freed = self.0.freed.notified();
            let refusal = match self.try_enter() {
                Ok(permit) => return Ok(permit),
                Err(refusal) => refusal,
            };
            let left = deadline.saturating_sub(self.0.clock.monotonic());
            match refusal {
                NotNow::Closed { after } if after <= left && !left.is_zero() => tokio::time::sleep(after).await,
                NotNow::Full { .. } if !left.is_zero() => {
                    // whether freed or out of time: the next round decides
                    let _ = tokio::time::timeout(left, freed).await;
                }
                NotNow::Closed { .. } | NotNow::Full { .. } => {
                    // if the place was announced to us, somebody else should hear of it
                    self.0.freed.notify_one();
                    return Err(refusal);
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // three plain numbers, never half written
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        drop(state);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn gate(max_in_flight: u32) -> Gate {
        Gate::new(Arc::new(SystemClock::default()), max_in_flight)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn nobody_starts_before_the_whole_pause_is_over() {
        let gate = gate(8);
        gate.close_for(10 * SECOND);
        gate.close_for(SECOND); // a shorter one does not reopen it
        assert!(matches!(gate.try_enter(), Err(NotNow::Closed { .. })));
        let start = tokio::time::Instant::now();
        let permit = gate.enter(20 * SECOND).await;
        assert!(permit.is_ok());
        assert!(start.elapsed() >= 10 * SECOND, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_longer_than_the_patience_is_reported_at_once() {
        let gate = gate(8);
        gate.close_for(10 * SECOND);
        let start = tokio::time::Instant::now();
        assert_eq!(gate.enter(5 * SECOND).await.unwrap_err(), NotNow::Closed { after: 10 * SECOND });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_respects_a_pause_that_comes_meanwhile() {
        let gate = gate(1);
        let first = gate.try_enter().unwrap();
        let start = tokio::time::Instant::now();
        let release = async {
            tokio::time::sleep(SECOND).await;
            gate.close_for(3 * SECOND);
            drop(first);
        };
        let (second, ()) = tokio::join!(gate.enter(10 * SECOND), release);
        assert!(second.is_ok());
        assert!(start.elapsed() >= 4 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_gate_lets_the_next_in_when_a_place_is_free() {
        let gate = gate(2);
        let (first, _second) = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
        assert_eq!(gate.enter(SECOND).await.unwrap_err(), NotNow::Full { in_flight: 2 });
        drop(first);
        assert!(gate.enter(SECOND).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gave_up_does_not_swallow_a_free_place() {
        let gate = gate(1);
        let held = gate.try_enter().unwrap();
        let abandoned = tokio::time::timeout(SECOND, gate.enter(10 * SECOND)).await;
        assert!(abandoned.is_err());
        let (entered, ()) = tokio::join!(gate.enter(10 * SECOND), async { drop(held) });
        assert!(entered.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_hint_narrows_but_never_widens() {
        let gate = gate(2);
        gate.advise(100);
        let held = (gate.try_enter().unwrap(), gate.try_enter().unwrap());
        assert!(gate.try_enter().is_err());
        drop(held);
        gate.advise(0);
        let _one = gate.try_enter().unwrap();
        assert_eq!(gate.try_enter().unwrap_err(), NotNow::Full { in_flight: 1 });
    }
}
