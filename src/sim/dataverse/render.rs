//! Rows as the Web API shows them. Knows no condition and no filter.

use super::cell::{Cell, Row, choices_text, time_text};
use super::errors::{self, ApiError};
use super::exchange::Exchange;
use super::schema::{Kind, Schema, TableDef};
use super::store::State;
use serde_json::{Map, Number, Value};

const FORMATTED: &str = "OData.Community.Display.V1.FormattedValue";
const TABLE: &str = "Microsoft.Dynamics.CRM.lookuplogicalname";
const NAVIGATION: &str = "Microsoft.Dynamics.CRM.associatednavigationproperty";

/// One row, with the columns of `$select` (all without it); `context`: as the whole body.
///
/// # Errors
/// A `$select` of what the table does not have.
pub fn entity(
    (state, schema): (&State, &Schema),
    exchange: &Exchange,
    def: &TableDef,
    row: &Row,
    context: bool,
) -> Result<Value, ApiError> {
    let select = exchange.address.query.select.as_ref();
    let mut members = Map::new();
    if context {
        members.insert("@odata.context".into(), Value::from(exchange.link(&format!("$metadata#{}/$entity", def.set))));
    }
    members.insert("@odata.etag".into(), Value::from(row.etag()));
    // The primary key is there whatever is selected.
    members.insert(def.primary_id.clone(), Value::from(row.id.to_string()));
    let names: Vec<String> = match select {
        Some(names) => names.clone(),
        None => def.columns.values().map(|c| property(def, &c.name)).chain(["versionnumber".to_owned()]).collect(),
    };
    for name in names {
        if name == def.primary_id {
            continue;
        }
        if name == "versionnumber" {
            members.insert(name, Value::from(row.version));
            continue;
        }
        let lookup = name.strip_prefix('_').and_then(|n| n.strip_suffix("_value"));
        let column = def
            .columns
            .get(lookup.unwrap_or(&name))
            .filter(|c| matches!(c.kind, Kind::Lookup(_)) == lookup.is_some())
            .ok_or_else(|| errors::uri(format!("Could not find a property named '{name}' on type '{}'.", def.name)))?;
        if matches!(column.kind, Kind::Parties(_)) {
            continue;
        }
        let cell = row.get(&column.name).filter(|_| !column.secured);
        annotate((state, schema), exchange, def, &name, cell, &mut members);
        members.insert(name, cell.map_or(Value::Null, value));
    }
    Ok(Value::Object(members))
}

fn property(def: &TableDef, column: &str) -> String {
    if def.lookup_of(column).is_some() { format!("_{column}_value") } else { column.to_owned() }
}

fn annotate(
    (state, schema): (&State, &Schema),
    exchange: &Exchange,
    def: &TableDef,
    property: &str,
    cell: Option<&Cell>,
    members: &mut Map<String, Value>,
) {
    let Some(cell) = cell.filter(|_| exchange.prefer.wants_any()) else { return };
    let mut add = |annotation: &str, value: String| {
        if exchange.prefer.wants(annotation) {
            members.insert(format!("{property}@{annotation}"), Value::from(value));
        }
    };
    match cell {
        Cell::Lookup { table, id } => {
            let column = property.strip_prefix('_').and_then(|n| n.strip_suffix("_value")).unwrap_or(property);
            let target = def.lookup_of(column).and_then(|l| l.targets.iter().find(|(t, _)| t == table));
            if let Some((_, navigation)) = target {
                add(NAVIGATION, navigation.clone());
            }
            add(TABLE, table.clone());
            let name = state.name(schema, table, *id);
            if let Some(name) = name {
                add(FORMATTED, name);
            }
        }
        Cell::Text(_) | Cell::Guid(_) | Cell::Parties(_) => {}
        cell => add(FORMATTED, cell.to_string()),
    }
}

fn value(cell: &Cell) -> Value {
    let number = |text: String| text.parse::<Number>().map_or(Value::Null, Value::Number);
    match cell {
        Cell::Text(text) => Value::from(text.clone()),
        Cell::Int(value) | Cell::Choice(value) => Value::from(*value),
        Cell::Decimal(value) | Cell::Money(value) => number(value.to_string()),
        Cell::Double(text) => number(text.clone()),
        Cell::Bool(value) => Value::from(*value),
        Cell::Choices(values) => Value::from(choices_text(values)),
        Cell::Time(time) => Value::from(time_text(time)),
        Cell::Date(date) => Value::from(date.to_string()),
        Cell::Lookup { id, .. } | Cell::Guid(id) => Value::from(id.to_string()),
        Cell::Parties(_) => Value::Null,
    }
}
