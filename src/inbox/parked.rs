//! Entries that need a person: park, list, show, take back.
//!
//! **Order.** The entry is written before the ledger records the outcome `parked`, and the due entry is settled last.
//! A crash after the first leaves a parked entry of an event that is still owed: it will be tried again, and parked
//! again under the same id, or done; replaying or discarding it then finds in the ledger that there is nothing to do.
//! The other order could leave a parked event that no list shows.
//!
//! **Taking back.** A replay makes the event owed (ledger, then [`Inbox::owe`]) before [`Inbox::unpark`]; if the event
//! is parked again in between, the new entry is another version than the slip's and stays.

use super::due::Inbox;
use super::entry::{Entry, Parked, Raw, RawFacts, SHARDS, check_names, cut, print};
use super::error::InboxError;
use super::store::{Cursor, Place, Range, Shelf, Slip, Stored};

/// Entries looked at for one page of a filtered list.
const SCAN_MAX: usize = 10_000;
/// Entries per page of the store.
const PAGE_ENTRIES: usize = 1_000;
/// Pages of the store for one page of a list; they may be empty.
const PAGES_MAX: usize = 200;

/// Which parked entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedFilter {
    /// The first word of the reason, or the whole of it.
    pub reason: Option<String>,
    /// The source table.
    pub table: Option<String>,
}

impl ParkedFilter {
    /// Whether an entry is meant.
    #[must_use]
    pub fn takes(&self, parked: &Parked) -> bool {
        let reason = self.reason.as_ref().is_none_or(|reason| parked.word() == reason || parked.reason == *reason);
        reason && self.table.as_ref().is_none_or(|table| parked.table.eq_ignore_ascii_case(table))
    }
}

/// A page of parked entries, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedPage {
    /// What was found; possibly nothing although there is a `next`.
    pub found: Vec<(Slip, Parked)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// Entries on the way that cannot be read.
    pub unreadable: usize,
}

impl Inbox {
    /// Parks an event whose payload is in the ledger; durable when it returns. One round trip. Parking it again replaces
    /// reason and time. See the module for what must be done in which order.
    ///
    /// # Errors
    /// [`InboxError`]: it may be missing; the event must not be acknowledged, nor its due entry settled.
    pub async fn park(&self, entry: &Entry, reason: &str, now_ms: i64) -> Result<Slip, InboxError> {
        check_names(&[("partition", &entry.partition), ("event key", &entry.event_key), ("table", &entry.table)])?;
        let place = Place { shelf: Shelf::Parked, shard: entry.shard(), key: entry.identity() };
        let parked = Parked {
            id: id_of(&place),
            partition: entry.partition.clone(),
            event_key: entry.event_key.clone(),
            table: entry.table.clone(),
            reason: cut(reason),
            channel: entry.channel,
            first_ms: entry.first_ms,
            parked_ms: now_ms,
            attempts: entry.attempts,
            raw: None,
        };
        self.put(&place, &print(&parked)?, None).await
    }

    /// Parks a payload as it came, up to 1 MiB of any bytes; durable when it returns. One round trip. Its id comes from
    /// its content: the same bytes parked twice are one entry, and an impostor never takes the place of the event whose
    /// id it uses (PROTOCOL R9).
    ///
    /// # Errors
    /// [`InboxError::TooLarge`] when it cannot be kept; otherwise as [`Self::park`].
    pub async fn park_raw(&self, raw: &Raw, reason: &str, now_ms: i64) -> Result<Slip, InboxError> {
        raw.check()?;
        let (partition, event_key) = raw.event.clone().unwrap_or_default();
        check_names(&[("partition", &partition), ("event key", &event_key), ("table", &raw.table)])?;
        let place = raw.place();
        let parked = Parked {
            id: id_of(&place),
            partition,
            event_key,
            table: raw.table.clone(),
            reason: cut(reason),
            channel: raw.channel,
            first_ms: raw.first_ms,
            parked_ms: now_ms,
            attempts: raw.attempts,
            raw: Some(RawFacts { bytes: raw.bytes.len(), headers: raw.headers.clone() }),
        };
        self.put(&place, &print(&parked)?, Some(&raw.bytes)).await
    }

