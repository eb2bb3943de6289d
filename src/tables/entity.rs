//! Entities and their JSON, with the type annotations that make numbers and times come back as they went.
//!
//! Knows no URL and no request. Every property is checked against the service's limits before it is sent.

use crate::tables::error::TablesError;
use crate::tables::keys::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Largest text of one property in UTF-16 units: the service allows 64 KiB and counts two bytes each.
pub const TEXT_CHARS_MAX: usize = 32 << 10;
/// Largest binary property in bytes.
pub const BINARY_BYTES_MAX: usize = 64 << 10;
/// Properties of one entity, keys and timestamp not counted.
pub const PROPERTIES_MAX: usize = 252;
/// Largest entity, names and values together, as the service counts.
pub const ENTITY_BYTES_MAX: usize = 1 << 20;
/// Longest property name in characters.
const NAME_CHARS_MAX: usize = 255;

/// The version of an entity; compared for equality only, sent back as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(String);

impl Etag {
    /// An ETag as the service gave it.
    ///
    /// # Errors
    /// [`TablesError::Decode`] if it cannot be sent back in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, TablesError> {
        let text = text.into();
        let fine = !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| matches!(b, 0x20..=0x7e));
        if fine { Ok(Self(text)) } else { Err(TablesError::decode("an ETag")) }
    }

    /// The text, quotes and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
pub enum EdmValue {
    /// Text, up to [`TEXT_CHARS_MAX`].
    String(String),
    /// 32 bits.
    Int32(i32),
    /// 64 bits; travels as text.
    Int64(i64),
    /// True or false.
    Bool(bool),
    /// A time, stored to 100 ns, from the year 1601 on.
    DateTime(DateTime<Utc>),
    /// A double, the infinities and NaN included.
    Double(f64),
    /// Bytes, up to [`BINARY_BYTES_MAX`].
    Binary(Bytes),
}

/// One row: keys, version and properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Partition key.
    pub partition: Key,
    /// Row key.
    pub row: Key,
    /// The version it was read with; `None` for one made here.
    pub etag: Option<Etag>,
    /// The properties, keys and timestamp not among them.
    pub properties: BTreeMap<String, EdmValue>,
}

impl Entity {
    /// An entity without properties.
    #[must_use]
    pub fn new(partition: Key, row: Key) -> Self {
        Self { partition, row, etag: None, properties: BTreeMap::new() }
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<EdmValue>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// A text property; `None` if absent or of another type.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.properties.get(name)? {
            EdmValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of either size.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.properties.get(name)? {
            EdmValue::Int32(number) => Some(i64::from(*number)),
            EdmValue::Int64(number) => Some(*number),
            _ => None,
        }
    }

