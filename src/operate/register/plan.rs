//! The steps that should be there: pure, from the mapping and both sides' metadata. Only what the mapping's tables need.

use super::{MARK, id};
use crate::domain::groups::Groups;
use crate::domain::mapping::{Deletes, Identity, Mapping, OperationKind, TableMap};
use crate::domain::schema::{ColumnKind, TableSchema};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Longest list of columns of a step or an image (reference of both tables), in characters.
const LIST_MAX: usize = 100_000;

/// One message of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepWish {
    pub(super) id: Uuid,
    /// `Update of account`.
    pub(super) label: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) message: &'static str,
    /// `None`: links, whose messages know no table.
    pub(super) table: Option<String>,
    /// Columns of which one must be sent; empty: all.
    pub(super) filtering: BTreeSet<String>,
    pub(super) image: Option<ImageWish>,
}

/// What else the event carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageWish {
    pub(super) id: Uuid,
    /// 0 before, 1 after.
    pub(super) kind: i64,
    pub(super) alias: &'static str,
    /// Which parameter of the message the image is of: `Id` for Create, else `Target` (register-plug-in).
    pub(super) property: &'static str,
    pub(super) columns: BTreeSet<String>,
}

/// Both sides of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) source: &'a TableSchema,
    pub(super) target: &'a TableSchema,
}

/// All steps, in the order of tables.
pub(super) fn steps(installation: &str, mapping: &Mapping, schemas: &BTreeMap<&str, Sides<'_>>) -> Vec<StepWish> {
    let mut steps = Vec::new();
    for map in mapping.tables.values() {
        let Some(sides) = schemas.get(map.source.as_str()) else { continue };
        for message in messages(map, sides.source) {
            steps.push(step(installation, message, Some((map, *sides))));
        }
    }
    let linked = |map: &TableMap| map.operations.contains(&OperationKind::Link);
    let links = mapping.tables.values().filter(|map| linked(map)).any(|map| {
        let known = |table: &str| mapping.tables.contains_key(table);
        let sides = schemas.get(map.source.as_str());
        sides.is_some_and(|sides| sides.source.links.iter().any(|link| known(&link.first.0) && known(&link.second.0)))
    });
    if links {
        steps.extend(["Associate", "Disassociate"].map(|message| step(installation, message, None)));
    }
    steps
}

fn messages(map: &TableMap, source: &TableSchema) -> Vec<&'static str> {
    let has = |kind| map.operations.contains(&kind);
    let deletes = has(OperationKind::Delete) && map.deletes != Deletes::Ignore;
    let (create, update) = (has(OperationKind::Create), has(OperationKind::Update));
    // an upsert of a row of an elastic table raises neither Create nor Update
    let wanted = [
        (create && !source.elastic, "Create"),
        (update && !source.elastic, "Update"),
        ((create || update) && source.elastic, "Upsert"),
        (deletes, "Delete"),
    ];
    wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, message)| message).collect()
}

fn step(installation: &str, message: &'static str, of: Option<(&TableMap, Sides<'_>)>) -> StepWish {
    let table = of.map(|(map, _)| map.source.clone());
    let label = format!("{message} of {}", table.as_deref().unwrap_or("links"));
    let filtering = match (message, of) {
        ("Update", Some((map, sides))) => synchronised(map, sides),
        _ => BTreeSet::new(),
    };
    let image = of.and_then(|(map, sides)| image(installation, &label, message, map, sides));
    StepWish {
        id: id(installation, &format!("step {label}")),
        name: format!("{installation}: {label}"),
        description: format!("{MARK} ({installation}); its command `register` changes and removes it"),
        label,
        message,
        table,
        filtering: bounded(filtering),
        image,
    }
}

/// Source columns that end in the target.
fn synchronised(map: &TableMap, sides: Sides<'_>) -> BTreeSet<String> {
    let usable = |source: &&String| {
        let to = map.columns.target_name(source);
        let to = to.filter(|to| !sides.target.is_system(to)).and_then(|to| sides.target.columns.get(to));
        to.is_some_and(|to| to.writable() && to.kind != ColumnKind::Unsupported)
    };
    sides.source.columns.keys().filter(|column| **column != sides.source.primary_id).filter(usable).cloned().collect()
}

/// After the change: `versionnumber`, which orders the changes of one second, and what is always written together. Before a
/// delete: the key, which nothing else tells.
fn image(
    installation: &str,
    label: &str,
    message: &'static str,
    map: &TableMap,
    sides: Sides<'_>,
) -> Option<ImageWish> {
    let key: Vec<&str> = match &map.identity {
        Identity::Id => Vec::new(),
        Identity::Key(columns) => columns.iter().map(String::as_str).collect(),
    };
    let groups = Groups::of(map, sides.target);
    let (kind, alias, target_columns): (i64, _, Vec<&str>) = match message {
        "Delete" if key.is_empty() => return None,
        "Delete" => (0, "PreImage", key),
        _ => (1, "PostImage", groups.all().iter().flatten().map(String::as_str).chain(key).collect()),
    };
    let named = target_columns.into_iter().filter_map(|column| map.columns.source_name(column));
    let mut columns: BTreeSet<String> =
        named.filter(|column| sides.source.columns.contains_key(*column)).map(str::to_owned).collect();
    if kind == 1 {
        columns.insert("versionnumber".to_owned());
    }
    let property = if message == "Create" { "Id" } else { "Target" };
    Some(ImageWish {
        id: id(installation, &format!("image {label}")),
        kind,
        alias,
        property,
        columns: bounded(columns),
    })
}

/// A list too long for its column is none: all columns.
fn bounded(columns: BTreeSet<String>) -> BTreeSet<String> {
    let length: usize = columns.iter().map(|column| column.len() + 1).sum();
    if length > LIST_MAX { BTreeSet::new() } else { columns }
}
