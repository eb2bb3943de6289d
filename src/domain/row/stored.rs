//! The stored form of [`RowState`]: compact JSON in which every version stands once, however many columns share it.
//! The first version is the base that most columns have; the others are the exceptions.

use super::{RowState, Written};
use crate::domain::value::Columns;
use crate::domain::version::{Scale, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<Scale>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    versions: Vec<Version>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    columns: BTreeMap<String, (usize, String)>,
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    values: Columns,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    touched: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tombstone: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alive_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ambiguous: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_etag: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exists: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placeholder_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_go_ms: Option<i64>,
}

impl Serialize for RowState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let distinct: BTreeSet<&Version> = self.columns.values().map(|written| &written.version).collect();
        let versions: Vec<Version> = distinct.into_iter().cloned().collect();
        let place = |version: &Version| versions.binary_search(version).unwrap_or_default();
        Stored {
            scale: self.scale,
            columns: self
                .columns
                .iter()
                .map(|(name, written)| (name.clone(), (place(&written.version), written.digest.clone())))
                .collect(),
            versions: versions.clone(),
            values: self.values.clone(),
            touched: self.touched.clone(),
            tombstone: self.tombstone.clone(),
            born: self.born.clone(),
            alive_at: self.alive_at,
            ambiguous: self.ambiguous,
            target: self.target,
            target_etag: self.target_etag.clone(),
            exists: self.exists,
            placeholder_ms: self.placeholder_ms,
            key: self.key.clone(),
            moved: self.moved.clone(),
            wanted: self.wanted.clone(),
            let_go_ms: self.let_go_ms,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RowState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let mut columns = BTreeMap::new();
        for (name, (place, digest)) in stored.columns {
            let version = stored.versions.get(place).cloned().ok_or_else(|| {
                serde::de::Error::custom(format!("column {name} names version {place}, which is not there"))
            })?;
            columns.insert(name, Written { version, digest });
        }
        Ok(Self {
            scale: stored.scale,
            columns,
            values: stored.values,
            touched: stored.touched,
            tombstone: stored.tombstone,
            born: stored.born,
            alive_at: stored.alive_at,
            ambiguous: stored.ambiguous,
            target: stored.target,
            target_etag: stored.target_etag,
            exists: stored.exists,
            placeholder_ms: stored.placeholder_ms,
            key: stored.key,
            moved: stored.moved,
            wanted: stored.wanted,
            let_go_ms: stored.let_go_ms,
        })
    }
}
