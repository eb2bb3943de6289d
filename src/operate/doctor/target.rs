//! The tables of the mapping, fetched from target and source and checked one by one. Decides nothing itself.

use super::environment::{Side, remedy, told};
use super::{Check, Status, source, table, values};
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::dataverse::metadata::MetadataError;
use crate::domain::mapping::{LookupRule, Mapping, TableMap};
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::sync::environment::Environment;
use std::sync::Arc;
use std::time::Duration;

/// How long one question to an environment may take, its repetitions and waiting for a gate included.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A permission to call that lasts [`PATIENCE`].
#[must_use]
pub fn call(clock: &dyn Clock) -> Call {
    Call::until(clock.monotonic().saturating_add(PATIENCE))
}

/// All checks of all tables.
pub async fn tables(
    mapping: &Mapping,
    target: &Environment,
    from: Option<&Environment>,
    clock: &dyn Clock,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for table in mapping.tables.values() {
        let (found, schema) = in_target(mapping, table, target, clock).await;
        checks.extend(found);
        checks.extend(from.is_none().then(|| unasked(table)).flatten());
        if let Some(from) = from {
            let mut found = in_source(table, from, schema.as_deref(), clock).await;
            found.extend(options(table, from, target, clock).await);
            if found.iter().any(|check| check.status != Status::Ok) {
                found.retain(|check| check.status != Status::Ok);
            }
            checks.extend(found);
        }
    }
    checks
}

/// What is said of tables whose environment could not be asked.
#[must_use]
pub fn skipped(mapping: Option<&Mapping>, why: &str) -> Vec<Check> {
    match mapping {
        None => vec![Check::skipped("target tables", why)],
        Some(mapping) => mapping.tables.values().map(|map| Check::skipped(table::name(map), why)).collect(),
    }
}

async fn in_target(
    mapping: &Mapping,
    map: &TableMap,
    target: &Environment,
    clock: &dyn Clock,
) -> (Vec<Check>, Option<Arc<TableSchema>>) {
    let name = table::name(map);
    let schema = match target.schemas.get(&call(clock), &map.target).await {
        Ok(schema) => schema,
        Err(error) => {
            let unknown = format!("import its solution there, or correct `target` in [tables.{}]", map.source);
            return (vec![unfetched(Side::Target, &name, &error, unknown)], None);
        }
    };
    let mut checks = table::table(mapping, map, &schema);
    let kinds = values::kinds(map, &schema);
    match target.client.choices(&call(clock), &map.target, &kinds).await {
        Ok(choices) => checks.extend(values::options(&name, map, &choices)),
        Err(error) => checks.push(Check::skipped(&name, format!("the options of its choices are not known: {error}"))),
    }
    checks.extend(matched_by(&name, map, &schema, target, clock).await);
    // a line that says "fine" beside one that does not would mislead
    if checks.iter().any(|check| check.status != Status::Ok) {
        checks.retain(|check| check.status != Status::Ok);
    }
    (checks, Some(schema))
}

/// Lookups matched by a column, though there is no source that could be asked for its value.
fn unasked(map: &TableMap) -> Option<Check> {
    let by = map.lookups.iter().filter(|(_, rule)| matches!(rule, LookupRule::By { .. }));
    let columns: Vec<&str> = by.map(|(column, _)| column.as_str()).collect();
    let detail =
        format!("{} matched by a column of the source, and SOURCE_URL is not set", super::listed(columns.clone()));
    let remedy = "set SOURCE_URL: until then they get their `default`, or are left out";
    (!columns.is_empty()).then(|| Check::warn(table::name(map), detail, remedy))
}

/// Lookups matched by a column: one of the tables they refer to must have it.
async fn matched_by(
    name: &str,
    map: &TableMap,
    schema: &TableSchema,
    target: &Environment,
    clock: &dyn Clock,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for (lookup, rule) in &map.lookups {
        let LookupRule::By { column, .. } = rule else { continue };
        let referenced = table::referenced(schema, lookup);
        let mut found = referenced.is_empty();
        for other in &referenced {
            match target.schemas.get(&call(clock), other).await {
                Ok(other) => found |= other.columns.contains_key(column),
                Err(MetadataError::TableUnknown { .. }) => {}
                Err(error) => {
                    found = true;
                    checks.push(Check::skipped(name, format!("whether {other} has {column} is not known: {error}")));
                }
            }
        }
        if !found {
            let detail = format!("{lookup} is matched by {column}, which none of {} has", super::listed(referenced));
            checks.push(Check::fail(name, detail, format!("correct `by` in [tables.{}.lookups]", map.source)));
        }
    }
    checks
}

async fn in_source(map: &TableMap, from: &Environment, target: Option<&TableSchema>, clock: &dyn Clock) -> Vec<Check> {
    match from.schemas.get(&call(clock), &map.source).await {
        Ok(schema) => source::table(map, &schema, target),
        Err(error) => {
            let unknown = format!("[tables.{}] must be the source's logical name; `target` is the other", map.source);
            vec![unfetched(Side::Source, &source::name(map), &error, unknown)]
        }
    }
}

/// What cannot be asked here has lines of its own.
async fn options(map: &TableMap, from: &Environment, target: &Environment, clock: &dyn Clock) -> Vec<Check> {
    let kinds = [ColumnKind::Choice, ColumnKind::Choices];
    let theirs = from.client.choices(&call(clock), &map.source, &kinds).await;
    let ours = target.client.choices(&call(clock), &map.target, &kinds).await;
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => source::options(map, &theirs, &ours),
        _ => Vec::new(),
    }
}

fn unfetched(side: Side, name: &str, error: &MetadataError, unknown: String) -> Check {
    match error {
        MetadataError::TableUnknown { .. } | MetadataError::BadName { .. } | MetadataError::TooManyTables => {
            Check::fail(name, error.to_string(), unknown)
        }
        MetadataError::Request(error) => Check::fail(name, told(error), remedy(side, error)),
    }
}
