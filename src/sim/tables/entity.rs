//! An entity: keys, properties, version; from a request's JSON with the service's limits, to an answer's JSON.
//! Knows no store.

use super::answer::{Metadata, Refusal};
use super::value::{Value, time_text_full};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Most properties besides the three of the system.
const PROPERTIES_MAX: usize = 252;
/// Largest entity by the service's formula, in bytes.
const ENTITY_BYTES_MAX: usize = 1 << 20;
/// Largest key in UTF-16 code units (1 KiB).
const KEY_UNITS_MAX: usize = 512;
/// Longest property name in characters.
const NAME_CHARS_MAX: usize = 255;

/// Both keys. Ordered as the service orders them: by UTF-16 code units, ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `PartitionKey`.
    pub partition: String,
    /// `RowKey`.
    pub row: String,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.partition
            .encode_utf16()
            .cmp(other.partition.encode_utf16())
            .then_with(|| self.row.encode_utf16().cmp(other.row.encode_utf16()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// Checks length and characters of both.
    ///
    /// # Errors
    /// 400 `KeyValueTooLarge` or `OutOfRangeInput`.
    pub fn check(&self) -> Result<(), Refusal> {
        for (name, key) in [("PartitionKey", &self.partition), ("RowKey", &self.row)] {
            if key.encode_utf16().count() > KEY_UNITS_MAX {
                return Err(Refusal::bad("KeyValueTooLarge", format!("The {name} exceeds 1 KiB.")));
            }
            let forbidden = |c: char| matches!(c, '/' | '\\' | '#' | '?') || c.is_control();
            if key.chars().any(forbidden) {
                let message = format!("The '{name}' parameter is out of range: it has a forbidden character.");
                return Err(Refusal::bad("OutOfRangeInput", message));
            }
        }
        Ok(())
    }
}

/// The properties of an entity, without the system's own.
pub type Properties = BTreeMap<String, Value>;

/// A stored entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Its keys.
    pub key: Key,
    /// When it was last written; unique per write, and the ETag's content.
    pub timestamp: DateTime<Utc>,
    /// Everything else.
    pub properties: Properties,
}

impl Entity {
    /// The weak ETag the service derives from the timestamp.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("W/\"datetime'{}'\"", time_text_full(self.timestamp).replace(':', "%3A"))
    }

    /// The entity as JSON. `select` = the properties asked for; unknown ones are left out, as Azurite does.
    #[must_use]
    pub fn to_json(&self, metadata: Metadata, select: Option<&BTreeSet<String>>) -> Map<String, Json> {
        let wanted = |name: &str| select.is_none_or(|names| names.contains(name));
        let mut map = Map::new();
        if metadata != Metadata::None {
            map.insert("odata.etag".into(), self.etag().into());
        }
        let mut put = |name: &str, value: Json, edm: Option<&str>| {
            if !wanted(name) {
                return;
            }
            if let (Some(edm), true) = (edm, metadata != Metadata::None) {
                map.insert(format!("{name}@odata.type"), edm.into());
            }
            map.insert(name.into(), value);
        };
        put("PartitionKey", self.key.partition.as_str().into(), None);
        put("RowKey", self.key.row.as_str().into(), None);
        let time_type = (metadata == Metadata::Full).then_some("Edm.DateTime");
        put("Timestamp", time_text_full(self.timestamp).into(), time_type);
        for (name, value) in &self.properties {
            let (json, edm) = value.to_json();
            put(name, json, edm);
        }
        map
    }

    /// Checks the limits that concern the entity as a whole (they hold for the result of a merge, too).
    ///
    /// # Errors
    /// 400 `TooManyProperties` or `EntityTooLarge`.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.properties.len() > PROPERTIES_MAX {
            let message = "The entity contains more properties than allowed (252).";
            return Err(Refusal::bad("TooManyProperties", message));
        }
        let keys = (self.key.partition.encode_utf16().count() + self.key.row.encode_utf16().count()) * 2;
        let properties = self.properties.iter().map(|(n, v)| 8 + n.encode_utf16().count() * 2 + v.size_bytes());
        if 4 + keys + properties.sum::<usize>() > ENTITY_BYTES_MAX {
            return Err(Refusal::bad("EntityTooLarge", "The entity is larger than allowed by the Table service."));
        }
        Ok(())
    }
}

/// What a request's body says: keys if they are in it, and properties.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// `PartitionKey`, if present.
    pub partition: Option<String>,
    /// `RowKey`, if present.
    pub row: Option<String>,
    /// The rest; nulls are left out.
    pub properties: Properties,
}

impl Body {
    /// Reads a JSON object with `Prop@odata.type` annotations. `Timestamp`, `odata.*` and the annotations of keys
    /// are ignored, as the service does.
    ///
    /// # Errors
    /// 400: not an object, a bad name, a value not of its type, too large.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let json: Json = serde_json::from_slice(bytes).map_err(|e| Refusal::input(format!("body is no JSON: {e}")))?;
        let Json::Object(map) = json else { return Err(Refusal::input("body is no JSON object")) };
        let mut body = Self::default();
        for (name, value) in &map {
            match name.as_str() {
                "PartitionKey" => body.partition = Some(key_text(name, value)?),
                "RowKey" => body.row = Some(key_text(name, value)?),
                "Timestamp" => {}
                _ if name.starts_with("odata.") => {}
                _ if name.contains("@odata.type") => {
                    let of = name.trim_end_matches("@odata.type");
                    if !map.contains_key(of) {
                        return Err(Refusal::input(format!("annotation of the absent property {of}")));
                    }
                }
                _ => {
                    check_name(name)?;
                    let edm = match map.get(&format!("{name}@odata.type")) {
                        None => None,
                        Some(Json::String(edm)) => Some(edm.as_str()),
                        Some(_) => return Err(Refusal::input(format!("type of {name} is no string"))),
                    };
                    if let Some(value) = Value::parse(name, value, edm)? {
                        body.properties.insert(name.clone(), value);
                    }
                }
            }
        }
        Ok(body)
    }
}

fn key_text(name: &str, value: &Json) -> Result<String, Refusal> {
    value.as_str().map(str::to_owned).ok_or_else(|| Refusal::input(format!("{name} is no string")))
}

/// Property names follow the rules of C# identifiers.
fn check_name(name: &str) -> Result<(), Refusal> {
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(Refusal::bad("PropertyNameTooLong", "The property name exceeds the maximum allowed length."));
    }
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if first && chars.all(|c| c.is_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Refusal::bad("PropertyNameInvalid", "The property name is invalid."))
}
