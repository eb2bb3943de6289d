//! The seam between the claim protocol and where records are kept: read one row's records, write them conditionally
//! in one transaction. A store knows no leases and judges nothing; it reports what it knows about its own writes.

use super::record::{EventRecord, RowRecord};
use async_trait::async_trait;
use std::time::Duration;

/// A version of a stored record; equality only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(pub String);

/// A record and the version that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// Its version.
    pub etag: Etag,
}

/// The two records that a claim is about, as they were at one moment each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The `row` record.
    pub row: Option<Stored<RowRecord>>,
    /// The event's record.
    pub event: Option<Stored<EventRecord>>,
}

/// The row's record and those of several events, as they were at one moment each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The `row` record.
    pub row: Option<Stored<RowRecord>>,
    /// The events' records, in the order in which they were asked for.
    pub events: Vec<Option<Stored<EventRecord>>>,
}

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The record must not exist.
    Absent,
    /// The record must have this version.
    Is(Etag),
}

impl Expect {
    /// The condition that nothing has changed since this was read.
    #[must_use]
    pub fn unchanged<T>(stored: Option<&Stored<T>>) -> Self {
        stored.map_or(Self::Absent, |stored| Self::Is(stored.etag.clone()))
    }
}

/// Event records of one transaction: Table Storage takes 100 operations, and one is the row's.
pub const EVENTS_MAX: usize = 99;

/// One transaction: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The row's partition.
    pub partition: &'a str,
    /// The row record to write.
    pub row: (&'a RowRecord, Expect),
    /// The event records to write: key, record, condition. At most [`EVENTS_MAX`].
    pub events: Vec<(&'a str, &'a EventRecord, Expect)>,
}

/// The versions after a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Of the row record.
    pub row: Etag,
    /// Of the event records, in the order in which they were given.
    pub events: Vec<Etag>,
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A condition did not hold: nothing was written.
    #[error("a record was changed by somebody else")]
    Conflict,
    /// No answer: the write may have worked.
    #[error("the ledger did not answer: {0}")]
    Unknown(String),
    /// Nothing was done; the store is down, busy or refuses us.
    #[error("the ledger cannot be used: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to come back, at the earliest, if it was told.
        after: Option<Duration>,
    },
    /// A record is there but not readable.
    #[error("ledger record is corrupt: {0}")]
    Corrupt(String),
    /// A record does not fit.
    #[error("too large for the ledger: {0}")]
    TooLarge(String),
}

/// Where records are kept. Implementations: Azure Table Storage and memory; both pass one conformance suite.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Reads both records of a claim: one round trip.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError>;

    /// Reads the row's record and those of these events: a round trip for every dozen of them.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError>;

    /// Writes in one transaction: one round trip.
    ///
    /// # Errors
    /// `Conflict` and `Unavailable` mean that nothing was written; after `Unknown` the records must be read.
    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError>;

    /// Writes one event's record and nothing else: one round trip. The row's lease is not looked at; whoever works on the
    /// event notices, because its record has another version then.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError>;

    /// Everything about one row: its record and at most `events_max` event records, in key order.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError>;
}
