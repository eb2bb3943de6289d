//! What each request on rows does: conditions, the race window, and what is answered. Rules about rows are elsewhere.

use super::body::{self, Found};
use super::cell::{Changes, Row};
use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange, Match};
use super::schema::TableDef;
use super::url::{Predicate, Segment, list};
use super::write::Writer;
use super::{intersect, links, metadata, metadata_json, read, render};
use http::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Answers one request.
///
/// # Errors
/// What is refused.
pub async fn answer(environment: &Environment, exchange: &Exchange) -> Result<Answer, ApiError> {
    let segments = exchange.address.segments.as_slice();
    let Some(first) = segments.first() else { return Err(errors::not_simulated("the service document")) };
    match first.name.as_str() {
        "WhoAmI" | "WhoAmI()" => return who_am_i(environment, exchange),
        "RetrieveTotalRecordCount(EntityNames=@tables)" => return row_counts(environment, exchange),
        "EntityDefinitions" => return metadata::answer(environment, exchange),
        "RelationshipDefinitions" => return metadata::relationship(environment, exchange),
        "$batch" | "$metadata" => return Err(errors::not_simulated(&first.name)),
        _ => {}
    }
    if let Some(relationship) = intersect::by_set(&environment.world().schema, &first.name)
        && segments.len() == 1
        && first.predicate.is_none()
    {
        return intersect::answer(environment, exchange, relationship);
    }
    let def = environment.world().schema.by_set(&first.name).ok_or_else(|| errors::no_resource(&first.name))?;
    if let ([_, function], Some(Predicate::Id(user))) = (segments, first.predicate.as_ref())
        && function.name == "Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    {
        return privileges(environment, exchange, def, *user);
    }
    match (segments, first.predicate.as_ref()) {
        ([_], None) => match exchange.method {
            Method::GET => read::collection(environment, exchange, def),
            Method::POST => post(environment, exchange, def).await,
            _ => Err(errors::method("The collection takes GET and POST.")),
        },
        ([segment], Some(predicate)) => match exchange.method {
            Method::GET => read::one(environment, exchange, segment),
            Method::PATCH => patch(environment, exchange, def, segment, predicate).await,
            Method::DELETE => delete(environment, exchange, def, segment),
            _ => Err(errors::method("A row takes GET, PATCH and DELETE.")),
        },
        ([row, rest @ ..], Some(_)) => links::answer(environment, exchange, def, row, rest),
        _ => Err(errors::no_resource(&first.name)),
    }
}

fn who_am_i(environment: &Environment, exchange: &Exchange) -> Result<Answer, ApiError> {
    if exchange.method != Method::GET {
        return Err(errors::method("WhoAmI is a function: it takes GET."));
    }
    let world = environment.world();
    Ok(Answer::ok(json!({
        "@odata.context": exchange.link("$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse"),
        "BusinessUnitId": world.business_unit,
        "UserId": world.service.id,
        "OrganizationId": world.organization,
    })))
}

/// How many rows tables have. The service answers from a snapshot of the last day, the stand-in as it is now.
fn row_counts(environment: &Environment, exchange: &Exchange) -> Result<Answer, ApiError> {
    let given = exchange.address.query.parameters.get("@tables").map(String::as_str).unwrap_or_default();
    let inner = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.ok_or_else(|| errors::uri("EntityNames is a list."))?;
    let names: Vec<String> = list(inner).iter().map(|name| name.trim_matches('\'').to_owned()).collect();
    let schema = &environment.world().schema;
    for name in &names {
        match schema.tables.get(name) {
            None => return Err(errors::no_resource(name)),
            Some(def) if def.external => {
                return Err(errors::invalid_argument(format!(
                    "Entity {name} is a virtual entity, which is not supported"
                )));
            }
            Some(_) => {}
        }
    }
    let counts: Vec<usize> =
        environment.read(|state| names.iter().map(|name| state.rows.get(name).map_or(0, BTreeMap::len)).collect());
    let context = exchange.link("$metadata#Microsoft.Dynamics.CRM.RetrieveTotalRecordCountResponse");
    let counted = json!({"Count": names.len(), "IsReadOnly": false, "Keys": names, "Values": counts});
    Ok(Answer::ok(json!({"@odata.context": context, "EntityRecordCountCollection": counted})))
}

/// What a user holds: everything but what the settings take away.
fn privileges(environment: &Environment, exchange: &Exchange, def: &TableDef, user: Uuid) -> Result<Answer, ApiError> {
    if def.name != "systemuser" || environment.row("systemuser", user).is_none() {
        return Err(errors::no_row(&def.name, user));
    }
    let world = environment.world();
    let held = world.schema.tables.values().flat_map(metadata_json::privileges);
    let held: Vec<_> = held
        .filter(|(_, name, _)| user != world.service.id || !world.privileges_lacking.contains(name))
        .map(|(_, _, id)| json!({"PrivilegeId": id, "Depth": "Global", "BusinessUnitId": world.business_unit}))
        .collect();
    let context = exchange.link("$metadata#Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse");
    Ok(Answer::ok(json!({"@odata.context": context, "RolePrivileges": held})))
}

