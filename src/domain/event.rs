//! A change event as the source tells it, decoded: what every way in (webhook, queue, CloudEvent, row change) becomes.

use super::value::{Columns, RowRef};
use super::version::{Rank, Stamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Longest event id or source accepted, in bytes. Table Storage keys hold 1 KiB; ours are hashed when long.
pub const ID_BYTES_MAX: usize = 1024;

/// The identity of an event: unique together with its source (CloudEvents 1.0).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// CloudEvents `source`, if the sender gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The id itself, never empty.
    id: String,
}

/// The id or source is empty or longer than [`ID_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event id and source must have 1 to {ID_BYTES_MAX} bytes")]
pub struct BadEventId;

impl EventId {
    /// Checks the lengths.
    ///
    /// # Errors
    /// [`BadEventId`].
    pub fn new(source: Option<&str>, id: &str) -> Result<Self, BadEventId> {
        let fits = |text: &str| !text.is_empty() && text.len() <= ID_BYTES_MAX;
        if !fits(id) || !source.is_none_or(fits) {
            return Err(BadEventId);
        }
        Ok(Self { source: source.map(str::to_owned), id: id.to_owned() })
    }

    /// The id as the sender wrote it (or as it was derived).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sender's source.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// A short text that differs whenever source or id differ: 32 hex digits of SHA-256 over both with their lengths.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.source.as_deref().unwrap_or_default(), &self.id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex(&hash.finalize(), 32)
    }
}

/// The first `digits` hex digits of a hash.
#[must_use]
pub fn hex(bytes: &[u8], digits: usize) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .take(digits)
        .collect()
}

/// What happened to the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The row was created; the columns are all that were set.
    Create,
    /// Some columns changed.
    Update,
    /// The sender does not say which (row changes).
    Upsert,
    /// The row was deleted.
    Delete,
    /// Many-to-many: linked.
    Link(Link),
    /// Many-to-many: unlinked.
    Unlink(Link),
}

/// The other ends of many-to-many links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Schema name of the relationship.
    pub relationship: String,
    /// The rows at the other end: table and GUID.
    pub related: Vec<(String, Uuid)>,
}

impl Operation {
    /// What the operation adds to the order of versions.
    #[must_use]
    pub fn rank(&self) -> Rank {
        match self {
            Self::Create => Rank::Create,
            Self::Update | Self::Upsert | Self::Link(_) | Self::Unlink(_) => Rank::Update,
            Self::Delete => Rank::Delete,
        }
    }

    /// The word used in `sync.toml`, logs and history.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Link(_) => "link",
            Self::Unlink(_) => "unlink",
        }
    }
}

/// Where an event comes from, as far as the payload tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Organisation of the source environment (Dataverse contexts only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Uuid>,
    /// Correlation id, passed on to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// `tag` shared variables of the whole context chain (loop marker).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// User ids (system user and Entra object id) that initiated the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiators: Vec<Uuid>,
    /// The event comes from a comparison of both environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What a comparison of both environments saw. Its event carries the row as the source had it; it is no change of its own,
/// so it never undoes a newer one, and what the versions seem to speak against is asked of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Columns (target names) in which the target's row was not like the source's; in all others it was.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub differs: BTreeSet<String>,
    /// The target did not have the row (for a delete: still had it).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// A delete that a person has asked for, knowing how many: the fuse against mass deletes lets it through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decided: bool,
    /// In a table known by an alternate key: the target's GUID of the row that was compared, or, if it is missing, of the row
    /// that has another key and is this one all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Uuid>,
}

/// How much of the change the payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// All changed columns.
    Full,
    /// Dataverse removed the columns because the message was too large: read the row from the source.
    Stripped,
}

/// One change of one row, in the source's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// Its identity.
    pub id: EventId,
    /// Where it comes from.
    pub origin: Origin,
    /// Logical name of the table, lower case.
    pub table: String,
    /// Which row.
    pub row: RowRef,
    /// What happened.
    pub operation: Operation,
    /// The changed columns.
    pub columns: Columns,
    /// What the post image (pre image for deletes) knows besides: for groups and alternate keys, never written by itself.
    #[serde(default)]
    pub image: Columns,
    /// What it offers to order it by.
    pub stamp: Stamp,
    /// Whether columns are missing.
    pub completeness: Completeness,
    /// Dataverse mode 0: the sender's user waits for our answer.
    #[serde(default)]
    pub synchronous: bool,
}

/// Version of [`ChangeEvent::content_hash`]; stored beside the hash so that it can change.
pub const HASH_VERSION: u32 = 1;

impl ChangeEvent {
    /// A hash of what the event says, independent of key order, escapes and number text. The same id with another
    /// hash is another event (`IdReused`). An oversize-stripped body equals its full one, so columns and image are
    /// left out for stripped events and compared by [`same_content`]. Those of a comparison too: it may be made again, of
    /// the same version of the row, when part of the difference is mended.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        let row = serde_json::to_string(&self.row).unwrap_or_default();
        let operation = serde_json::to_string(&self.operation).unwrap_or_default();
        for part in [self.table.as_str(), &row, &operation] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let columns = super::digest::columns(&self.columns);
        let completeness = if self.origin.comparison.is_some() { Completeness::Stripped } else { self.completeness };
        match completeness {
            Completeness::Full => format!("{}-{columns}", hex(&hash.finalize(), 32)),
            Completeness::Stripped => format!("{}-*", hex(&hash.finalize(), 32)),
        }
    }
}

/// Whether two content hashes may belong to one event: equal, or one of them is of a stripped body.
#[must_use]
pub fn same_content(a: &str, b: &str) -> bool {
    match (a.split_once('-'), b.split_once('-')) {
        (Some((a_head, a_tail)), Some((b_head, b_tail))) => {
            a_head == b_head && (a_tail == b_tail || a_tail == "*" || b_tail == "*")
        }
        _ => a == b,
    }
}
