//! Forgetting: event records that ended long ago, claims on ids that nobody needs any more, and tombstones of rows that nothing was heard of since.
//!
//! A rolling scan over the whole table, bounded per call: it says where to go on, and begins anew at the end. Nothing is
//! ever removed that somebody owes, works on or parked; everything is removed on condition that it is as it was read.
//! A row's record goes only with all of its events gone: it says what was written when, and without that an old
//! event would be new again.
//!
//! Works on keys as they are stored, so it needs to understand none.
//!
//! **Pointers of old key values** (partitions of keys that lead to the row which had the key). A pointer says whose the key
//! is, so it goes only when that row has another key or none, and that for as long as tombstones are kept. When a row
//! lets a key go, its pointer is marked with the time (`Ledger::note_let_go`); unmarked ones are never looked at, so rows
//! that keep their keys cost nothing here. The mark is a hint: the row itself is read, after the pointer. Whoever takes the
//! key, the row's former owner included, first leaves a new version of the pointer behind (`Ledger::point`) while its own
//! row is leased. So either that came before the pointer was read, and then the row is leased, or unsure of its columns
//! (`touched`), or has the key, or came to nothing; or it came after, and then the removal meets a conflict. Taking a key
//! whose pointer has just gone is taking one that nobody ever had. Pointers from a row's GUID to a history that was begun
//! by key are never marked: they are the row's name.
//!
//! # Decision (2026-11-21): the purge alone forgets
//! *Context:* expired events of a row could also go in the transactions that finish later events of it. *Options:* that,
//! beside the scan; the scan alone. *Choice:* the scan alone. A claim reads two records by key, and a warm one none at
//! all, so it does not know what has expired: finding out costs a round trip of each finish, against one of the scan per
//! thousand records. And a finish that also removes meets conflicts that are none of its own. *Would change it:* a
//! partition that grows so fast within `dedup_window` that reading it gets slow.

use super::record::{EventRecord, Phase, RowRecord};
use super::store::{Etag, StoreError, Stored};
use crate::clock::Clock;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Records of one page.
const PAGE_RECORDS: usize = 1_000;
/// Records of one transaction, as Table Storage allows.
const TRANSACTION_RECORDS: usize = 100;

/// What a purge needs to know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// An event that is done, since then (ms).
    Event {
        /// When it was done.
        done_ms: i64,
    },
    /// A claim on an id, since when nobody needs it (ms); kept as long as events.
    Flow {
        /// When it ended, or its lease.
        idle_ms: i64,
    },
    /// A row that is deleted, or a link that is not there, and free; when the delete or unlink arrived (ms).
    Row {
        /// When the delete arrived.
        deleted_ms: i64,
    },
    /// A key value's pointer to a row that has another key, or none, since then (ms); whether that still holds, the row tells.
    Pointer {
        /// When that was noted.
        let_go_ms: i64,
    },
    /// Anything else stays.
    Never,
}

impl Expiry {
    /// Of an event record.
    #[must_use]
    pub fn of_event(event: &EventRecord) -> Self {
        match event.phase {
            Phase::Done => Self::Event { done_ms: event.updated_ms },
            Phase::Owed | Phase::Claimed(_) | Phase::Parked => Self::Never,
        }
    }

    /// Of a row record.
    #[must_use]
    pub fn of_row(row: &RowRecord) -> Self {
        let free = row.lease.is_none() && row.state.touched.is_empty();
        if let (Some(_), Some(let_go_ms)) = (&row.state.moved, row.state.let_go_ms) {
            return if free && row.state.is_blank() { Self::Pointer { let_go_ms } } else { Self::Never };
        }
        if let Some(deleted_ms) = row.state.unlinked_ms().filter(|_| free) {
            return Self::Row { deleted_ms };
        }
        let free = free && row.state.is_deleted();
        match &row.state.tombstone {
            // a child that referred to the row since may have brought it back as a placeholder
            Some(tombstone) if free && row.state.alive_at.is_none_or(|at| at <= tombstone.at) => {
                Self::Row { deleted_ms: tombstone.arrival_ms }
            }
            _ => Self::Never,
        }
    }
}

