//! What a refusal means: by its code first, then its words, the status last (P4, facts section 6). Pure and total.

use super::codes::{self, Meaning};
use super::error::{DataverseError, DuplicateAttributes, Failure, Kind, MissingBy, UniqueKey, Verb};
use super::message;
use super::url::Address;
use super::write::Precondition;
use chrono::{DateTime, Utc};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;
use std::time::Duration;

/// Longest pause taken over from an answer: what asks for more is treated as asking for that.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What was asked, as far as it decides what a refusal means.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What for.
    pub verb: Verb,
    /// The table's logical name.
    pub table: &'a str,
    /// The row addressed, if one was.
    pub address: Option<&'a Address>,
    /// The condition on it.
    pub precondition: &'a Precondition,
    /// Whether the body binds lookups.
    pub binds: bool,
}

/// The readable part of an error answer.
struct Refusal {
    code: Option<u32>,
    message: String,
    attributes: DuplicateAttributes,
}

/// Judges an answer that is no success.
#[must_use]
pub fn classify(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> DataverseError {
    let refusal = read(body);
    let known = refusal.as_ref().and_then(|refusal| refusal.code).and_then(codes::find);
    let words = || refusal.as_ref().and_then(|refusal| message::meaning(&refusal.message));
    let kind = if status == StatusCode::TOO_MANY_REQUESTS {
        Kind::Throttled
    } else if asked.verb == Verb::Metadata && status == StatusCode::NOT_FOUND && refusal.is_some() {
        Kind::RowMissing
    } else {
        match (known.map(|known| known.meaning).or_else(words), &refusal) {
            (Some(meaning), Some(refusal)) => by_meaning(asked, meaning, refusal),
            (_, refusal) => by_status(asked, status, refusal.as_ref()),
        }
    };
    let (code, message) = refusal.map(|refusal| (refusal.code, refusal.message)).unwrap_or_default();
    Failure {
        kind,
        verb: asked.verb,
        table: asked.table.to_owned(),
        status: Some(status.as_u16()),
        code,
        code_name: known.map(|known| known.name),
        message,
        retry_after: retry_after(headers, now),
    }
    .into()
}

/// `{"error":{"code","message","@...ErrorDetails.DuplicateAttributes"}}`; `None` if the body is no such thing.
fn read(body: &[u8]) -> Option<Refusal> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let error = json.get("error")?.as_object()?;
    let text = |name: &str| error.get(name).and_then(Json::as_str).unwrap_or_default();
    let attributes = error
        .iter()
        .find(|(name, _)| name.ends_with("ErrorDetails.DuplicateAttributes"))
        .and_then(|(_, value)| value.as_str())
        .map(message::duplicate_attributes)
        .unwrap_or_default();
    Some(Refusal { code: codes::parse(text("code")), message: text("message").to_owned(), attributes })
}

fn by_meaning(asked: Asked<'_>, meaning: Meaning, refusal: &Refusal) -> Kind {
    match meaning {
        Meaning::DuplicatePrimary => duplicate(asked, UniqueKey::Primary, refusal),
        Meaning::DuplicateAlternate => duplicate(asked, UniqueKey::Alternate, refusal),
        Meaning::DuplicateIndex => duplicate(asked, UniqueKey::UniqueIndex, refusal),
        Meaning::VersionMismatch => match asked.precondition {
            Precondition::Absent => Kind::AlreadyExists,
            Precondition::None | Precondition::Exists | Precondition::Etag(_) => Kind::VersionMismatch,
        },
        Meaning::Missing => missing_by_id(asked, refusal),
        Meaning::MissingByKey => missing_by_key(asked, refusal),
        Meaning::NamesWrong => Kind::NamesWrong,
        Meaning::Throttled => Kind::Throttled,
        Meaning::Transient => Kind::Transient,
        Meaning::SlowTransient => Kind::SlowTransient,
        Meaning::Once => Kind::Once,
        Meaning::PluginRefused => Kind::PluginRefused,
        Meaning::StatePair => Kind::StatePair,
        Meaning::ReadOnlyRow => Kind::ReadOnlyRow,
        Meaning::DeleteRestricted => Kind::DeleteRestricted,
        Meaning::RequiredMissing => Kind::RequiredMissing,
        Meaning::OwnerInvalid => Kind::OwnerInvalid,
        Meaning::Invalid => Kind::Invalid,
        Meaning::Misconfigured => Kind::Misconfigured,
        Meaning::Privilege => Kind::Privilege,
        Meaning::Unauthorized => Kind::Unauthorized,
        Meaning::Disabled => Kind::Disabled,
    }
}

