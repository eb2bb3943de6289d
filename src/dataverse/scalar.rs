//! One value for a column that is no lookup, as JSON (facts 5.4). Pure; converts only where nothing is lost.

use super::literal;
use crate::domain::schema::{ColumnKind, DateBehavior};
use crate::domain::value::{Number, Value};
use serde_json::Value as Json;

/// Most choices in one multi-select column (multi-select-picklist).
pub const CHOICES_MAX: usize = 150;

/// A value for a column that is no lookup, or `None` if it does not fit without loss.
#[must_use]
pub fn encode(kind: ColumnKind, value: &Value) -> Option<Json> {
    if *value == Value::Null {
        return Some(Json::Null);
    }
    match kind {
        ColumnKind::Boolean => match value {
            Value::Bool(flag) => Some(Json::Bool(*flag)),
            _ => None,
        },
        ColumnKind::Text => match value {
            Value::Text(text) => Some(Json::from(text.as_str())),
            _ => None,
        },
        ColumnKind::Guid => match value {
            Value::Text(text) => literal::parse_guid(text).map(|id| Json::from(id.to_string())),
            _ => None,
        },
        ColumnKind::Integer | ColumnKind::Choice | ColumnKind::State | ColumnKind::Status => {
            whole(value).and_then(|whole| i32::try_from(whole).ok()).map(Json::from)
        }
        ColumnKind::BigInt => whole(value).map(Json::from),
        ColumnKind::Decimal | ColumnKind::Money => json_number(&literal::plain(&number(value)?)?),
        ColumnKind::Double => json_number(number(value)?.as_str()),
        ColumnKind::DateTime(behavior) => {
            let at = match value {
                Value::DateTime(at) => *at,
                Value::Text(text) => literal::parse_instant(text)?,
                _ => return None,
            };
            Some(Json::from(match behavior {
                DateBehavior::DateOnly => literal::date(at),
                DateBehavior::UserLocal | DateBehavior::TimeZoneIndependent => literal::instant(at),
            }))
        }
        ColumnKind::Choices => choices(value),
        ColumnKind::Lookup | ColumnKind::Owner | ColumnKind::PartyList | ColumnKind::Unsupported => None,
    }
}

/// "1,9"; no choices at all is null.
fn choices(value: &Value) -> Option<Json> {
    let list = match value {
        Value::Choices(list) => list.clone(),
        Value::Text(text) if text.is_empty() => return None,
        Value::Text(text) => text.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<i64>>>()?,
        _ => vec![whole(value)?],
    };
    if list.len() > CHOICES_MAX {
        return None;
    }
    let texts: Option<Vec<String>> = list.iter().map(|n| i32::try_from(*n).ok().map(|n| n.to_string())).collect();
    let texts = texts?;
    Some(if texts.is_empty() { Json::Null } else { Json::from(texts.join(",")) })
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::Choice(choice) => Some(Number::from(*choice)),
        Value::Text(text) => Number::parse(text).ok(),
        Value::Null
        | Value::Bool(_)
        | Value::DateTime(_)
        | Value::Choices(_)
        | Value::Lookup(_)
        | Value::Parties(_) => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    number(value)?.to_i64()
}

fn json_number(text: &str) -> Option<Json> {
    text.parse::<serde_json::Number>().ok().map(Json::Number)
}

/// The kind of a value, for messages.
#[must_use]
pub fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a two-options value",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::DateTime(_) => "a date",
        Value::Choice(_) => "a choice",
        Value::Choices(_) => "choices",
        Value::Lookup(_) => "a lookup",
        Value::Parties(_) => "parties",
    }
}
