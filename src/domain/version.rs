//! The version of an event: a total order in which a row's writes are merged (DESIGN "Version of an event", PROTOCOL R1).
//!
//! An event *offers* what it knows ([`Stamp`]): the source's `modifiedon`, finer scales, its depth. The row
//! decides once which finer scale it uses ([`Scale`], kept in the ledger), and [`Version::of`] turns the offer into
//! a [`Version`]. Scales are never mixed within a row: an event that does not offer the row's scale has none.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What an event offers to order it by. Times are microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// `modifiedon` of the row (1 s resolution in payloads), or the sender's own version. `None`: the arrival decides.
    pub at: Option<i64>,
    /// `OperationCreatedOn` (async: 1 s resolution, sync: 1 ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_on: Option<i64>,
    /// `versionnumber` from the post image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_version: Option<i64>,
    /// CloudEvents `sequence`, if it is a whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// CloudEvents `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// Plug-in depth, from 1; 0 if unknown.
    #[serde(default)]
    pub depth: u32,
    /// Hash of the correlation id, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<u64>,
}

/// The finer scale of a row, chosen at its first event that offers one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// `versionnumber`.
    RowVersion,
    /// `OperationCreatedOn`.
    CreatedOn,
    /// CloudEvents `sequence`.
    Sequence,
    /// CloudEvents `time`.
    Time,
}

impl Stamp {
    /// The best scale that this event offers.
    #[must_use]
    pub fn best_scale(&self) -> Option<Scale> {
        [Scale::RowVersion, Scale::CreatedOn, Scale::Sequence, Scale::Time].into_iter().find(|&s| self.on(s).is_some())
    }

    /// The event's place on a scale.
    #[must_use]
    pub fn on(&self, scale: Scale) -> Option<i64> {
        match scale {
            Scale::RowVersion => self.row_version,
            Scale::CreatedOn => self.created_on,
            Scale::Sequence => self.sequence,
            Scale::Time => self.time,
        }
    }
}

/// What the operation adds to the order: create before update before delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// The row comes into being.
    Create,
    /// Updates, upserts, links.
    Update,
    /// The row goes.
    Delete,
}

/// The version of one event for one row: (at, refinement, rank, depth, arrival, event), compared strictly.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Microseconds (or the sender's own number).
    pub at: i64,
    /// Place on the row's scale. A missing place sorts first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<i64>,
    /// What the operation adds.
    pub rank: Rank,
    /// Plug-in depth: within one correlation the greater is later.
    #[serde(default)]
    pub depth: u32,
    /// When the event was first durably seen, in milliseconds; stamped once (R1).
    pub arrival_ms: i64,
    /// The event's key: the last word between equals.
    pub event: String,
    /// `OperationCreatedOn` in microseconds: creates and deletes of one second are compared by it (R1). Not in the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_on: Option<i64>,
    /// Hash of the correlation. Not in the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<u64>,
}

impl Version {
    /// The version of an event on a row that uses `scale`.
    #[must_use]
    pub fn of(stamp: &Stamp, scale: Option<Scale>, rank: Rank, arrival_ms: i64, event: &str) -> Self {
        Self {
            at: stamp.at.or(stamp.time).unwrap_or_else(|| arrival_ms.saturating_mul(1_000)),
            refinement: scale.and_then(|scale| stamp.on(scale)),
            rank,
            depth: stamp.depth,
            arrival_ms,
            event: event.to_owned(),
            created_on: stamp.created_on,
            correlation: stamp.correlation,
        }
    }

    /// Whether nothing but arrival (or the event's name) tells the two apart: a tie. Which of them came last at the
    /// source is then not knowable from the payloads.
    #[must_use]
    pub fn ties_with(&self, other: &Self) -> bool {
        let ordered_by_refinement = matches!((self.refinement, other.refinement), (Some(a), Some(b)) if a != b);
        let ordered_by_depth =
            self.depth != other.depth && self.correlation.is_some() && self.correlation == other.correlation;
        let ordered_by_rank = self.rank != other.rank && self.refinement.is_some() == other.refinement.is_some();
        self.event != other.event
            && self.at == other.at
            && !ordered_by_refinement
            && !ordered_by_rank
            && !ordered_by_depth
    }

    /// Whether this write is later than a delete (R1): by time; in the same second a delete wins against everything but
    /// a create whose `OperationCreatedOn` is later.
    #[must_use]
    pub fn outlives(&self, tombstone: &Self) -> bool {
        match self.at.cmp(&tombstone.at) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => match (self.rank, self.created_on, tombstone.created_on) {
                (Rank::Create, Some(created), Some(deleted)) => created > deleted,
                _ => false,
            },
        }
    }

    fn order(&self) -> impl Ord + '_ {
        (self.at, self.refinement, self.rank, self.depth, self.arrival_ms, self.event.as_str())
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}
