//! Which row of the target a lookup means: owners and others by a column, currencies by ISO code, mapped GUIDs.
//! What has no rule is passed on as it is; the target says if the row is missing.

use super::environment::Environment;
use super::failure::Failure;
use super::keyed::{self, Absent, Keyed};
use super::paired::history;
use super::parents::{Changed, KnownRows};
use super::work::Work;
use super::write::RowToWrite;
use crate::dataverse::body::{ResolvedLookups, referenced_tables};
use crate::dataverse::read::Match;
use crate::dataverse::url::Address;
use crate::domain::map::key_in;
use crate::domain::mapping::{Identity, LookupRule, Mapping, Parents, TableMap};
use crate::domain::partition::Partition;
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{Columns, KeyPart, Reference, RowRef, Value};
use uuid::Uuid;

const CURRENCY: &str = "transactioncurrency";

/// Where the meaning of a source's GUID can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    pub(super) source: Option<&'a Environment>,
    pub(super) mapping: &'a Mapping,
    pub(super) known: &'a KnownRows,
}

/// What became of one lookup.
enum Resolved {
    To(Reference),
    Omitted,
    /// The row it points to was deleted since.
    Cleared,
}

/// The columns with every lookup in the target's terms; what cannot be resolved and may be left out is.
pub(super) async fn resolve(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &Columns,
    sources: &Sources<'_>,
    changed: &mut Changed,
) -> Result<Columns, Failure> {
    let mut resolved = Columns::new();
    let has_money = has_money(row.schema, columns);
    for (name, value) in columns {
        let Value::Lookup(reference) = value else {
            resolved.insert(name.clone(), value.clone());
            continue;
        };
        match one(work, row, name, reference, sources, has_money).await? {
            Resolved::To(reference) => {
                resolved.insert(name.clone(), Value::Lookup(reference));
            }
            Resolved::Cleared => {
                resolved.insert(name.clone(), Value::Null);
                changed.cleared.insert(name.clone());
            }
            Resolved::Omitted => {
                tracing::debug!(
                    table = row.schema.name,
                    column = name,
                    "lookup left out: no row of the target matches"
                );
                changed.omitted.insert(name.clone());
            }
        }
    }
    Ok(resolved)
}

async fn one(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    name: &str,
    reference: &Reference,
    sources: &Sources<'_>,
    has_money: bool,
) -> Result<Resolved, Failure> {
    let (rule, id) = match (row.table.lookups.get(name), &reference.row) {
        (rule, RowRef::Id(id)) => (rule, *id),
        (_, RowRef::Key(_)) => return Ok(Resolved::To(reference.clone())),
    };
    let to = |id: Uuid| Resolved::To(Reference { table: reference.table.clone(), row: RowRef::Id(id), name: None });
    match rule {
        Some(LookupRule::Map(map)) => {
            if let Some(target) = map.get(&id) {
                return Ok(to(*target));
            }
        }
        Some(LookupRule::By { column, default }) => {
            let found = by_column(work, reference, id, column, sources).await?;
            return Ok(found.or(*default).map_or(Resolved::Omitted, to));
        }
        // users and teams have other GUIDs in every environment
        None | Some(LookupRule::Skip) if kind(row.schema, name) == Some(ColumnKind::Owner) => {
            return Ok(Resolved::Omitted);
        }
        None | Some(LookupRule::Ensure | LookupRule::Skip | LookupRule::Park) => {}
    }
    if let Some(parent) = sources.mapping.by_target(&reference.table).filter(|parent| parent.identity != Identity::Id) {
        let makes = match rule {
            Some(LookupRule::Ensure) => true,
            Some(LookupRule::Skip | LookupRule::Park) => false,
            None | Some(LookupRule::Map(_) | LookupRule::By { .. }) => row.table.parents != Parents::Never,
        };
        let at = row.at(name);
        let found = match known_by_key(work, parent, id, at, sources).await? {
            Keyed::Absent(absent) if makes => keyed::ensure(work, row, at, parent, &absent).await?,
            found => found,
        };
        return match (found, rule) {
            (Keyed::Is(target), _) => Ok(to(target)),
            (Keyed::Deleted, _) => Ok(Resolved::Cleared),
            (Keyed::Missing | Keyed::Absent(_), Some(LookupRule::Skip)) => Ok(Resolved::Omitted),
            (Keyed::Missing | Keyed::Absent(_), Some(LookupRule::Park)) => {
                Err(Failure::never(not_there(row, name, parent)))
            }
            (Keyed::Missing | Keyed::Absent(_), _) => Err(Failure::not_now(not_there(row, name, parent))),
        };
    }
    if reference.table != CURRENCY {
        return Ok(Resolved::To(reference.clone()));
    }
    match currency(work, id, sources).await? {
        Some(target) => Ok(to(target)),
        None if has_money => {
            Err(Failure::never("currency_unmapped: the target has no such currency and the row has money"))
        }
        None => Ok(Resolved::Omitted),
    }
}

