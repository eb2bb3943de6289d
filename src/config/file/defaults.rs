//! The keys of `[defaults]`, each of which may be repeated per table.

use super::read::{Field, Report, Section};
use crate::domain::mapping::{Deletes, DuplicateKey, Guard, OperationKind, Parents, ReadFrom, TableMap};
use std::collections::BTreeSet;

/// The keys, as CONTRACT names them.
pub const KEYS: [&str; 7] = ["duplicate_key", "guard", "read", "parents", "deletes", "operations", "placeholder_name"];

/// Longest name for placeholders: primary name columns hold at least 100 characters by default.
const PLACEHOLDER_NAME_CHARS_MAX: usize = 100;

const OPERATIONS: [(&str, OperationKind); 4] = [
    ("create", OperationKind::Create),
    ("update", OperationKind::Update),
    ("delete", OperationKind::Delete),
    ("link", OperationKind::Link),
];

/// Overrides in `table` what the section says.
pub fn apply(section: &Section<'_>, table: &mut TableMap, report: &mut Report<'_>) {
    let duplicate_keys = [("same-source", DuplicateKey::SameSource), ("multi-source", DuplicateKey::MultiSource)];
    word(&mut table.duplicate_key, section.get("duplicate_key"), &duplicate_keys, report);
    word(&mut table.guard, section.get("guard"), &[("lease", Guard::Lease), ("etag", Guard::Etag)], report);
    word(&mut table.read, section.get("read"), &[("event", ReadFrom::Event), ("source", ReadFrom::Source)], report);
    let parents = [("on-missing", Parents::OnMissing), ("always", Parents::Always), ("never", Parents::Never)];
    word(&mut table.parents, section.get("parents"), &parents, report);
    let deletes = [("delete", Deletes::Delete), ("deactivate", Deletes::Deactivate), ("ignore", Deletes::Ignore)];
    word(&mut table.deletes, section.get("deletes"), &deletes, report);
    if let Some(given) = section.get("operations").and_then(|field| operations(&field, report)) {
        table.operations = given;
    }
    if let Some(name) = section.get("placeholder_name").and_then(|field| placeholder_name(&field, report)) {
        table.placeholder_name = name;
    }
}

fn word<T: Copy>(slot: &mut T, field: Option<Field<'_>>, words: &[(&'static str, T)], report: &mut Report<'_>) {
    if let Some(value) = field.and_then(|field| field.one_of(words, report)) {
        *slot = value;
    }
}

fn operations(field: &Field<'_>, report: &mut Report<'_>) -> Option<BTreeSet<OperationKind>> {
    let items = field.list("a list of operations", report)?;
    if items.is_empty() {
        let help = "remove the table if nothing of it is to be synchronised";
        report.say(field.value_at(), format!("`{}` is empty", field.path), help);
    }
    let mut found = BTreeSet::new();
    for item in items {
        if item.value().as_str() == Some("upsert") {
            let help = "row changes count as both: write \"create\", \"update\"";
            report.say(item.at, format!("`{}` can't be \"upsert\"", field.path), help);
        } else if item.one_of(&OPERATIONS, report).is_some_and(|operation| !found.insert(operation)) {
            report.say(item.at, format!("an operation stands twice in `{}`", field.path), "remove one");
        }
    }
    Some(found)
}

fn placeholder_name(field: &Field<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = field.text(report)?;
    if name.trim().is_empty() || name.chars().count() > PLACEHOLDER_NAME_CHARS_MAX {
        let help = "people see this name in the target until the row itself arrives";
        report.say(
            field.value_at(),
            format!("`{}` must have 1 to {PLACEHOLDER_NAME_CHARS_MAX} characters", field.path),
            help,
        );
        return None;
    }
    Some(name.to_owned())
}
