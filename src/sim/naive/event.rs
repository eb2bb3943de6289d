//! A `RemoteExecutionContext` as such a handler reads it: the id of the job, the row, and the columns that changed, in the
//! Web API's JSON. Versions, images and order are not looked at.

use crate::sim::dataverse::schema::{Behavior, Kind, Schema, TableDef};
use chrono::DateTime;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns that such a handler leaves alone.
const LEFT_ALONE: [&str; 2] = ["ownerid", "timezoneruleversionnumber"];

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Upsert(Json),
    Delete,
    /// Links of a many-to-many relationship: navigation property, and the other rows as `set(id)`.
    Link {
        present: bool,
        navigation: String,
        others: Vec<String>,
    },
    Nothing,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// `OperationId`: one per event.
    pub(super) id: String,
    pub(super) correlation: String,
    /// Entity set of the row's table.
    pub(super) set: String,
    pub(super) row: String,
    pub(super) change: Change,
}

impl Event {
    pub(super) fn read(body: &[u8], schema: &Schema, currencies: &BTreeMap<Uuid, Uuid>) -> Result<Self, String> {
        let context: Json = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let text = |name: &str| {
            let found = context.get(name).and_then(Json::as_str).map(str::to_owned);
            found.ok_or_else(|| format!("no {name}"))
        };
        let message = text("MessageName")?;
        if let "Associate" | "Disassociate" = message.as_str() {
            let (set, row, change) = links(&context, schema, message == "Associate").ok_or("no link")?;
            return Ok(Self { id: text("OperationId")?, correlation: text("CorrelationId")?, set, row, change });
        }
        let table = text("PrimaryEntityName")?;
        let def = schema.tables.get(&table).ok_or_else(|| format!("no table {table}"))?;
        let change = match message.as_str() {
            "Create" | "Update" => Change::Upsert(columns(&context, def, schema, currencies)),
            "Delete" => Change::Delete,
            _ => Change::Nothing,
        };
        Ok(Self {
            id: text("OperationId")?,
            correlation: text("CorrelationId")?,
            set: def.set.clone(),
            row: text("PrimaryEntityId")?,
            change,
        })
    }
}

/// The first row's set and id, and what becomes of its links.
fn links(context: &Json, schema: &Schema, present: bool) -> Option<(String, String, Change)> {
    let input = context.get("InputParameters")?.as_array()?;
    let value = |key: &str| input.iter().find(|pair| pair.get("key").and_then(Json::as_str) == Some(key))?.get("value");
    let row = |reference: &Json| {
        let set = &schema.tables.get(reference.get("LogicalName")?.as_str()?)?.set;
        Some((set.clone(), reference.get("Id")?.as_str()?.to_owned()))
    };
    let (set, id) = row(value("Target")?)?;
    let navigation = value("Relationship")?.get("SchemaName")?.as_str()?.to_owned();
    let others = value("RelatedEntities")?.as_array()?.iter().filter_map(row);
    let others = others.map(|(set, id)| format!("{set}({id})")).collect();
    Some((set, id, Change::Link { present, navigation, others }))
}

fn columns(context: &Json, def: &TableDef, schema: &Schema, currencies: &BTreeMap<Uuid, Uuid>) -> Json {
    let none = Vec::new();
    let input = context.get("InputParameters").and_then(Json::as_array).unwrap_or(&none);
    let target = input.iter().find(|pair| pair.get("key").and_then(Json::as_str) == Some("Target"));
    let attributes = target.and_then(|pair| pair.pointer("/value/Attributes")).and_then(Json::as_array);
    let mut columns = Map::new();
    for pair in attributes.unwrap_or(&none) {
        let (Some(name), Some(value)) = (pair.get("key").and_then(Json::as_str), pair.get("value")) else { continue };
        let Some(column) = def.columns.get(name).filter(|c| c.for_create && c.for_update) else { continue };
        if LEFT_ALONE.contains(&name) {
            continue;
        }
        if let Kind::Lookup(lookup) = &column.kind {
            let table = value.get("LogicalName").and_then(Json::as_str);
            let navigation = lookup.targets.iter().find(|(to, _)| table.is_none_or(|table| to == table));
            let Some((to, navigation)) = navigation else { continue };
            let set = schema.tables.get(to).map(|def| def.set.as_str()).unwrap_or_default();
            let id = value.get("Id").and_then(Json::as_str).and_then(|id| Uuid::try_parse(id).ok());
            let reference = id.map(|id| format!("/{set}({})", currencies.get(&id).unwrap_or(&id)));
            columns.insert(format!("{navigation}@odata.bind"), reference.map_or(Json::Null, Json::String));
        } else if let Some(value) = plain(&column.kind, value) {
            columns.insert(name.to_owned(), value);
        }
    }
    Json::Object(columns)
}

