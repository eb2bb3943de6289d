//! `[tables.x.columns]`: which columns, under which names, with which values; and whether what the rest of the table
//! names is synchronised at all. Knows no metadata: whether a column exists is `doctor`'s question.

use super::read::{Field, Report, Section, logical_name};
use super::value;
use crate::domain::mapping::ColumnMap;
use crate::domain::system;
use crate::domain::value::Value;
use std::collections::BTreeMap;

/// The keys, as CONTRACT names them.
pub const KEYS: [&str; 4] = ["include", "exclude", "rename", "values"];

/// Names with their places.
type Named = Vec<(String, usize)>;

/// Reads the section; all columns under their own names if there is none.
pub fn read(section: Option<&Section<'_>>, report: &mut Report<'_>) -> ColumnMap {
    let mut map = ColumnMap::default();
    let Some(section) = section else { return map };
    section.only(&KEYS, report);
    let include = section.get("include").and_then(|field| include(&field, report)).unwrap_or_default();
    let exclude = section.get("exclude").and_then(|field| field.logical_names(report)).unwrap_or_default();
    let rename = section.section("rename", report).map(|table| rename(&table, report)).unwrap_or_default();
    if !include.is_empty() {
        map.include = Some(include.iter().map(|(name, _)| name.clone()).collect());
    }
    map.exclude = exclude.iter().map(|(name, _)| name.clone()).collect();
    map.rename = rename.iter().map(|((source, _), (target, _))| (source.clone(), target.clone())).collect();
    contradictions(&map, &include, &exclude, &rename, report);
    if let Some(values) = section.section("values", report) {
        for field in values.fields() {
            let Some(target) = synchronised(&map, &field, field.at, report) else { continue };
            let Some(pairs) = value_map(&field, report) else { continue };
            if map.values.insert(target.clone(), pairs).is_some() {
                report.say(field.at, format!("`{target}` has two value maps in [{}]", values.path), "join them");
            }
        }
    }
    map
}

/// The target's name of a column that the file names by its source or target name; reports what is never sent.
pub fn synchronised(map: &ColumnMap, field: &Field<'_>, at: usize, report: &mut Report<'_>) -> Option<String> {
    let name = logical_name(field.name, at, report)?;
    resolved(map, &name, &field.path, at, report)
}

/// As [`synchronised`], for a name that is known to be well formed and stands in `path`.
pub fn resolved(map: &ColumnMap, name: &str, path: &str, at: usize, report: &mut Report<'_>) -> Option<String> {
    let target = map.resolved(name).to_owned();
    if system::is_never_sent(&target) {
        report.say(
            at,
            format!("`{target}` is a system column, which is never sent"),
            format!("remove it from `{path}`"),
        );
        return None;
    }
    if map.source_name(&target).is_none() {
        let problem = format!("`{name}` is not synchronised, so naming it in `{path}` has no effect");
        report.say(at, problem, "include it (and do not exclude it), or remove it here");
        return None;
    }
    Some(target)
}

/// Empty for `["*"]`, and for what is wrong.
fn include(field: &Field<'_>, report: &mut Report<'_>) -> Option<Named> {
    let items = field.list("a list of column names", report)?;
    if items.is_empty() {
        report.say(field.value_at(), format!("`{}` is empty", field.path), "write [\"*\"] for all columns");
        return None;
    }
    if !items.iter().any(|item| item.value().as_str() == Some("*")) {
        return field.logical_names(report);
    }
    if items.len() > 1 {
        let help = "\"*\" is all columns that both sides have: leave the others out, or list the columns without \"*\"";
        report.say(field.value_at(), format!("`{}` has \"*\" beside names", field.path), help);
    }
    None
}

type Renames = Vec<((String, usize), (String, usize))>;

fn rename(section: &Section<'_>, report: &mut Report<'_>) -> Renames {
    let mut renames: Renames = Vec::new();
    for field in section.fields() {
        let source = logical_name(field.name, field.at, report);
        let target = field.text(report).and_then(|text| logical_name(text, field.value_at(), report));
        let (Some(source), Some(target)) = (source, target) else { continue };
        if source == target {
            report.say(field.value_at(), format!("`{source}` is renamed to itself"), "remove it");
        } else if let Some(((other, at), _)) = renames.iter().find(|(_, (name, _))| *name == target) {
            let first = format!("`{other}` (line {})", report.line(*at));
            report.say(field.value_at(), format!("`{source}` and {first} are both renamed to `{target}`"), "keep one");
        } else if system::is_never_sent(&target) {
            report.say(field.value_at(), format!("`{target}` is a system column, which is never sent"), "");
        } else {
            renames.push(((source, field.at), (target, field.value_at())));
        }
    }
    renames
}

fn contradictions(map: &ColumnMap, include: &Named, exclude: &Named, rename: &Renames, report: &mut Report<'_>) {
    for (name, at) in exclude {
        if map.include.as_ref().is_some_and(|include| include.contains(name)) {
            report.say(*at, format!("`{name}` is both included and excluded"), "keep one of the two");
        }
        if let Some(target) = map.rename.get(name) {
            report.say(*at, format!("`{name}` is excluded, yet renamed to `{target}`"), "keep one of the two");
        }
    }
    for (name, at) in include {
        if system::is_never_sent(name) && !map.rename.contains_key(name) {
            report.say(*at, format!("`{name}` is a system column, which is never sent"), "remove it from `include`");
        }
    }
    for ((source, _), (target, at)) in rename {
        let included = map.include.as_ref().is_some_and(|include| include.contains(target));
        if included && !map.rename.contains_key(target) {
            let problem = format!("`{source}` is renamed to `{target}`, which is itself included under that name");
            report.say(*at, problem, "rename the other too, or take it out of `include`");
        }
    }
}

fn value_map(field: &Field<'_>, report: &mut Report<'_>) -> Option<BTreeMap<String, Value>> {
    let section = field.section(report)?;
    let pairs: BTreeMap<String, Value> =
        section.fields().filter_map(|pair| Some((pair.name.to_owned(), value::read(&pair, report)?))).collect();
    if section.fields().next().is_none() {
        let help = "write { \"<source value>\" = <target value> }, or remove it";
        report.say(field.value_at(), format!("`{}` is empty", field.path), help);
    }
    Some(pairs)
}
