//! One attribute value of a Dataverse context, in every form of DataContractJsonSerializer (facts 3.2). Knows no messages.

use super::entity;
use crate::domain::decode::error::{Fault, Problem};
use crate::domain::decode::json::{self, Json, Part, given, kind, required};
use crate::domain::decode::limits::DecodeLimits;
use crate::domain::value::{Columns, Value};
use chrono::{DateTime, Datelike, Utc};

/// The type in `__type`, without its namespace.
pub(super) fn type_of(json: &Json) -> Option<&str> {
    json.get("__type")?.as_str().map(|full| full.split(':').next().unwrap_or(full))
}

/// The value of one attribute.
///
/// # Errors
/// A form that we don't know, or a broken one.
pub(super) fn value<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Value> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::Bool(flag) => Ok(Value::Bool(*flag)),
        Json::Number(_) => json::number(json, "the value").map(Value::Number),
        Json::String(text) => text_or_time(json, text, limits),
        Json::Array(items) => list(json, items, limits),
        Json::Object(_) => typed(json, limits),
    }
}

fn typed<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Value> {
    let Some(name) = type_of(json) else {
        return Err(Fault::bad(json, "an object without `__type`"));
    };
    match name {
        "OptionSetValue" => choice(json).map(Value::Choice),
        "Money" => json::number(required(json, "Value")?, "`Value`").map(Value::Number),
        "EntityReference" => entity::reference(json, limits).map(Value::Lookup),
        "EntityCollection" => {
            let entities = required(json, "Entities")?;
            match entities.as_array() {
                Some(items) => parties(entities, items, limits).map(Value::Parties),
                None => Err(Fault::bad(entities, format!("`Entities` must be an array, not {}", kind(entities)))),
            }
        }
        "Guid" | "String" | "DateTime" | "Int32" | "Int64" | "Double" | "Decimal" | "Boolean" => {
            wrapped(json, name, limits)
        }
        _ => Err(Fault::bad(json, "a value of a type that is not known")),
    }
}

/// `{"__type":"Guid:#System","__value":...}`, for plain .NET types.
fn wrapped<'v>(json: &'v Json, name: &str, limits: &DecodeLimits) -> Part<'v, Value> {
    let Some(inner) = given(json, "__value") else {
        return Ok(Value::Null);
    };
    let decoded = match inner {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value(inner, limits)?,
        other => return Err(Fault::bad(inner, format!("`__value` must be a plain value, not {}", kind(other)))),
    };
    let fits = match name {
        "Guid" | "String" => matches!(decoded, Value::Text(_)),
        "DateTime" => matches!(decoded, Value::DateTime(_)),
        "Boolean" => matches!(decoded, Value::Bool(_)),
        _ => matches!(decoded, Value::Number(_)),
    };
    if fits { Ok(decoded) } else { Err(Fault::bad(inner, format!("`__value` is no {name}"))) }
}

/// The number of an option.
pub(super) fn choice(json: &Json) -> Part<'_, i64> {
    json::whole(required(json, "Value")?, "`Value`")
}

/// A bare array: choices or parties, by the type of its first item. An empty one does not say which; both mean cleared.
fn list<'v>(json: &'v Json, items: &'v [Json], limits: &DecodeLimits) -> Part<'v, Value> {
    let Some(first) = items.first() else {
        return Ok(Value::Null);
    };
    match type_of(first) {
        Some("OptionSetValue") => {
            check_count(json, items.len(), "options in one value", limits.choices_max)?;
            let number = |item: &'v Json| match type_of(item) {
                Some("OptionSetValue") => choice(item),
                _ => Err(Fault::bad(item, "choices mixed with something else")),
            };
            items.iter().map(number).collect::<Part<'v, Vec<i64>>>().map(Value::Choices)
        }
        Some("Entity") => parties(json, items, limits).map(Value::Parties),
        _ => Err(Fault::bad(first, "an array of neither choices nor parties")),
    }
}

fn parties<'v>(json: &'v Json, items: &'v [Json], limits: &DecodeLimits) -> Part<'v, Vec<Columns>> {
    check_count(json, items.len(), "parties in one value", limits.parties_max)?;
    items.iter().map(|item| entity::attributes(item, limits)).collect()
}

/// An error if there are more than allowed.
pub(super) fn check_count<'v>(at: &'v Json, count: usize, what: &'static str, count_max: usize) -> Part<'v, ()> {
    if count > count_max { Err(Fault::new(at, Problem::TooMany { what, count_max })) } else { Ok(()) }
}

