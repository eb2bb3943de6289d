//! Requests on many-to-many links: `accounts(..)/nav/$ref` and `accounts(..)/nav(..)/$ref`.

use super::body;
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange};
use super::read;
use super::schema::{ManyToMany, TableDef};
use super::url::{self, Predicate, Segment};
use http::Method;
use uuid::Uuid;

/// Answers a request below one row.
///
/// # Errors
/// What is refused.
pub fn answer(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    row: &Segment,
    rest: &[Segment],
) -> Result<Answer, ApiError> {
    let schema = &environment.world().schema;
    let (navigation, reference) = match rest {
        [navigation] => (navigation, false),
        [navigation, last] if last.name == "$ref" => (navigation, true),
        _ => return Err(errors::not_simulated("an address this deep")),
    };
    let Some(relationship) = schema.links_of(&def.name, &navigation.name) else {
        if def.navigation(&navigation.name).is_empty() {
            return Err(errors::no_resource(&navigation.name));
        }
        return Err(errors::not_simulated("a single-valued navigation property in an address"));
    };
    let name = relationship.schema_name.as_str();
    match (&exchange.method, reference, &navigation.predicate) {
        (&Method::GET, false, None) => {
            let (_, id) = environment.read(|state| body::existing(state, schema, row))?;
            let other = schema.tables.get(other_table(relationship, &def.name));
            let other = other.ok_or_else(|| errors::no_resource(&navigation.name))?;
            read::linked(environment, exchange, other, relationship, (&def.name, id))
        }
        (&Method::POST, true, None) => {
            let body = exchange.json()?;
            let target = body.get("@odata.id").and_then(|v| v.as_str());
            let target = target.ok_or_else(|| errors::payload("the body needs '@odata.id'"))?;
            let other = absolute(exchange, target)?;
            environment.transact(&exchange.origin, |writer| {
                let (table, id) = body::existing(writer.state, schema, row)?;
                let (other_name, other) = body::existing(writer.state, schema, &other)?;
                fits(relationship, &table, &other_name)?;
                Ok(((), vec![writer.associate(name, &table, id, other)?]))
            })?;
            Ok(Answer::empty())
        }
        (&Method::DELETE, true, predicate) => {
            let other = match (predicate, &exchange.address.query.id) {
                (Some(Predicate::Id(id)), None) => *id,
                (None, Some(address)) => id_of(&absolute(exchange, address)?)?,
                _ => return Err(errors::uri("The link to remove is named by (<guid>) or by $id.")),
            };
            environment.transact(&exchange.origin, |writer| {
                let (table, id) = body::existing(writer.state, schema, row)?;
                let commit = writer.disassociate(name, &table, id, other)?;
                Ok(((), commit.into_iter().collect()))
            })?;
            Ok(Answer::empty())
        }
        _ => Err(errors::method("A link takes POST and DELETE on its $ref, a navigation property GET.")),
    }
}

/// The table on the other side.
#[must_use]
pub fn other_table<'a>(relationship: &'a ManyToMany, table: &str) -> &'a str {
    if relationship.first.0 == table { &relationship.second.0 } else { &relationship.first.0 }
}

fn fits(relationship: &ManyToMany, table: &str, other: &str) -> Result<(), ApiError> {
    if other_table(relationship, table) == other {
        return Ok(());
    }
    Err(errors::payload(format!("a row of '{other}' cannot be linked here")))
}

fn id_of(segment: &Segment) -> Result<Uuid, ApiError> {
    match segment.predicate {
        Some(Predicate::Id(id)) => Ok(id),
        _ => Err(errors::uri("A link is removed by the id of the other row.")),
    }
}

/// References to other rows are full addresses of this environment.
fn absolute(exchange: &Exchange, text: &str) -> Result<Segment, ApiError> {
    if !text.starts_with(&exchange.link("")) {
        return Err(errors::payload("'@odata.id' must be a full address of this environment"));
    }
    url::reference(text, &exchange.base)
}
