//! The table behind a many-to-many relationship, read as a collection of its own: one row per link. Knows no change.

use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange};
use super::paging::{self, Start};
use super::read::PAGE_ROWS_MAX;
use super::schema::{ManyToMany, Schema};
use super::types::guid_order;
use super::url::list;
use http::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

/// The relationship behind an entity set.
#[must_use]
pub fn by_set<'a>(schema: &'a Schema, set: &str) -> Option<&'a ManyToMany> {
    schema.many_to_many.iter().find(|relationship| set_of(relationship) == set)
}

/// The entity set.
#[must_use]
pub fn set_of(relationship: &ManyToMany) -> String {
    format!("{}set", relationship.intersect)
}

/// Its primary key column.
#[must_use]
pub fn primary_id(relationship: &ManyToMany) -> String {
    format!("{}id", relationship.intersect)
}

/// Its columns for the two rows.
#[must_use]
pub fn columns(relationship: &ManyToMany) -> (String, String) {
    (format!("{}id", relationship.first.0), format!("{}id", relationship.second.0))
}

/// The links of a relationship.
///
/// # Errors
/// Everything but GET, and query options that are not served.
pub fn answer(environment: &Environment, exchange: &Exchange, relationship: &ManyToMany) -> Result<Answer, ApiError> {
    if exchange.method != Method::GET {
        return Err(errors::method("Links are made and removed by $ref."));
    }
    let query = &exchange.address.query;
    if exchange.prefer.track || query.delta.is_some() {
        return Err(errors::invalid_argument("Change tracking is not enabled for this entity."));
    }
    if query.filter.is_some() || query.expand.is_some() || query.top.is_some() || query.count {
        return Err(errors::not_simulated("query options but $select and $orderby on links"));
    }
    let (first, second) = columns(relationship);
    let id = primary_id(relationship);
    let known = [first.as_str(), second.as_str(), id.as_str()];
    if let Some(name) = query.select.iter().flatten().find(|name| !known.contains(&name.as_str())) {
        return Err(errors::uri(format!("Could not find a property named '{name}'.")));
    }
    let ordered = match query.orderby.as_deref().map(list) {
        None => false,
        Some(order) if order == [first.as_str(), second.as_str()] => true,
        Some(_) => return Err(errors::not_simulated("this $orderby on links")),
    };
    let key = |(a, b): &(Uuid, Uuid)| if ordered { (guid_order(*a), guid_order(*b)) } else { (hash(*a, *b), [0; 16]) };
    let mut pairs: Vec<(Uuid, Uuid)> = environment.links(&relationship.schema_name).into_iter().collect();
    match Start::read(query.token.as_deref())? {
        Start::First => {}
        Start::BehindPair(a, b) => pairs.retain(|pair| key(pair) > key(&(a, b))),
        _ => return Err(errors::uri("The $skiptoken is not one of this query.")),
    }
    let size = exchange.prefer.page.unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
    let (shown, more) = paging::page(pairs, size, key);
    let mut body = Map::new();
    let set = set_of(relationship);
    body.insert("@odata.context".into(), Value::from(exchange.link(&format!("$metadata#{set}"))));
    if let Some((a, b)) = shown.last().filter(|_| more) {
        let link = paging::next_link(exchange, &set, Start::BehindPair(*a, *b));
        body.insert("@odata.nextLink".into(), Value::from(link));
    }
    let row = |(a, b): &(Uuid, Uuid)| {
        let members = [(&first, *a), (&second, *b), (&id, Uuid::from_bytes(hash(*a, *b)))];
        Value::Object(members.into_iter().map(|(name, id)| (name.clone(), Value::from(id.to_string()))).collect())
    };
    body.insert("value".into(), Value::Array(shown.iter().map(row).collect()));
    Ok(Answer::ok(Value::Object(body)))
}

/// The id of a link's own row, which says nothing about the two rows.
fn hash(a: Uuid, b: Uuid) -> [u8; 16] {
    let mixed = a.as_u128().wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b) ^ b.as_u128().rotate_left(61);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}
