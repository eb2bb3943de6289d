//! `[tables.x]`: one table, complete and checked in itself.

use super::columns;
use super::defaults;
use super::limits;
use super::lookups;
use super::read::{Field, Report, Section, logical_name};
use super::value;
use crate::domain::mapping::{ColumnMap, Identity, LookupRule, TableMap};
use crate::domain::system;
use crate::domain::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The keys of a table besides those of `[defaults]`.
pub const KEYS: [&str; 7] = ["target", "key", "groups", "columns", "placeholder", "lookups", "deletes_max"];

/// The keys of `[tables.x.placeholder]`.
pub const PLACEHOLDER_KEYS: [&str; 1] = ["set"];

/// Most columns of one alternate key (facts/dataverse.md 5.2).
const KEY_COLUMNS_MAX: usize = 16;

/// Reads one table over the defaults; `None` if its name is unusable.
pub fn read(field: &Field<'_>, defaults: &TableMap, report: &mut Report<'_>) -> Option<TableMap> {
    let source = logical_name(field.name, field.at, report)?;
    let section = field.section(report)?;
    let known: Vec<&str> = KEYS.into_iter().chain(defaults::KEYS).collect();
    section.only(&known, report);
    let mut table = TableMap { target: source.clone(), source, ..defaults.clone() };
    defaults::apply(&section, &mut table, report);
    if let Some(field) = section.get("target")
        && let Some(text) = field.text(report)
        && let Some(target) = logical_name(text, field.value_at(), report)
    {
        table.target = target;
    }
    table.columns = columns::read(section.section("columns", report).as_ref(), report);
    if let Some(identity) = section.get("key").and_then(|field| key(&field, &table.columns, report)) {
        table.identity = identity;
    }
    table.deletes_max = limits::deletes_max(&section, report);
    if let Some(field) = section.get("groups") {
        table.groups = groups(&field, &table.columns, report);
    }
    if let Some(found) = section.section("lookups", report) {
        table.lookups = lookup_rules(&found, &table.columns, report);
    }
    if let Some(found) = section.section("placeholder", report) {
        table.placeholder_set = placeholder(&found, report);
    }
    Some(table)
}

fn key(field: &Field<'_>, map: &ColumnMap, report: &mut Report<'_>) -> Option<Identity> {
    let names = field.logical_names(report)?;
    if !(1..=KEY_COLUMNS_MAX).contains(&field.len()) {
        let help = "name the columns of one alternate key, or leave `key` out to use the same GUID on both sides";
        report.say(field.value_at(), format!("`{}` must have 1 to {KEY_COLUMNS_MAX} columns", field.path), help);
        return None;
    }
    let columns = names.iter().filter_map(|(name, at)| columns::resolved(map, name, &field.path, *at, report));
    let mut columns: Vec<String> = columns.collect();
    columns.sort();
    Some(Identity::Key(columns))
}

fn groups(field: &Field<'_>, map: &ColumnMap, report: &mut Report<'_>) -> Vec<BTreeSet<String>> {
    let mut groups = Vec::new();
    for item in field.list("a list of lists of column names", report).unwrap_or_default() {
        let Some(names) = item.logical_names(report) else { continue };
        if item.len() < 2 {
            let problem = format!("a group in `{}` needs at least two columns", field.path);
            report.say(item.at, problem, "write [[\"first\", \"second\"]]");
        }
        let columns = names.iter().filter_map(|(name, at)| columns::resolved(map, name, &field.path, *at, report));
        groups.push(columns.collect());
    }
    groups
}

fn lookup_rules(section: &Section<'_>, map: &ColumnMap, report: &mut Report<'_>) -> BTreeMap<String, LookupRule> {
    let mut rules = BTreeMap::new();
    for field in section.fields() {
        let column = columns::synchronised(map, &field, field.at, report);
        let rule = lookups::rule(&field, report);
        let (Some(column), Some(rule)) = (column, rule) else { continue };
        if rules.insert(column.clone(), rule).is_some() {
            report.say(field.at, format!("`{column}` has two rules in [{}]", section.path), "keep one");
        }
    }
    rules
}

fn placeholder(section: &Section<'_>, report: &mut Report<'_>) -> BTreeMap<String, Value> {
    section.only(&PLACEHOLDER_KEYS, report);
    let Some(set) = section.section("set", report) else { return BTreeMap::new() };
    let mut values = BTreeMap::new();
    for field in set.fields() {
        let name = logical_name(field.name, field.at, report);
        let (Some(name), Some(value)) = (name, value::read(&field, report)) else { continue };
        if system::is_never_sent(&name) {
            let help = format!("remove it from `{}`", set.path);
            report.say(field.at, format!("`{name}` is a system column, which is never sent"), help);
        } else {
            values.insert(name, value);
        }
    }
    values
}
