//! GET on rows: one by id or key, many by filter, those linked to one.

use super::body;
use super::cell::{Cell, Row};
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange, Match};
use super::filter::Filter;
use super::literal::Literal;
use super::schema::{Kind, ManyToMany, TableDef};
use super::types;
use super::url::{Segment, list};
use super::{links, render};
use http::StatusCode;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use uuid::Uuid;

/// Most rows on a page.
const PAGE_ROWS_MAX: usize = 5_000;

/// One row.
///
/// # Errors
/// 404, and what the query asks in vain.
pub fn one(environment: &Environment, exchange: &Exchange, segment: &Segment) -> Result<Answer, ApiError> {
    let schema = &environment.world().schema;
    refuse_expand(exchange)?;
    environment.read(|state| {
        let (table, id) = body::existing(state, schema, segment)?;
        let def = schema.tables.get(&table).ok_or_else(|| errors::no_resource(&table))?;
        let row = state.row(&table, id).ok_or_else(|| errors::no_row(&table, id))?;
        if exchange.if_none_match == Some(Match::Etag(row.etag())) {
            return Ok(Answer { status: StatusCode::NOT_MODIFIED, headers: Vec::new(), body: None });
        }
        let answer = Answer::ok(render::entity(state, exchange, def, row, true)?);
        Ok(answer.with("etag", row.etag()))
    })
}

/// The rows of a table.
///
/// # Errors
/// What the query asks in vain.
pub fn collection(environment: &Environment, exchange: &Exchange, def: &TableDef) -> Result<Answer, ApiError> {
    many(environment, exchange, def, &|_| true)
}

/// The rows linked to one row.
///
/// # Errors
/// As [`collection`].
pub fn linked(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    relationship: &ManyToMany,
    (table, id): (&str, Uuid),
) -> Result<Answer, ApiError> {
    let pairs = environment.links(&relationship.schema_name);
    let from_first = links::other_table(relationship, table) == relationship.second.0 && relationship.first.0 == table;
    many(environment, exchange, def, &|row| pairs.contains(&if from_first { (id, row.id) } else { (row.id, id) }))
}

fn many(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    belongs: &dyn Fn(&Row) -> bool,
) -> Result<Answer, ApiError> {
    refuse_expand(exchange)?;
    let query = &exchange.address.query;
    let filter = query.filter.as_deref().map(Filter::parse).transpose()?;
    environment.read(|state| {
        let mut rows: Vec<&Row> = Vec::new();
        for row in state.rows.get(&def.name).into_iter().flat_map(|rows| rows.values()).filter(|row| belongs(row)) {
            let matches = match &filter {
                Some(filter) => filter.matches(&|name, literal| compare(def, row, name, literal))?,
                None => true,
            };
            if matches {
                rows.push(row);
            }
        }
        if let Some(filter) = &filter {
            // A property that does not exist is an error even when there are no rows.
            let nobody = Row { id: Uuid::nil(), version: 0, columns: Default::default() };
            filter.matches(&|name, literal| compare(def, &nobody, name, literal))?;
        }
        sort(def, &mut rows, query.orderby.as_deref())?;
        let total = rows.len();
        let page = exchange.prefer.page.unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
        let page = query.top.map_or(page, |top| top.min(PAGE_ROWS_MAX));
        let shown: Vec<Value> = rows
            .iter()
            .skip(query.skip)
            .take(page)
            .map(|row| render::entity(state, exchange, def, row, false))
            .collect::<Result<_, _>>()?;
        let mut body = Map::new();
        body.insert("@odata.context".into(), Value::from(exchange.link(&format!("$metadata#{}", def.set))));
        if query.count {
            body.insert("@odata.count".into(), Value::from(total));
        }
        if query.top.is_none() && query.skip + shown.len() < total {
            body.insert("@odata.nextLink".into(), Value::from(next_link(exchange, def, query.skip + shown.len())));
        }
        body.insert("value".into(), Value::Array(shown));
        Ok(Answer::ok(Value::Object(body)))
    })
}

fn next_link(exchange: &Exchange, def: &TableDef, skip: usize) -> String {
    let query = &exchange.address.query;
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut link = format!("{}?$skiptoken={skip}", exchange.link(&def.set));
    let select = query.select.as_ref().map(|names| names.join(","));
    for (name, value) in [("$select", &select), ("$filter", &query.filter), ("$orderby", &query.orderby)] {
        if let Some(value) = value {
            link.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    link
}

fn refuse_expand(exchange: &Exchange) -> Result<(), ApiError> {
    match exchange.address.query.expand {
        Some(_) => Err(errors::not_simulated("$expand on rows")),
        None => Ok(()),
    }
}

fn compare(def: &TableDef, row: &Row, name: &str, literal: &Literal) -> Result<Option<Ordering>, ApiError> {
    let unknown = || errors::uri(format!("Could not find a property named '{name}' on type '{}'.", def.name));
    if name == def.primary_id {
        return match literal {
            Literal::Guid(id) => Ok(Some(row.id.cmp(id))),
            Literal::Null => Ok(None),
            _ => Err(errors::uri("A primary key is compared to a GUID without quotes.")),
        };
    }
    if name == "versionnumber" {
        return match literal {
            Literal::Number(text) => Ok(text.parse::<i64>().ok().map(|v| row.version.cmp(&v))),
            _ => Err(errors::uri("versionnumber is compared to a number.")),
        };
    }
    let lookup = name.strip_prefix('_').and_then(|n| n.strip_suffix("_value"));
    let column = def.columns.get(lookup.unwrap_or(name)).ok_or_else(unknown)?;
    if matches!(column.kind, Kind::Lookup(_)) != lookup.is_some() {
        return Err(unknown());
    }
    let value = types::from_literal(column, literal)?;
    Ok(match (row.get(&column.name), value) {
        (None, None) => Some(Ordering::Equal),
        (Some(left), Some(right)) => types::order(left, &right),
        _ => None,
    })
}

fn sort(def: &TableDef, rows: &mut [&Row], orderby: Option<&str>) -> Result<(), ApiError> {
    for part in list(orderby.unwrap_or_default()).iter().rev() {
        let (name, descending) = match part.split_once(' ') {
            None | Some((_, "asc")) => (part.split(' ').next().unwrap_or_default(), false),
            Some((name, "desc")) => (name, true),
            Some(_) => return Err(errors::uri("Syntax error in $orderby.")),
        };
        let value = |row: &Row| match name {
            "versionnumber" => Some(Cell::Int(row.version)),
            name if name == def.primary_id => Some(Cell::Guid(row.id)),
            name => row.get(name).cloned(),
        };
        if !matches!(name, "versionnumber") && name != def.primary_id && !def.columns.contains_key(name) {
            return Err(errors::uri(format!("Could not find a property named '{name}'.")));
        }
        rows.sort_by(|a, b| {
            let order = match (value(a), value(b)) {
                (Some(a), Some(b)) => types::order(&a, &b).unwrap_or(Ordering::Equal),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            if descending { order.reverse() } else { order }
        });
    }
    Ok(())
}