fn kind(schema: &TableSchema, column: &str) -> Option<ColumnKind> {
    schema.columns.get(column).map(|column| column.kind)
}

fn has_money(schema: &TableSchema, columns: &Columns) -> bool {
    columns.iter().any(|(name, value)| kind(schema, name) == Some(ColumnKind::Money) && *value != Value::Null)
}

fn not_there(row: &RowToWrite<'_>, name: &str, parent: &TableMap) -> String {
    format!(
        "parent_missing: {}.{name} points to a row of {} that the target does not have yet; it is known by key there, \
         so its own event must come first",
        row.table.target, parent.target
    )
}

/// The ledger knows rows that were written; the source knows the key of the others, and the target the row with that.
/// `at`: when the row was referred to.
pub(super) async fn known_by_key(
    work: &mut Work<'_>,
    parent: &TableMap,
    id: Uuid,
    at: i64,
    sources: &Sources<'_>,
) -> Result<Keyed, Failure> {
    let home = Partition::of(&parent.target, &RowRef::Id(id));
    if let Some(state) = history(work.ledger, parent, id).await? {
        if let Some(target) = state.target {
            return Ok(Keyed::Is(target));
        }
        if state.is_deleted() && state.tombstone.as_ref().is_some_and(|deleted| deleted.at >= at) {
            return Ok(Keyed::Deleted);
        }
    }
    let (Some(source), Identity::Key(columns)) = (sources.source, &parent.identity) else { return Ok(Keyed::Missing) };
    let (call, _permit) = work.ready().await?;
    let schema = source.schemas.get(&call, &parent.source).await?;
    let names = columns.iter().filter_map(|column| parent.columns.source_name(column)).map(str::to_owned).collect();
    let Some(there) = source.client.read(&call, &schema, &Address::Id(id), &names).await? else {
        return Ok(Keyed::Missing);
    };
    let schema = work.target.schemas.get(&call, &parent.target).await?;
    let Some(parts) = key_in(parent, &schema, &there.columns) else { return Ok(Keyed::Missing) };
    let key = Partition::of(&parent.target, &RowRef::Key(parts.clone()));
    let owner = work.ledger.row(key.key()).await?.and_then(|pointer| pointer.record.state.moved);
    if owner.is_some_and(|owner| owner != home.key()) {
        // the row that has this key in the target is still another one
        return Ok(Keyed::Missing);
    }
    Ok(match work.target.client.resolve_key(&call, &schema, &parts).await? {
        Match::Found(target) => Keyed::Is(target),
        Match::Missing => Keyed::Absent(Box::new(Absent { id, parts, schema })),
        Match::Ambiguous => Keyed::Missing,
    })
}

/// Reads the column of the referenced row in the source and finds the target's row with the same value.
async fn by_column(
    work: &mut Work<'_>,
    reference: &Reference,
    id: Uuid,
    column: &str,
    sources: &Sources<'_>,
) -> Result<Option<Uuid>, Failure> {
    let Some(source) = sources.source else { return Ok(None) };
    let source_table = sources.mapping.by_target(&reference.table).map_or(reference.table.as_str(), |map| &map.source);
    let (call, permit) = work.ready_at(source).await?;
    let value = source.resolver.value_of(&call, source_table, id, column).await?;
    drop(permit);
    let part = match value {
        Some(Value::Text(text)) => Uuid::try_parse(&text).map_or_else(|_| KeyPart::Text(text), KeyPart::Guid),
        Some(Value::Number(number)) => KeyPart::Number(number),
        _ => return Ok(None),
    };
    let (call, _permit) = work.ready().await?;
    match work.target.resolver.find_by_column(&call, &reference.table, column, &part).await? {
        Match::Found(id) => Ok(Some(id)),
        Match::Missing | Match::Ambiguous => Ok(None),
    }
}

/// The target's currency with the same ISO code; without a source the same GUID, if it is there.
async fn currency(work: &mut Work<'_>, id: Uuid, sources: &Sources<'_>) -> Result<Option<Uuid>, Failure> {
    if let Some(source) = sources.source {
        let (call, permit) = work.ready_at(source).await?;
        let code = source.resolver.value_of(&call, CURRENCY, id, "isocurrencycode").await?;
        drop(permit);
        let Some(Value::Text(code)) = code else { return Ok(None) };
        let (call, _permit) = work.ready().await?;
        return Ok(match work.target.resolver.currency(&call, &code).await? {
            Match::Found(id) => Some(id),
            Match::Missing | Match::Ambiguous => None,
        });
    }
    let (call, _permit) = work.ready().await?;
    Ok(work.target.resolver.exists(&call, CURRENCY, id).await?.then_some(id))
}

/// Entity sets of all tables that these columns refer to, and metadata of those referred to by key.
pub(super) async fn entity_sets(work: &mut Work<'_>, columns: &Columns) -> Result<ResolvedLookups, Failure> {
    if referenced_tables(columns).is_empty() {
        return Ok(ResolvedLookups::default());
    }
    let (call, _permit) = work.ready().await?;
    Ok(work.target.resolver.lookups(&call, columns).await?)
}
