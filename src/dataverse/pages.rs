//! Many rows: pages in the order of primary keys, rows by a list of ids or keys, what changed since a delta link, and the
//! links of a many-to-many relationship. Pages are followed by the links that the service gives out; this module checks
//! that a link leads back to the environment and table that it came from, so that no token is sent elsewhere.

use super::client::{Call, Dataverse, Exchange, address_error, protocol_error};
use super::error::{DataverseError, Kind, Verb};
use super::literal::{self, literal};
use super::row::{self, TargetRow};
use super::url::{self, KeyParts, UrlError};
use crate::domain::schema::TableSchema;
use crate::domain::value::KeyPart;
use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::DATE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::borrow::Cow;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Most rows of a page (page-results): the service gives no more, whatever is asked for.
pub const PAGE_ROWS_MAX: u32 = 5_000;

/// Most ids of one request: 400 ids are about 18 KB of address, and the service refuses more than 32 KB.
pub const IDS_MAX: usize = 400;

/// Most keys of one request, the values of a key being of any length: the address is cut at [`KEYS_BYTES_MAX`] before.
pub const KEYS_MAX: usize = 200;

/// Longest list of keys in an address, in bytes.
const KEYS_BYTES_MAX: usize = 20 * 1024;

/// A page's address, as the service gave it out: below the root of the Web API, percent-encoded. Nobody looks inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Link(String);

/// Which columns, and how many rows at a time.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The table.
    pub schema: &'a TableSchema,
    /// The columns; the primary key comes always.
    pub columns: &'a BTreeSet<String>,
    /// Rows of a page, 1 to [`PAGE_ROWS_MAX`].
    pub page_rows: u32,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub rows: Vec<T>,
    /// Rows that were deleted since the delta link was given out.
    pub deleted: Vec<Uuid>,
    /// The next page.
    pub next: Option<Link>,
    /// On the last page of a round of change tracking: where the next round begins.
    pub delta: Option<Link>,
    /// The time at the service when it answered, to the second: a row that is not on the page was not there before.
    pub at: Option<DateTime<Utc>>,
}

/// The table behind a many-to-many relationship.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTable {
    /// Its logical name.
    pub name: String,
    /// Its entity set.
    pub entity_set: String,
    /// Its column for the row of the relationship's first table.
    pub first: String,
    /// Its column for the row of the second one.
    pub second: String,
}

impl Dataverse {
    /// A page of a table in the order of primary keys ([`super::order::server_order`], as far as is known).
    ///
    /// # Errors
    /// [`DataverseError`]; [`Kind::Protocol`] if the answer does not fit the metadata.
    pub async fn rows(
        &self,
        call: &Call,
        selection: Selection<'_>,
        from: Option<&Link>,
    ) -> Result<Page<TargetRow>, DataverseError> {
        let schema = selection.schema;
        let path = match from {
            Some(link) => link.0.clone(),
            None => format!("{}&$orderby={}", selected(selection)?, schema.primary_id),
        };
        self.page(call, selection, path, false).await
    }

    /// A page of a round of change tracking. Without a link everything is shown, in no order; the last page of a round has
    /// the delta link of the next.
    ///
    /// # Errors
    /// [`DataverseError`]; an expired link, and a table without change tracking, are refusals of the request.
    pub async fn changes(
        &self,
        call: &Call,
        selection: Selection<'_>,
        from: Option<&Link>,
    ) -> Result<Page<TargetRow>, DataverseError> {
        let path = match from {
            Some(link) => link.0.clone(),
            None => selected(selection)?,
        };
        self.page(call, selection, path, true).await
    }

