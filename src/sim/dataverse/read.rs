//! GET on rows: one by id or key, many by filter, those linked to one.

use super::body;
use super::cell::{Cell, Row};
use super::changes;
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange, Match};
use super::filter::Filter;
use super::literal::{Literal, guid};
use super::paging::{self, Start};
use super::schema::{Kind, ManyToMany, TableDef};
use super::store::Rows;
use super::types;
use super::url::{Segment, list};
use super::{links, render};
use http::StatusCode;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Most rows on a page.
pub const PAGE_ROWS_MAX: usize = 5_000;

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
        let answer = Answer::ok(render::entity((state, schema), exchange, def, row, true)?);
        Ok(answer.with("etag", row.etag()))
    })
}

/// The rows of a table.
///
/// # Errors
/// What the query asks in vain.
pub fn collection(environment: &Environment, exchange: &Exchange, def: &TableDef) -> Result<Answer, ApiError> {
    if changes::is_asked(exchange) {
        return changes::answer(environment, exchange, def);
    }
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
    let by_id = query
        .orderby
        .as_deref()
        .is_some_and(|order| order == def.primary_id || order == format!("{} asc", def.primary_id));
    let start = Start::read(query.token.as_deref())?;
    environment.read(|state| {
        let mut rows = matching(state.rows.get(&def.name), def, filter.as_ref(), belongs)?;
        let total = rows.len();
        let page = exchange.prefer.page.unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
        let page = query.top.map_or(page, |top| top.min(PAGE_ROWS_MAX));
        let (shown, next) = match (by_id, start) {
            (true, Start::First | Start::Behind(_)) => {
                let place =
                    |id: Uuid| if environment.world().sorts_as_text { *id.as_bytes() } else { types::guid_order(id) };
                if let Start::Behind(last) = start {
                    rows.retain(|row| place(row.id) > place(last));
                }
                let (rows, more) = paging::page(rows, page, |row| place(row.id));
                let next = rows.last().filter(|_| more).map(|row| Start::Behind(row.id));
                (rows, next)
            }
            (false, Start::First | Start::After(_)) => {
                let skip = if let Start::After(skip) = start { skip } else { 0 };
                sort(def, &mut rows, query.orderby.as_deref())?;
                let rows: Vec<&Row> = rows.into_iter().skip(skip).take(page).collect();
                let after = skip + rows.len();
                (rows, (after < total).then_some(Start::After(after)))
            }
            _ => return Err(errors::uri("The $skiptoken is not one of this query.")),
        };
        let shown: Vec<Value> = shown
            .into_iter()
            .map(|row| render::entity((state, &environment.world().schema), exchange, def, row, false))
            .collect::<Result<_, _>>()?;
        let mut body = Map::new();
        body.insert("@odata.context".into(), Value::from(exchange.link(&format!("$metadata#{}", def.set))));
        if query.count {
            body.insert("@odata.count".into(), Value::from(total));
        }
        if let Some(next) = next.filter(|_| query.top.is_none()) {
            body.insert("@odata.nextLink".into(), Value::from(paging::next_link(exchange, &def.set, next)));
        }
        body.insert("value".into(), Value::Array(shown));
        Ok(Answer::ok(Value::Object(body)))
    })
}

/// The rows of a table that belong and match.
fn matching<'a>(
    rows: Option<&'a Rows>,
    def: &TableDef,
    filter: Option<&Filter>,
    belongs: &dyn Fn(&Row) -> bool,
) -> Result<Vec<&'a Row>, ApiError> {
    let Some(filter) = filter else {
        return Ok(rows.into_iter().flat_map(|rows| rows.values()).filter(|row| belongs(row)).collect());
    };
    // A property that does not exist is an error even when there are no rows.
    let nobody = Row { id: Uuid::nil(), version: 0, columns: Default::default() };
    filter.matches(&|name, literal| compare(def, &nobody, name, literal))?;
    if let Some(ids) = filter.only_in(&def.primary_id) {
        let ids: Option<BTreeSet<Uuid>> = ids.iter().map(|id| guid(id)).collect();
        let ids = ids.ok_or_else(|| errors::uri("A primary key is compared to GUIDs."))?;
        return Ok(ids.iter().filter_map(|id| rows?.get(id)).filter(|row| belongs(row)).collect());
    }
    let mut found = Vec::new();
    for row in rows.into_iter().flat_map(|rows| rows.values()).filter(|row| belongs(row)) {
        if filter.matches(&|name, literal| compare(def, row, name, literal))? {
            found.push(row);
        }
    }
    Ok(found)
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
            Literal::Guid(id) => Ok(Some(types::guid_order(row.id).cmp(&types::guid_order(*id)))),
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
