//! The host's JSON invocation envelope, `{"Data": {...}, "Metadata": {...}}`, and the ways in which it wraps values.
//!
//! The host writes text, numbers, arrays and null as a *string containing JSON*; bytes as base64; objects as objects
//! (facts, 3.2). Keys are case-sensitive. `Metadata` may be overridden by the body of a message, so nothing here
//! decides about security or retries, and a malformed value there counts as absent: it must not fail an event.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

/// One invocation as the host sends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// One value per input binding, the trigger's first.
    pub data: Map<String, Value>,
    /// What the trigger tells about it.
    pub metadata: Map<String, Value>,
}

/// The request is no invocation envelope, or a binding's value has a shape that the host does not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body is no JSON.
    #[error("the envelope is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first wrong character, from 1.
        line: usize,
        /// Its column.
        column: usize,
    },
    /// Something is missing or of another kind.
    #[error("{path}: {expected} expected, {found} found")]
    Shape {
        /// Where, e.g. `Data.message`.
        path: String,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
}

impl EnvelopeError {
    pub(super) fn shape(path: impl Into<String>, expected: &'static str, found: Option<&Value>) -> Self {
        Self::Shape { path: path.into(), expected, found: kind(found) }
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a bool",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "text",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    }
}

impl Envelope {
    /// Reads an envelope. `Metadata` may be absent, `Data` may not.
    ///
    /// # Errors
    /// [`EnvelopeError`] with the place.
    pub fn parse(body: &[u8]) -> Result<Self, EnvelopeError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| EnvelopeError::NotJson { line: error.line(), column: error.column() })?;
        let Value::Object(mut top) = value else {
            return Err(EnvelopeError::shape("$", "an object", Some(&value)));
        };
        let data = match top.remove("Data") {
            Some(Value::Object(data)) => data,
            other => return Err(EnvelopeError::shape("Data", "an object", other.as_ref())),
        };
        let metadata = match top.remove("Metadata") {
            Some(Value::Object(metadata)) => metadata,
            None | Some(Value::Null) => Map::new(),
            other => return Err(EnvelopeError::shape("Metadata", "an object", other.as_ref())),
        };
        Ok(Self { data, metadata })
    }

    /// A value of `Metadata`, unwrapped.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<Value> {
        self.metadata.get(name).map(unwrap)
    }
}

/// Takes off the wrapping of one value: a string that contains JSON text, a number, an array, an object, a bool or
/// null becomes that; any other string stays what it is. So both encodings of a text give the text.
#[must_use]
pub fn unwrap(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}

/// The value as text, if it is a scalar: `"a1"` however often it is wrapped, numbers and bools as written.
#[must_use]
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::String(inner)) => Some(inner),
            Ok(Value::Null) => None,
            _ => Some(text.clone()),
        },
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The value as a count: a number, `"1"` or `"\"1\""`.
#[must_use]
pub fn as_count(value: &Value) -> Option<u32> {
    as_text(value)?.trim().parse().ok()
}

/// The value as an instant: RFC 3339, or without zone (the host drops it from UTC times), wrapped or not.
#[must_use]
pub fn as_time(value: &Value) -> Option<DateTime<Utc>> {
    let text = as_text(value)?;
    let text = text.trim();
    let zoned = DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc));
    zoned.ok().or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|at| at.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_the_same_in_every_wrapping() {
        let check = |value: Value, expected: Option<&str>| assert_eq!(as_text(&value).as_deref(), expected, "{value}");
        check(json!("\"a1b2c3\""), Some("a1b2c3"));
        check(json!("a1b2c3"), Some("a1b2c3"));
        check(json!("42"), Some("42"));
        check(json!("\"42\""), Some("42"));
        check(json!(42), Some("42"));
        check(json!("true"), Some("true"));
        check(json!("null"), None);
        check(json!(null), None);
        check(json!(""), Some(""));
        check(json!("\"\""), Some(""));
        check(json!({"a": 1}), None);
        check(json!([1]), None);
    }

    #[test]
    fn counts_are_read_in_every_wrapping() {
        let check = |value: Value, expected: Option<u32>| assert_eq!(as_count(&value), expected, "{value}");
        check(json!("1"), Some(1));
        check(json!("\"1\""), Some(1));
        check(json!(3), Some(3));
        check(json!("-1"), None);
        check(json!("99999999999"), None);
        check(json!("many"), None);
    }

    #[test]
    fn times_are_read_with_and_without_zone() {
        let check = |value: Value, expected: Option<i64>| {
            assert_eq!(as_time(&value).map(|at| at.timestamp_millis()), expected, "{value}");
        };
        check(json!("2026-01-15T10:00:00"), Some(1_768_471_200_000));
        check(json!("2026-01-15T10:00:00+00:00"), Some(1_768_471_200_000));
        check(json!("2026-01-15T12:00:00+02:00"), Some(1_768_471_200_000));
        check(json!("2026-01-15T10:00:00.1234567Z"), Some(1_768_471_200_123));
        check(json!("\"2026-01-15T10:00:00\""), Some(1_768_471_200_000));
        check(json!("yesterday"), None);
        check(json!(5), None);
    }

    #[test]
    fn an_envelope_without_metadata_is_accepted() {
        let check = |text: &str| assert_eq!(Envelope::parse(text.as_bytes()).unwrap().data.len(), 1, "{text}");
        check(r#"{"Data":{"message":""}}"#);
        check(r#"{"Data":{"message":""},"Metadata":null}"#);
        check(r#"{"Data":{"message":""},"Metadata":{"sys":{}},"More":1}"#);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Envelope::parse(text.as_bytes()).unwrap_err().to_string(), expected);
        };
        check("", "the envelope is not JSON (line 1, column 0)");
        check("{\"Data\":", "the envelope is not JSON (line 1, column 8)");
        check("[]", "$: an object expected, an array found");
        check("{}", "Data: an object expected, nothing found");
        check(r#"{"data":{}}"#, "Data: an object expected, nothing found");
        check(r#"{"Data":[1]}"#, "Data: an object expected, an array found");
        check(r#"{"Data":{},"Metadata":"x"}"#, "Metadata: an object expected, text found");
        let deep = format!("{{\"Data\":{}", "[".repeat(100_000));
        assert!(matches!(Envelope::parse(deep.as_bytes()), Err(EnvelopeError::NotJson { .. })));
    }
}
