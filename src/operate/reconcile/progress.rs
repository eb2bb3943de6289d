//! How far a run is, for whoever watches. Rates are measured, times are guesses from them.

use crate::clock::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Shortest time between two reports.
const EVERY: Duration = Duration::from_millis(500);

/// The step of a run that waits for its table, because another run has it.
pub const WAITING: &str = "waiting";

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Source table, or relationship.
    pub table: String,
    /// What it does: `tracking`, `comparing`, `changes`, `links`, `second look`, or [`WAITING`].
    pub step: &'static str,
    /// Rows done of this table in this run.
    pub rows: u64,
    /// Rows there are, if that is known.
    pub total: Option<u64>,
    /// Rows per second since this table began.
    pub per_second: f64,
    /// Time left for this table at this rate.
    pub left: Option<Duration>,
}

/// Who watches.
pub type Watch<'a> = &'a (dyn Fn(&Progress) + Sync);

/// Reports now and then.
pub struct Meter<'a> {
    watch: Watch<'a>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    table: String,
    step: &'static str,
    began: Duration,
    before: u64,
    rows: u64,
    total: Option<u64>,
    told: Option<Duration>,
}

impl<'a> Meter<'a> {
    /// Nothing has begun.
    #[must_use]
    pub fn new(watch: Watch<'a>, clock: Arc<dyn Clock>) -> Self {
        Self { watch, clock, state: Mutex::default() }
    }

    /// A table begins, or goes on after `before` rows.
    pub fn begin(&self, table: &str, step: &'static str, before: u64, total: Option<u64>) {
        let began = self.clock.monotonic();
        let state = State { table: table.to_owned(), step, began, before, rows: before, total, told: None };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.add(0);
    }

    /// So many rows there are, as far as is known by now.
    pub fn total(&self, total: Option<u64>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total = total;
    }

    /// Some rows are done.
    pub fn add(&self, rows: u64) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows = state.rows.saturating_add(rows);
        if state.told.is_some_and(|told| now.saturating_sub(told) < EVERY) {
            return;
        }
        state.told = Some(now);
        let progress = state.progress(now);
        drop(state);
        (self.watch)(&progress);
    }
}

impl State {
    fn progress(&self, now: Duration) -> Progress {
        let seconds = now.saturating_sub(self.began).as_secs_f64();
        let done = self.rows.saturating_sub(self.before);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let per_second = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "a guess for people")]
        let left = self.total.filter(|_| per_second > 0.0).map(|total| {
            let rows = total.saturating_sub(self.rows) as f64;
            Duration::try_from_secs_f64(rows / per_second).unwrap_or(Duration::MAX)
        });
        Progress { table: self.table.clone(), step: self.step, rows: self.rows, total: self.total, per_second, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Default)]
    struct Ticking(AtomicU64);

    impl Clock for Ticking {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn rate_and_time_left_are_of_this_run_alone() {
        let clock = Arc::new(Ticking::default());
        let told = Mutex::new(Vec::new());
        let watch = |progress: &Progress| told.lock().unwrap().push(progress.clone());
        let meter = Meter::new(&watch, Arc::clone(&clock) as Arc<dyn Clock>);
        meter.begin("account", "comparing", 1_000, Some(3_000));
        meter.add(10); // too soon to be told
        clock.0.store(10, Ordering::Relaxed);
        meter.add(490);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 2);
        assert_eq!((told[1].rows, told[1].per_second, told[1].left), (1_500, 50.0, Some(Duration::from_secs(30))));
    }
}
