//! What was asked of an environment: counters over everything, and the last requests in full.

use http::Method;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Since the start of the environment, at its arrival.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Logical name of the table, if it named one.
    pub table: Option<String>,
    /// Status of the answer; `None`: there was no answer.
    pub status: Option<u16>,
    /// Code of a refusal.
    pub code: Option<String>,
    /// `?tag=`.
    pub tag: Option<String>,
    /// Headers of interest, by lower-case name: preconditions, `prefer`, correlation and trace ids.
    pub headers: BTreeMap<String, String>,
}

impl Record {
    /// Does its method write?
    #[must_use]
    pub fn writes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Method, table, status: what is counted.
pub type Counted = (String, Option<String>, Option<u16>);

/// The log.
#[derive(Debug)]
pub struct Log {
    entries_max: usize,
    inner: Mutex<(VecDeque<Record>, BTreeMap<Counted, u64>)>,
}

impl Log {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries_max, inner: Mutex::default() }
    }

    pub(super) fn push(&self, record: Record) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = (record.method.to_string(), record.table.clone(), record.status);
        *inner.1.entry(counted).or_default() += 1;
        inner.0.push_back(record);
        while inner.0.len() > self.entries_max {
            inner.0.pop_front();
        }
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn last(&self) -> Vec<Record> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0.iter().cloned().collect()
    }

    /// All requests, counted by method, table and status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Counted, u64> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// How many requests used a method that writes, whatever became of them.
    #[must_use]
    pub fn count_writes(&self) -> u64 {
        self.counts().iter().filter(|((method, _, _), _)| method != "GET").map(|(_, count)| count).sum()
    }

    /// How many requests there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }
}
