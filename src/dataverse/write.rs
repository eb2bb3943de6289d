//! Writes of rows: PATCH, POST, DELETE. What they may change is fenced by preconditions; what goes into the body is
//! somebody else's matter.

use super::classify::Asked;
use super::client::{Call, Dataverse, Exchange, address_error, tag_query};
use super::error::{DataverseError, Kind, Verb};
use super::url::{self, Address, UrlError};
use crate::domain::schema::TableSchema;
use http::header::ETAG;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

/// What must hold for the write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing: create or update.
    None,
    /// The row exists (`If-Match: *`): a late update cannot bring a deleted row back.
    Exists,
    /// The row is as it was read (`If-Match: W/"..."`).
    Etag(String),
    /// The row does not exist (`If-None-Match: *`).
    Absent,
}

/// One PATCH, or POST for [`Address::New`].
#[derive(Clone, Debug)]
pub struct WriteRequest<'a> {
    /// The table.
    pub schema: &'a TableSchema,
    /// The row.
    pub address: &'a Address,
    /// The columns, encoded.
    pub body: Map<String, Json>,
    /// What must hold.
    pub precondition: Precondition,
    /// The loop marker.
    pub tag: Option<&'a str>,
    /// Whether to ask if the row was created or updated, and for its GUID and ETag: costs the target a read.
    pub return_representation: bool,
}

/// What is known of a row that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its GUID. A row written by alternate key tells it only with `return_representation`.
    pub id: Option<Uuid>,
    /// Whether it came into being; `None` if the answer does not tell.
    pub created: Option<bool>,
    /// Its new ETag, with `return_representation`.
    pub etag: Option<String>,
}

/// One DELETE. By GUID only: a key may have moved to another row.
#[derive(Clone, Debug)]
pub struct DeleteRequest<'a> {
    /// The table.
    pub schema: &'a TableSchema,
    /// The row.
    pub id: Uuid,
    /// Delete only the row that was read.
    pub etag: Option<String>,
    /// The loop marker.
    pub tag: Option<&'a str>,
}

/// How a DELETE ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The row is gone by it.
    Deleted,
    /// There was no such row.
    WasMissing,
}

impl Dataverse {
    /// Writes a row.
    ///
    /// # Errors
    /// [`DataverseError`]. [`Kind::Address`] if the key cannot stand in an address (see [`Dataverse::resolve_key`]).
    pub async fn write(&self, call: &Call, request: WriteRequest<'_>) -> Result<Written, DataverseError> {
        let schema = request.schema;
        let (verb, method, path) = match request.address {
            Address::New => (Verb::Create, Method::POST, schema.entity_set.clone()),
            row @ (Address::Id(_) | Address::Key(_)) => {
                let path = url::row(schema, row).map_err(|reason| address_error(Verb::Write, &schema.name, reason))?;
                (Verb::Write, Method::PATCH, path)
            }
        };
        if verb == Verb::Create && request.precondition != Precondition::None {
            return Err(address_error(verb, &schema.name, UrlError::NoRow));
        }
        if schema.elastic
            && verb == Verb::Write
            && !matches!(request.precondition, Precondition::Exists | Precondition::Etag(_))
        {
            // an upsert of an elastic table replaces the whole row: the columns that are not sent would be wiped
            let reason = "an elastic table takes no partial upserts".to_owned();
            return Err(DataverseError::unanswered(Kind::Misconfigured, verb, &schema.name, reason));
        }
        let query = match request.return_representation {
            true => format!("?$select={}{}", schema.primary_id, tag_query(request.tag, '&')),
            false => tag_query(request.tag, '?'),
        };
        let binds =
            request.body.keys().any(|name| name.ends_with("@odata.bind") || name.ends_with("_activity_parties"));
        let body = Json::Object(request.body);
        let (table, address, precondition) = (schema.name.as_str(), Some(request.address), &request.precondition);
        let exchange = Exchange {
            asked: Asked { verb, table, address, precondition, binds },
            method,
            path: format!("{path}{query}"),
            body: Some(&body),
            prefer: request.return_representation.then_some("return=representation".into()),
            lean: false,
            strong: false,
        };
        let response = self.exchange(call, exchange).await?;
        Ok(written(schema, request.address, &request.precondition, &response.headers, response.status, &response.body))
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// [`DataverseError`]; a row that is not there is no error.
    pub async fn delete(&self, call: &Call, request: DeleteRequest<'_>) -> Result<Deleted, DataverseError> {
        let table = request.schema.name.as_str();
        let address = Address::Id(request.id);
        let path = url::row_by_id(&request.schema.entity_set, request.id);
        let precondition = request.etag.map_or(Precondition::None, Precondition::Etag);
        let verb = Verb::Delete;
        let asked = Asked { verb, table, address: Some(&address), precondition: &precondition, binds: false };
        let path = format!("{path}{}", tag_query(request.tag, '?'));
        let exchange =
            Exchange { asked, method: Method::DELETE, path, body: None, prefer: None, lean: false, strong: false };
        match self.exchange(call, exchange).await {
            Ok(_) => Ok(Deleted::Deleted),
            Err(error) if *error.kind() == Kind::RowMissing => Ok(Deleted::WasMissing),
            Err(error) => Err(error),
        }
    }
}

/// What a success tells. It never fails: the write has happened, whatever the rest of the answer looks like.
fn written(
    schema: &TableSchema,
    address: &Address,
    precondition: &Precondition,
    headers: &HeaderMap,
    status: StatusCode,
    body: &[u8],
) -> Written {
    let json: Option<Json> = serde_json::from_slice(body).ok();
    let text = |name: &str| json.as_ref().and_then(|json| json.get(name)).and_then(Json::as_str);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = match address {
        Address::Id(id) => Some(*id),
        Address::Key(_) | Address::New => text(&schema.primary_id)
            .and_then(|id| Uuid::try_parse(id).ok())
            .or_else(|| header("odata-entityid").and_then(id_in_address)),
    };
    let created = match (status, precondition, address) {
        (StatusCode::CREATED, _, _) | (_, Precondition::Absent, _) | (_, _, Address::New) => Some(true),
        (StatusCode::OK, _, _) | (_, Precondition::Exists | Precondition::Etag(_), _) => Some(false),
        (_, Precondition::None, _) => None,
    };
    let etag = text("@odata.etag").or_else(|| header(ETAG.as_str())).map(str::to_owned);
    Written { id, created, etag }
}

/// The GUID of `https://org/api/data/v9.2/accounts(<guid>)`; a row written by key echoes the key instead.
fn id_in_address(address: &str) -> Option<Uuid> {
    let (_, inner) = address.strip_suffix(')')?.rsplit_once('(')?;
    Uuid::try_parse(inner).ok()
}

#[cfg(test)]
mod tests;
