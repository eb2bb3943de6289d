//! What the ledger knows of one target row: which version every column was last written at, the tombstone, and the
//! values of grouped columns. The merge reads it, [`super::merge::advance`] makes the next one. Knows no storage.

mod stored;

use super::digest;
use super::value::{Columns, Value};
use super::version::{Rank, Scale, Stamp, Version};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The one column of a many-to-many link.
pub const LINKED: &str = "linked";

/// The memory of one target row. `Default` is a row that was never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowState {
    /// The finer scale of this row's versions, chosen at the first event that offers one.
    pub scale: Option<Scale>,
    /// What was last written, per column (target names).
    pub columns: BTreeMap<String, Written>,
    /// Last written values, grouped columns only.
    pub values: Columns,
    /// Columns that a claim was about to write and that no finish confirmed since: the target may hold anything there
    /// (PROTOCOL R5).
    pub touched: BTreeSet<String>,
    /// The latest delete.
    pub tombstone: Option<Version>,
    /// The latest create, as long as it is later than the tombstone: what revived the row.
    pub born: Option<Version>,
    /// A child referred to this row at this time (microseconds): an older delete is a late delete (PROTOCOL R6).
    pub alive_at: Option<i64>,
    /// Two different values tied and arrival decided: only the source knows.
    pub ambiguous: bool,
    /// The target's GUID, once known.
    pub target: Option<Uuid>,
    /// The target row's ETag after our last write, if the target told it.
    pub target_etag: Option<String>,
    /// The ledger knows that the row exists in the target: writes carry `If-Match: *` (PROTOCOL R4).
    pub exists: bool,
    /// Since when the row is only a placeholder that no event has hydrated, in milliseconds.
    pub placeholder_ms: Option<i64>,
    /// The partition of the key value that the target's row has by our last write; only of rows known by a key.
    pub key: Option<String>,
    /// The row's history is kept in this other partition; whoever comes here goes there.
    pub moved: Option<String>,
    /// The partition of a key value that an event of this row waits for, because another row has it.
    pub wanted: Option<String>,
    /// Of a key's partition that leads elsewhere: since when the row there has another key or none, as far as was noted, in
    /// milliseconds.
    pub let_go_ms: Option<i64>,
}

/// One column as it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version of the event that wrote it.
    pub version: Version,
    /// Digest of the value ([`super::digest::value`]).
    pub digest: String,
}

impl RowState {
    /// The version of an event on this row, and the scale that the row uses from then on. A delete has no image, so it
    /// never carries `versionnumber` and must not choose the scale for the row.
    #[must_use]
    pub fn version_of(&self, stamp: &Stamp, rank: Rank, arrival_ms: i64, event: &str) -> (Version, Option<Scale>) {
        let offered = if rank == Rank::Delete { None } else { stamp.best_scale() };
        let scale = self.scale.or(offered);
        (Version::of(stamp, scale, rank, arrival_ms, event), scale)
    }

    /// Whether a write of this version is later than the row's last delete: by itself, or because it is not older
    /// than the create that revived the row.
    #[must_use]
    pub fn is_alive(&self, version: &Version) -> bool {
        let Some(tombstone) = &self.tombstone else { return true };
        version.outlives(tombstone)
            || self.born.as_ref().is_some_and(|born| born.outlives(tombstone) && version >= born)
    }

    /// Whether nothing was ever finished on the row.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.columns.is_empty() && self.tombstone.is_none() && self.born.is_none() && self.target.is_none()
    }

    /// What was last written to a column, unless a delete has taken it away since.
    #[must_use]
    pub fn written(&self, column: &str) -> Option<&Written> {
        self.columns.get(column).filter(|written| self.is_alive(&written.version))
    }

    /// Since when this is a many-to-many link that is not there (its row has no other column, and no GUID): what a
    /// tombstone is to a row. Milliseconds, when the unlink arrived.
    #[must_use]
    pub fn unlinked_ms(&self) -> Option<i64> {
        let written = self.columns.get(LINKED).filter(|_| self.columns.len() == 1 && self.target.is_none())?;
        (written.digest == digest::value(&Value::Bool(false))).then_some(written.version.arrival_ms)
    }

    /// Whether the last thing that happened to the row is a delete.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.tombstone.is_some()
            && !self.columns.values().any(|written| self.is_alive(&written.version))
            && !self.born.as_ref().is_some_and(|born| self.is_alive(born))
    }
}
