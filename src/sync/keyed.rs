//! Placeholders of rows that the target knows by an alternate key (PROTOCOL R6).
//!
//! The event of a child does not carry its parent's key, but the source does. So where a source may be asked, a parent that is
//! not there yet is made like one that is known by its GUID: create-only, under the lease of the partition that will hold its
//! history, tried once and never waited for. Rows that refer to each other need that: neither could be first. The key is taken
//! for that partition before (R10), so no other row gets it, and the parent's own event finds the target's GUID in its
//! history. Whatever is in doubt (another row has the key, or had it by key alone) waits for the parent's own event.
//!
//! A crash between the creation and the note of it leaves a row that has the key, which leads to the right partition: the child
//! finds it by the key, and the parent's own event writes it by the key.

use super::failure::Failure;
use super::parents::{create, give_back};
use super::placeholders;
use super::work::Work;
use super::write::RowToWrite;
use crate::dataverse::read::Match;
use crate::dataverse::url::{Address, KeyParts, needs_query};
use crate::domain::mapping::TableMap;
use crate::domain::partition::Partition;
use crate::domain::schema::TableSchema;
use crate::domain::value::RowRef;
use crate::inbox::Placeholder;
use crate::ledger::hold::{Hold, Holding};
use std::sync::Arc;
use uuid::Uuid;

/// A parent that the source has and the target has not.
pub(super) struct Absent {
    /// The source's GUID.
    pub(super) id: Uuid,
    /// Its key, by the source.
    pub(super) parts: KeyParts,
    /// The target's table.
    pub(super) schema: Arc<TableSchema>,
}

/// What the row is called here that the source calls by a GUID, in a table known by an alternate key.
pub(super) enum Keyed {
    /// This, in the target.
    Is(Uuid),
    /// It was deleted, later than the lookup was set.
    Deleted,
    /// Only its own event can tell.
    Missing,
    /// The source knows it: a placeholder may be made.
    Absent(Box<Absent>),
}

/// Makes a placeholder for the parent; `at`: when the row was referred to.
pub(super) async fn ensure(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    at: i64,
    parent: &TableMap,
    absent: &Absent,
) -> Result<Keyed, Failure> {
    let home = Partition::of(&parent.target, &RowRef::Id(absent.id));
    let key = Partition::of(&parent.target, &RowRef::Key(absent.parts.clone()));
    if needs_query(&absent.schema, &absent.parts) {
        // no address can hold the key, so nothing could be made on condition that it is not there
        return Ok(Keyed::Missing);
    }
    if home.key() == work.claim.partition {
        // a row that refers to itself: our own lease is the parent's, and the key was taken before, if it is this one
        let is_own = Partition::of(&parent.target, row.row) == key;
        return if is_own { made(work, row, parent, absent, None).await } else { Ok(Keyed::Missing) };
    }
    let mut hold = match work.ledger.hold(home.key(), at).await? {
        Holding::Acquired(hold) => *hold,
        Holding::Busy => return Err(Failure::ParentBusy),
        Holding::Deleted => return Ok(Keyed::Deleted),
    };
    if let Some(target) = hold.state.target {
        give_back(work, hold).await;
        return Ok(Keyed::Is(target));
    }
    let taken = match hold.state.moved {
        None => take(work, key.key(), home.key()).await,
        Some(_) => Ok(false),
    };
    if !matches!(taken, Ok(true)) {
        give_back(work, hold).await;
        return taken.map(|_| Keyed::Missing);
    }
    match made(work, row, parent, absent, Some(&mut hold)).await {
        Ok(keyed) => {
            if matches!(keyed, Keyed::Is(_)) {
                hold.state.key = Some(key.key().to_owned());
            }
            let note = noted(parent, row, &hold, home.key());
            match note {
                Some(note) => {
                    futures_util::future::join(give_back(work, hold), placeholders::note(work, &note)).await;
                }
                None => give_back(work, hold).await,
            }
            Ok(keyed)
        }
        // it may still come into being: the parent's lease runs out by itself (R3)
        Err(failure @ Failure::Unsettled { .. }) => {
            let (reason, after) = failure.told();
            Err(Failure::NotNow { reason, after })
        }
        Err(failure) => {
            give_back(work, hold).await;
            Err(failure)
        }
    }
}

/// Makes the key lead to the parent's partition, unless another row has it or had it.
async fn take(work: &Work<'_>, key: &str, home: &str) -> Result<bool, Failure> {
    let found = work.ledger.row(key).await?;
    let is_free = found.as_ref().is_none_or(|stored| match &stored.record.state.moved {
        _ if work.ledger.is_held(&stored.record) => false,
        Some(owner) => owner == home,
        None => stored.record.state.is_blank(),
    });
    Ok(is_free && work.ledger.point(key, found.as_ref(), home).await?)
}

/// Creates it, or finds who came first.
async fn made(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    parent: &TableMap,
    absent: &Absent,
    mut hold: Option<&mut Hold>,
) -> Result<Keyed, Failure> {
    let address = Address::Key(absent.parts.clone());
    let made = create(work, parent, &absent.schema, &address, row.tag, hold.as_deref()).await?;
    let id = match made.as_ref().and_then(|written| written.id) {
        Some(id) => Some(id),
        None => {
            let (call, _permit) = work.ready().await?;
            match work.target.client.resolve_key(&call, &absent.schema, &absent.parts).await? {
                Match::Found(id) => Some(id),
                Match::Missing | Match::Ambiguous => None,
            }
        }
    };
    let Some(id) = id else { return Ok(Keyed::Missing) };
    if let Some(hold) = &mut hold {
        hold.state.exists = true;
        hold.state.target = Some(id);
        if made.is_some() && hold.state.columns.is_empty() {
            hold.state.placeholder_ms = Some(work.clock.now().timestamp_millis());
        }
    }
    Ok(Keyed::Is(id))
}

fn noted(parent: &TableMap, row: &RowToWrite<'_>, hold: &Hold, home: &str) -> Option<Placeholder> {
    Some(Placeholder {
        partition: home.to_owned(),
        table: parent.target.clone(),
        id: hold.state.target?,
        since_ms: hold.state.placeholder_ms?,
        needed_by: row.schema.name.clone(),
    })
}
