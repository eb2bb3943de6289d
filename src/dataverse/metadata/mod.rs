//! What is known about an environment's tables: loaded when first needed, kept, and refreshed when the target says that
//! names are wrong. Knows no mapping: it describes what is there.
//!
//! A table costs one request, a second one if it has date columns (their behaviour is a property of a derived type). Entity
//! sets of tables that are only pointed to are asked for by name, several in one request.

pub mod cache;
pub mod choices;
pub mod facts;
pub mod parse;
pub mod privileges;

use super::client::{Call, Dataverse, Exchange, protocol_error};
use super::error::{DataverseError, Kind, Verb};
use super::url;
use crate::domain::disposition::Disposition;
use crate::domain::schema::{ColumnKind, TableSchema};
use cache::TABLES_MAX;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Why there is no metadata.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    /// The environment has no such table.
    #[error("the environment has no table {table}")]
    TableUnknown {
        /// The logical name.
        table: String,
    },
    /// The name is no logical name, so it is not asked for.
    #[error("{table:?} is no logical name of a table")]
    BadName {
        /// What was given, cut short.
        table: String,
    },
    /// The cache is full.
    #[error("more than {TABLES_MAX} tables")]
    TooManyTables,
    /// The request failed.
    #[error(transparent)]
    Request(#[from] DataverseError),
}

impl MetadataError {
    /// What may be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::TableUnknown { .. } | Self::BadName { .. } | Self::TooManyTables => Disposition::Park,
            Self::Request(error) => error.disposition(),
        }
    }
}

impl Dataverse {
    /// The metadata of one table, in one or two requests. `strong` sees changes made a moment ago.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn table_schema(&self, call: &Call, table: &str, strong: bool) -> Result<TableSchema, MetadataError> {
        let verb = Verb::Metadata;
        check_name(table)?;
        let json = self.metadata(call, table, parse::table_path(table), strong).await?;
        let unreadable = |error: parse::ParseError| protocol_error(verb, table, &error.to_string());
        let mut schema = parse::table(&json).map_err(unreadable)?;
        if schema.columns.values().any(|column| matches!(column.kind, ColumnKind::DateTime(_))) {
            let json = self.metadata(call, table, parse::dates_path(table), strong).await?;
            parse::dates(&mut schema, &json).map_err(unreadable)?;
        }
        Ok(schema)
    }

    /// The entity sets of some tables, in one request; tables that do not exist are absent.
    async fn entity_sets(&self, call: &Call, tables: &[&str]) -> Result<BTreeMap<String, String>, MetadataError> {
        let label = tables.first().copied().unwrap_or_default();
        let json = self.metadata(call, label, parse::entity_sets_path(tables), false).await?;
        let mut sets =
            parse::entity_sets(&json).map_err(|error| protocol_error(Verb::Metadata, label, &error.to_string()))?;
        sets.retain(|table, _| tables.contains(&table.as_str()));
        Ok(sets)
    }

    async fn metadata(&self, call: &Call, table: &str, path: String, strong: bool) -> Result<Json, MetadataError> {
        let exchange = Exchange { strong, ..Exchange::get(Verb::Metadata, table, None, path) };
        match self.exchange(call, exchange).await {
            Ok(response) => serde_json::from_slice(&response.body)
                .map_err(|_| protocol_error(Verb::Metadata, table, "the answer is no JSON").into()),
            Err(error) if *error.kind() == Kind::RowMissing => {
                Err(MetadataError::TableUnknown { table: table.to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Logical names are lower-case letters, digits and underscores: anything else in an event is not sent on.
fn check_name(table: &str) -> Result<(), MetadataError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !table.is_empty() && table.len() <= 128 && table.bytes().all(allowed) {
        return Ok(());
    }
    Err(MetadataError::BadName { table: table.chars().take(128).collect() })
}

/// A literal of a name that [`check_name`] has passed.
fn quoted(name: &str) -> String {
    format!("'{}'", url::encode(name))
}
