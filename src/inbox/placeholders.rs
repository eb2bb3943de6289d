//! An index of placeholders: rows that were made because a lookup pointed to them, and that wait for their own event.
//!
//! An entry is written when a placeholder is made and is looked at an hour later, and every hour from then on, by a sweep:
//! it is removed when the ledger says that the row was written since. So the ledger is never scanned for them. An entry
//! too many is removed an hour later; one too few (its write failed, or the process died before it) is a placeholder
//! that is not listed: nothing else depends on it.

use super::due::Inbox;
use super::entry::{check_names, due_key, identity, print, shard};
use super::error::InboxError;
use super::store::{Place, Range, Shelf, Slip, Stored};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Entries per page of the store.
const PAGE_ENTRIES: usize = 1_000;
/// Pages of one listing; they may be empty.
const PAGES_MAX: usize = 200;

/// A row that was made as a placeholder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placeholder {
    /// Its partition in the ledger.
    pub partition: String,
    /// The target's table.
    pub table: String,
    /// Its GUID there.
    pub id: Uuid,
    /// When it was made, in milliseconds.
    pub since_ms: i64,
    /// The target's table of the row that needed it.
    pub needed_by: String,
}

/// Placeholders that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// Those that are to be looked at the longest come first, shard by shard.
    pub found: Vec<(Slip, Placeholder)>,
    /// There are more.
    pub more: bool,
}

impl Placeholder {
    fn place(&self, look_ms: i64) -> Place {
        let key = format!("{}:{}", due_key(look_ms), identity(&self.partition, "", ""));
        Place { shelf: Shelf::Placeholder, shard: shard(&self.partition), key }
    }
}

impl Inbox {
    /// Notes a placeholder, to be looked at at `look_ms`. One round trip.
    ///
    /// # Errors
    /// [`InboxError`]: it may not be listed.
    pub async fn note_placeholder(&self, placeholder: &Placeholder, look_ms: i64) -> Result<Slip, InboxError> {
        check_names(&[("partition", &placeholder.partition), ("table", &placeholder.table)])?;
        self.put(&placeholder.place(look_ms), &print(placeholder)?, None).await
    }

    /// Placeholders that are to be looked at before `before_ms`, or all; at most `max`. One round trip per thousand.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn placeholders(&self, before_ms: Option<i64>, max: usize) -> Result<Placeholders, InboxError> {
        let before = before_ms.map(due_key);
        let range = Range { shelf: Shelf::Placeholder, shard: None, after: None, before };
        let (mut listed, mut from) = (Placeholders::default(), None);
        for _ in 0..PAGES_MAX {
            let top = max.saturating_sub(listed.found.len()).saturating_add(1).min(PAGE_ENTRIES);
            let page = self.store.list(&range, from.as_ref(), top).await?;
            listed.found.extend(page.found.into_iter().filter_map(readable));
            from = page.next;
            if from.is_none() || listed.found.len() > max {
                break;
            }
        }
        listed.more = from.is_some() || listed.found.len() > max;
        listed.found.truncate(max);
        Ok(listed)
    }

    /// Puts the next look at a placeholder to `look_ms`. Two round trips.
    ///
    /// # Errors
    /// [`InboxError`]: it is looked at again as before.
    pub async fn look_again(&self, slip: &Slip, placeholder: &Placeholder, look_ms: i64) -> Result<(), InboxError> {
        let noted = self.note_placeholder(placeholder, look_ms).await?;
        if noted.place != slip.place {
            self.settle(slip).await?;
        }
        Ok(())
    }
}

fn readable(stored: Stored) -> Option<(Slip, Placeholder)> {
    let found = stored.text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if found.is_none() {
        tracing::error!(key = stored.slip.place.key, "an entry of a placeholder cannot be read");
    }
    found.map(|found| (stored.slip, found))
}
