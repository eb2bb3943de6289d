//! Entries in memory: for tests and single processes. Pages as the table does, so that whoever forgets to follow pages
//! fails here too.

use super::entry::RAW_BYTES_MAX;
use super::error::InboxError;
use super::store::{Cursor, MOVES_MAX, Move, Page, Place, REMOVED_AT_ONCE, Range, Removed, Slip, Store, Stored};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries of one page, as in Table Storage.
const PAGE_MAX: usize = 1_000;
/// Longest text of an entry in bytes; Table Storage holds 32 Ki characters in a property.
pub const TEXT_BYTES_MAX: usize = 32 << 10;

/// An inbox in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Place, Kept>,
    writes: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    text: String,
    payload: Option<Vec<u8>>,
    etag: String,
}

impl Kept {
    fn stored(&self, place: &Place) -> Stored {
        let slip = Slip { place: place.clone(), etag: self.etag.clone(), pieces: self.payload.is_some().into() };
        Stored { slip, text: Some(self.text.clone()) }
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        let fits = text.len() <= TEXT_BYTES_MAX && payload.is_none_or(|payload| payload.len() <= RAW_BYTES_MAX);
        if !fits {
            return Err(InboxError::TooLarge(format!("an entry of {} bytes and its payload", text.len())));
        }
        let mut inner = self.lock();
        inner.writes += 1;
        let etag = inner.writes.to_string();
        let kept = Kept { text: text.to_owned(), payload: payload.map(<[u8]>::to_vec), etag };
        let slip = kept.stored(place).slip;
        inner.entries.insert(place.clone(), kept);
        Ok(slip)
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        if moves.len() > MOVES_MAX {
            return Err(InboxError::TooLarge(format!("{} moves at once", moves.len())));
        }
        let mut written = BTreeSet::new();
        if !moves.iter().flat_map(|moved| [&moved.from.place, &moved.to]).all(|place| written.insert(place)) {
            // as an entity group transaction is refused
            let reason = "moves write an entry for the second time".to_owned();
            return Err(InboxError::Unavailable { reason, after: None });
        }
        let mut inner = self.lock();
        let as_read =
            |moved: &Move| inner.entries.get(&moved.from.place).is_some_and(|kept| kept.etag == moved.from.etag);
        if !moves.iter().all(as_read) {
            return Ok(None);
        }
        let slips = moves.iter().map(|moved| {
            inner.entries.remove(&moved.from.place);
            inner.writes += 1;
            let kept = Kept { text: moved.text.clone(), payload: None, etag: inner.writes.to_string() };
            let slip = kept.stored(&moved.to).slip;
            inner.entries.insert(moved.to.clone(), kept);
            slip
        });
        Ok(Some(slips.collect()))
    }

    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError> {
        Ok(self.lock().entries.get(place).map(|kept| (kept.stored(place), kept.payload.clone())))
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        let inner = self.lock();
        let cursor = from.and_then(|from| {
            let shard = from.partition.rsplit(':').next()?.parse().ok()?;
            Some(Place { shelf: range.shelf, shard, key: from.row.clone().unwrap_or_default() })
        });
        let first = Place { shelf: range.shelf, shard: range.shard.unwrap_or(0), key: String::new() };
        let start = Bound::Included(cursor.map_or(first.clone(), |cursor| cursor.max(first)));
        let of_range =
            |place: &Place| place.shelf == range.shelf && range.shard.is_none_or(|shard| shard == place.shard);
        let mut found = inner.entries.range((start, Bound::Unbounded)).take_while(|(place, _)| of_range(place)).filter(
            |(place, _)| {
                range.after.as_ref().is_none_or(|after| place.key > *after)
                    && range.before.as_ref().is_none_or(|before| place.key < *before)
            },
        );
        let page = found.by_ref().take(top.clamp(1, PAGE_MAX)).map(|(place, kept)| kept.stored(place)).collect();
        let next = found.next().map(|(place, _)| Cursor {
            partition: format!("{}:{:02}", place.shelf.name(), place.shard),
            row: Some(place.key.clone()),
        });
        Ok(Page { found: page, next })
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        let mut inner = self.lock();
        if inner.entries.get(&slip.place).is_some_and(|kept| kept.etag == slip.etag) {
            inner.entries.remove(&slip.place);
        }
        Ok(())
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        let mut inner = self.lock();
        let distinct: BTreeSet<&Place> = slips.iter().map(|slip| &slip.place).collect();
        if distinct.len() < slips.len() || slips.len() > REMOVED_AT_ONCE {
            // as an entity group transaction is refused
            let reason = "entries are removed twice, or too many at once".to_owned();
            return Err(InboxError::Unavailable { reason, after: None });
        }
        let as_said = |slip: &Slip| inner.entries.get(&slip.place).is_some_and(|kept| kept.etag == slip.etag);
        if let Some(but) = slips.iter().position(|slip| !as_said(slip)) {
            return Ok(Removed::None { but: Some(but) });
        }
        slips.iter().for_each(|slip| drop(inner.entries.remove(&slip.place)));
        Ok(Removed::All)
    }
}
