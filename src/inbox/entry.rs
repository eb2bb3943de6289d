//! What an entry says, and how it is named: shard and key. Knows no storage; times are milliseconds since 1970.

use super::error::InboxError;
use super::store::{Place, Shelf};
use crate::domain::delivery::Channel;
use crate::domain::event::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Shards of the inbox: partitions that are leased and worked off apart from each other.
pub const SHARDS: u8 = 32;
/// Longest reason kept, in bytes; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest partition, event key or table name accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 2048;
/// Largest raw payload, in bytes: what a request may bring (CONTRACT: 413 over 1 MiB).
pub const RAW_BYTES_MAX: usize = 1 << 20;
/// Headers of a raw payload, names and values together, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 10;

/// An event that somebody must come back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The row's partition in the ledger.
    pub partition: String,
    /// The event's record in that partition.
    pub event_key: String,
    /// When to come back, at the earliest.
    pub due_ms: i64,
    /// When the event was first owed.
    pub first_ms: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it is still owed; cut to [`REASON_BYTES_MAX`] when stored.
    pub reason: String,
    /// The source table.
    pub table: String,
    /// How it came in.
    pub channel: Channel,
    /// How often it was handed to the queue since it was last tried.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handed: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Entry {
    /// The same event, to be tried again later, with what was learnt.
    #[must_use]
    pub fn again(&self, due_ms: i64, attempts: u32, reason: &str) -> Self {
        Self { due_ms, attempts, reason: reason.to_owned(), handed: 0, ..self.clone() }
    }

    /// The shard of the event's row: all events of a row are in one.
    #[must_use]
    pub fn shard(&self) -> u8 {
        shard(&self.partition)
    }

    /// A name for the event: equal for all entries of one event.
    #[must_use]
    pub fn identity(&self) -> String {
        identity(&self.partition, &self.event_key, "")
    }

    /// Whether both are about one event.
    #[must_use]
    pub fn is_about(&self, other: &Self) -> bool {
        self.partition == other.partition && self.event_key == other.event_key
    }

    /// What messages name it by.
    #[must_use]
    pub fn name(&self) -> Name {
        Name { partition: self.partition.clone(), event_key: self.event_key.clone(), due_ms: self.due_ms }
    }

    pub(super) fn place(&self) -> Place {
        self.name().place()
    }

    pub(super) fn text(&self) -> Result<String, InboxError> {
        check_names(&[("partition", &self.partition), ("event key", &self.event_key), ("table", &self.table)])?;
        print(&Self { reason: cut(&self.reason), ..self.clone() })
    }
}

/// The name of an entry, good until it is moved. Its place follows from it, so that a forged name can mean no other
/// event's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The row's partition in the ledger.
    pub partition: String,
    /// The event's record in that partition.
    pub event_key: String,
    /// When the entry is due: another time, another entry.
    pub due_ms: i64,
}

impl Name {
    /// The name as one short text: due time and a hash of the event.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", due_key(self.due_ms), identity(&self.partition, &self.event_key, ""))
    }

    pub(super) fn place(&self) -> Place {
        Place { shelf: Shelf::Due, shard: shard(&self.partition), key: self.key() }
    }
}

/// An event that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// What people name it by: shard and hash.
    pub id: String,
    /// The row's partition in the ledger; empty for raw payloads without one.
    #[serde(default)]
    pub partition: String,
    /// The event's record in that partition; empty for raw payloads without one.
    #[serde(default)]
    pub event_key: String,
    /// The source table, empty if not known.
    #[serde(default)]
    pub table: String,
    /// Why, a word of the documented list first: `column_missing: ...`.
    pub reason: String,
    /// How it came in.
    pub channel: Channel,
    /// When it was first seen.
    pub first_ms: i64,
    /// When it was parked.
    pub parked_ms: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// What is known of the raw payload, if the payload is kept here and not in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawFacts>,
}

impl Parked {
    /// The first word of the reason, which filters compare.
    #[must_use]
    pub fn word(&self) -> &str {
        self.reason.split([':', ' ']).next().unwrap_or_default()
    }
}

/// Beside a raw payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFacts {
    /// Its size.
    pub bytes: usize,
    /// Headers or message properties that matter for decoding it again, in their order.
    pub headers: Vec<(String, String)>,
}

