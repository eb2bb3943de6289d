//! Service protection limits (facts/dataverse.md section 6.1): per identity, here one. Knows no request.

use super::errors::{self, ApiError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Requests at once; the real limit is 52.
    pub concurrent_max: usize,
    /// Requests per window; really 6 000.
    pub requests_max: u64,
    /// The window; really 300 s.
    pub window: Duration,
    /// Least `Retry-After`; it doubles while refused requests keep coming.
    pub retry_after: Duration,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            concurrent_max: 52,
            requests_max: 6_000,
            window: Duration::from_secs(300),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Longest `Retry-After` for too many requests at once.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Counts requests.
#[derive(Clone, Debug)]
pub struct Gate {
    limits: Option<Protection>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    under_way: usize,
    under_way_most: usize,
    times: VecDeque<Instant>,
    refused: u32,
}

/// One request under way.
#[derive(Debug)]
pub struct Entry {
    counts: Arc<Mutex<Counts>>,
    /// Requests left in the window, for `x-ms-ratelimit-burst-remaining-xrm-requests`.
    pub remaining: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.under_way = counts.under_way.saturating_sub(1);
    }
}

impl Gate {
    pub(super) fn new(limits: Option<Protection>) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub(super) fn enter(&self) -> Result<Entry, ApiError> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remaining = 5_999;
        if let Some(limits) = &self.limits {
            let now = Instant::now();
            while counts.times.front().is_some_and(|t| now.duration_since(*t) >= limits.window) {
                counts.times.pop_front();
            }
            let used = u64::try_from(counts.times.len()).unwrap_or(u64::MAX);
            if used >= limits.requests_max {
                let oldest = counts.times.front().map_or(Duration::ZERO, |t| now.duration_since(*t));
                let wait = limits.window.saturating_sub(oldest).max(limits.retry_after);
                return Err(errors::too_many_requests(limits.requests_max, limits.window, wait));
            }
            if counts.under_way >= limits.concurrent_max {
                let wait = limits.retry_after.saturating_mul(1 << (counts.refused / 10).min(8)).min(RETRY_AFTER_MAX);
                counts.refused = counts.refused.saturating_add(1);
                return Err(errors::too_many_at_once(limits.concurrent_max, wait));
            }
            counts.refused = 0;
            counts.times.push_back(now);
            remaining = limits.requests_max - used - 1;
        }
        counts.under_way += 1;
        counts.under_way_most = counts.under_way_most.max(counts.under_way);
        Ok(Entry { counts: Arc::clone(&self.counts), remaining })
    }

    /// Requests under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).under_way
    }

    /// Most requests that were ever under way at once.
    #[must_use]
    pub fn under_way_most(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).under_way_most
    }
}
