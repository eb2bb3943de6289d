//! A budget for retries: they may be a share of the calls, never a multiple of them. Knows no clock and no protocol.
//!
//! Without it a service that fails everything is asked `attempts_max` times as often as one that works.

use std::sync::{Mutex, PoisonError};

/// Counts in percent of a call. Shared by all calls to one environment.
#[derive(Debug)]
pub struct RetryBudget {
    /// What one first attempt adds, in percent of a retry.
    share_percent: u32,
    /// What can be saved up, in percent of a retry; the budget starts full.
    saved_max: u32,
    saved: Mutex<u32>,
}

impl RetryBudget {
    /// `share_percent` retries for each hundred first attempts, and `reserve` retries saved up at most.
    #[must_use]
    pub fn new(share_percent: u32, reserve: u32) -> Self {
        let saved_max = reserve.saturating_mul(100);
        Self { share_percent, saved_max, saved: Mutex::new(saved_max) }
    }

    /// A first attempt is made.
    pub fn first_attempt(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = saved.saturating_add(self.share_percent).min(self.saved_max);
    }

    /// Whether a retry may be made; if so, it is paid for.
    #[must_use]
    pub fn retry(&self) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        match saved.checked_sub(100) {
            Some(rest) => {
                *saved = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_fails_everything_is_asked_little_more_often() {
        let budget = RetryBudget::new(20, 10);
        let mut retries = 0;
        for _ in 0..1000 {
            budget.first_attempt();
            while budget.retry() {
                retries += 1;
            }
        }
        assert_eq!(retries, 10 + 999 / 5);
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let budget = RetryBudget::new(100, 2);
        (0..50).for_each(|_| budget.first_attempt());
        assert_eq!([budget.retry(), budget.retry(), budget.retry()], [true, true, false]);
    }
}