/// One record, seen by a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its partition, as stored.
    pub partition: String,
    /// Its key, as stored.
    pub key: String,
    /// Its version.
    pub etag: Etag,
    /// When it may go.
    pub expiry: Expiry,
}

/// Where a scan begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanStart {
    /// At the first partition.
    #[default]
    Beginning,
    /// With this partition.
    At(String),
    /// With the partition after this one.
    After(String),
}

/// Where a page ended; opaque, good for the same start only.
pub type PageEnd = (String, Option<String>);

/// A part of a scan. It may be empty and still have a `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// In key order.
    pub found: Vec<Scanned>,
    /// Where to go on; `None` at the end.
    pub next: Option<PageEnd>,
}

/// What a purge needs of a store. Implementations: Azure Table Storage and memory.
#[async_trait]
pub trait Expiring: Send + Sync + std::fmt::Debug {
    /// One page of all records: one round trip.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn scan(&self, start: &ScanStart, from: Option<&PageEnd>, top: usize) -> Result<ScanPage, StoreError>;

    /// Removes records of one partition, all or none, if each has this version: one round trip.
    ///
    /// # Errors
    /// `Conflict`: one has changed, none was removed.
    async fn remove(&self, partition: &str, records: &[(String, Etag)]) -> Result<(), StoreError>;

    /// The row record of a partition, named as stored: one round trip.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn row(&self, partition: &str) -> Result<Option<Stored<RowRecord>>, StoreError>;

    /// How the name of a partition is stored.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]: it cannot be.
    fn stored_name(&self, partition: &str) -> Result<String, StoreError>;
}

/// How much to purge.
#[derive(Clone, Debug)]
pub struct PurgeRequest {
    /// Where to begin: what the last purge said, kept under [`super::system`].
    pub start: ScanStart,
    /// Events that were done before this go: now - `dedup_window`.
    pub events_before_ms: i64,
    /// Rows that were deleted before this and have no events go: now - `tombstones`.
    pub rows_before_ms: i64,
    /// Records to look at, about.
    pub scanned_max: usize,
    /// When to stop, on the monotonic clock.
    pub deadline: Duration,
}

/// What was purged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Records looked at.
    pub scanned: usize,
    /// Event records removed, and claims on ids.
    pub events: usize,
    /// Row records removed.
    pub rows: usize,
    /// Pointers of key values removed.
    pub pointers: usize,
    /// Transactions that met a change and removed nothing; the next round finds these again.
    pub conflicts: usize,
    /// Where the next purge begins.
    pub next: ScanStart,
}

/// What was seen of one partition so far.
#[derive(Debug, Default)]
struct Seen {
    partition: String,
    expired: Vec<(String, Etag)>,
    row: Option<(String, Etag)>,
    pointer: Option<(String, Etag)>,
    /// Something stays that is not the row.
    stays: bool,
}

/// Purges a part of the table. Round trips: one per thousand records, one per partition with something to remove.
///
/// # Errors
/// [`StoreError`]; what was removed is removed, and the next purge may begin where this one did.
pub async fn purge(store: &dyn Expiring, clock: &dyn Clock, request: &PurgeRequest) -> Result<Purged, StoreError> {
    let (mut purged, mut seen, mut from) = (Purged::default(), None::<Seen>, None);
    loop {
        let page = store.scan(&request.start, from.as_ref(), PAGE_RECORDS).await?;
        from = page.next;
        for record in page.found {
            purged.scanned += 1;
            if let Some(before) = seen.take_if(|seen| seen.partition != record.partition) {
                close(store, before, &mut purged).await?;
                if purged.scanned > request.scanned_max || clock.monotonic() >= request.deadline {
                    purged.next = ScanStart::At(record.partition);
                    return Ok(purged);
                }
            }
            let partition = record.partition.clone();
            let seen = seen.get_or_insert_with(|| Seen { partition, ..Seen::default() });
            note(request, seen, record);
            if seen.expired.len() == TRANSACTION_RECORDS {
                remove(store, seen, &mut purged).await?;
            }
        }
        if from.is_none() {
            if let Some(last) = seen {
                close(store, last, &mut purged).await?;
            }
            purged.next = ScanStart::Beginning;
            return Ok(purged);
        }
        if purged.scanned > request.scanned_max || clock.monotonic() >= request.deadline {
            purged.next = stopped_within(store, request, seen, &mut purged).await?;
            return Ok(purged);
        }
    }
}