/// POST: always a new row, with the id of the body if it has one.
async fn post(environment: &Environment, exchange: &Exchange, def: &TableDef) -> Result<Answer, ApiError> {
    let body = body::read(&environment.world().schema, def, &exchange.base, &exchange.json()?)?;
    if let Some(id) = body.id
        && environment.read(|state| state.row(&def.name, id).is_some())
    {
        return Err(errors::duplicate_id(&def.name, id));
    }
    environment.race_window().await;
    let row = environment.transact(&exchange.origin, |writer| {
        let changes = body.resolve(writer.state, &writer.world.schema, def)?;
        let commit = writer.create(def, body.id, changes)?;
        Ok((commit.after.clone(), vec![commit]))
    })?;
    let row = row.ok_or_else(|| errors::no_resource(&def.name))?;
    written(environment, exchange, def, &row, &format!("{}({})", def.set, row.id), true)
}

/// What the first look of an upsert led to.
enum First {
    Updated(Row),
    Missing(Found),
}

/// PATCH: update what is there, else create it. Between the two looks others may come first.
async fn patch(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    segment: &Segment,
    predicate: &Predicate,
) -> Result<Answer, ApiError> {
    let schema = &environment.world().schema;
    let body = body::read(schema, def, &exchange.base, &exchange.json()?)?;
    let first = environment.transact(&exchange.origin, |writer| {
        let found = body::find(writer.state, def, predicate)?;
        let id = match &found {
            Found::Id(id) | Found::ByKey(id, _) => *id,
            Found::KeyFree(_) => return Ok((First::Missing(found), Vec::new())),
        };
        let Some(row) = writer.state.row(&def.name, id).cloned() else {
            return Ok((First::Missing(found), Vec::new()));
        };
        conditions(exchange, def, &row)?;
        if body.id.is_some_and(|given| given != id) {
            return Err(errors::invalid_argument("The primary key of a row cannot be changed."));
        }
        let mut changes = body.resolve(writer.state, schema, def)?;
        if let Found::ByKey(_, values) = &found {
            changes.retain(|name, _| !values.iter().any(|(key, _)| key == name));
        }
        let commit = writer.update(def, id, changes)?;
        Ok((First::Updated(commit.after.clone().unwrap_or(row)), vec![commit]))
    })?;
    let found = match first {
        First::Updated(row) => return written(environment, exchange, def, &row, &segment.raw, false),
        First::Missing(found) => found,
    };
    if exchange.if_match.is_some() {
        return Err(match &found {
            Found::Id(id) | Found::ByKey(id, _) => errors::no_row(&def.name, *id),
            Found::KeyFree(_) => errors::no_row_by_key(&def.name),
        });
    }
    environment.race_window().await;
    let row = environment.transact(&exchange.origin, |writer| {
        let changes = body.resolve(writer.state, schema, def)?;
        let commit = insert(writer, def, &found, body.id, changes)?;
        Ok((commit.after.clone(), vec![commit]))
    })?;
    let row = row.ok_or_else(|| errors::no_resource(&def.name))?;
    written(environment, exchange, def, &row, &segment.raw, true)
}

fn insert(
    writer: &mut Writer<'_>,
    def: &TableDef,
    found: &Found,
    given: Option<Uuid>,
    mut changes: Changes,
) -> Result<super::write::Commit, ApiError> {
    let id = match found {
        Found::Id(id) | Found::ByKey(id, _) if given.is_some_and(|given| given != *id) => {
            return Err(errors::invalid_argument("The primary key in the body is not that of the address."));
        }
        Found::Id(id) | Found::ByKey(id, _) => Some(*id),
        Found::KeyFree(values) => {
            // The key is copied into the row, but a value in the body wins even if it differs.
            for (name, value) in values {
                let column = def.columns.get(name).ok_or_else(|| errors::no_key(&def.name))?;
                let value = super::types::check(def, column, value.clone())?;
                changes.entry(name.clone()).or_insert(Some(value));
            }
            given
        }
    };
    writer.create(def, id, changes)
}

fn delete(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    segment: &Segment,
) -> Result<Answer, ApiError> {
    environment.transact(&exchange.origin, |writer| {
        let (_, id) = body::existing(writer.state, &writer.world.schema, segment)?;
        if let Some(row) = writer.state.row(&def.name, id) {
            conditions(exchange, def, row)?;
        }
        Ok(((), writer.delete(def, id)?))
    })?;
    Ok(Answer::empty())
}

/// Checks `If-Match` and `If-None-Match` of a write on an existing row.
fn conditions(exchange: &Exchange, def: &TableDef, row: &Row) -> Result<(), ApiError> {
    match &exchange.if_none_match {
        Some(Match::Any) => return Err(errors::already_there()),
        Some(Match::Etag(etag)) if *etag == row.etag() => return Err(errors::version_mismatch()),
        _ => {}
    }
    match &exchange.if_match {
        Some(Match::Etag(_)) if !def.optimistic_concurrency => Err(errors::no_concurrency(&def.name)),
        Some(Match::Etag(etag)) if *etag != row.etag() => Err(errors::version_mismatch()),
        _ => Ok(()),
    }
}

fn written(
    environment: &Environment,
    exchange: &Exchange,
    def: &TableDef,
    row: &Row,
    echo: &str,
    created: bool,
) -> Result<Answer, ApiError> {
    if !exchange.prefer.representation {
        // The address is echoed as it came: for a key it does not tell the id.
        return Ok(Answer::empty().with("odata-entityid", exchange.link(echo)));
    }
    let body =
        environment.read(|state| render::entity((state, &environment.world().schema), exchange, def, row, true))?;
    let mut answer =
        Answer::ok(body).with("preference-applied", "return=representation".to_owned()).with("etag", row.etag());
    if created {
        answer.status = StatusCode::CREATED;
    } else {
        answer = answer.with("odata-entityid", exchange.link(echo));
    }
    Ok(answer)
}
