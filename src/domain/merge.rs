//! The merge: what of an event is newer than what was written. Pure, and the same for every order of arrival.
//!
//! A row's final state is a function of the *set* of its events: per column the write with the greatest version,
//! and a delete takes away everything that does not outlive it. [`plan`] says what one event adds to that, given
//! what was written before ([`RowState`]); [`advance`] says what has been written once the target has confirmed it.
//! Because each column keeps the maximum and the tombstone keeps the maximum, the order of arrival does not matter:
//! `advance` is a join. The laws (commutative, associative, idempotent) are property tests in `merge/tests.rs`.
//!
//! * **Stale**: nothing in the event is newer.
//! * **Groups**: versions stay per column, writes go per group. If a member is newer the group is sent whole: members
//!   that the event does not win come from the ledger if it wrote them later, else from the post image, else from
//!   the ledger, and whatever nobody knows is reported as missing.
//! * **Late delete** (PROTOCOL R5): a delete older than some column clears only the columns older than itself, the
//!   touched ones included; the tombstone advances all the same.
//! * **Ties**: versions that only arrival tells apart, with different values. The order decides, so every instance
//!   decides alike; the caller asks the source if there is one, else the row is marked ambiguous.
//! * **Compared** (reconcile): the target was seen to differ in some columns and to hold the others. Those that differ are sent
//!   although they were written before; a difference that the versions speak against counts as a tie, so the source is
//!   asked; what was seen to be equal is learnt and not sent.
//! * **Known equal**: a column whose last written value has the same digest is not sent again, unless an unconfirmed
//!   write (`touched`) may have changed it, or the target itself (lookups).

pub mod fold;

use super::digest;
use super::row::{RowState, Written};
use super::value::{Columns, Value};
use super::version::{Rank, Version};
use std::collections::BTreeSet;

/// Sets of columns that are written together. Implemented by the groups of a table, and by tests.
pub trait ColumnGroups {
    /// The group a column belongs to, itself included; `None` if it stands alone.
    fn group_of(&self, column: &str) -> Option<&BTreeSet<String>>;
}

/// No groups.
#[derive(Clone, Copy, Debug)]
pub struct Ungrouped;

impl ColumnGroups for Ungrouped {
    fn group_of(&self, _column: &str) -> Option<&BTreeSet<String>> {
        None
    }
}

impl ColumnGroups for super::groups::Groups {
    fn group_of(&self, column: &str) -> Option<&BTreeSet<String>> {
        self.of_column(column)
    }
}

/// One event in the target's terms, as the merge sees it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its version; a delete has rank [`Rank::Delete`].
    pub version: &'a Version,
    /// The columns it carries.
    pub columns: &'a Columns,
    /// What its post image knows.
    pub image: &'a Columns,
    /// The columns were read from the source under the row's lease: they are at least as new as anything written up to
    /// their second, and nothing ties with them.
    pub witness: bool,
    /// For a comparison: the columns in which the target was seen to differ; it was seen to hold the others.
    pub differs: Option<&'a BTreeSet<String>>,
}

impl Change<'_> {
    fn is_different(&self, column: &str) -> bool {
        self.differs.is_some_and(|differs| differs.contains(column))
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything in it is older than what was written. A tie may have been lost.
    Stale {
        /// Columns that tied with different values and lost.
        ties: BTreeSet<String>,
    },
    /// Write columns.
    Write(WritePlan),
    /// Delete the row.
    Delete,
    /// The row lives on: clear the columns that the delete took away.
    LateDelete {
        /// Columns to write as null; may be empty.
        clear: BTreeSet<String>,
    },
}

/// Which columns to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WritePlan {
    /// Name and value of everything to send; empty if the target is known to have it all.
    pub send: Columns,
    /// Columns whose version becomes the event's, with their values (sent or known equal).
    pub advance: Columns,
    /// Columns that tied with different values, won or lost.
    pub ties: BTreeSet<String>,
    /// Group members whose value nobody knows.
    pub missing: BTreeSet<String>,
}

impl Plan {
    /// The columns that the target may hold new values in once the plan was begun: recorded by the claim (R5).
    #[must_use]
    pub fn touches(&self) -> BTreeSet<String> {
        match self {
            Self::Write(write) => write.send.keys().cloned().collect(),
            Self::LateDelete { clear } => clear.clone(),
            Self::Stale { .. } | Self::Delete => BTreeSet::new(),
        }
    }
}