/// A value that is no lookup; `None` for what such a handler does not know.
fn plain(kind: &Kind, value: &Json) -> Option<Json> {
    if value.is_null() {
        return Some(Json::Null);
    }
    match kind {
        Kind::Money(_) | Kind::Choice(_) | Kind::State | Kind::Status => value.get("Value").cloned(),
        Kind::Choices(_) => {
            let all = value.as_array()?.iter().filter_map(|one| one.get("Value")).map(ToString::to_string);
            Some(Json::String(all.collect::<Vec<_>>().join(",")))
        }
        Kind::Date(behavior) => {
            let milliseconds = value.as_str()?.strip_prefix("/Date(")?.split([')', '+']).next()?;
            let time = DateTime::from_timestamp_millis(milliseconds.parse().ok()?)?;
            let shape = if *behavior == Behavior::DateOnly { "%Y-%m-%d" } else { "%Y-%m-%dT%H:%M:%SZ" };
            Some(Json::String(time.format(shape).to_string()))
        }
        Kind::Lookup(_) | Kind::Parties(_) => None,
        Kind::Text(_)
        | Kind::Memo(_)
        | Kind::Int(..)
        | Kind::BigInt
        | Kind::Decimal(..)
        | Kind::Double(..)
        | Kind::Bool
        | Kind::Guid => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::dataverse::{Collector, Environment, Settings, Sink, Step, sample};
    use serde_json::json;

    #[test]
    fn links_name_both_rows() {
        use crate::sim::dataverse::Message;
        let environment = Environment::new(Settings::new(Uuid::from_u128(7), sample::sample_schema()));
        let person = environment.person();
        let contact = environment.create(&person, "contact", &json!({"lastname": "C"})).unwrap();
        let product = environment.create(&person, "product", &json!({"productnumber": "P"})).unwrap();
        let collector = Collector::default();
        let step = Step::new(Uuid::from_u128(8), "contact", Sink::Collect(collector.clone()));
        environment.subscribe(step.messages(&[Message::Associate, Message::Disassociate]));
        environment.associate(&person, "new_contact_product", "contact", contact, product).unwrap();
        environment.disassociate(&person, "new_contact_product", "contact", contact, product).unwrap();
        for (raised, expected) in collector.take().iter().zip([true, false]) {
            let event = Event::read(&raised.body, &environment.world().schema, &BTreeMap::new()).unwrap();
            let others = vec![format!("products({product})")];
            let change = Change::Link { present: expected, navigation: "new_contact_product".to_owned(), others };
            assert_eq!((event.set.as_str(), event.row, event.change), ("contacts", contact.to_string(), change));
        }
    }

    #[test]
    fn the_columns_that_changed_become_a_patch() {
        let environment = Environment::new(Settings::new(Uuid::from_u128(7), sample::sample_schema()));
        let collector = Collector::default();
        let person = environment.person();
        let account = environment.create(&person, "account", &json!({"name": "Adventure Works"})).unwrap();
        environment.subscribe(Step::new(Uuid::from_u128(8), "salesorder", Sink::Collect(collector.clone())));
        let order = json!({"name": "1", "totalamount": 12.5, "requestdeliveryby": "2026-02-03", "prioritycode": 2,
            "customerid_account@odata.bind": format!("/accounts({account})")});
        let id = environment.create(&person, "salesorder", &order).unwrap();
        environment.delete(&person, "salesorder", id).unwrap();
        let euro = environment.world().base_currency;
        let currencies = BTreeMap::from([(euro, Uuid::from_u128(9))]);
        let events: Vec<Event> = collector
            .take()
            .iter()
            .map(|raised| Event::read(&raised.body, &environment.world().schema, &currencies).unwrap())
            .collect();
        let Change::Upsert(columns) = &events[0].change else { panic!("no upsert") };
        assert_eq!((events[0].set.as_str(), &events[0].row), ("salesorders", &id.to_string()));
        assert_eq!(columns["totalamount"].to_string(), "12.50");
        assert_eq!(columns["requestdeliveryby"], "2026-02-03");
        assert_eq!(columns["prioritycode"], 2);
        assert_eq!(columns["customerid_account@odata.bind"], format!("/accounts({account})"));
        let currency = format!("/transactioncurrencies({})", Uuid::from_u128(9));
        assert_eq!(columns["transactioncurrencyid@odata.bind"], currency);
        assert!(columns.get("ownerid").is_none() && columns.get("modifiedon").is_none());
        assert_eq!(events[1].change, Change::Delete);
        assert_ne!(events[0].id, events[1].id);
    }
}