/// A payload that is parked as it came: it could not be decoded, or its id belongs to another event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The bytes, at most [`RAW_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Headers or message properties that matter for decoding it again; at most [`HEADER_BYTES_MAX`].
    pub headers: Vec<(String, String)>,
    /// How it came in.
    pub channel: Channel,
    /// When it was first seen.
    pub first_ms: i64,
    /// How often it was delivered.
    pub attempts: u32,
    /// The source table, empty if not known.
    pub table: String,
    /// The event whose id it uses, if it was understood that far: partition and event key.
    pub event: Option<(String, String)>,
}

impl Raw {
    /// Named by its content, so that it never takes the place of an event with the same id (PROTOCOL R9), and that the
    /// same bytes delivered again are the same entry.
    pub(super) fn place(&self) -> Place {
        let (partition, event_key) = self.event.as_ref().map_or(("", ""), |(p, e)| (p, e));
        let mut hash = Sha256::new();
        for (name, value) in &self.headers {
            update(&mut hash, name);
            update(&mut hash, value);
        }
        hash.update(b"\0");
        hash.update(&self.bytes);
        let content = hex(&hash.finalize(), 64);
        let shard = shard(if partition.is_empty() { &content } else { partition });
        Place { shelf: Shelf::Parked, shard, key: identity(partition, event_key, &content) }
    }

    pub(super) fn check(&self) -> Result<(), InboxError> {
        let bytes = self.bytes.len();
        if bytes > RAW_BYTES_MAX {
            return Err(InboxError::TooLarge(format!("a payload has {bytes} bytes, {RAW_BYTES_MAX} fit")));
        }
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > HEADER_BYTES_MAX {
            return Err(InboxError::TooLarge(format!("headers have {bytes} bytes, {HEADER_BYTES_MAX} fit")));
        }
        Ok(())
    }
}

/// Due times as text that sorts like the number; times before 1970 are due since 1970.
pub(super) fn due_key(due_ms: i64) -> String {
    format!("{:019}", due_ms.max(0))
}

/// The shard of a row.
#[must_use]
pub fn shard(partition: &str) -> u8 {
    Sha256::digest(partition).first().map_or(0, |byte| byte % SHARDS)
}

/// 32 hex digits over partition, event and, for impostors, content.
pub(super) fn identity(partition: &str, event_key: &str, content: &str) -> String {
    let mut hash = Sha256::new();
    for part in [partition, event_key, content] {
        update(&mut hash, part);
    }
    hex(&hash.finalize(), 32)
}

fn update(hash: &mut Sha256, part: &str) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

pub(super) fn check_names(names: &[(&str, &String)]) -> Result<(), InboxError> {
    match names.iter().find(|(_, text)| text.len() > NAME_BYTES_MAX) {
        None => Ok(()),
        Some((what, text)) => {
            let bytes = text.len();
            Err(InboxError::TooLarge(format!("the {what} of an entry has {bytes} bytes, {NAME_BYTES_MAX} fit")))
        }
    }
}

/// A reason as long as is kept.
pub(super) fn cut(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}

pub(super) fn print<T: Serialize>(record: &T) -> Result<String, InboxError> {
    serde_json::to_string(record).map_err(|error| InboxError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_sort_as_times_do() {
        let times = [i64::MIN, 0, 1, 9, 10, 1_790_000_000_000, 9_999_999_999_999, i64::MAX];
        let keys: Vec<String> = times.iter().map(|ms| due_key(*ms)).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| key.len() == 19));
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"é".repeat(600)).len(), REASON_BYTES_MAX);
        assert_eq!(cut(&format!("x{}", "é".repeat(600))).len(), REASON_BYTES_MAX - 1);
    }

    #[test]
    fn names_that_meet_at_another_place_are_different_identities() {
        assert_ne!(identity("a", "bc", ""), identity("ab", "c", ""));
        assert_ne!(identity("a", "b", "c"), identity("a", "b", ""));
        assert_eq!(identity("a", "b", ""), identity("a", "b", ""));
    }

    #[test]
    fn rows_spread_over_all_shards() {
        let shards: std::collections::BTreeSet<u8> = (0..2_000).map(|n| shard(&format!("row {n}"))).collect();
        assert_eq!(shards.into_iter().collect::<Vec<_>>(), (0..SHARDS).collect::<Vec<_>>());
    }
}
