//! Several writes of one row as one: what is written together, what the row's memory is then, and how each of them ends. Pure.
//!
//! A fold is nothing new: each change is planned by [`super::plan`] and taken for done by [`super::advance`], one after the
//! other, and only the writes in between are left out. They may be, because of what is sent the later counts, and because the
//! merge does not care for the order ([`super`]): any order ends with the same row.
//!
//! The newest goes first. Then nothing is planned that another change of the fold would overwrite: an older one finds its
//! columns written and is stale, as if it had come late. And a tie, or a group of which a member is missing, counts only
//! if it is still one when all of them are known.
//!
//! Deletes are not folded: what a delete takes away depends on what the target has at that moment.

use super::{Change, ColumnGroups, Done, Plan, advance, plan};
use crate::domain::row::RowState;
use crate::domain::value::{Columns, Value};
use crate::domain::version::Rank;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Several changes as one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The row's memory once the target has confirmed the write. `exists`, `target` and `target_etag` are the caller's.
    pub state: RowState,
    /// Name and value of everything to send; empty if the target is known to have it all.
    pub send: Columns,
    /// Columns that tied with different values, won or lost.
    pub ties: BTreeSet<String>,
    /// Group members whose value none of them knows.
    pub missing: BTreeSet<String>,
    /// How each change ends, in the order in which they were given.
    pub ends: Vec<End>,
    /// Places of the changes, the newest first.
    pub order: Vec<usize>,
}

/// How one change of a fold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything in it is older than what was written, before or by another change of the fold.
    Stale,
    /// It is newer, and the target has all of it already.
    Known,
    /// Something of it is sent.
    Sent,
}

impl Fold {
    /// Whether anything in it is newer than what was written.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.ends.iter().any(|end| *end != End::Stale)
    }
}

/// What `changes` add together to a row of which `state` is known. `cleared`: columns that were written as null, whatever they
/// said, because the row they pointed to is gone. `None`: there is a delete among them.
#[must_use]
pub fn fold(
    state: &RowState,
    changes: &[Change<'_>],
    cleared: &BTreeSet<String>,
    groups: &dyn ColumnGroups,
) -> Option<Fold> {
    if changes.iter().any(|change| change.version.rank == Rank::Delete) {
        return None;
    }
    let mut order: Vec<(usize, &Change<'_>)> = changes.iter().enumerate().collect();
    order.sort_by_key(|(_, change)| Reverse(change.version));
    let mut fold = Fold {
        state: state.clone(),
        send: Columns::new(),
        ties: BTreeSet::new(),
        missing: BTreeSet::new(),
        ends: vec![End::Stale; changes.len()],
        order: order.iter().map(|(n, _)| *n).collect(),
    };
    for (n, change) in order {
        let (end, next) = match plan(&fold.state, change, groups) {
            Plan::Write(mut write) => {
                for column in cleared {
                    write.advance.entry(column.clone()).and_modify(|value| *value = Value::Null);
                }
                let next = advance(&fold.state, change.version, &Done::Written(&write), groups);
                let end = if write.send.is_empty() { End::Known } else { End::Sent };
                fold.send.extend(write.send);
                fold.ties.extend(write.ties);
                fold.missing.extend(write.missing);
                (end, next)
            }
            Plan::Stale { ties } => {
                let next = advance(&fold.state, change.version, &Done::Stale { ties: &ties }, groups);
                fold.ties.extend(ties);
                (End::Stale, next)
            }
            Plan::Delete | Plan::LateDelete { .. } => return None,
        };
        fold.state = next;
        if let Some(slot) = fold.ends.get_mut(n) {
            *slot = end;
        }
    }
    // an older change of the fold may have known it
    fold.missing.retain(|column| !fold.send.contains_key(column));
    Some(fold)
}
