//! `sync.toml` to [`Mapping`]: a walk over the document that reports every mistake at its place. Knows no environment and no
//! metadata: the same file serves everywhere.

mod columns;
mod defaults;
mod duration;
mod limits;
mod lookups;
mod read;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;
mod value;

use super::problem::ConfigProblems;
use crate::domain::mapping::{Mapping, TableMap};
use read::{Report, Section};
use std::collections::BTreeMap;
use toml::de::DeTable;

/// The keys of the document.
const KEYS: [&str; 4] = ["version", "defaults", "limits", "tables"];

/// The only version of the format.
const VERSION: i64 = 1;

/// Longest file accepted, in bytes: far above what 1 000 tables need.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Compiles the text of a mapping file. `file` is its name for messages.
///
/// # Errors
/// All mistakes with line and column: either those of the TOML syntax, or those of the content.
pub fn compile(file: &str, text: &str) -> Result<Mapping, ConfigProblems> {
    let mut report = Report::new(file, text);
    if text.len() > FILE_BYTES_MAX {
        report.say(0, format!("larger than {FILE_BYTES_MAX} bytes"), "");
        return report.or(Mapping::default());
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            report.say(error.span().map_or(0, |span| span.start), error.message(), "");
        }
        return report.or(Mapping::default());
    }
    let document = Section::document(&root);
    document.only(&KEYS, &mut report);
    version(&document, &mut report);
    let mut defaults = TableMap::new("");
    if let Some(section) = document.section("defaults", &mut report) {
        section.only(&defaults::KEYS, &mut report);
        defaults::apply(&section, &mut defaults, &mut report);
    }
    let limits = limits::read(document.section("limits", &mut report).as_ref(), &mut report);
    let tables = tables(&document, &defaults, &mut report);
    report.or(Mapping { tables, limits })
}

fn version(document: &Section<'_>, report: &mut Report<'_>) {
    match document.get("version") {
        None => report.say(0, "`version` is missing", format!("begin the file with `version = {VERSION}`")),
        Some(field) if value::whole(field.value()) != Some(VERSION) => {
            report.say(field.value_at(), format!("`version` must be {VERSION}"), "this is the only version there is");
        }
        Some(_) => {}
    }
}

fn tables(document: &Section<'_>, defaults: &TableMap, report: &mut Report<'_>) -> BTreeMap<String, TableMap> {
    let mut tables: BTreeMap<String, TableMap> = BTreeMap::new();
    let mut targets: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let section = document.section("tables", report);
    let mut fields: Vec<_> = section.iter().flat_map(Section::fields).collect();
    if fields.is_empty() && document.get("tables").is_none_or(|field| field.value().is_table()) {
        report.say(0, "no table is listed, so nothing would be synchronised", "add a section like [tables.account]");
    }
    fields.sort_by_key(|field| field.at);
    for field in fields {
        let Some(table) = table::read(&field, defaults, report) else { continue };
        if let Some((other, at)) = targets.get(&table.target) {
            let first = format!("[tables.{other}] (line {})", report.line(*at));
            let problem = format!("[{}] and {first} have the same target `{}`", field.path, table.target);
            report.say(field.at, problem, "a target table can mirror one source table only");
        } else {
            targets.insert(table.target.clone(), (table.source.clone(), field.at));
        }
        if tables.contains_key(&table.source) {
            report.say(field.at, format!("`{}` is listed twice", table.source), "keep one");
        }
        tables.insert(table.source.clone(), table);
    }
    tables
}