/// Where to go on when time is up within a partition: with it, so that its row is judged with all its events in view;
/// after it, if it alone took the whole budget.
async fn stopped_within(
    store: &dyn Expiring,
    request: &PurgeRequest,
    seen: Option<Seen>,
    purged: &mut Purged,
) -> Result<ScanStart, StoreError> {
    let Some(mut seen) = seen else { return Ok(request.start.clone()) };
    remove(store, &mut seen, purged).await?;
    let alone = request.start == ScanStart::At(seen.partition.clone());
    Ok(if alone { ScanStart::After(seen.partition) } else { ScanStart::At(seen.partition) })
}

fn note(request: &PurgeRequest, seen: &mut Seen, record: Scanned) {
    match record.expiry {
        Expiry::Event { done_ms: ended_ms } | Expiry::Flow { idle_ms: ended_ms }
            if ended_ms < request.events_before_ms =>
        {
            seen.expired.push((record.key, record.etag));
        }
        Expiry::Row { deleted_ms } if deleted_ms < request.rows_before_ms => {
            seen.row = Some((record.key, record.etag));
        }
        Expiry::Pointer { let_go_ms } if let_go_ms < request.rows_before_ms => {
            seen.pointer = Some((record.key, record.etag));
        }
        Expiry::Event { .. } | Expiry::Flow { .. } | Expiry::Row { .. } | Expiry::Pointer { .. } | Expiry::Never => {
            seen.stays = true;
        }
    }
}

/// Ends a partition that was seen from its first record to its last.
async fn close(store: &dyn Expiring, mut seen: Seen, purged: &mut Purged) -> Result<(), StoreError> {
    remove(store, &mut seen, purged).await?;
    if seen.stays {
        return Ok(());
    }
    let pointer = seen.pointer.take();
    let is_pointer = pointer.is_some();
    if is_pointer && !has_let_go(store, &seen.partition).await? {
        return Ok(());
    }
    let Some(record) = seen.row.or(pointer) else { return Ok(()) };
    match store.remove(&seen.partition, &[record]).await {
        Ok(()) if is_pointer => purged.pointers += 1,
        Ok(()) => purged.rows += 1,
        Err(StoreError::Conflict) => purged.conflicts += 1,
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether the row that a key value's partition leads to does not have that key, and nobody is about to give it to it.
async fn has_let_go(store: &dyn Expiring, partition: &str) -> Result<bool, StoreError> {
    let Some(pointer) = store.row(partition).await? else { return Ok(false) };
    let Some(home) = pointer.record.state.moved else { return Ok(false) };
    let Some(owner) = store.row(&store.stored_name(&home)?).await? else { return Ok(true) };
    let RowRecord { state, lease, .. } = owner.record;
    for key in [state.key, state.wanted].into_iter().flatten() {
        if store.stored_name(&key)? == partition {
            return Ok(false);
        }
    }
    Ok(lease.is_none() && state.touched.is_empty())
}

/// Removes the expired events noted so far.
async fn remove(store: &dyn Expiring, seen: &mut Seen, purged: &mut Purged) -> Result<(), StoreError> {
    let expired = std::mem::take(&mut seen.expired);
    if expired.is_empty() {
        return Ok(());
    }
    match store.remove(&seen.partition, &expired).await {
        Ok(()) => purged.events += expired.len(),
        Err(StoreError::Conflict) => {
            purged.conflicts += 1;
            seen.stays = true;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
