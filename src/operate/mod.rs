//! What people do with a running system, for the command line, timers and pages alike. Prints nothing, reads no settings.

pub mod console;
pub mod doctor;
pub mod handover;
pub mod history;
pub mod package;
pub mod parked;
pub mod pause;
pub mod placeholders;
pub mod reconcile;
pub mod register;
pub mod status;
pub mod sweep;

use crate::domain::mapping::{Mapping, TableMap};
use chrono::{DateTime, SecondsFormat};

/// A table that people named and the mapping does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no table {given} in the mapping; it has {}", known.join(", "))]
pub struct UnknownTable {
    /// What was given.
    pub given: String,
    /// What there is, by the source's names.
    pub known: Vec<String>,
}

/// The table of this name in the source, else in the target, whatever the case.
///
/// # Errors
/// [`UnknownTable`], with what there is.
pub fn table_named<'a>(mapping: &'a Mapping, given: &str) -> Result<&'a TableMap, UnknownTable> {
    let name = given.trim().to_ascii_lowercase();
    mapping
        .tables
        .get(&name)
        .or_else(|| mapping.by_target(&name))
        .ok_or_else(|| UnknownTable { given: given.to_owned(), known: mapping.tables.keys().cloned().collect() })
}

/// Milliseconds since 1970 as a time for people.
fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
