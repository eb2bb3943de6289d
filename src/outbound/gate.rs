//! The gate in front of one environment: shut while `Retry-After` runs or the breaker is open, and as narrow as the
//! environment's answers say.
//!
//! Shared by every call to that environment in this process. It puts the decisions of [`super::governor`] together under
//! one lock and does the waiting; it knows no protocol: whoever reads the answers tells it. Across instances a notice
//! travels through the ledger, which is not the gate's business either.

use super::governor::breaker::{Breaker, State as BreakerState};
use super::governor::budget::{LEFT_MAX, RetryBudget};
use super::governor::concurrency::{Concurrency, Ended};
use super::governor::notice::{Exchange, Found};
use super::governor::seen::Seen;
use crate::chance;
use crate::clock::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

mod refusal;

pub use super::governor::notice::Notice;
pub use refusal::NotNow;

/// How much longer than its request a probe may take: the row's lease may have to be renewed first (assumed).
const PROBE_SLACK: Duration = Duration::from_secs(5);

/// One environment's gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    /// For the log.
    environment: String,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// On [`Clock::monotonic`]'s scale.
    closed_until: Duration,
    in_flight: u32,
    concurrency: Concurrency,
    breaker: Breaker,
    budget: RetryBudget,
    exchange: Exchange,
}

/// The right to make one call; gives the place back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back at once"]
pub struct Permit {
    shared: Arc<Shared>,
    probe: Option<u64>,
}

/// A request under way.
#[derive(Debug)]
#[must_use = "how it ended must be told"]
pub struct Started {
    at: Duration,
    probe: Option<u64>,
}

/// How the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateView {
    /// How long the environment's own pause still lasts.
    pub closed_for: Option<Duration>,
    /// `closed`, `open` or `probing`.
    pub breaker: &'static str,
    /// How long the breaker still lets nobody through.
    pub breaker_for: Option<Duration>,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls at once that are allowed now.
    pub limit: u32,
    /// What that can grow to: `max_in_flight`, or less if the environment advises so.
    pub limit_max: u32,
    /// Calls that may be repeated now.
    pub retries: u32,
    /// What can be saved up of that.
    pub retries_max: u32,
}

