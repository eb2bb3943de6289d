//! Entries that are due: owe, reschedule, settle, list, count.
//!
//! **Two entries of one event.** [`Inbox::reschedule`] may have to write the new entry before it removes the old one, and two
//! sweepers may move the same entry. So an event may have several entries; whoever comes to the second finds the
//! event done in the ledger, or busy, and settles or moves only that entry. Nobody may conclude anything from the
//! number of entries.
//!
//! **Lost answers.** Writing an entry again is harmless, so a write without an answer is repeated here,
//! [`WRITES_MAX`] times in all; an error after that means that the entry may or may not be there, and the caller
//! must not acknowledge the event.

use super::entry::{Entry, SHARDS, due_key};
use super::error::InboxError;
use super::leaving::Leaving;
use super::store::{Cursor, Place, Range, Shelf, Slip, Store, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a write is sent when no answer comes. Each may take the table client's request time-out.
pub const WRITES_MAX: u32 = 3;
/// Entries per page of a listing.
const PAGE_ENTRIES: usize = 1_000;
/// Pages of one listing. The service may end a page at every shard and every few seconds of work.
const PAGES_MAX: usize = 200;
/// Shards that are listed at the same time.
const SHARDS_AT_ONCE: usize = 8;

/// The inbox: what we owe and what is parked.
#[derive(Clone, Debug)]
pub struct Inbox {
    pub(super) store: Arc<dyn Store>,
    pub(super) leaving: Arc<Leaving>,
}

/// How much is owed and parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that wait, due or not. An event may have two.
    pub owed: usize,
    /// Those of them that are due.
    pub due: usize,
    /// Parked entries.
    pub parked: usize,
    /// When the oldest of the counted entries was first owed, in milliseconds.
    pub oldest_ms: Option<i64>,
    /// When the one that is due the longest came due, in milliseconds; in the future if none is due.
    pub oldest_due_ms: Option<i64>,
    /// Entries that cannot be read: damaged, a person must look (they are in the other numbers too).
    pub unreadable: usize,
    /// The scan ended before the table did: the numbers are lower bounds, and something may be older.
    pub at_least: bool,
}