/// With `If-None-Match: *` a taken key is the wanted "already there", but only if it is the key that was addressed:
/// another unique key of another row is a real conflict.
fn duplicate(asked: Asked<'_>, which: UniqueKey, refusal: &Refusal) -> Kind {
    let addressed = match (asked.address, which) {
        (Some(Address::Id(_)), UniqueKey::Primary) => true,
        // old servers say "matching key values already exists" without a code for both kinds of keys
        (Some(Address::Id(_)), UniqueKey::Alternate) => refusal.code.is_none() && refusal.attributes.0.is_empty(),
        (Some(Address::Key(parts)), UniqueKey::Primary | UniqueKey::Alternate) => {
            let named = &refusal.attributes.0;
            named.is_empty()
                || named.len() == parts.len() && named.iter().all(|(column, _)| parts.contains_key(column.as_str()))
        }
        (_, UniqueKey::UniqueIndex) | (Some(Address::New) | None, _) => false,
    };
    if addressed && *asked.precondition == Precondition::Absent {
        return Kind::AlreadyExists;
    }
    Kind::DuplicateKey { which, attributes: refusal.attributes.clone() }
}

/// Whether the request needs the row it addresses. An upsert creates it instead.
fn needs_row(asked: Asked<'_>) -> bool {
    match asked.verb {
        Verb::Read | Verb::Delete | Verb::Link | Verb::Unlink => true,
        Verb::Write => matches!(asked.precondition, Precondition::Exists | Precondition::Etag(_)),
        Verb::Query | Verb::Create | Verb::Metadata | Verb::WhoAmI => false,
    }
}

fn missing_by_id(asked: Asked<'_>, refusal: &Refusal) -> Kind {
    let (table, id) = message::missing_row(&refusal.message);
    let own = match (asked.address, id) {
        (Some(Address::Id(own)), Some(id)) => *own == id,
        // a row addressed by key is never missing "by id"
        (Some(Address::Key(_)), Some(_)) => false,
        (_, _) => !refers(asked) || table.as_deref().is_none_or(|table| table == asked.table),
    };
    if needs_row(asked) && own {
        return Kind::RowMissing;
    }
    Kind::ParentMissing { by: MissingBy::Id, table, id }
}

fn missing_by_key(asked: Asked<'_>, refusal: &Refusal) -> Kind {
    let table = message::missing_key_table(&refusal.message);
    let own = matches!(asked.address, Some(Address::Key(_)))
        && (!refers(asked) || table.as_deref().is_none_or(|table| table == asked.table));
    if needs_row(asked) && own {
        return Kind::RowMissing;
    }
    Kind::ParentMissing { by: MissingBy::Key, table, id: None }
}

/// Whether the request refers to rows besides the one it addresses.
fn refers(asked: Asked<'_>) -> bool {
    asked.binds || asked.verb == Verb::Link
}

/// The last resort: no code and no words that are known.
///
/// A gateway's 502 or 504 says nothing about what happened behind it, so a change that got one may still land; the same
/// goes for a 500 that Dataverse did not write.
fn by_status(asked: Asked<'_>, status: StatusCode, refusal: Option<&Refusal>) -> Kind {
    let lost = if asked.verb.changes() { Kind::Unknown } else { Kind::Transient };
    match (status.as_u16(), refusal) {
        (401, _) => Kind::Unauthorized,
        (403, _) => Kind::Privilege,
        (404, None) => Kind::Protocol,
        (404, Some(_)) if needs_row(asked) && !refers(asked) => Kind::RowMissing,
        (404, Some(_)) => Kind::NamesWrong,
        (405, _) if asked.verb == Verb::Delete => Kind::DeleteRestricted,
        (408, _) | (502, _) | (504, _) | (500..=599, None) if status != StatusCode::SERVICE_UNAVAILABLE => lost,
        (409 | 503, _) => Kind::Transient,
        (412, _) => match asked.precondition {
            Precondition::Absent => Kind::AlreadyExists,
            Precondition::Etag(_) => Kind::VersionMismatch,
            Precondition::Exists | Precondition::None => Kind::Invalid,
        },
        (501, Some(_)) | (400..=499, _) => Kind::Invalid,
        (500..=599, Some(_)) => Kind::Once,
        _ => Kind::Protocol,
    }
}

/// The pause that an answer asks for: seconds, or an HTTP date compared with the answer's own `Date` if it has one.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX);
        return (seconds >= 0.0).then(|| pause.min(RETRY_AFTER_MAX));
    }
    let read = |text: &str| httpdate::parse_http_date(text).ok().map(DateTime::<Utc>::from);
    let reference = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(read).unwrap_or(now);
    let pause = read(text)?.signed_duration_since(reference).to_std().unwrap_or(Duration::ZERO);
    Some(pause.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
