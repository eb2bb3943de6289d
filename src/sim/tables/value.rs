//! One property value with its EDM type: from JSON with annotation, to JSON, its size. Knows no entity.

use super::answer::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value as Json;

/// Largest string property, in UTF-16 code units (64 KiB), and largest binary one, in bytes.
const STRING_UNITS_MAX: usize = 32 * 1024;
const BINARY_BYTES_MAX: usize = 64 * 1024;

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `Edm.String`.
    String(String),
    /// `Edm.Int32`.
    Int32(i32),
    /// `Edm.Int64`, a string in JSON.
    Int64(i64),
    /// `Edm.Double`; may be `NaN` or infinite (then a string in JSON).
    Double(f64),
    /// `Edm.Boolean`.
    Bool(bool),
    /// `Edm.DateTime`.
    DateTime(DateTime<Utc>),
    /// `Edm.Guid`.
    Guid(uuid::Uuid),
    /// `Edm.Binary`, base64 in JSON.
    Binary(Vec<u8>),
}

impl Value {
    /// Reads a property. `None` = null, which is not stored.
    ///
    /// # Errors
    /// 400 when the value is not of the announced type, is no scalar, or is too large.
    pub fn parse(name: &str, json: &Json, edm: Option<&str>) -> Result<Option<Self>, Refusal> {
        let wrong = || Refusal::input(format!("property {name} is not of type {}", edm.unwrap_or("inferred")));
        let value = match (json, edm) {
            (Json::Null, _) => return Ok(None),
            (Json::String(s), None | Some("Edm.String")) => Self::String(s.clone()),
            (Json::Bool(b), None | Some("Edm.Boolean")) => Self::Bool(*b),
            (Json::Number(n), None) => Self::number(n).ok_or_else(wrong)?,
            (Json::Number(n), Some("Edm.Int32")) => Self::Int32(n.to_string().parse().map_err(|_| wrong())?),
            (Json::Number(n), Some("Edm.Double")) => Self::Double(n.as_f64().ok_or_else(wrong)?),
            (Json::String(s), Some("Edm.Double")) => Self::Double(s.parse().map_err(|_| wrong())?),
            (Json::String(s), Some("Edm.Int64")) => Self::Int64(s.parse().map_err(|_| wrong())?),
            (Json::String(s), Some("Edm.Guid")) => Self::Guid(s.parse().map_err(|_| wrong())?),
            (Json::String(s), Some("Edm.Binary")) => Self::Binary(STANDARD.decode(s).map_err(|_| wrong())?),
            (Json::String(s), Some("Edm.DateTime")) => Self::DateTime(parse_time(s).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        value.check_size(name)?;
        Ok(Some(value))
    }

    /// A number without annotation: `Int32` if it is whole, else `Double`. A whole number outside 32 bits is
    /// refused: the service would not keep it as it was meant.
    fn number(number: &serde_json::Number) -> Option<Self> {
        let text = number.to_string();
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return text.parse().ok().map(Self::Int32);
        }
        number.as_f64().filter(|f| f.is_finite()).map(Self::Double)
    }

    fn check_size(&self, name: &str) -> Result<(), Refusal> {
        let fits = match self {
            Self::String(s) => s.encode_utf16().count() <= STRING_UNITS_MAX,
            Self::Binary(b) => b.len() <= BINARY_BYTES_MAX,
            _ => true,
        };
        if fits {
            return Ok(());
        }
        let message = format!("The property value of {name} exceeds the maximum allowed size (64KB).");
        Err(Refusal::bad("PropertyValueTooLarge", message))
    }

    /// The value as JSON, and the type to annotate it with where JSON alone does not show it.
    #[must_use]
    pub fn to_json(&self) -> (Json, Option<&'static str>) {
        match self {
            Self::String(s) => (Json::from(s.as_str()), None),
            Self::Int32(n) => (Json::from(*n), None),
            Self::Bool(b) => (Json::from(*b), None),
            Self::Double(f) if f.is_finite() => (Json::from(*f), None),
            Self::Double(f) => {
                let text = if f.is_nan() {
                    "NaN"
                } else if *f > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                (Json::from(text), Some("Edm.Double"))
            }
            Self::Int64(n) => (Json::from(n.to_string()), Some("Edm.Int64")),
            Self::DateTime(t) => (Json::from(time_text(*t)), Some("Edm.DateTime")),
            Self::Guid(g) => (Json::from(g.to_string()), Some("Edm.Guid")),
            Self::Binary(b) => (Json::from(STANDARD.encode(b)), Some("Edm.Binary")),
        }
    }

    /// Bytes it counts towards the entity's size, by the service's formula.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::String(s) => s.encode_utf16().count() * 2 + 4,
            Self::Binary(b) => b.len() + 4,
            Self::Int32(_) => 4,
            Self::Bool(_) => 1,
            Self::Int64(_) | Self::Double(_) | Self::DateTime(_) => 8,
            Self::Guid(_) => 16,
        }
    }
}

/// A time as the service reads it (RFC 3339; 100 ns resolution, the rest is cut).
#[must_use]
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    let excess = u64::from(time.timestamp_subsec_nanos() % 100);
    time.checked_sub_signed(chrono::TimeDelta::nanoseconds(i64::try_from(excess).ok()?))
}

/// A time as the service writes it: seven fraction digits, none if they are all zero.
#[must_use]
pub fn time_text(time: DateTime<Utc>) -> String {
    if time.timestamp_subsec_nanos() == 0 {
        return time.to_rfc3339_opts(SecondsFormat::Secs, true);
    }
    time_text_full(time)
}

/// A time with seven fraction digits in any case, as in `Timestamp` and ETags.
#[must_use]
pub fn time_text_full(time: DateTime<Utc>) -> String {
    let ticks = time.timestamp_subsec_nanos() / 100;
    format!("{}.{ticks:07}Z", time.format("%Y-%m-%dT%H:%M:%S"))
}