    /// The rows with these ids, at most [`IDS_MAX`]; those that do not exist are missing.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn rows_by_ids(
        &self,
        call: &Call,
        selection: Selection<'_>,
        ids: &[Uuid],
    ) -> Result<Page<TargetRow>, DataverseError> {
        let values: Vec<String> = ids.iter().take(IDS_MAX).map(|id| format!("'{id}'")).collect();
        let filter = is_in(&selection.schema.primary_id, &values);
        let path = format!("{}&$filter={}", selected(selection)?, url::encode(&filter));
        // all of them on one page, however small the pages of a walk are
        self.page(call, Selection { page_rows: PAGE_ROWS_MAX, ..selection }, path, false).await
    }

    /// The rows with one of these keys, all of the same columns; at most [`KEYS_MAX`]. Gives back how many of the keys were
    /// asked for: an address holds only so much.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn rows_by_keys(
        &self,
        call: &Call,
        selection: Selection<'_>,
        keys: &[KeyParts],
    ) -> Result<(Page<TargetRow>, usize), DataverseError> {
        let failed = |reason| address_error(Verb::Query, &selection.schema.name, reason);
        let mut terms = Vec::new();
        let mut bytes = 0;
        for key in keys.iter().take(KEYS_MAX) {
            let term = term(selection.schema, key).map_err(failed)?;
            let encoded = url::encode(&term).len() + 16;
            if !terms.is_empty() && bytes + encoded > KEYS_BYTES_MAX {
                break;
            }
            bytes += encoded;
            terms.push(term);
        }
        let column = keys.first().filter(|key| key.len() == 1).and_then(|key| key.keys().next());
        let filter = match column.and_then(|column| selection.schema.columns.get_key_value(column)) {
            Some((column, found)) => is_in(&literal::property(column, found.kind), &terms),
            None => terms.join(" or "),
        };
        let path = format!("{}&$filter={}", selected(selection)?, url::encode(&filter));
        let selection = Selection { page_rows: PAGE_ROWS_MAX, ..selection };
        Ok((self.page(call, selection, path, false).await?, terms.len()))
    }

    /// A page of the links of a relationship, in the order of the first row, then the second.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn links(
        &self,
        call: &Call,
        table: &LinkTable,
        page_rows: u32,
        from: Option<&Link>,
    ) -> Result<Page<(Uuid, Uuid)>, DataverseError> {
        let LinkTable { name, entity_set, first, second } = table;
        let path = match from {
            Some(link) => link.0.clone(),
            None => format!("{entity_set}?$select={first},{second}&$orderby={first},{second}"),
        };
        let exchange = paged(Exchange::get(Verb::Query, name, None, path), page_rows, false);
        let response = self.exchange(call, exchange).await?;
        let body = Body::read(name, &response.body)?;
        let guid = |row: &Map<String, Json>, column: &str| {
            row.get(column).and_then(Json::as_str).and_then(literal::parse_guid)
        };
        let pair = |row: &Map<String, Json>| match (guid(row, first), guid(row, second)) {
            (Some(first), Some(second)) => Ok((first, second)),
            _ => Err(protocol_error(Verb::Query, name, "a link lacks one of its rows")),
        };
        let rows = body.value.iter().map(|row| pair(&object(name, row)?)).collect::<Result<_, _>>()?;
        let next = self.link_of(name, entity_set, body.next.as_deref())?;
        Ok(Page { rows, deleted: Vec::new(), next, delta: None, at: date(&response.headers) })
    }

    async fn page(
        &self,
        call: &Call,
        selection: Selection<'_>,
        path: String,
        track: bool,
    ) -> Result<Page<TargetRow>, DataverseError> {
        let (schema, name) = (selection.schema, selection.schema.name.as_str());
        let exchange = paged(Exchange::get(Verb::Query, name, None, path), selection.page_rows, track);
        let response = self.exchange(call, exchange).await?;
        let body = Body::read(name, &response.body)?;
        let (mut rows, mut deleted) = (Vec::with_capacity(body.value.len()), Vec::new());
        for row in &body.value {
            let row = &object(name, row)?;
            if let Some(id) = deleted_id(row) {
                deleted.push(id.ok_or_else(|| protocol_error(Verb::Query, name, "a deleted row has no id"))?);
                continue;
            }
            let decoded = row::decode(schema, selection.columns, row);
            rows.push(decoded.map_err(|error| protocol_error(Verb::Query, name, &error.to_string()))?);
        }
        let next = self.link_of(name, &schema.entity_set, body.next.as_deref())?;
        let delta = self.link_of(name, &schema.entity_set, body.delta.as_deref())?;
        Ok(Page { rows, deleted, next, delta, at: date(&response.headers) })
    }

    /// A link of an answer, which must lead to this environment and table.
    fn link_of(&self, name: &str, entity_set: &str, link: Option<&str>) -> Result<Option<Link>, DataverseError> {
        let Some(link) = link else { return Ok(None) };
        let root = self.absolute("");
        let below = link.get(..root.len()).filter(|start| start.eq_ignore_ascii_case(&root));
        let path = below.and_then(|_| link.get(root.len()..));
        match path.filter(|path| path.strip_prefix(entity_set).is_some_and(|rest| rest.starts_with('?'))) {
            Some(path) => Ok(Some(Link(path.to_owned()))),
            None => Err(protocol_error(Verb::Query, name, "a link leads to another environment or table")),
        }
    }
}

