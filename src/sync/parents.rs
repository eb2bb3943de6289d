//! Parents that are not there yet: placeholders, and lookups that are left out or cleared (PROTOCOL R6).
//!
//! A placeholder is created under the *parent's* lease, create-only (`If-None-Match: *`), so an existing row is never
//! changed and the parent's own event, whenever it comes, hydrates it. A parent that the ledger knows as deleted, later
//! than the lookup was set, is not brought back: the lookup is written as null. A parent whose row is busy is not waited
//! for: rows may refer to each other in a circle, so the child's work is given up and comes back.

use super::failure::Failure;
use super::lookups::Sources;
use super::placeholders;
use super::work::Work;
use super::write::RowToWrite;
use crate::dataverse::body::{Mode, ResolvedLookups, encode, is_writable};
use crate::dataverse::client::Call;
use crate::dataverse::error::{Kind, UniqueKey};
use crate::dataverse::url::Address;
use crate::dataverse::write::{Precondition, WriteRequest, Written};
use crate::domain::mapping::{Identity, LookupRule, Mapping, Parents, TableMap};
use crate::domain::partition::Partition;
use crate::domain::row::RowState;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Columns, Reference, RowRef, Value};
use crate::inbox::Placeholder;
use crate::ledger::hold::{Hold, Holding};
use lru::LruCache;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// Parents remembered to exist: about 100 bytes each.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

/// Rows of the target that are known to exist: a hint, so that `parents = "always"` costs nothing for them.
#[derive(Debug)]
pub(super) struct KnownRows(Mutex<LruCache<(String, Uuid), ()>>);

impl Default for KnownRows {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KNOWN_MAX)))
    }
}

impl KnownRows {
    pub(super) fn learn(&self, table: &str, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put((table.to_owned(), id), ());
    }

    pub(super) fn forget(&self, table: &str, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(&(table.to_owned(), id));
    }

    fn has(&self, table: &str, id: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(table.to_owned(), id))
    }
}

/// What became of the lookups of one write.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Left out: the target keeps whatever it had.
    pub(super) omitted: BTreeSet<String>,
    /// Written as null, because the parent is deleted.
    pub(super) cleared: BTreeSet<String>,
    /// Parents made for this write.
    ensured: BTreeSet<(String, Uuid)>,
}

impl Changed {
    /// What was left out is not known to be in the target, so it is never taken as equal.
    pub(super) fn forget_omitted(&self, next: &mut RowState) {
        for column in &self.omitted {
            if let Some(written) = next.columns.get_mut(column) {
                written.digest.clear();
            }
        }
    }
}

/// What may be done about a missing parent.
enum Remedy<'a> {
    Omit,
    Placeholder(&'a TableMap),
    Wait,
}

/// `parents = "always"`: makes sure of every parent that is not known to exist, before the first write.
pub(super) async fn before_write(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &mut Columns,
    sources: &Sources<'_>,
    changed: &mut Changed,
) -> Result<(), Failure> {
    if row.table.parents != Parents::Always {
        return Ok(());
    }
    for (name, reference, id) in references(columns) {
        let synchronised = sources.mapping.by_target(&reference.table).is_some();
        if synchronised && !sources.known.has(&reference.table, id) {
            mend(work, row, columns, sources, changed, &name, &reference, id).await?;
        }
    }
    Ok(())
}

/// The target says that a row a lookup points to is missing; `table` and `id` as far as it says which. `true`: something
/// changed, so the write is worth repeating at once.
pub(super) async fn missing(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &mut Columns,
    sources: &Sources<'_>,
    changed: &mut Changed,
    told: (Option<&str>, Option<Uuid>),
) -> Result<bool, Failure> {
    let mut mended = false;
    let meant = |reference: &Reference, id: Uuid| {
        told.0.is_none_or(|table| table == reference.table) && told.1.is_none_or(|told| told == id)
    };
    let suspects: Vec<_> = references(columns).into_iter().filter(|(_, reference, id)| meant(reference, *id)).collect();
    for (name, reference, id) in suspects {
        sources.known.forget(&reference.table, id);
        mended |= mend(work, row, columns, sources, changed, &name, &reference, id).await?;
    }
    Ok(mended)
}

/// Lookups by GUID.
fn references(columns: &Columns) -> Vec<(String, Reference, Uuid)> {
    let by_id = |(name, value): (&String, &Value)| match value {
        Value::Lookup(reference) => match reference.row {
            RowRef::Id(id) => Some((name.clone(), reference.clone(), id)),
            RowRef::Key(_) => None,
        },
        _ => None,
    };
    columns.iter().filter_map(by_id).collect()
}

#[expect(clippy::too_many_arguments, reason = "one lookup in all its surroundings")]
async fn mend(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &mut Columns,
    sources: &Sources<'_>,
    changed: &mut Changed,
    name: &str,
    reference: &Reference,
    id: Uuid,
) -> Result<bool, Failure> {
    match remedy(row.table, sources.mapping, name, reference)? {
        Remedy::Wait => Ok(false),
        Remedy::Omit => {
            tracing::warn!(table = row.schema.name, column = name, "lookup left out: the row it points to is missing");
            columns.remove(name);
            changed.omitted.insert(name.to_owned());
            Ok(true)
        }
        // made a moment ago and still missing: only time helps
        Remedy::Placeholder(_) if changed.ensured.contains(&(reference.table.clone(), id)) => Ok(false),
        Remedy::Placeholder(parent) => {
            if ensure(work, row, parent, id, row.at(name)).await? {
                changed.ensured.insert((reference.table.clone(), id));
                sources.known.learn(&reference.table, id);
            } else {
                columns.insert(name.to_owned(), Value::Null);
                changed.cleared.insert(name.to_owned());
            }
            Ok(true)
        }
    }
}

