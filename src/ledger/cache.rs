//! Hints that save round trips: rows as we left them, events as they ended. Both may be stale or gone at any time; a
//! row is only ever used with its ETag as condition, and an outcome never changes.

use super::record::RowRecord;
use super::store::{Snapshot, Stored};
use crate::domain::outcome::Outcome;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows and outcomes remembered; an entry of a usual row is about 2 KiB, so at most some 20 MiB.
const ROWS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
const OUTCOMES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
/// Reads whose claim is about to follow, and the largest payload of one, in bytes: at most 16 MiB.
const SEEN_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
const SEEN_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Cache {
    rows: Mutex<LruCache<String, Stored<RowRecord>>>,
    outcomes: Mutex<LruCache<(String, String), (String, Outcome)>>,
    seen: Mutex<LruCache<(String, String), Snapshot>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            rows: Mutex::new(LruCache::new(ROWS_MAX)),
            outcomes: Mutex::new(LruCache::new(OUTCOMES_MAX)),
            seen: Mutex::new(LruCache::new(SEEN_MAX)),
        }
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

    /// Takes what was read of a row and an event that is owed: used once, and only as a condition.
    pub(super) fn take_seen(&self, partition: &str, event_key: &str) -> Option<Snapshot> {
        lock(&self.seen).pop(&(partition.to_owned(), event_key.to_owned()))
    }

    pub(super) fn put_seen(&self, partition: &str, event_key: &str, snapshot: Snapshot) {
        let payload = snapshot.event.as_ref().and_then(|event| event.record.payload.as_ref());
        if payload.is_some_and(|payload| payload.len() <= SEEN_BYTES_MAX) {
            lock(&self.seen).put((partition.to_owned(), event_key.to_owned()), snapshot);
        }
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
