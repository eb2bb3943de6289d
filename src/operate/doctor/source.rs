//! One table of the mapping against the source's metadata: whether the names of the file are the source's, and which of its
//! columns the target lacks. Pure.

use super::{Check, listed, meant, or_fine};
use crate::dataverse::metadata::choices::Choices;
use crate::domain::mapping::TableMap;
use crate::domain::schema::{ColumnKind, TableSchema};
use std::collections::BTreeSet;

/// The name of a table's check.
#[must_use]
pub fn name(table: &TableMap) -> String {
    format!("source table {}", table.source)
}

/// The table as the source has it; `target` if its metadata is known.
#[must_use]
pub fn table(table: &TableMap, source: &TableSchema, target: Option<&TableSchema>) -> Vec<Check> {
    let name = name(table);
    let map = &table.columns;
    let mut checks = Vec::new();
    if source.elastic {
        let remedy = "register its steps on Upsert as well: an upsert of a row raises neither Create nor Update there";
        checks.push(Check::warn(&name, "is an elastic table", remedy));
    }
    if source.external {
        let remedy = format!("remove [tables.{}]: what changes where its rows are kept raises no event", table.source);
        checks.push(Check::fail(&name, "is a virtual table, which is not supported", remedy));
    }
    let named: BTreeSet<&String> = map.include.iter().flatten().chain(map.rename.keys()).collect();
    for column in named.into_iter().filter(|column| !source.columns.contains_key(*column)) {
        let known = source.columns.keys().map(String::as_str);
        let remedy = format!("{}take it out of [tables.{}.columns]", meant(column, known), table.source);
        checks.push(Check::fail(&name, format!("has no column {column}, named in `include` or `rename`"), remedy));
    }
    let idle: Vec<&str> =
        map.exclude.iter().filter(|column| !source.columns.contains_key(*column)).map(String::as_str).collect();
    if !idle.is_empty() {
        let detail = format!("has no column {}, named in `exclude`", listed(idle));
        checks.push(Check::warn(
            &name,
            detail,
            format!("compare with [tables.{}.columns]: nothing is left out", table.source),
        ));
    }
    if let Some(target) = target {
        let lacking = lacking(table, source, target);
        if !lacking.is_empty() {
            let detail = format!("has columns that the target lacks: {}", listed(lacking));
            let remedy = "they are left out; add them to the target, or to `exclude` to say that this is meant";
            checks.push(Check::warn(&name, detail, remedy));
        }
    }
    checks.extend(target.into_iter().flat_map(|target| types(&name, table, source, target)));
    or_fine(checks, &name, || format!("{} columns", source.columns.len()))
}

/// What kinds of columns take each other's values.
fn family(kind: ColumnKind) -> Option<&'static str> {
    Some(match kind {
        ColumnKind::Boolean => "yes or no",
        ColumnKind::Integer | ColumnKind::BigInt | ColumnKind::Decimal | ColumnKind::Double | ColumnKind::Money => {
            "number"
        }
        // a choice is a number
        ColumnKind::Choice | ColumnKind::State | ColumnKind::Status => "number",
        ColumnKind::Choices => "choices",
        ColumnKind::Text | ColumnKind::Guid => "text",
        ColumnKind::DateTime(_) => "date",
        ColumnKind::Lookup | ColumnKind::Owner => "lookup",
        ColumnKind::PartyList => "parties",
        ColumnKind::Unsupported => return None,
    })
}

/// Columns whose values the target's column cannot take. Where the mapping gives values, it says itself what is written.
fn types(name: &str, table: &TableMap, source: &TableSchema, target: &TableSchema) -> Vec<Check> {
    let mut checks = Vec::new();
    for (column, found) in &source.columns {
        let Some(to) = table.columns.target_name(column) else { continue };
        let Some(other) = target.columns.get(to).filter(|other| other.writable() && !target.is_system(to)) else {
            continue;
        };
        let (Some(from), Some(into)) = (family(found.kind), family(other.kind)) else { continue };
        if from != into && !table.columns.values.contains_key(to) {
            let detail = format!("column {column} is a {from} and {to} of the target a {into}");
            let remedy =
                format!("exclude it, or give it another target in `rename` of [tables.{}.columns]", table.source);
            checks.push(Check::fail(name, detail, remedy));
        }
    }
    checks
}

/// Options that the source has and the target lacks, of choices for which the mapping gives no value.
#[must_use]
pub fn options(table: &TableMap, source: &Choices, target: &Choices) -> Vec<Check> {
    let mut checks = Vec::new();
    for (column, options) in source {
        let Some(to) = table.columns.target_name(column) else { continue };
        let Some(known) = target.get(to) else { continue };
        let mapped = table.columns.values.get(to);
        let lacking = options.difference(known).map(ToString::to_string);
        let lacking: Vec<String> =
            lacking.filter(|option| !mapped.is_some_and(|map| map.contains_key(option))).collect();
        if !lacking.is_empty() {
            let detail = format!(
                "choice {column} has options that the target lacks: {}",
                listed(lacking.iter().map(String::as_str))
            );
            let remedy =
                format!("add them to the target, or map them under `values` of [tables.{}.columns]", table.source);
            checks.push(Check::warn(self::name(table), detail, remedy));
        }
    }
    checks
}

/// Columns that would be sent if the target had them. Those the file names are the target check's business.
fn lacking<'a>(table: &TableMap, source: &'a TableSchema, target: &TableSchema) -> Vec<&'a str> {
    let sent = source.columns.iter().filter(|(_, column)| column.kind != ColumnKind::Unsupported && column.writable());
    let missing = sent.filter(|(column, _)| {
        let to = table.columns.target_name(column);
        !source.is_system(column)
            && !table.columns.is_named(column)
            && to.is_some_and(|to| !target.columns.contains_key(to) && !target.is_system(to))
    });
    missing.map(|(column, _)| column.as_str()).collect()
}