fn remedy<'a>(
    table: &TableMap,
    mapping: &'a Mapping,
    name: &str,
    reference: &Reference,
) -> Result<Remedy<'a>, Failure> {
    let parent = mapping.by_target(&reference.table);
    let placeholder = |parent: &'a TableMap| match parent.identity {
        Identity::Id => Remedy::Placeholder(parent),
        // the event does not carry the parent's key: its own event has to come first
        Identity::Key(_) => Remedy::Wait,
    };
    match (table.lookups.get(name), parent) {
        (Some(LookupRule::Skip), _) => Ok(Remedy::Omit),
        (Some(LookupRule::Park), _) => {
            Err(Failure::never(format!("parent_missing: {}.{name} points to a row that is not there", table.target)))
        }
        (Some(LookupRule::Ensure), Some(parent)) => Ok(placeholder(parent)),
        (_, Some(_)) if table.parents == Parents::Never => Ok(Remedy::Wait),
        (_, Some(parent)) => Ok(placeholder(parent)),
        // not synchronised: nothing would ever hydrate a placeholder
        (_, None) => Ok(Remedy::Omit),
    }
}

/// Makes sure that the parent exists; `false` if it was deleted after the lookup was set, which was `at` that time.
pub(super) async fn ensure(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    parent: &TableMap,
    id: Uuid,
    at: i64,
) -> Result<bool, Failure> {
    let (call, permit) = work.ready().await?;
    let schema = work.target.schemas.get(&call, &parent.target).await?;
    drop(permit);
    let itself = parent.target == row.schema.name && *row.row == RowRef::Id(id);
    if itself {
        // a row that refers to itself: our own lease is the parent's
        create(work, parent, &schema, &Address::Id(id), row.tag, None).await?;
        return Ok(true);
    }
    let partition = Partition::of(&parent.target, &RowRef::Id(id));
    let mut hold = match work.ledger.hold(partition.key(), at).await? {
        Holding::Acquired(hold) => *hold,
        Holding::Busy => return Err(Failure::ParentBusy),
        Holding::Deleted => return Ok(false),
    };
    match create(work, parent, &schema, &Address::Id(id), row.tag, Some(&hold)).await {
        Ok(created) => {
            hold.state.exists = true;
            hold.state.target = Some(id);
            let since_ms = work.clock.now().timestamp_millis();
            if created.is_some() && hold.state.columns.is_empty() {
                hold.state.placeholder_ms = Some(since_ms);
                let placeholder = Placeholder {
                    partition: partition.key().to_owned(),
                    table: parent.target.clone(),
                    id,
                    since_ms,
                    needed_by: row.schema.name.clone(),
                };
                futures_util::future::join(give_back(work, hold), placeholders::note(work, &placeholder)).await;
            } else {
                give_back(work, hold).await;
            }
            Ok(true)
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

pub(super) async fn give_back(work: &Work<'_>, hold: Hold) {
    if let Err(error) = work.ledger.release(hold).await {
        tracing::warn!(%error, "the parent's row could not be given back; its lease runs out by itself");
    }
}

/// Creates the placeholder unless the row is there; what was made. By key it tells the GUID as well.
pub(super) async fn create(
    work: &mut Work<'_>,
    parent: &TableMap,
    schema: &TableSchema,
    address: &Address,
    tag: &str,
    hold: Option<&Hold>,
) -> Result<Option<Written>, Failure> {
    let mut columns: Columns = parent.placeholder_set.clone().into_iter().collect();
    if let Some(name) = &schema.primary_name
        && schema.columns.get(name).is_some_and(|column| is_writable(column, Mode::Create))
    {
        columns.entry(name.clone()).or_insert_with(|| Value::Text(parent.placeholder_name.clone()));
    }
    let body = encode(schema, &columns, Mode::Create, address, &ResolvedLookups::default())
        .map_err(|error| Failure::never(format!("placeholder_not_writable: {error}")))?;
    let (call, _permit) = work.ready().await?;
    let latest_end = match hold {
        Some(hold) => call.latest_end.min(work.covered_by(hold.holds_until())),
        None => call.latest_end,
    };
    work.sending();
    let request = WriteRequest {
        schema,
        address,
        body,
        precondition: Precondition::Absent,
        tag: Some(tag),
        return_representation: matches!(address, Address::Key(_)),
    };
    let error = match work.target.client.write(&Call { latest_end, ..call }, request).await {
        Ok(written) => return Ok(Some(written)),
        Err(error) => error,
    };
    match error.kind() {
        Kind::AlreadyExists | Kind::DuplicateKey { which: UniqueKey::Primary, .. } => Ok(None),
        Kind::Unknown => {
            Err(Failure::Unsettled { reason: error.to_string(), after: work.limits.settle + work.limits.clock_skew })
        }
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_rows_are_forgotten_when_there_are_too_many_and_when_they_are_gone() {
        let known = KnownRows::default();
        let ids: Vec<Uuid> = (0..=KNOWN_MAX.get()).map(|n| Uuid::from_u128(n as u128)).collect();
        ids.iter().for_each(|id| known.learn("account", *id));
        assert!(!known.has("account", ids[0]) && known.has("account", ids[1]));
        known.forget("account", ids[1]);
        assert!(!known.has("account", ids[1]) && known.has("account", ids[2]) && !known.has("contact", ids[2]));
    }
}
