//! One request against the store: what it asks, whether its headers are right, what it answers. Synchronous.
//! Knows neither faults nor waiting nor who may ask.

use super::address::{self, Operation, Resource};
use super::answer::{Envelope, Metadata, Refusal};
use super::batch::{self, Part};
use super::entity::{Body, Entity, Key};
use super::filter::Filter;
use super::store::{Match, Store, Write};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;

/// Most entities on one page.
const PAGE_MAX: usize = 1000;

/// What a request is executed with.
#[derive(Debug)]
pub struct Context<'a> {
    /// The tables.
    pub store: &'a mut Store,
    /// The account in the path.
    pub account: &'a str,
    /// The time of the write.
    pub now: DateTime<Utc>,
    /// What the answer carries.
    pub envelope: &'a Envelope,
}

fn text<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|v| v.to_str().ok())
}

/// Does what the request asks.
///
/// # Errors
/// The refusal.
pub fn execute(request: &Request<Bytes>, context: &mut Context<'_>) -> Result<Response<Bytes>, Refusal> {
    // Without a version the service takes 2009-09-19, which speaks Atom only.
    let version = text(request, "x-ms-version").unwrap_or("");
    if version < "2013-08-15" || version.len() != 10 {
        return Err(Refusal::bad("InvalidHeaderValue", "x-ms-version is missing or older than JSON."));
    }
    let resource = address::parse(request.uri().path(), context.account)?;
    let operation = Operation::of(request.method(), &resource, text(request, "x-http-method"));
    match (operation, resource) {
        (Operation::Batch, _) => transaction(request, context),
        (Operation::ListTables, _) => list(request, context),
        (Operation::CreateTable, _) => create(request, context),
        (Operation::DeleteTable, Resource::OneTable(name)) => {
            context.store.drop_table(&name)?;
            Ok(context.envelope.empty(StatusCode::NO_CONTENT))
        }
        (Operation::Get, Resource::Entity(table, key)) => get(request, &table, &key, context),
        (Operation::Query, Resource::Entities(table)) => query(request, &table, context),
        (operation, resource) => {
            let (table, write) = write_of(request, operation, resource)?;
            let echo = echo_of(request, operation)?;
            let written = context.store.write(&table, vec![write], context.now).map_err(|(_, refusal)| refusal)?;
            Ok(written_answer(written.into_iter().next().flatten(), echo, &table, context))
        }
    }
}

fn metadata(request: &Request<Bytes>) -> Result<Metadata, Refusal> {
    Metadata::parse(text(request, "accept")).ok_or_else(|| {
        let message = "Atom format is not supported.";
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "AtomFormatNotSupported", message)
    })
}

/// A JSON body needs its content type and, for the JSON format, data service version 3.0.
fn check_json(request: &Request<Bytes>) -> Result<(), Refusal> {
    if text(request, "content-type").is_none_or(|t| t.split(';').next() != Some("application/json")) {
        let message = "The content type is not application/json.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message));
    }
    match text(request, "dataserviceversion") {
        Some(version) if version.trim_end_matches(';') == "3.0" => Ok(()),
        _ => Err(Refusal::bad("InvalidHeaderValue", "DataServiceVersion 3.0 is needed for JSON.")),
    }
}

/// Whether an insert answers with the entity, and in which form; `None` = no content.
fn echo_of(request: &Request<Bytes>, operation: Operation) -> Result<Option<Metadata>, Refusal> {
    if operation != Operation::Insert || text(request, "prefer") == Some("return-no-content") {
        return Ok(None);
    }
    metadata(request).map(Some)
}

/// The write that a request stands for.
fn write_of(request: &Request<Bytes>, operation: Operation, resource: Resource) -> Result<(String, Write), Refusal> {
    let condition = match text(request, "if-match") {
        None => None,
        Some("*") => Some(Match::Any),
        Some(etag) if etag.starts_with("W/\"datetime'") => Some(Match::Exactly(etag.to_owned())),
        Some(_) => return Err(Refusal::bad("InvalidInput", "The etag value specified in If-Match is not valid.")),
    };
    match (operation, resource) {
        (Operation::Insert, Resource::Entities(table)) => {
            check_json(request)?;
            let body = Body::parse(request.body())?;
            let (Some(partition), Some(row)) = (body.partition, body.row) else {
                let message = "The values are not specified for all properties in the entity.";
                return Err(Refusal::bad("PropertiesNeedValue", message));
            };
            let key = Key { partition, row };
            key.check()?;
            Ok((table, Write::Insert(key, body.properties)))
        }
        (Operation::Merge | Operation::Replace, Resource::Entity(table, key)) => {
            check_json(request)?;
            key.check()?;
            let body = Body::parse(request.body())?;
            let other = |given: Option<String>, key: &str| given.is_some_and(|given| given != key);
            if other(body.partition, &key.partition) || other(body.row, &key.row) {
                return Err(Refusal::input("the keys in the body are not those of the address"));
            }
            let write = match operation {
                Operation::Merge => Write::Merge(key, body.properties, condition),
                _ => Write::Replace(key, body.properties, condition),
            };
            Ok((table, write))
        }
        (Operation::Delete, Resource::Entity(table, key)) => {
            key.check()?;
            let message = "An HTTP header that's mandatory for this request is not specified: If-Match.";
            let condition = condition.ok_or_else(|| Refusal::bad("MissingRequiredHeader", message))?;
            Ok((table, Write::Delete(key, condition)))
        }
        _ => {
            let message = "The resource doesn't support the specified HTTP verb.";
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message))
        }
    }
}