impl Gate {
    /// An open gate that lets at most `max_in_flight` calls through at a time (0 counts as 1), for calls of 30 s at most.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_in_flight: u32) -> Self {
        Self::of("environment", clock, max_in_flight, Duration::from_secs(30))
    }

    /// The same for an environment with a name, whose calls take `request_timeout` at most.
    #[must_use]
    pub fn of(environment: &str, clock: Arc<dyn Clock>, max_in_flight: u32, request_timeout: Duration) -> Self {
        let state = State {
            closed_until: Duration::ZERO,
            in_flight: 0,
            concurrency: Concurrency::new(max_in_flight),
            breaker: Breaker::new(request_timeout.saturating_add(PROBE_SLACK)),
            budget: RetryBudget::default(),
            exchange: Exchange::default(),
        };
        let (environment, state) = (environment.to_owned(), Mutex::new(state));
        Self(Arc::new(Shared { clock, environment, state, freed: Notify::new() }))
    }

    /// Lets nobody start a call for this long from now. A longer pause that runs already stays.
    pub fn close_for(&self, pause: Duration) {
        let until_ms = self.0.wall_ms(pause);
        let mut state = self.0.state();
        self.0.close(&mut state, pause, false);
        state.exchange.closed(until_ms);
    }

    /// How long the environment's own pause still lasts; `None` when it has none.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.0.state().closed_for(self.0.clock.monotonic())
    }

    /// How long surely no call may start. A probe under way may end at any moment, so it does not count.
    #[must_use]
    pub fn shut_for(&self) -> Option<Duration> {
        match self.0.state().shut(self.0.clock.monotonic())? {
            NotNow::Closed { after } | NotNow::Open { after } => Some(after),
            NotNow::Probing { .. } | NotNow::Full { .. } => None,
        }
    }

    /// How long no call may start, for a pause or for the breaker; `None` when one may.
    #[must_use]
    pub fn opens_in(&self) -> Option<Duration> {
        self.0.state().shut(self.0.clock.monotonic()).and_then(NotNow::after)
    }

    /// What `x-ms-dop-hint` advises: a cap below `max_in_flight`, never above it (0 counts as 1).
    pub fn advise(&self, hint: u32) {
        self.0.state().concurrency.advise(hint);
        self.0.freed.notify_waiters();
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.state().in_flight
    }

    /// How it stands.
    #[must_use]
    pub fn view(&self) -> GateView {
        let now = self.0.clock.monotonic();
        let state = self.0.state();
        GateView {
            closed_for: state.closed_for(now),
            breaker: state.breaker.state().name(),
            breaker_for: state.breaker.check(now).err().and_then(|refused| NotNow::from(refused).after()),
            in_flight: state.in_flight,
            limit: state.concurrency.limit(),
            limit_max: state.concurrency.cap(),
            retries: state.budget.left(now),
            retries_max: LEFT_MAX,
        }
    }

    /// A place now, or why not.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn try_enter(&self) -> Result<Permit, NotNow> {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        if let Some(shut) = state.shut(now) {
            return Err(shut);
        }
        let before = state.breaker.state();
        // calls from before an outage may still hang: they do not keep the probe from being made
        if before == BreakerState::Closed && state.in_flight >= state.concurrency.limit() {
            return Err(NotNow::Full { in_flight: state.in_flight });
        }
        let probe = state.breaker.admit(now)?;
        self.0.breaker_moved(&mut state, before);
        state.in_flight += 1;
        Ok(Permit { shared: Arc::clone(&self.0), probe })
    }

    /// A place within `patience`. A pause that is longer than that is reported at once.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn enter(&self, patience: Duration) -> Result<Permit, NotNow> {
        self.within(patience, |gate| gate.try_enter()).await
    }

    /// Waits, no longer than `patience`, while no call may start for a pause or for the breaker. Takes no place.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn open(&self, patience: Duration) -> Result<(), NotNow> {
        self.within(patience, |gate| gate.0.state().shut(gate.0.clock.monotonic()).map_or(Ok(()), Err)).await
    }

    async fn within<T>(&self, patience: Duration, get: impl Fn(&Self) -> Result<T, NotNow>) -> Result<T, NotNow> {
        let deadline = self.0.clock.monotonic().saturating_add(patience);
        loop {
            let freed = self.0.freed.notified();
            let refusal = match get(self) {
                Ok(got) => return Ok(got),
                Err(refusal) => refusal,
            };
            let left = deadline.saturating_sub(self.0.clock.monotonic());
            match refusal {
                NotNow::Closed { after } | NotNow::Open { after } if after <= left && !left.is_zero() => {
                    tokio::time::sleep(after).await;
                }
                NotNow::Probing { .. } | NotNow::Full { .. } if !left.is_zero() => {
                    // whether freed or out of time: the next round decides
                    let wait = refusal.after().map_or(left, |after| after.min(left));
                    let _ = tokio::time::timeout(wait, freed).await;
                }
                NotNow::Closed { .. } | NotNow::Open { .. } | NotNow::Probing { .. } | NotNow::Full { .. } => {
                    // if the place was announced to us, somebody else should hear of it
                    self.0.freed.notify_one();
                    return Err(refusal);
                }
            }
        }
    }

    /// A request is about to be sent.
    ///
    /// # Errors
    /// [`NotNow`]: it must not.
    pub fn start(&self) -> Result<Started, NotNow> {
        let at = self.0.clock.monotonic();
        let mut state = self.0.state();
        if let Some(after) = state.closed_for(at) {
            return Err(NotNow::Closed { after });
        }
        let before = state.breaker.state();
        let probe = state.breaker.send(at)?;
        self.0.breaker_moved(&mut state, before);
        state.budget.called();
        Ok(Started { at, probe })
    }

    /// A request has ended, and this is what it showed.
    pub fn ended(&self, started: Started, seen: Seen) {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        let (before, limit) = (state.breaker.state(), state.concurrency.limit());
        let in_flight = state.in_flight;
        state.concurrency.ended(Ended { started: started.at, now, in_flight, seen });
        state.breaker.ended(now, started.at, started.probe, seen, chance::jitter());
        self.0.breaker_moved(&mut state, before);
        let now_limit = state.concurrency.limit();
        drop(state);
        let environment = &self.0.environment;
        if now_limit < limit {
            tracing::info!(environment, limit = now_limit, before = limit, "concurrency");
        } else if now_limit > limit {
            tracing::debug!(environment, limit = now_limit, before = limit, "concurrency");
            self.0.freed.notify_one();
        }
    }

    /// A call is to be made again: whether the budget allows it now.
    ///
    /// # Errors
    /// How long until it may.
    pub fn repeat(&self) -> Result<(), Duration> {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        let left = state.budget.left(now);
        let repeated = state.budget.repeat(now);
        drop(state);
        if left == 1 && repeated.is_ok() {
            tracing::info!(environment = self.0.environment, state = "spent", "retry budget");
        }
        repeated
    }

    /// Whether other instances should hear of something.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.0.state().exchange.has_news()
    }

    /// What the notice should say, given what it says; `None` if that is right already.
    #[must_use]
    pub fn notice(&self, there: Option<&Notice>) -> Option<Notice> {
        self.0.state().exchange.merged(there)
    }

    /// Reads the notice; `clock_skew` is how far the clocks of instances may differ.
    pub fn hear(&self, there: Notice, clock_skew: Duration) {
        let (now, now_ms) = (self.0.clock.monotonic(), self.0.wall_ms(Duration::ZERO));
        let mut state = self.0.state();
        let before = state.breaker.state();
        let heard = state.exchange.hear(there, now_ms, clock_skew);
        if let Some(pause) = heard.closed_for {
            self.0.close(&mut state, pause, true);
        }
        match heard.breaker {
            Some(Found::Away(lasts)) => state.breaker.hear_open(now, lasts),
            Some(Found::Well) => state.breaker.hear_closed(now),
            None => {}
        }
        self.0.breaker_moved(&mut state, before);
    }
}