/// What `change` adds to a row of which `state` is known.
#[must_use]
pub fn plan(state: &RowState, change: &Change<'_>, groups: &dyn ColumnGroups) -> Plan {
    if change.version.rank == Rank::Delete {
        plan_delete(state, change.version)
    } else {
        plan_write(state, change, groups)
    }
}

fn plan_delete(state: &RowState, version: &Version) -> Plan {
    if state.tombstone.as_ref().is_some_and(|tombstone| version <= tombstone) {
        return Plan::Stale { ties: BTreeSet::new() };
    }
    let after = RowState { tombstone: Some(version.clone()), ..state.clone() };
    let survives = state.columns.values().any(|written| after.is_alive(&written.version))
        || state.born.as_ref().is_some_and(|born| after.is_alive(born))
        || state.alive_at.is_some_and(|at| at > version.at);
    if !survives {
        return Plan::Delete;
    }
    let taken = |column: &String| state.columns.get(column).is_none_or(|written| !after.is_alive(&written.version));
    let clear = state.columns.keys().chain(&state.touched).filter(|column| taken(column)).cloned().collect();
    Plan::LateDelete { clear }
}

fn plan_write(state: &RowState, change: &Change<'_>, groups: &dyn ColumnGroups) -> Plan {
    let reviving = RowState { born: later(state.born.as_ref(), change.version), ..state.clone() };
    if !reviving.is_alive(change.version) {
        // a row that a comparison saw at the source, and that the ledger holds for deleted
        let seen = change.columns.keys().filter(|_| change.differs.is_some());
        return Plan::Stale { ties: seen.cloned().collect() };
    }
    let mut plan = WritePlan::default();
    let mut newer = BTreeSet::new();
    for (column, value) in change.columns {
        let Some(written) = reviving.written(column) else {
            newer.insert(column);
            continue;
        };
        let different = change.is_different(column);
        if change.witness {
            if different || change.version.at >= written.version.at {
                newer.insert(column);
            }
            continue;
        }
        let same_value = digest::value(value) == written.digest;
        if different && same_value {
            // written before as it should be: the target has changed by itself
            newer.insert(column);
            continue;
        }
        if is_tie(change.version, written, value) && !(change.differs.is_some() && same_value) {
            plan.ties.insert(column.clone());
        }
        if *change.version > written.version {
            newer.insert(column);
        } else if different {
            plan.ties.insert(column.clone());
        }
    }
    let unseen = state.columns.is_empty() && state.born.is_none();
    let revives = change.version.rank == Rank::Create && (unseen || state.is_deleted());
    if newer.is_empty() && !revives {
        return Plan::Stale { ties: plan.ties };
    }
    let mut grouped = BTreeSet::new();
    for column in newer {
        let Some(value) = change.columns.get(column) else { continue };
        plan.advance.insert(column.clone(), value.clone());
        match groups.group_of(column) {
            Some(group) => grouped.extend(group),
            None if is_known_equal(&reviving, change, column, value) => {}
            None => {
                plan.send.insert(column.clone(), value.clone());
            }
        }
    }
    fill_groups(&mut plan, &reviving, change, &grouped, groups);
    Plan::Write(plan)
}

/// A tie matters if the values differ; if only one of the two has a place on the row's scale, a third event between them
/// could be misplaced even when these two agree.
fn is_tie(version: &Version, written: &Written, value: &Value) -> bool {
    version.ties_with(&written.version)
        && (digest::value(value) != written.digest
            || version.refinement.is_some() != written.version.refinement.is_some())
}

/// Completes every group that has a newer member, and leaves out groups that are known to be equal as a whole.
fn fill_groups(
    plan: &mut WritePlan,
    state: &RowState,
    change: &Change<'_>,
    members: &BTreeSet<&String>,
    groups: &dyn ColumnGroups,
) {
    let mut values = Columns::new();
    for &member in members {
        if let Some(value) = plan.advance.get(member) {
            values.insert(member.clone(), value.clone());
            continue;
        }
        let written = state.written(member);
        let image = change.image.get(member).filter(|_| !change.columns.contains_key(member));
        // an image that ties with a write of its own does not overrule it
        let later = written
            .is_some_and(|written| written.version > *change.version || change.version.ties_with(&written.version));
        match (image.filter(|_| !later), state.values.get(member).filter(|_| written.is_some())) {
            (Some(value), _) => {
                plan.advance.insert(member.clone(), value.clone());
                values.insert(member.clone(), value.clone());
            }
            (None, Some(value)) => {
                values.insert(member.clone(), value.clone());
            }
            (None, None) => {
                plan.missing.insert(member.clone());
            }
        }
    }
    for (member, value) in &values {
        let whole_group_equal = groups.group_of(member).is_some_and(|group| {
            group.iter().all(|other| values.get(other).is_some_and(|value| is_known_equal(state, change, other, value)))
        });
        if !whole_group_equal {
            plan.send.insert(member.clone(), value.clone());
        }
    }
}