impl Inbox {
    /// An inbox on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, leaving: Arc::default() }
    }

    /// Notes that an event is owed; durable when it returns. One round trip. The event itself must be in the ledger, or
    /// be written there before anybody is told that it is stored. Writing the same entry twice is one entry.
    ///
    /// # Errors
    /// [`InboxError`]: the entry may be missing; the event must not be acknowledged.
    pub async fn owe(&self, entry: &Entry) -> Result<Slip, InboxError> {
        self.put(&entry.place(), &entry.text()?, None).await
    }

    /// Moves an entry: `later` is the same event with its new due time ([`Entry::again`]). One round trip if the entry is as
    /// the slip says. If somebody has moved or settled it, or if it goes to another shard, two, the new entry first; if
    /// only the removal of the old one fails, that is success: the event has two entries then.
    ///
    /// # Errors
    /// [`InboxError`]: the old entry is still there, or the new one is.
    pub async fn reschedule(&self, slip: &Slip, later: &Entry) -> Result<Slip, InboxError> {
        if later.shard() == slip.place.shard
            && later.place() != slip.place
            && let Some(moved) = self.put_off(slip, later).await?
        {
            return Ok(moved);
        }
        let moved = self.owe(later).await?;
        if moved.place != slip.place
            && let Err(error) = self.settle(slip).await
        {
            tracing::warn!(%error, "an old inbox entry stays beside its new one");
        }
        Ok(moved)
    }

    /// Removes an entry whose event is done (only then: PROTOCOL R9). One round trip. An entry that is gone is
    /// success; one that was written again since it was read stays, because it may stand for something new.
    ///
    /// # Errors
    /// [`InboxError`]: the entry may still be there, which costs whoever finds it one look into the ledger.
    pub async fn settle(&self, slip: &Slip) -> Result<(), InboxError> {
        let mut tries = 1;
        loop {
            match self.store.remove(slip).await {
                Err(InboxError::Unknown(_)) if tries < WRITES_MAX => tries += 1,
                ended => return ended,
            }
        }
    }

    /// At most `max` entries that are due at `now_ms`, with the shards taking turns and each shard's oldest first, so
    /// that a full shard does not keep the others waiting. One round trip if nothing or little is due; if more than
    /// `max` is due, one more per shard. Unreadable entries are logged and left out.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn due(&self, now_ms: i64, max: usize) -> Result<Vec<(Slip, Entry)>, InboxError> {
        let before = Some(due_key(now_ms.saturating_add(1)));
        let all = Range { shelf: Shelf::Due, shard: None, after: None, before };
        let (found, ended) = self.entries(&all, max).await?;
        if ended {
            return Ok(by_turns(found, max));
        }
        let (mut found, share) = (found, max.div_ceil(usize::from(SHARDS)));
        let shards: Vec<u8> = (0..SHARDS).collect();
        for shards in shards.chunks(SHARDS_AT_ONCE) {
            let lists = shards.iter().map(|shard| {
                let range = Range { shard: Some(*shard), ..all.clone() };
                async move { self.entries(&range, share).await }
            });
            for (some, _) in futures_util::future::try_join_all(lists).await? {
                found.extend(some);
            }
        }
        Ok(by_turns(found, max))
    }

    /// At most `max` entries of one shard that are due at `now_ms`, oldest first; only those after `after`, if given. One
    /// round trip per thousand.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn due_in(
        &self,
        shard: u8,
        now_ms: i64,
        max: usize,
        after: Option<&Slip>,
    ) -> Result<Vec<(Slip, Entry)>, InboxError> {
        let before = Some(due_key(now_ms.saturating_add(1)));
        let after = after.map(|slip| slip.place.key.clone());
        let range = Range { shelf: Shelf::Due, shard: Some(shard), after, before };
        Ok(self.entries(&range, max).await?.0)
    }

    /// Counts by looking at no more than `scan_max` entries of each kind: a round trip per thousand, two at least.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn counts(&self, now_ms: i64, scan_max: usize) -> Result<Counts, InboxError> {
        let mut counts = Counts::default();
        for shelf in [Shelf::Due, Shelf::Parked] {
            let range = Range { shelf, shard: None, after: None, before: None };
            let (mut from, mut left) = (None, scan_max);
            for page in 0.. {
                if left == 0 || page == PAGES_MAX {
                    counts.at_least = true;
                    break;
                }
                let page = self.store.list(&range, from.as_ref(), left.min(PAGE_ENTRIES)).await?;
                left = left.saturating_sub(page.found.len());
                page.found.iter().for_each(|stored| counts.add(shelf, stored, now_ms));
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(counts)
    }

    /// Readable entries of a range, and whether these are all.
    pub(super) async fn entries(&self, range: &Range, max: usize) -> Result<(Vec<(Slip, Entry)>, bool), InboxError> {
        let (mut found, mut from): (Vec<(Slip, Entry)>, Option<Cursor>) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            // one more than wanted tells whether there are more
            let top = max.saturating_sub(found.len()).saturating_add(1).min(PAGE_ENTRIES);
            let page = self.store.list(range, from.as_ref(), top).await?;
            found.extend(page.found.into_iter().filter_map(readable));
            from = page.next;
            if found.len() > max {
                found.truncate(max);
                return Ok((found, false));
            }
            if from.is_none() {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    pub(super) async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        let mut tries = 1;
        loop {
            match self.store.put(place, text, payload).await {
                Err(InboxError::Unknown(_)) if tries < WRITES_MAX => tries += 1,
                ended => return ended,
            }
        }
    }
}

impl Counts {
    fn add(&mut self, shelf: Shelf, stored: &Stored, now_ms: i64) {
        match shelf {
            Shelf::Parked => self.parked += 1,
            Shelf::Placeholder => {}
            Shelf::Due => {
                self.owed += 1;
                let entry = stored.text.as_deref().and_then(|text| serde_json::from_str::<Entry>(text).ok());
                let Some(entry) = entry else {
                    self.unreadable += 1;
                    return;
                };
                self.due += usize::from(entry.due_ms <= now_ms);
                self.oldest_due_ms = Some(self.oldest_due_ms.map_or(entry.due_ms, |oldest| oldest.min(entry.due_ms)));
                self.oldest_ms = Some(self.oldest_ms.map_or(entry.first_ms, |oldest| oldest.min(entry.first_ms)));
            }
        }
    }
}

fn readable(stored: Stored) -> Option<(Slip, Entry)> {
    let entry = stored.text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if entry.is_none() {
        let (shard, key) = (stored.slip.place.shard, &stored.slip.place.key);
        tracing::error!(shard, key, "an inbox entry cannot be read and waits for a person");
    }
    entry.map(|entry| (stored.slip, entry))
}

/// The shards in turns, each shard's oldest first; what was found twice counts once.
fn by_turns(found: Vec<(Slip, Entry)>, max: usize) -> Vec<(Slip, Entry)> {
    let unique: BTreeMap<Place, (Slip, Entry)> =
        found.into_iter().map(|(slip, entry)| (slip.place.clone(), (slip, entry))).collect();
    let mut turns: Vec<(usize, (Slip, Entry))> = Vec::with_capacity(unique.len());
    let (mut shard, mut turn) = (None, 0);
    for (place, found) in unique {
        turn = if shard == Some(place.shard) { turn + 1 } else { 0 };
        shard = Some(place.shard);
        turns.push((turn, found));
    }
    turns.sort_by_key(|(turn, (_, entry))| (*turn, entry.due_ms));
    turns.into_iter().take(max).map(|(_, found)| found).collect()
}