    /// At most `max` parked entries that the filter takes, from `from` on, without raw payloads. One round trip per
    /// thousand entries looked at, at most ten thousand of them in one call.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn parked(
        &self,
        filter: &ParkedFilter,
        from: Option<Cursor>,
        max: usize,
    ) -> Result<ParkedPage, InboxError> {
        let range = Range { shelf: Shelf::Parked, shard: None, after: None, before: None };
        let mut page = ParkedPage { next: from, ..ParkedPage::default() };
        let mut scanned = 0;
        for _ in 0..PAGES_MAX {
            let top = max.saturating_sub(page.found.len()).clamp(1, PAGE_ENTRIES);
            let some = self.store.list(&range, page.next.as_ref(), top).await?;
            scanned += some.found.len();
            for stored in some.found {
                match read(&stored) {
                    Some(parked) if filter.takes(&parked) => page.found.push((stored.slip, parked)),
                    Some(_) => {}
                    None => page.unreadable += 1,
                }
            }
            page.next = some.next;
            if page.next.is_none() || page.found.len() >= max || scanned >= SCAN_MAX {
                break;
            }
        }
        Ok(page)
    }

    /// One parked entry by its id, with its raw payload if it has one. One round trip.
    ///
    /// # Errors
    /// [`InboxError`]; `Corrupt` when it is there and cannot be read.
    pub async fn parked_by_id(&self, id: &str) -> Result<Option<(Slip, Parked, Option<Vec<u8>>)>, InboxError> {
        let Some(place) = place_of(id) else { return Ok(None) };
        let Some((stored, payload)) = self.store.get(&place).await? else { return Ok(None) };
        let parked = read(&stored).ok_or_else(|| InboxError::Corrupt(format!("parked {id}")))?;
        if parked.raw.as_ref().map(|raw| raw.bytes) != payload.as_ref().map(Vec::len) {
            return Err(InboxError::Corrupt(format!("the payload of parked {id} is not whole")));
        }
        Ok(Some((stored.slip, parked, payload)))
    }

    /// Removes a parked entry, after the event is owed again or its discarding is recorded. One round trip. One that
    /// is gone is success; one that was parked again since it was read stays.
    ///
    /// # Errors
    /// [`InboxError`]: it may still be there.
    pub async fn unpark(&self, slip: &Slip) -> Result<(), InboxError> {
        self.settle(slip).await
    }
}

/// The id under which an event would be parked, to be told in answers and logs.
#[must_use]
pub(super) fn id_of(place: &Place) -> String {
    format!("{:02}-{}", place.shard, place.key)
}

/// What an id names; `None` for a text that is no id.
fn place_of(id: &str) -> Option<Place> {
    let (shard, key) = id.trim().split_once('-')?;
    let shard = shard.parse().ok().filter(|shard| *shard < SHARDS)?;
    let key = key.to_ascii_lowercase();
    let is_key = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then_some(Place { shelf: Shelf::Parked, shard, key })
}

fn read(stored: &Stored) -> Option<Parked> {
    serde_json::from_str(stored.text.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::entry::shard;
    use super::*;

    #[test]
    fn ids_lead_back_to_their_place_and_nothing_else_is_one() {
        let place = Place { shelf: Shelf::Parked, shard: shard("row"), key: "0123456789abcdef".repeat(2) };
        assert_eq!(place_of(&id_of(&place)), Some(place.clone()));
        assert_eq!(place_of(&format!(" {} ", id_of(&place).to_uppercase())), Some(place));
        for id in ["", "-", "7", "32-00000000000000000000000000000000", "07-0", "07-' or 1 eq 1", "+7-x", "é-é"] {
            assert_eq!(place_of(id), None, "{id}");
        }
    }
}