fn text_or_time<'v>(json: &'v Json, text: &str, limits: &DecodeLimits) -> Part<'v, Value> {
    if let Some(date) = NetDate::parse(text)
        && let Some(at) = date.utc()
    {
        return Ok(Value::DateTime(at));
    }
    if text.len() > limits.text_bytes_max {
        return Err(Fault::new(json, Problem::TooLarge { what: "a text", bytes_max: limits.text_bytes_max }));
    }
    Ok(Value::Text(text.to_owned()))
}

/// `/Date(ms)/` or `/Date(ms+hhmm)/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetDate {
    ms: i64,
    offset_minutes: i64,
}

impl NetDate {
    /// Reads exactly that form; anything else is a text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
        let (sign, digits) = inner.strip_prefix('-').map_or((1, inner), |rest| (-1, rest));
        let (ms, offset) = match digits.find(['+', '-']) {
            Some(at) => digits.split_at_checked(at)?,
            None => (digits, "+0000"),
        };
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (direction, hhmm) = match offset.strip_prefix('-') {
            Some(hhmm) => (-1, hhmm),
            None => (1, offset.strip_prefix('+')?),
        };
        if !all_digits(ms) || !all_digits(hhmm) || hhmm.len() != 4 {
            return None;
        }
        let (hours, minutes) = hhmm.split_at_checked(2)?;
        let offset_minutes = direction * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?);
        Some(Self { ms: sign * ms.parse::<i64>().ok()?, offset_minutes })
    }

    /// The instant of an attribute: the milliseconds are UTC, the offset is display (MS-JSON). `None` outside of the years
    /// 1 to 9999, which no .NET date leaves.
    pub(super) fn utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.ms).filter(|at| (1..=9999).contains(&at.year()))
    }

    /// The instant of `OperationCreatedOn`, in microseconds: there the milliseconds are local, and UTC is their sum with
    /// the offset (facts 3.3, all three captures with an offset).
    pub(super) fn operation_micros(self) -> Option<i64> {
        self.utc()?;
        self.ms.checked_add(self.offset_minutes.checked_mul(60_000)?)?.checked_mul(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::{KeyPart, Number, Reference, RowRef};
    use uuid::uuid;

    fn check(text: &str) -> Result<Value, Problem> {
        let json: Json = serde_json::from_str(text).unwrap();
        value(&json, &DecodeLimits { parties_max: 2, choices_max: 2, text_bytes_max: 8, ..DecodeLimits::default() })
            .map_err(|fault| fault.problem)
    }

    fn number(text: &str) -> Value {
        Value::Number(Number::parse(text).unwrap())
    }

    fn exact(text: &str) -> String {
        match check(text).unwrap() {
            Value::Number(number) => number.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_values() {
        for (text, expected) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("123", number("123")),
            (r#""A-1""#, Value::Text("A-1".to_owned())),
            (r#""""#, Value::Text(String::new())),
            ("[]", Value::Null),
        ] {
            assert_eq!(check(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        for text in ["10.01", "1.0000000000", "12345678901234567890.1234567890", "2365.12", "-0.00"] {
            assert_eq!(exact(text), text);
            assert_eq!(exact(&format!(r#"{{"__type":"Money:http:\/\/x","Value":{text}}}"#)), text);
        }
    }

    #[test]
    fn dates_are_utc_and_other_texts_are_texts() {
        let at = |text: &str| Value::DateTime(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
        for (text, expected) in [
            (r#""\/Date(1608015600000)\/""#, at("2020-12-15T07:00:00Z")),
            (r#""/Date(1608015600000+0300)/""#, at("2020-12-15T07:00:00Z")),
            (r#""\/Date(-62135596800000)\/""#, at("0001-01-01T00:00:00Z")),
            (r#""\/Date(-1)\/""#, at("1969-12-31T23:59:59.999Z")),
        ] {
            assert_eq!(check(text), Ok(expected), "{text}");
        }
        let limits = DecodeLimits::default();
        for text in
            ["/Date()/", "/Date(1+03)/", "/Date(x)/", " /Date(1)/", "/Date(9999999999999999)/", "/Date(1+a000)/"]
        {
            assert_eq!(value(&Json::from(text), &limits).unwrap(), Value::Text(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn operation_created_on_is_milliseconds_plus_offset() {
        for (text, ms) in [
            ("/Date(1506409448000-0700)/", 1_506_384_248_000),
            ("/Date(1724647396000+0300)/", 1_724_658_196_000),
            ("/Date(1731053106922)/", 1_731_053_106_922),
            ("/Date(1608007658000+0000)/", 1_608_007_658_000),
        ] {
            assert_eq!(NetDate::parse(text).and_then(NetDate::operation_micros), Some(ms * 1_000_i64), "{text}");
        }
    }

    #[test]
    fn typed_values() {
        let id = uuid!("44bfc2a7-903e-eb11-a813-000d3ad9c2e1");
        let lookup = |row, name: Option<&str>| {
            Value::Lookup(Reference { table: "account".to_owned(), row, name: name.map(str::to_owned) })
        };
        let key = RowRef::Key([("accountnumber".to_owned(), KeyPart::Text("A-1".to_owned()))].into());
        for (text, expected) in [
            (r#"{"__type":"OptionSetValue:http:\/\/x","Value":3}"#, Value::Choice(3)),
            (
                r#"[{"__type":"OptionSetValue:x","Value":9},{"__type":"OptionSetValue:x","Value":1}]"#,
                Value::Choices(vec![9, 1]),
            ),
            (
                r#"{"__type":"EntityReference:x","Id":"{44BFC2A7-903E-EB11-A813-000D3AD9C2E1}","LogicalName":"Account","Name":"N"}"#,
                lookup(RowRef::Id(id), Some("N")),
            ),
            (
                r#"{"__type":"EntityReference:x","Id":"00000000-0000-0000-0000-000000000000","LogicalName":"account","KeyAttributes":[{"key":"accountnumber","value":"A-1"}]}"#,
                lookup(key, None),
            ),
            (
                r#"{"__type":"EntityCollection:x","Entities":[{"Attributes":[{"key":"addressused","value":"a@b"}]}]}"#,
                Value::Parties(vec![[("addressused".to_owned(), Value::Text("a@b".to_owned()))].into()]),
            ),
            (
                r#"[{"__type":"Entity:x","Attributes":[{"key":"addressused","value":null}]}]"#,
                Value::Parties(vec![[("addressused".to_owned(), Value::Null)].into()]),
            ),
            (r#"{"__type":"EntityCollection:x","Entities":[]}"#, Value::Parties(vec![])),
            (r#"{"__type":"Int32:#System","__value":3}"#, number("3")),
            (r#"{"__type":"DateTime:#System","__value":"\/Date(0)\/"}"#, Value::DateTime(DateTime::UNIX_EPOCH)),
            (r#"{"__type":"String:#System","__value":"a"}"#, Value::Text("a".to_owned())),
        ] {
            assert_eq!(check(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            r#"{"Value":3}"#,
            r#"{"__type":"Surprise:x","Value":3}"#,
            r#"{"__type":"OptionSetValue:x","Value":"3"}"#,
            r#"{"__type":"OptionSetValue:x","Value":3.5}"#,
            r#"{"__type":"OptionSetValue:x"}"#,
            r#"{"__type":"Money:x","Value":null}"#,
            r#"{"__type":"EntityReference:x","Id":"00000000-0000-0000-0000-000000000000","LogicalName":"account","KeyAttributes":[]}"#,
            r#"{"__type":"EntityReference:x","Id":"nonsense","LogicalName":"account"}"#,
            r#"{"__type":"EntityReference:x","Id":"44bfc2a7-903e-eb11-a813-000d3ad9c2e1"}"#,
            r#"{"__type":"EntityCollection:x","Entities":{}}"#,
            r#"{"__type":"Int32:#System","__value":"3"}"#,
            r#"{"__type":"DateTime:#System","__value":"today"}"#,
            "[1,2]",
            r#"[{"__type":"OptionSetValue:x","Value":1},5]"#,
            r#"[{"__type":"Entity:x","Attributes":[{"key":"a b","value":1}]}]"#,
            r#"[{"__type":"Entity:x","Attributes":[{"key":"a","value":1},{"key":"A","value":1}]}]"#,
        ] {
            assert!(matches!(check(text), Err(Problem::BadValue(_))), "{text}");
        }
    }

    #[test]
    fn more_than_allowed_is_refused_with_the_limit() {
        let option = r#"{"__type":"OptionSetValue:x","Value":1}"#;
        let party = r#"{"__type":"Entity:x","Attributes":[]}"#;
        for (text, expected) in [
            (format!("[{option},{option},{option}]"), Problem::TooMany { what: "options in one value", count_max: 2 }),
            (format!("[{party},{party},{party}]"), Problem::TooMany { what: "parties in one value", count_max: 2 }),
            (r#""123456789""#.to_owned(), Problem::TooLarge { what: "a text", bytes_max: 8 }),
        ] {
            assert_eq!(check(&text), Err(expected), "{text}");
        }
    }
}
