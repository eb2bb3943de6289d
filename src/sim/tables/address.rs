//! Where a request goes: account, table, keys, and the query string. Knows no entity.

use super::answer::Refusal;
use super::entity::Key;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// What a path names, after the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/Tables`.
    Tables,
    /// `/Tables('name')`.
    OneTable(String),
    /// `/name` or `/name()`.
    Entities(String),
    /// `/name(PartitionKey='..',RowKey='..')`.
    Entity(String, Key),
    /// `/$batch`.
    Batch,
}

/// Reads the raw path of a request to this account.
///
/// # Errors
/// 400 when it names nothing the service knows, 403 for another account.
pub fn parse(path: &str, account: &str) -> Result<Resource, Refusal> {
    let path = decode(path)?;
    let rest = path.strip_prefix('/').unwrap_or(&path);
    let (given, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if given != account {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "AuthenticationFailed", "The account does not exist."));
    }
    let Some((name, keys)) = rest.split_once('(') else {
        return Ok(match rest {
            "Tables" => Resource::Tables,
            "$batch" => Resource::Batch,
            name => Resource::Entities(table_name(name)?),
        });
    };
    let keys = keys.strip_suffix(')').ok_or_else(|| uri("')' expected"))?;
    if name == "Tables" {
        let (table, rest) = quoted(keys)?;
        return if rest.is_empty() { Ok(Resource::OneTable(table)) } else { Err(uri("')' expected")) };
    }
    let table = table_name(name)?;
    if keys.is_empty() {
        return Ok(Resource::Entities(table));
    }
    let rest = keys.strip_prefix("PartitionKey=").ok_or_else(|| uri("PartitionKey= expected"))?;
    let (partition, rest) = quoted(rest)?;
    let rest = rest.strip_prefix(",RowKey=").ok_or_else(|| uri(",RowKey= expected"))?;
    let (row, rest) = quoted(rest)?;
    if !rest.is_empty() {
        return Err(uri("')' expected"));
    }
    Ok(Resource::Entity(table, Key { partition, row }))
}

fn uri(what: &str) -> Refusal {
    Refusal::bad("InvalidUri", format!("the address cannot be read: {what}"))
}

fn decode(text: &str) -> Result<String, Refusal> {
    percent_decode_str(text).decode_utf8().map(|t| t.into_owned()).map_err(|_| uri("not UTF-8"))
}

/// A quoted text with doubled quotes inside, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), Refusal> {
    let mut rest = text.strip_prefix('\'').ok_or_else(|| uri("quote expected"))?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'').ok_or_else(|| uri("quote not closed"))?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}

/// Checks a table's name: 3-63 letters and digits, a letter first, not `tables`.
///
/// # Errors
/// 400 `InvalidResourceName` or `OutOfRangeInput`.
pub fn table_name(name: &str) -> Result<String, Refusal> {
    if !(3..=63).contains(&name.len()) {
        let message = "The specified resource name length is not within the permissible limits.";
        return Err(Refusal::bad("OutOfRangeInput", message));
    }
    let letter_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letter_first || !name.bytes().all(|b| b.is_ascii_alphanumeric()) || name.eq_ignore_ascii_case("tables") {
        let message = "The specified resource name contains invalid characters.";
        return Err(Refusal::bad("InvalidResourceName", message));
    }
    Ok(name.to_owned())
}

/// The query string, decoded; `+` is a space.
///
/// # Errors
/// 400 when it is not UTF-8 or names something twice.
pub fn query(text: Option<&str>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut all = BTreeMap::new();
    for pair in text.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(&value.replace('+', " "))?;
        if all.insert(decode(name)?, value).is_some() {
            return Err(Refusal::bad("InvalidQueryParameterValue", "a query parameter is given twice"));
        }
    }
    Ok(all)
}

/// The kinds of requests, as they are counted and chosen for faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `POST /Tables`.
    CreateTable,
    /// `DELETE /Tables('name')`.
    DeleteTable,
    /// `GET /Tables`.
    ListTables,
    /// `POST /name`.
    Insert,
    /// `GET` by both keys.
    Get,
    /// `GET` with a filter.
    Query,
    /// `PATCH` or `MERGE`.
    Merge,
    /// `PUT`.
    Replace,
    /// `DELETE` of an entity.
    Delete,
    /// `POST /$batch`: one entity group transaction, one round trip.
    Batch,
    /// Whatever the service does not know.
    Other,
}

impl Operation {
    /// What a method on a resource means; `POST` with `X-HTTP-Method: MERGE` is a merge.
    #[must_use]
    pub fn of(method: &Method, resource: &Resource, tunnelled: Option<&str>) -> Self {
        let method = match (method.as_str(), tunnelled) {
            ("POST", Some(inner)) => inner,
            (outer, _) => outer,
        };
        match (method, resource) {
            ("POST", Resource::Tables) => Self::CreateTable,
            ("GET", Resource::Tables) => Self::ListTables,
            ("DELETE", Resource::OneTable(_)) => Self::DeleteTable,
            ("POST", Resource::Entities(_)) => Self::Insert,
            ("GET", Resource::Entities(_)) => Self::Query,
            ("GET", Resource::Entity(..)) => Self::Get,
            ("PATCH" | "MERGE", Resource::Entity(..)) => Self::Merge,
            ("PUT", Resource::Entity(..)) => Self::Replace,
            ("DELETE", Resource::Entity(..)) => Self::Delete,
            ("POST", Resource::Batch) => Self::Batch,
            _ => Self::Other,
        }
    }
}