    /// A boolean property.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.properties.get(name)? {
            EdmValue::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A time.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        match self.properties.get(name)? {
            EdmValue::DateTime(time) => Some(*time),
            _ => None,
        }
    }

    /// Bytes.
    #[must_use]
    pub fn binary(&self, name: &str) -> Option<&Bytes> {
        match self.properties.get(name)? {
            EdmValue::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The JSON to send.
    ///
    /// # Errors
    /// [`TablesError::Invalid`], naming the property, when the service would refuse it.
    pub(super) fn to_json(&self) -> Result<String, TablesError> {
        self.check()?;
        let mut object = Map::new();
        object.insert("PartitionKey".to_owned(), Value::from(self.partition.as_str()));
        object.insert("RowKey".to_owned(), Value::from(self.row.as_str()));
        for (name, value) in &self.properties {
            let (json, annotation) = write(value);
            if let Some(annotation) = annotation {
                object.insert(format!("{name}@odata.type"), Value::from(annotation));
            }
            object.insert(name.clone(), json);
        }
        Ok(Value::Object(object).to_string())
    }

    fn check(&self) -> Result<(), TablesError> {
        if self.properties.len() > PROPERTIES_MAX {
            return Err(TablesError::invalid(format!("an entity has more than {PROPERTIES_MAX} properties")));
        }
        // as documented: 4 bytes overhead, 2 per character of keys, per property 8, 2 per character of its name and its value
        let mut bytes = 4 + 2 * (utf16(self.partition.as_str()) + utf16(self.row.as_str()));
        for (name, value) in &self.properties {
            if !is_name(name) {
                return Err(TablesError::invalid(format!("{name:?} is no property name")));
            }
            let (size, max) = match value {
                EdmValue::String(text) => (4 + 2 * utf16(text), 4 + 2 * TEXT_CHARS_MAX),
                EdmValue::Binary(data) => (4 + data.len(), 4 + BINARY_BYTES_MAX),
                EdmValue::DateTime(time) if time.timestamp() < TIME_MIN || time.timestamp() > TIME_MAX => {
                    return Err(TablesError::invalid(format!("property {name} is outside the years 1601 to 9999")));
                }
                EdmValue::Int32(_) | EdmValue::Bool(_) => (4, 4),
                EdmValue::Int64(_) | EdmValue::DateTime(_) | EdmValue::Double(_) => (8, 8),
            };
            if size > max {
                return Err(TablesError::invalid(format!("property {name} is {size} bytes, over {max}")));
            }
            bytes += 8 + 2 * utf16(name) + size;
        }
        if bytes > ENTITY_BYTES_MAX {
            return Err(TablesError::invalid(format!("an entity is {bytes} bytes, over {ENTITY_BYTES_MAX}")));
        }
        Ok(())
    }

    /// Reads one entity of an answer with minimal metadata.
    ///
    /// # Errors
    /// [`TablesError::Decode`], naming the property.
    pub(super) fn from_json(json: &Value) -> Result<Self, TablesError> {
        let object = json.as_object().ok_or_else(|| TablesError::decode("an entity"))?;
        let text = |name: &str| {
            object.get(name).and_then(Value::as_str).ok_or_else(|| TablesError::decode(format!("an entity's {name}")))
        };
        let key = |name: &str| Key::new(text(name)?).map_err(|_| TablesError::decode(format!("an entity's {name}")));
        let mut entity = Self::new(key("PartitionKey")?, key("RowKey")?);
        entity.etag = Some(Etag::new(text("odata.etag")?)?);
        for (name, value) in object {
            if matches!(name.as_str(), "PartitionKey" | "RowKey" | "Timestamp") || name.contains("odata.") {
                continue;
            }
            let annotation = object.get(&format!("{name}@odata.type")).and_then(Value::as_str);
            // a selected property that the entity does not have comes as null
            if !value.is_null() {
                let value = read(value, annotation).ok_or_else(|| TablesError::decode(format!("property {name}")))?;
                entity.properties.insert(name.clone(), value);
            }
        }
        Ok(entity)
    }
}

/// The service's times begin in 1601 and end with the year 9999, in Unix seconds.
const TIME_MIN: i64 = -11_644_473_600;
const TIME_MAX: i64 = 253_402_300_799;

fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

fn is_name(name: &str) -> bool {
    let reserved = matches!(name, "PartitionKey" | "RowKey" | "Timestamp");
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && !reserved && name.len() <= NAME_CHARS_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn write(value: &EdmValue) -> (Value, Option<&'static str>) {
    match value {
        EdmValue::String(text) => (Value::from(text.as_str()), None),
        EdmValue::Int32(number) => (Value::from(*number), None),
        EdmValue::Int64(number) => (Value::from(number.to_string()), Some("Edm.Int64")),
        EdmValue::Bool(flag) => (Value::from(*flag), None),
        EdmValue::DateTime(time) => {
            // 100 ns is what the service keeps: seven digits of the nine
            let text: String = time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string().chars().take(27).collect();
            (Value::from(text + "Z"), Some("Edm.DateTime"))
        }
        EdmValue::Double(number) => {
            let json =
                serde_json::Number::from_f64(*number).map_or_else(|| Value::from(not_finite(*number)), Value::Number);
            (json, Some("Edm.Double"))
        }
        EdmValue::Binary(bytes) => (Value::from(BASE64.encode(bytes)), Some("Edm.Binary")),
    }
}

fn not_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn read(value: &Value, annotation: Option<&str>) -> Option<EdmValue> {
    match (annotation, value) {
        (None | Some("Edm.String"), Value::String(text)) => Some(EdmValue::String(text.clone())),
        (None | Some("Edm.Boolean"), Value::Bool(flag)) => Some(EdmValue::Bool(*flag)),
        (None | Some("Edm.Int32"), Value::Number(number)) if number.is_i64() => {
            i32::try_from(number.as_i64()?).ok().map(EdmValue::Int32)
        }
        (None | Some("Edm.Double"), Value::Number(number)) => number.as_f64().map(EdmValue::Double),
        (Some("Edm.Double"), Value::String(text)) => match text.as_str() {
            "NaN" => Some(EdmValue::Double(f64::NAN)),
            "Infinity" => Some(EdmValue::Double(f64::INFINITY)),
            "-Infinity" => Some(EdmValue::Double(f64::NEG_INFINITY)),
            _ => None,
        },
        (Some("Edm.Int64"), Value::String(text)) => text.parse().ok().map(EdmValue::Int64),
        (Some("Edm.DateTime"), Value::String(text)) => {
            DateTime::parse_from_rfc3339(text).ok().map(|time| EdmValue::DateTime(time.to_utc()))
        }
        (Some("Edm.Binary"), Value::String(text)) => BASE64.decode(text).ok().map(|b| EdmValue::Binary(b.into())),
        _ => None,
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),*) => { $(
        impl From<$from> for EdmValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )* };
}
from!(String => String, &str => String, i32 => Int32, i64 => Int64, bool => Bool, DateTime<Utc> => DateTime, f64 => Double,
    Bytes => Binary, Vec<u8> => Binary);

#[cfg(test)]
mod tests;