/// Whether a request for changes was refused in a way that only a new beginning mends: the link has expired, its table has
/// changed, or change tracking is off.
#[must_use]
pub fn wants_new_beginning(error: &DataverseError) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::NamesWrong | Kind::RowMissing | Kind::Misconfigured)
}

fn selected(selection: Selection<'_>) -> Result<String, DataverseError> {
    let schema = selection.schema;
    let failed = |reason| address_error(Verb::Query, &schema.name, reason);
    Ok(format!("{}?$select={}", schema.entity_set, url::select(schema, selection.columns).map_err(failed)?))
}

fn paged(exchange: Exchange<'_>, page_rows: u32, track: bool) -> Exchange<'_> {
    let size = page_rows.clamp(1, PAGE_ROWS_MAX);
    let track = if track { "odata.track-changes," } else { "" };
    Exchange { prefer: Some(format!("{track}odata.maxpagesize={size}").into()), lean: true, ..exchange }
}

/// `Microsoft.Dynamics.CRM.In`: one condition, however many values.
fn is_in(property: &str, values: &[String]) -> String {
    format!("Microsoft.Dynamics.CRM.In(PropertyName='{property}',PropertyValues=[{}])", values.join(","))
}

/// One key: its value in quotes for [`is_in`] if it has one column, else a condition.
fn term(schema: &TableSchema, key: &KeyParts) -> Result<String, UrlError> {
    let [(column, part)] = key.iter().collect::<Vec<_>>()[..] else {
        return Ok(format!("({})", url::filter(schema, key)?));
    };
    let unknown = || UrlError::ColumnUnknown { table: schema.name.clone(), column: column.clone() };
    let found = schema.columns.get(column).ok_or_else(unknown)?;
    let mismatch = || UrlError::Mismatch { table: schema.name.clone(), column: column.clone(), kind: found.kind };
    let text = literal(found, part).ok_or_else(mismatch)?;
    Ok(match part {
        KeyPart::Text(_) => text,
        KeyPart::Number(_) | KeyPart::Guid(_) | KeyPart::DateTime(_) => format!("'{text}'"),
    })
}

/// An answer with many rows. They stay text until their turn: a tree of all of them is several times as large as both.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    value: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "@odata.nextLink")]
    next: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "@odata.deltaLink")]
    delta: Option<Cow<'a, str>>,
}

impl<'a> Body<'a> {
    fn read(table: &str, body: &'a [u8]) -> Result<Self, DataverseError> {
        let wrong = |_| protocol_error(Verb::Query, table, "the answer is no JSON object with rows");
        serde_json::from_slice(body).map_err(wrong)
    }
}

fn object(table: &str, row: &RawValue) -> Result<Map<String, Json>, DataverseError> {
    serde_json::from_str(row.get()).map_err(|_| protocol_error(Verb::Query, table, "a row is no object"))
}

/// The id of an entry about a deleted row; `Some(None)` if it has none.
fn deleted_id(row: &Map<String, Json>) -> Option<Option<Uuid>> {
    let context = row.get("@odata.context").and_then(Json::as_str)?;
    let deleted = context.ends_with("$deletedEntity");
    deleted.then(|| row.get("id").and_then(Json::as_str).and_then(literal::parse_guid))
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    httpdate::parse_http_date(text.trim()).ok().map(Into::into)
}

#[cfg(test)]
mod tests;
