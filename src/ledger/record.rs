//! What the ledger stores: one `row` record per target row and one `event` record per event of it, in one partition.
//! Knows no storage format; times are milliseconds since 1970-01-01T00:00:00Z.

use crate::domain::event::{ChangeEvent, EventId};
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The `row` record: the lease and what is known of the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRecord {
    /// What is known of the row.
    pub state: RowState,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// How often the row was claimed: raised by every claim, so that no two holders see the same record.
    pub epoch: u64,
}

/// The right to work on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random token of the holder.
    pub owner: Uuid,
    /// When it ends, by the holder's clock. Others wait `clock_skew` longer.
    pub until_ms: i64,
}

/// The `event:{id}` record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The event's identity.
    pub id: EventId,
    /// How far it is.
    pub phase: Phase,
    /// Hash of what it says, with the version of the hashing in front: `1:...`.
    pub hash: String,
    /// The event itself, until it is done. A parked one keeps it, so that it can be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// create, update, delete, ...
    pub operation: String,
    /// What it carries, for people: names of columns as the source calls them, never values; at most [`COLUMNS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// When it happened as its sender says, for people: microseconds, or the sender's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// When it was first seen by us or the broker; part of its version, so it is stamped once (PROTOCOL R1).
    pub arrival_ms: i64,
    /// When this record was first written.
    pub first_ms: i64,
    /// When this record was last written.
    pub updated_ms: i64,
    /// How often it was claimed.
    pub attempts: u32,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How often a person had it run again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replays: u32,
    /// How many events were claimed and written as one, this one among them; 0 if it was alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub folded: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Names of columns kept with an event.
pub const COLUMNS_MAX: usize = 100;

/// The names of the columns that an event carries, as many as are kept.
pub(super) fn columns_of(event: &ChangeEvent) -> Vec<String> {
    event.columns.keys().take(COLUMNS_MAX).cloned().collect()
}

impl EventRecord {
    /// The event itself, if it is still kept.
    ///
    /// # Errors
    /// What is kept is not an event.
    pub fn event(&self) -> Result<Option<ChangeEvent>, serde_json::Error> {
        self.payload.as_deref().map(serde_json::from_str).transpose()
    }
}

/// How far an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nobody works on it.
    Owed,
    /// The owner of this token works on it, as long as the token also holds the row (PROTOCOL R8).
    Claimed(Uuid),
    /// It has an outcome.
    Done,
    /// It has the outcome `parked`, and its payload is kept: a person may have it run again.
    Parked,
}

impl Phase {
    /// Whether it has an outcome: another delivery of it is a duplicate.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Self::Owed | Self::Claimed(_) => false,
            Self::Done | Self::Parked => true,
        }
    }
}

/// Longest row key before encoding, in bytes; longer ids are hashed.
const EVENT_KEY_BYTES_MAX: usize = 256;

/// The row key of an event's record: `event:{id}`, with the source in front of the id if there is one.
#[must_use]
pub fn event_key(id: &EventId) -> String {
    let key = match id.source() {
        None => format!("event:{}", id.id()),
        Some(source) => format!("event:{source}|{}", id.id()),
    };
    // a source may hold the separator, so only the fingerprint tells two such ids apart
    let unambiguous =
        id.source().is_none_or(|source| !source.contains('|')) && !(id.source().is_none() && id.id().contains('|'));
    if key.len() <= EVENT_KEY_BYTES_MAX && unambiguous { key } else { format!("event:#{}", id.fingerprint()) }
}
