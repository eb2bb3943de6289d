//! Request bodies: which properties a table takes, and how lookups are bound (facts/dataverse.md section 5.3).
//! Reading needs the schema alone; resolving bindings needs the rows.

use super::cell::{Cell, Changes, Party};
use super::errors::{self, ApiError};
use super::literal::guid;
use super::schema::{Kind, Schema, TableDef};
use super::store::State;
use super::types;
use super::url::{self, Predicate, Segment};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most parties of one activity.
const PARTIES_MAX: usize = 500;

/// A body, read but with its lookups not yet looked up.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Columns set by value.
    pub changes: Changes,
    /// The primary key, if the body has it.
    pub id: Option<Uuid>,
    bindings: Vec<(String, Segment)>,
    parties: Option<Vec<(i64, Segment)>>,
}

/// Reads a body for a table. `base` is the address of the environment, which references may begin with.
///
/// # Errors
/// Undeclared properties, wrong types, values outside their limits.
pub fn read(schema: &Schema, def: &TableDef, base: &str, value: &Value) -> Result<Body, ApiError> {
    let Value::Object(properties) = value else { return Err(errors::payload("the body must be a JSON object")) };
    let mut body = Body::default();
    let mut cleared = Vec::new();
    for (name, value) in properties {
        if matches!(name.as_str(), "@odata.type" | "@odata.id" | "@odata.etag" | "@odata.context") {
            continue;
        }
        if let Some(navigation) = name.strip_suffix("@odata.bind") {
            let columns = def.navigation(navigation);
            let Some((column, _)) = columns.first() else { return Err(undeclared(def, navigation)) };
            if value.is_null() {
                cleared.push(column.name.clone());
                continue;
            }
            let tables: Vec<&str> = columns.iter().map(|(_, table)| *table).collect();
            let segment = bound(schema, base, value, &tables)?;
            if body.bindings.iter().any(|(bound, _)| *bound == column.name) {
                return Err(errors::payload(format!("'{}' is bound twice", column.name)));
            }
            body.bindings.push((column.name.clone(), segment));
        } else if *name == def.primary_id {
            let id = value.as_str().and_then(guid);
            body.id = Some(id.ok_or_else(|| errors::payload(format!("property '{name}' must be a GUID")))?);
        } else if def.activity && *name == format!("{}_activity_parties", def.name) {
            body.parties = Some(parties(schema, base, value)?);
        } else if let Some((column, _)) = def.navigation(name).first() {
            if !value.is_null() {
                return Err(errors::payload(format!("'{name}' takes null, or a reference in '{name}@odata.bind'")));
            }
            cleared.push(column.name.clone());
        } else {
            let column = def
                .columns
                .get(name)
                .filter(|c| !matches!(c.kind, Kind::Lookup(_) | Kind::Parties(_)))
                .ok_or_else(|| undeclared(def, name))?;
            body.changes.insert(name.clone(), types::read(def, column, value)?);
        }
    }
    for column in cleared {
        if !body.bindings.iter().any(|(bound, _)| *bound == column) {
            body.changes.insert(column, None);
        }
    }
    Ok(body)
}

fn undeclared(def: &TableDef, name: &str) -> ApiError {
    errors::payload(format!(
        "An undeclared property '{name}' which only has property annotations in the payload but no property value was \
         found in the payload of Microsoft.Dynamics.CRM.{}",
        def.name
    ))
}

fn bound(schema: &Schema, base: &str, value: &Value, tables: &[&str]) -> Result<Segment, ApiError> {
    let text = value.as_str().ok_or_else(|| errors::payload("'@odata.bind' takes a string or null"))?;
    let segment = url::reference(text, base)?;
    let table = schema.by_set(&segment.name).ok_or_else(|| errors::no_resource(&segment.name))?;
    if !tables.contains(&table.name.as_str()) {
        return Err(errors::payload(format!("a row of '{}' cannot be bound here", table.name)));
    }
    Ok(segment)
}

fn parties(schema: &Schema, base: &str, value: &Value) -> Result<Vec<(i64, Segment)>, ApiError> {
    let list = value.as_array().filter(|list| list.len() <= PARTIES_MAX);
    let list = list.ok_or_else(|| errors::payload("activity parties must be an array of at most 500"))?;
    list.iter().map(|party| one_party(schema, base, party)).collect()
}

