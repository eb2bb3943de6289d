//! A budget for repetitions: they may be a share of the calls, never a multiple of them. Pure; knows no protocol.
//!
//! Without it an environment that fails a third of everything is asked as often again by those who try once more. What
//! trickles in with time keeps a quiet process from waiting for ever: there, nothing is multiplied.

use std::time::Duration;

/// One repetition, in the unit that is counted.
const ONE: u64 = 1_000_000;
/// Repetitions for each hundred calls (assumed; Finagle and linkerd use 20).
const SHARE_PERCENT: u64 = 20;
/// One more trickles in so often (assumed).
const TRICKLE: Duration = Duration::from_secs(1);
/// Saved up at most: a short disturbance is got over without waiting (assumed).
const SAVED_MAX: u64 = 10 * ONE;

/// Repetitions that can be saved up.
pub const LEFT_MAX: u32 = 10;
const _: () = assert!(SAVED_MAX == LEFT_MAX as u64 * ONE);

/// Shared by all calls to one environment; starts full.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    saved: u64,
    counted_at: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: SAVED_MAX, counted_at: Duration::ZERO }
    }
}

impl RetryBudget {
    /// A call is made.
    pub fn called(&mut self) {
        self.saved = self.saved.saturating_add(ONE * SHARE_PERCENT / 100).min(SAVED_MAX);
    }

    /// Repetitions that could be made now.
    #[must_use]
    pub fn left(&self, now: Duration) -> u32 {
        u32::try_from(self.saved_by(now) / ONE).unwrap_or(u32::MAX)
    }

    /// What is saved by now, with what trickled in.
    fn saved_by(&self, now: Duration) -> u64 {
        let passed = now.saturating_sub(self.counted_at);
        let trickled = u64::try_from(passed.as_micros() * u128::from(ONE) / TRICKLE.as_micros()).unwrap_or(u64::MAX);
        self.saved.saturating_add(trickled).min(SAVED_MAX)
    }

    /// A call is to be repeated: if it may be now, it is paid for.
    ///
    /// # Errors
    /// How long until there may be enough.
    pub fn repeat(&mut self, now: Duration) -> Result<(), Duration> {
        self.saved = self.saved_by(now);
        self.counted_at = self.counted_at.max(now);
        match self.saved.checked_sub(ONE) {
            Some(rest) => {
                self.saved = rest;
                Ok(())
            }
            None => {
                let missing = u128::from(ONE - self.saved) * TRICKLE.as_micros();
                Err(Duration::from_micros(u64::try_from(missing.div_ceil(u128::from(ONE))).unwrap_or(u64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_fails_everything_is_asked_little_more_often() {
        let mut budget = RetryBudget::default();
        let mut repeated = 0;
        for _ in 0..1000 {
            budget.called();
            while budget.repeat(Duration::ZERO).is_ok() {
                repeated += 1;
            }
        }
        assert_eq!(repeated, 10 + 999 / 5);
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let mut budget = RetryBudget::default();
        (0..500).for_each(|_| budget.called());
        let late = Duration::from_secs(3_600);
        assert_eq!(budget.left(late), LEFT_MAX);
        assert_eq!((0..50).filter(|_| budget.repeat(late).is_ok()).count(), 10);
        assert_eq!((budget.left(late), budget.left(late + 3 * TRICKLE)), (0, 3));
    }

    #[test]
    fn who_is_refused_is_told_when_there_is_enough() {
        let mut budget = RetryBudget::default();
        let mut now = Duration::from_secs(1_000);
        while budget.repeat(now).is_ok() {}
        for _ in 0..5 {
            let wait = budget.repeat(now).unwrap_err();
            assert!(wait <= TRICKLE && wait > TRICKLE / 2, "{wait:?}");
            now += wait;
            assert_eq!(budget.repeat(now), Ok(()));
        }
    }

    #[test]
    fn a_clock_read_in_another_order_gives_nothing_away() {
        let mut budget = RetryBudget::default();
        let now = Duration::from_secs(100);
        while budget.repeat(now).is_ok() {}
        assert!(budget.repeat(Duration::from_secs(99)).is_err());
        assert!(budget.repeat(now).is_err());
    }
}
