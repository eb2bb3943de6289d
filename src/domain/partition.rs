//! The ledger's partition of a target row: one canonical identity per row, as text that Table Storage takes as a key. Pure.
//!
//! Key strings are folded as the target's unique index compares them: surrounding white space and case do not count. Two
//! rows of one partition only share a lock; one row in two partitions would have two histories, and that must not be.

use super::event::hex;
use super::value::{KeyPart, RowRef};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use uuid::Uuid;

/// Longest partition key, in characters. Table Storage allows 1 KiB of UTF-16, that is 512.
pub const KEY_CHARS_MAX: usize = 512;

/// What is kept readable of an identity that is too long.
const HEAD_CHARS: usize = 400;

/// The partition of one target row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    canonical: String,
    key: String,
}

impl Partition {
    /// The partition of a row of a target table.
    ///
    /// Equal for two identities exactly if they are the same after folding (see [`Partition::canonical`]), but for
    /// collisions of SHA-256 among identities longer than a key can be.
    #[must_use]
    pub fn of(target_table: &str, row: &RowRef) -> Self {
        let canonical = canonical(target_table, row);
        let digest = Sha256::digest(&canonical);
        let encoded = encode(&canonical);
        // Table Storage spreads ranges of keys over servers: rows of one table must not be neighbours
        let prefix = hex(&digest, 4);
        let key = if encoded.len() + prefix.len() < KEY_CHARS_MAX {
            format!("{prefix}-{encoded}")
        } else {
            // "~~" can't come out of the encoding, so a shortened key is never equal to a whole one
            let head = encoded.get(..HEAD_CHARS).unwrap_or(&encoded);
            format!("{prefix}-{head}~~{}", hex(&digest, 64))
        };
        Self { canonical, key }
    }

    /// The identity for people and logs: `account:0f8f...`, `contact:new_externalid='a-1',new_scope=3`.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The partition key: ASCII letters, digits and `-_.:,=~@'`, at most [`KEY_CHARS_MAX`] characters.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The GUID of the row whose partition has this key; `None` for partitions of key values and links.
#[must_use]
pub fn row_id(key: &str) -> Option<Uuid> {
    Uuid::try_parse(key.rsplit_once(':')?.1).ok()
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.canonical)
    }
}

/// Table and identity in one text. The forms of key parts can't be mistaken for each other: text is quoted (quotes doubled),
/// times begin with `@`, GUIDs have four dashes, numbers at most two.
fn canonical(table: &str, row: &RowRef) -> String {
    let mut text = format!("{}:", table.to_ascii_lowercase());
    match row {
        RowRef::Id(id) => text.push_str(&id.to_string()),
        RowRef::Key(parts) => {
            for (n, (column, part)) in parts.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let part = match part {
                    KeyPart::Text(given) => format!("'{}'", fold(given).replace('\'', "''")),
                    KeyPart::Number(number) => number.canonical(),
                    KeyPart::Guid(id) => id.to_string(),
                    KeyPart::DateTime(at) => format!("@{}", at.timestamp_micros()),
                };
                // writing to a string does not fail
                let _ = write!(text, "{comma}{column}={part}");
            }
        }
    }
    text
}

/// Text as a case-insensitive unique index compares it: without surrounding white space, each character's upper case in
/// lower case (which also makes one of `s` and the long `s`, of both small sigmas, and of the sharp `s` and `ss`). Lower
/// case comes first as well: the capital sharp `s` has no other upper case than itself.
fn fold(text: &str) -> String {
    let lower = text.trim().chars().flat_map(char::to_lowercase);
    lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Reversible: what is not safe becomes `~` and two hex digits per byte of UTF-8.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.:,=@'".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('~');
            encoded.push_str(&hex(&[byte], 2));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