fn one_party(schema: &Schema, base: &str, value: &Value) -> Result<(i64, Segment), ApiError> {
    let empty = Map::new();
    let properties = value.as_object().unwrap_or(&empty);
    let mut mask = None;
    let mut target = None;
    for (name, value) in properties {
        if name == "participationtypemask" {
            mask = value.as_i64();
        } else if let Some(table) = name.strip_prefix("partyid_").and_then(|n| n.strip_suffix("@odata.bind")) {
            target = Some(bound(schema, base, value, &[table])?);
        } else if name != "@odata.type" {
            return Err(errors::payload(format!("An undeclared property '{name}' in an activity party")));
        }
    }
    match (mask, target) {
        (Some(mask), Some(target)) => Ok((mask, target)),
        _ => Err(errors::payload("an activity party needs participationtypemask and partyid_<table>@odata.bind")),
    }
}

/// What an address with a predicate leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A primary key, whether or not the row exists.
    Id(Uuid),
    /// An existing row by an alternate key, and the key's values.
    ByKey(Uuid, Vec<(String, Cell)>),
    /// No row has this alternate key.
    KeyFree(Vec<(String, Cell)>),
}

/// Looks up a predicate.
///
/// # Errors
/// Names that are no property, or columns that are no key.
pub fn find(state: &State, def: &TableDef, predicate: &Predicate) -> Result<Found, ApiError> {
    let named = match predicate {
        Predicate::Id(id) => return Ok(Found::Id(*id)),
        Predicate::Named(named) => named,
    };
    if let [(name, super::literal::Literal::Guid(id))] = named.as_slice()
        && *name == def.primary_id
        && def.named_primary_key
    {
        return Ok(Found::Id(*id));
    }
    let mut values = Vec::new();
    for (name, literal) in named {
        let lookup = name.strip_prefix('_').and_then(|n| n.strip_suffix("_value"));
        let column = match (lookup, def.columns.get(lookup.unwrap_or(name))) {
            (Some(_), Some(column)) if matches!(column.kind, Kind::Lookup(_)) => column,
            (None, Some(column)) if !matches!(column.kind, Kind::Lookup(_) | Kind::Parties(_)) => column,
            _ => return Err(errors::uri(format!("Could not find a property named '{name}' on type '{}'.", def.name))),
        };
        let cell = types::from_literal(column, literal)?.ok_or_else(|| errors::no_key(&def.name))?;
        values.push((column.name.clone(), cell));
    }
    let is_key = def
        .keys
        .iter()
        .any(|key| key.columns.len() == values.len() && values.iter().all(|(name, _)| key.columns.contains(name)));
    if !is_key {
        return Err(errors::no_key(&def.name));
    }
    Ok(match state.by_key(def, &values)? {
        Some(id) => Found::ByKey(id, values),
        None => Found::KeyFree(values),
    })
}

/// Finds an existing row.
///
/// # Errors
/// 404, with the code for an id or for a key.
pub fn existing(state: &State, schema: &Schema, segment: &Segment) -> Result<(String, Uuid), ApiError> {
    let def = schema.by_set(&segment.name).ok_or_else(|| errors::no_resource(&segment.name))?;
    let predicate = segment.predicate.as_ref().ok_or_else(|| errors::uri("A reference to one row is expected."))?;
    match find(state, def, predicate)? {
        Found::Id(id) if state.row(&def.name, id).is_none() => Err(errors::no_row(&def.name, id)),
        Found::Id(id) | Found::ByKey(id, _) => Ok((def.name.clone(), id)),
        Found::KeyFree(_) => Err(errors::no_row_by_key(&def.name)),
    }
}

impl Body {
    /// Looks up all bindings: what remains are changes by column.
    ///
    /// # Errors
    /// 404 for a row that does not exist.
    pub fn resolve(&self, state: &State, schema: &Schema, def: &TableDef) -> Result<Changes, ApiError> {
        let mut changes = self.changes.clone();
        for (column, segment) in &self.bindings {
            let (table, id) = existing(state, schema, segment)?;
            changes.insert(column.clone(), Some(Cell::Lookup { table, id }));
        }
        let Some(parties) = &self.parties else { return Ok(changes) };
        let mut by_mask: BTreeMap<i64, Vec<Party>> = BTreeMap::new();
        for (mask, segment) in parties {
            let (table, id) = existing(state, schema, segment)?;
            by_mask.entry(*mask).or_default().push(Party { table, id, mask: *mask });
        }
        // The collection is replaced, never merged: roles that are not named become empty.
        for column in def.columns.values() {
            if let Kind::Parties(mask) = column.kind {
                changes.insert(column.name.clone(), by_mask.remove(&mask).map(Cell::Parties));
            }
        }
        match by_mask.keys().next() {
            Some(mask) => Err(errors::choice("participationtypemask", *mask)),
            None => Ok(changes),
        }
    }
}