fn written_answer(
    entity: Option<Entity>,
    echo: Option<Metadata>,
    table: &str,
    context: &Context<'_>,
) -> Response<Bytes> {
    let Some(entity) = entity else { return context.envelope.empty(StatusCode::NO_CONTENT) };
    let mut answer = match echo {
        Some(metadata) => {
            let body = Json::Object(described(entity.to_json(metadata, None), metadata, context, table, true));
            context.envelope.json(StatusCode::CREATED, metadata, &body)
        }
        None => context.envelope.empty(StatusCode::NO_CONTENT),
    };
    stamp_etag(&mut answer, &entity);
    answer
}

fn stamp_etag(answer: &mut Response<Bytes>, entity: &Entity) {
    if let Ok(etag) = HeaderValue::from_str(&entity.etag()) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
}

/// Adds `odata.metadata` where it is asked for.
fn described(
    mut map: Map<String, Json>,
    metadata: Metadata,
    context: &Context<'_>,
    set: &str,
    element: bool,
) -> Map<String, Json> {
    if metadata != Metadata::None {
        let element = if element { "/@Element" } else { "" };
        let address = format!("http://127.0.0.1/{}/$metadata#{set}{element}", context.account);
        map.insert("odata.metadata".into(), address.into());
    }
    map
}

fn list(request: &Request<Bytes>, context: &mut Context<'_>) -> Result<Response<Bytes>, Refusal> {
    let metadata = metadata(request)?;
    let names: Vec<Json> = context.store.names().iter().map(|n| json!({"TableName": n})).collect();
    let map = Map::from_iter([("value".to_owned(), Json::Array(names))]);
    let body = Json::Object(described(map, metadata, context, "Tables", false));
    Ok(context.envelope.json(StatusCode::OK, metadata, &body))
}

fn create(request: &Request<Bytes>, context: &mut Context<'_>) -> Result<Response<Bytes>, Refusal> {
    check_json(request)?;
    let metadata = metadata(request)?;
    let json: Json = serde_json::from_slice(request.body()).map_err(|e| Refusal::input(format!("no JSON: {e}")))?;
    let name = json.get("TableName").and_then(Json::as_str).ok_or_else(|| Refusal::input("no TableName"))?;
    let name = address::table_name(name)?;
    context.store.create(&name)?;
    if text(request, "prefer") == Some("return-no-content") {
        return Ok(context.envelope.empty(StatusCode::NO_CONTENT));
    }
    let map = Map::from_iter([("TableName".to_owned(), Json::from(name))]);
    let body = Json::Object(described(map, metadata, context, "Tables", true));
    Ok(context.envelope.json(StatusCode::CREATED, metadata, &body))
}

fn select(request: &Request<Bytes>) -> Result<Option<BTreeSet<String>>, Refusal> {
    let query = address::query(request.uri().query())?;
    let names = query.get("$select").map(|s| s.split(',').map(|n| n.trim().to_owned()).collect::<BTreeSet<_>>());
    Ok(names.filter(|names| !names.contains("*")))
}

fn get(
    request: &Request<Bytes>,
    table: &str,
    key: &Key,
    context: &mut Context<'_>,
) -> Result<Response<Bytes>, Refusal> {
    let (metadata, select) = (metadata(request)?, select(request)?);
    key.check()?;
    let entity = context.store.get(table, key)?.clone();
    let body = described(entity.to_json(metadata, select.as_ref()), metadata, context, table, true);
    let mut answer = context.envelope.json(StatusCode::OK, metadata, &Json::Object(body));
    stamp_etag(&mut answer, &entity);
    Ok(answer)
}

