//! Hints that save round trips: rows as we left them, events as they ended. Both may be stale or gone at any time; a
//! row is only ever used with its ETag as condition, and an outcome never changes.

use super::record::RowRecord;
use super::store::Stored;
use crate::domain::outcome::Outcome;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows and outcomes remembered; an entry of a usual row is about 2 KiB, so at most some 20 MiB.
const ROWS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
const OUTCOMES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

#[derive(Debug)]
pub(super) struct Cache {
    rows: Mutex<LruCache<String, Stored<RowRecord>>>,
    outcomes: Mutex<LruCache<(String, String), (String, Outcome)>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { rows: Mutex::new(LruCache::new(ROWS_MAX)), outcomes: Mutex::new(LruCache::new(OUTCOMES_MAX)) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// Takes the remembered row: a hint is used once, whoever wins puts the new one back.
    pub(super) fn take_row(&self, partition: &str) -> Option<Stored<RowRecord>> {
        lock(&self.rows).pop(partition)
    }

    pub(super) fn put_row(&self, partition: &str, row: Stored<RowRecord>) {
        lock(&self.rows).put(partition.to_owned(), row);
    }

    pub(super) fn outcome(&self, partition: &str, event_key: &str) -> Option<(String, Outcome)> {
        lock(&self.outcomes).get(&(partition.to_owned(), event_key.to_owned())).cloned()
    }

    /// Forgets an outcome that turned out not to be the last word.
    pub(super) fn forget_outcome(&self, partition: &str, event_key: &str) {
        lock(&self.outcomes).pop(&(partition.to_owned(), event_key.to_owned()));
    }

    /// Remembers an outcome, but for `parked`, which is there to be changed.
    pub(super) fn put_outcome(&self, partition: &str, event_key: &str, hash: &str, outcome: Outcome) {
        if matches!(outcome, Outcome::Parked { .. }) {
            return;
        }
        lock(&self.outcomes).put((partition.to_owned(), event_key.to_owned()), (hash.to_owned(), outcome));
    }
}