/// Whether the target is known to hold this value.
fn is_known_equal(state: &RowState, change: &Change<'_>, column: &str, value: &Value) -> bool {
    let as_written = |written: &Written| written.digest == digest::value(value);
    if state.touched.contains(column) || change.is_different(column) {
        return false;
    }
    match change.differs {
        // it was seen there, unless something else was written since
        Some(_) => state.written(column).is_none_or(as_written),
        // the target clears a lookup by itself when the row it points to goes, and that row may have another life
        None => !matches!(value, Value::Lookup(_)) && state.exists && state.written(column).is_some_and(as_written),
    }
}

fn later(born: Option<&Version>, version: &Version) -> Option<Version> {
    if version.rank != Rank::Create {
        return born.cloned();
    }
    Some(born.map_or(version, |born| born.max(version)).clone())
}

/// What was confirmed by the target when the work on an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done<'a> {
    /// A stale event: nothing was written.
    Stale {
        /// Ties it lost.
        ties: &'a BTreeSet<String>,
    },
    /// The columns were written (or known to be there).
    Written(&'a WritePlan),
    /// The row is gone.
    Deleted,
    /// These columns were cleared.
    Cleared(&'a BTreeSet<String>),
}

/// The row's memory after `done`. `exists`, `target` and `target_etag` are the caller's to set for writes.
#[must_use]
pub fn advance(state: &RowState, version: &Version, done: &Done<'_>, groups: &dyn ColumnGroups) -> RowState {
    let mut next = state.clone();
    next.born = later(state.born.as_ref(), version);
    match done {
        Done::Stale { ties } => next.ambiguous |= !ties.is_empty(),
        Done::Written(plan) => {
            next.ambiguous |= !plan.ties.is_empty();
            for column in plan.send.keys() {
                next.touched.remove(column);
            }
            for (column, value) in &plan.advance {
                // a witness may overrule a version that sorts later within its second: versions never go back
                let before = state.written(column).map(|written| &written.version);
                let version = before.map_or(version, |before| before.max(version)).clone();
                next.columns.insert(column.clone(), Written { version, digest: digest::value(value) });
            }
            for (column, value) in plan.send.iter().chain(&plan.advance) {
                if groups.group_of(column).is_some() {
                    next.values.insert(column.clone(), value.clone());
                }
            }
        }
        Done::Deleted => {
            next.tombstone = later_of(state.tombstone.as_ref(), version);
            next.touched.clear();
            next.target = None;
            next.target_etag = None;
            next.exists = false;
            (next.key, next.wanted) = (None, None);
            forget_taken(&mut next);
            // what was in doubt were values, and they are gone
            next.ambiguous &= !next.columns.is_empty();
        }
        Done::Cleared(clear) => {
            next.tombstone = later_of(state.tombstone.as_ref(), version);
            for column in *clear {
                next.touched.remove(column);
            }
            forget_taken(&mut next);
        }
    }
    next
}

fn later_of(tombstone: Option<&Version>, version: &Version) -> Option<Version> {
    Some(tombstone.map_or(version, |tombstone| tombstone.max(version)).clone())
}

/// Drops what the tombstone took away, so that the memory stays as small as the row.
fn forget_taken(state: &mut RowState) {
    let kept: BTreeSet<String> = state
        .columns
        .iter()
        .filter(|(_, written)| state.is_alive(&written.version))
        .map(|(column, _)| column.clone())
        .collect();
    state.columns.retain(|column, _| kept.contains(column));
    state.values.retain(|column, _| kept.contains(column));
    if state.born.as_ref().is_some_and(|born| !state.is_alive(born)) {
        state.born = None;
    }
}

#[cfg(test)]
mod tests;