fn query(request: &Request<Bytes>, table: &str, context: &mut Context<'_>) -> Result<Response<Bytes>, Refusal> {
    let (metadata, select) = (metadata(request)?, select(request)?);
    let query = address::query(request.uri().query())?;
    let filter = query.get("$filter").map_or(Ok(None), |text| Filter::parse(text))?;
    let count = match query.get("$top").map(|t| t.parse::<usize>()) {
        None => PAGE_MAX,
        Some(Ok(top @ 1..=PAGE_MAX)) => top,
        Some(_) => return Err(Refusal::input("$top is no number from 1 to 1000")),
    };
    if let Some(unknown) =
        query.keys().find(|k| k.starts_with('$') && !matches!(k.as_str(), "$filter" | "$select" | "$top"))
    {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("{unknown} is not supported")));
    }
    let from = match (query.get("NextPartitionKey"), query.get("NextRowKey")) {
        (None, None) => None,
        (Some(partition), row) => {
            Some(Key { partition: unpack(partition)?, row: row.map_or(Ok(String::new()), |r| unpack(r))? })
        }
        (None, Some(_)) => return Err(Refusal::input("NextRowKey without NextPartitionKey")),
    };
    let page = context.store.page(table, filter.as_ref(), from.as_ref(), count)?;
    let rows = page.entities.iter().map(|e| Json::Object(e.to_json(metadata, select.as_ref()))).collect();
    let map = Map::from_iter([("value".to_owned(), Json::Array(rows))]);
    let body = Json::Object(described(map, metadata, context, table, false));
    let mut answer = context.envelope.json(StatusCode::OK, metadata, &body);
    if let Some(next) = page.next {
        for (name, key) in
            [("x-ms-continuation-nextpartitionkey", next.partition), ("x-ms-continuation-nextrowkey", next.row)]
        {
            if let Ok(value) = HeaderValue::from_str(&pack(&key)) {
                answer.headers_mut().insert(name, value);
            }
        }
    }
    Ok(answer)
}

/// A continuation token: opaque to clients, so neither the key itself nor URL-safe, as with the real service.
fn pack(key: &str) -> String {
    format!("1!{}!{}", key.len(), STANDARD.encode(key))
}

fn unpack(token: &str) -> Result<String, Refusal> {
    let invalid = || Refusal::input("the continuation token is not one of ours");
    let bytes = STANDARD.decode(token.rsplit('!').next().unwrap_or("")).map_err(|_| invalid())?;
    let key = String::from_utf8(bytes).map_err(|_| invalid())?;
    if pack(&key) == token { Ok(key) } else { Err(invalid()) }
}

/// An entity group transaction: all or nothing, one table, one partition, each entity once.
fn transaction(request: &Request<Bytes>, context: &mut Context<'_>) -> Result<Response<Bytes>, Refusal> {
    let operations = batch::parse(request.headers(), request.body())?;
    let parts = match group(&operations, context) {
        Ok(parts) => parts,
        Err((index, refusal)) => vec![Part::Refused(refusal.at(index))],
    };
    Ok(batch::answer(&parts, context.envelope))
}

fn group(operations: &[Request<Bytes>], context: &mut Context<'_>) -> Result<Vec<Part>, (usize, Refusal)> {
    if operations.len() > batch::OPERATIONS_MAX {
        let message = "The batch request operation exceeds the maximum 100 changes per change set.";
        return Err((0, Refusal::input(message)));
    }
    let (mut writes, mut echoes, mut seen) = (Vec::<Write>::new(), Vec::new(), BTreeSet::new());
    let mut table: Option<String> = None;
    for (index, operation) in operations.iter().enumerate() {
        let at = |refusal| (index, refusal);
        let resource = address::parse(operation.uri().path(), context.account).map_err(at)?;
        let kind = Operation::of(operation.method(), &resource, text(operation, "x-http-method"));
        let (name, write) = write_of(operation, kind, resource).map_err(at)?;
        let first = table.get_or_insert_with(|| name.clone());
        if !first.eq_ignore_ascii_case(&name)
            || writes.first().is_some_and(|w| w.key().partition != write.key().partition)
        {
            let message = "All commands in a batch must operate on same entity group.";
            return Err(at(Refusal::bad("CommandsInBatchActOnDifferentPartitions", message)));
        }
        if !seen.insert(write.key().clone()) {
            let message = "An entity can appear only once in a batch.";
            return Err(at(Refusal::bad("InvalidDuplicateRow", message)));
        }
        echoes.push(echo_of(operation, kind).map_err(at)?);
        writes.push(write);
    }
    let table = table.unwrap_or_default();
    let written = context.store.write(&table, writes, context.now)?;
    let answer = |(entity, echo)| Part::Done(written_answer(entity, echo, &table, context));
    Ok(written.into_iter().zip(echoes).map(answer).collect())
}