impl State {
    fn closed_for(&self, now: Duration) -> Option<Duration> {
        let left = self.closed_until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Why no call at all may start.
    fn shut(&self, now: Duration) -> Option<NotNow> {
        let closed = self.closed_for(now).map(|after| NotNow::Closed { after });
        closed.or_else(|| self.breaker.check(now).err().map(Into::into))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // plain numbers, never half written
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock's time so long from now.
    fn wall_ms(&self, ahead: Duration) -> i64 {
        let ahead_ms = i64::try_from(ahead.as_micros().div_ceil(1_000)).unwrap_or(i64::MAX);
        self.clock.now().timestamp_millis().saturating_add(ahead_ms)
    }

    fn close(&self, state: &mut State, pause: Duration, heard: bool) {
        let now = self.clock.monotonic();
        if state.closed_for(now).is_none() && !pause.is_zero() {
            let for_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(environment = self.environment, state = "closed", for_ms, heard, "gate");
        }
        state.closed_until = state.closed_until.max(now.saturating_add(pause));
    }

    /// Does what follows from a change of the breaker, and logs it.
    fn breaker_moved(&self, state: &mut State, before: BreakerState) {
        let after = state.breaker.state();
        if std::mem::discriminant(&before) == std::mem::discriminant(&after) {
            return;
        }
        let (environment, name, heard) = (&self.environment, after.name(), state.breaker.is_heard());
        match after {
            BreakerState::Open { until } => {
                let now = self.clock.monotonic();
                let left = until.saturating_sub(now);
                state.concurrency.restart(now);
                if !heard {
                    state.exchange.opened(self.wall_ms(left));
                }
                let for_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(environment, state = name, for_ms, heard, "breaker");
            }
            BreakerState::Probing { .. } => tracing::info!(environment, state = name, "breaker"),
            BreakerState::Closed => {
                state.exchange.found_well();
                tracing::info!(environment, state = name, "breaker");
                self.freed.notify_waiters();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(probe) = self.probe {
            state.breaker.give_back(self.shared.clock.monotonic(), probe);
        }
        drop(state);
        self.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
