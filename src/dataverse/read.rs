//! Reads: one row, rows by equal values, the GUID behind an alternate key, and who we are there.

use super::client::{Call, Dataverse, Exchange, address_error, protocol_error};
use super::error::{DataverseError, Kind, Verb};
use super::party;
use super::row::{self, TargetRow};
use super::url::{self, Address, KeyParts, UrlError};
use crate::domain::schema::{ColumnKind, TableSchema};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Most rows of one `find`: a page of the Web API holds 5,000, and nobody here needs one.
pub const FIND_ROWS_MAX: u32 = 500;

/// What stands behind an alternate key or a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// One row.
    Found(Uuid),
    /// No row.
    Missing,
    /// Several rows: the key is not enforced, or the values are equal in the eyes of the database only.
    Ambiguous,
}

/// `WhoAmI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The system user behind the token: the `initiator` of our own writes.
    pub user: Uuid,
    /// Its business unit.
    pub business_unit: Uuid,
    /// The organisation: target and source must differ.
    pub organization: Uuid,
}

impl Dataverse {
    /// Reads some columns of a row; `None` if there is no such row.
    ///
    /// # Errors
    /// [`DataverseError`]; [`Kind::Protocol`] if the answer does not fit the metadata.
    pub async fn read(
        &self,
        call: &Call,
        schema: &TableSchema,
        address: &Address,
        columns: &BTreeSet<String>,
    ) -> Result<Option<TargetRow>, DataverseError> {
        let verb = Verb::Read;
        let failed = |reason| address_error(verb, &schema.name, reason);
        let path = url::row(schema, address).map_err(failed)?;
        let path =
            format!("{path}?$select={}{}", url::select(schema, columns).map_err(failed)?, expand(schema, columns));
        match self.exchange(call, Exchange::get(verb, &schema.name, Some(address), path)).await {
            Ok(response) => decode(verb, schema, columns, &object(verb, schema, &response.body)?).map(Some),
            Err(error) if *error.kind() == Kind::RowMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Rows whose columns equal all `parts`, at most `top` (1 to [`FIND_ROWS_MAX`]). The database compares: case and
    /// trailing blanks of text do not count there.
    ///
    /// # Errors
    /// [`DataverseError`]; without any part it is refused.
    pub async fn find(
        &self,
        call: &Call,
        schema: &TableSchema,
        parts: &KeyParts,
        columns: &BTreeSet<String>,
        top: u32,
    ) -> Result<Vec<TargetRow>, DataverseError> {
        let verb = Verb::Query;
        let failed = |reason| address_error(verb, &schema.name, reason);
        if parts.is_empty() {
            return Err(failed(UrlError::KeyUnknown { table: schema.name.clone(), columns: String::new() }));
        }
        let path = format!(
            "{}?$select={}&$filter={}&$top={}{}",
            schema.entity_set,
            url::select(schema, columns).map_err(failed)?,
            url::encode(&url::filter(schema, parts).map_err(failed)?),
            top.clamp(1, FIND_ROWS_MAX),
            expand(schema, columns),
        );
        let response = self.exchange(call, Exchange::get(verb, &schema.name, None, path)).await?;
        let body = object(verb, schema, &response.body)?;
        let rows = body.get("value").and_then(Json::as_array);
        let rows = rows.ok_or_else(|| protocol_error(verb, &schema.name, "the answer has no rows"))?;
        let row = |row: &Json| match row.as_object() {
            Some(row) => decode(verb, schema, columns, row),
            None => Err(protocol_error(verb, &schema.name, "a row is no object")),
        };
        rows.iter().map(row).collect()
    }

    /// The GUID behind an alternate key, by `$filter`: the way round for keys that no address can hold
    /// ([`url::needs_query`]). If it is [`Match::Missing`], create the row by [`Address::New`] with the key in the body.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn resolve_key(
        &self,
        call: &Call,
        schema: &TableSchema,
        key: &KeyParts,
    ) -> Result<Match, DataverseError> {
        url::check_key(schema, key).map_err(|reason| address_error(Verb::Query, &schema.name, reason))?;
        self.find_one(call, schema, key).await
    }

    /// The one row whose columns equal all `parts`.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn find_one(&self, call: &Call, schema: &TableSchema, parts: &KeyParts) -> Result<Match, DataverseError> {
        let rows = self.find(call, schema, parts, &BTreeSet::new(), 2).await?;
        Ok(match rows.as_slice() {
            [] => Match::Missing,
            [row] => Match::Found(row.id),
            [_, ..] => Match::Ambiguous,
        })
    }

    /// The environment's time, to the second, as the header `Date` of an answer tells it.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn server_time(&self, call: &Call) -> Result<Option<DateTime<Utc>>, DataverseError> {
        let response = self.exchange(call, Exchange::get(Verb::WhoAmI, "-", None, "WhoAmI".to_owned())).await?;
        let date = response.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| httpdate::parse_http_date(date).ok()).map(DateTime::from))
    }

    /// Who we are in this environment. The cheapest request there is.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn whoami(&self, call: &Call) -> Result<Identity, DataverseError> {
        let verb = Verb::WhoAmI;
        let response = self.exchange(call, Exchange::get(verb, "-", None, "WhoAmI".to_owned())).await?;
        let json: Json = serde_json::from_slice(&response.body).unwrap_or_default();
        let guid = |name: &str| {
            let id = json.get(name).and_then(Json::as_str).and_then(|id| Uuid::try_parse(id).ok());
            id.ok_or_else(|| protocol_error(verb, "-", "WhoAmI lacks an id"))
        };
        Ok(Identity {
            user: guid("UserId")?,
            business_unit: guid("BusinessUnitId")?,
            organization: guid("OrganizationId")?,
        })
    }
}

fn object(verb: Verb, schema: &TableSchema, body: &[u8]) -> Result<Map<String, Json>, DataverseError> {
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(object),
        _ => Err(protocol_error(verb, &schema.name, "the answer is no JSON object")),
    }
}

fn decode(
    verb: Verb,
    schema: &TableSchema,
    columns: &BTreeSet<String>,
    row: &Map<String, Json>,
) -> Result<TargetRow, DataverseError> {
    row::decode(schema, columns, row).map_err(|error| protocol_error(verb, &schema.name, &error.to_string()))
}

/// The party collection, if a party column is asked for.
fn expand(schema: &TableSchema, columns: &BTreeSet<String>) -> String {
    let is_party =
        |column: &String| schema.columns.get(column).is_some_and(|found| found.kind == ColumnKind::PartyList);
    if !columns.iter().any(is_party) {
        return String::new();
    }
    let collection = party::collection(&schema.name);
    format!("&$expand={collection}($select=_partyid_value,participationtypemask,addressused)")
}

#[cfg(test)]
mod tests;
