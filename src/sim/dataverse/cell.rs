//! What a column of a row can hold, and a row. A null column is one that is absent.
//! Knows neither the Web API's JSON nor that of events.

use super::decimal::Decimal;
use chrono::{DateTime, NaiveDate, Utc};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Text, single line or many.
    Text(String),
    /// Whole number, 32 or 64 bits.
    Int(i64),
    /// Decimal with the column's precision.
    Decimal(Decimal),
    /// Binary float, as its shortest text.
    Double(String),
    /// Yes or no.
    Bool(bool),
    /// A choice, state or status.
    Choice(i64),
    /// A multi-select choice, ascending and without doubles.
    Choices(Vec<i64>),
    /// An amount in the row's currency.
    Money(Decimal),
    /// A point in time, to the second.
    Time(DateTime<Utc>),
    /// A day.
    Date(NaiveDate),
    /// A reference to a row.
    Lookup {
        /// Logical name of its table.
        table: String,
        /// Its primary key.
        id: Uuid,
    },
    /// A unique identifier that is no reference.
    Guid(Uuid),
    /// The parties of an activity in one role.
    Parties(Vec<Party>),
}

/// One party of an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Logical name of the party's table.
    pub table: String,
    /// The party's row.
    pub id: Uuid,
    /// In which role (`participationtypemask`).
    pub mask: i64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Double(text) => f.write_str(text),
            Self::Int(value) | Self::Choice(value) => write!(f, "{value}"),
            Self::Decimal(value) | Self::Money(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Choices(values) => f.write_str(&choices_text(values)),
            Self::Time(time) => f.write_str(&time_text(time)),
            Self::Date(date) => write!(f, "{date}"),
            Self::Lookup { id, .. } | Self::Guid(id) => write!(f, "{id}"),
            Self::Parties(parties) => {
                for party in parties {
                    write!(f, "{}:{};", party.table, party.id)?;
                }
                Ok(())
            }
        }
    }
}

/// `1,9`: how a multi-select choice is written.
#[must_use]
pub fn choices_text(values: &[i64]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `2026-01-02T03:04:05Z`.
#[must_use]
pub fn time_text(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// New values by column; `None` clears.
pub type Changes = BTreeMap<String, Option<Cell>>;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its primary key.
    pub id: Uuid,
    /// Its version: greater than that of every earlier write in the environment; the number in its ETag.
    pub version: i64,
    /// Its columns that are not null, without primary key and version.
    pub columns: BTreeMap<String, Cell>,
}

impl Row {
    /// The value of a column, `None` when null. Not for primary key and version.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Cell> {
        self.columns.get(column)
    }

    /// `W/"8412377"`.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("W/\"{}\"", self.version)
    }
}
