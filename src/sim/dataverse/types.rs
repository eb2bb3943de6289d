//! Which JSON values and literals a column takes, and its limits (facts/dataverse.md section 5.4).

use super::cell::Cell;
use super::decimal::Decimal;
use super::errors::{self, ApiError};
use super::literal::{Literal, guid};
use super::schema::{Behavior, ColumnDef, Kind, TableDef, money_bound};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use serde_json::Value;
use std::cmp::Ordering;
use uuid::Uuid;

/// Most values of a multi-select choice.
const CHOICES_MAX: usize = 150;
/// Days before this year cannot be kept (SQL datetime).
const YEAR_MIN: i32 = 1753;

/// Reads a value for a column from a request body; `None` clears it (as an empty text does).
///
/// # Errors
/// A value of the wrong type or outside the column's limits.
pub fn read(table: &TableDef, column: &ColumnDef, value: &Value) -> Result<Option<Cell>, ApiError> {
    if value.is_null() {
        return Ok(None);
    }
    let cell = shape(column, value)?;
    if matches!(&cell, Cell::Text(text) if text.is_empty()) || matches!(&cell, Cell::Choices(none) if none.is_empty()) {
        return Ok(None);
    }
    check(table, column, cell).map(Some)
}

fn shape(column: &ColumnDef, value: &Value) -> Result<Cell, ApiError> {
    let wrong = |expected: &str| errors::payload(format!("property '{}' must be {expected}", column.name));
    let number = || match value {
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(wrong("a number")),
    };
    let text = || value.as_str().ok_or_else(|| wrong("a string"));
    Ok(match &column.kind {
        Kind::Text(_) | Kind::Memo(_) => Cell::Text(text()?.to_owned()),
        Kind::Int(..) | Kind::BigInt => Cell::Int(number()?.parse().map_err(|_| wrong("a whole number"))?),
        Kind::Decimal(..) => Cell::Decimal(Decimal::parse(&number()?).ok_or_else(|| wrong("a decimal"))?),
        Kind::Money(_) => Cell::Money(Decimal::parse(&number()?).ok_or_else(|| wrong("a decimal"))?),
        Kind::Double(..) => Cell::Double(number()?),
        Kind::Bool => Cell::Bool(value.as_bool().ok_or_else(|| wrong("true or false"))?),
        Kind::Choice(_) | Kind::State | Kind::Status => {
            Cell::Choice(number()?.parse().map_err(|_| wrong("a whole number"))?)
        }
        Kind::Choices(_) => choices(text()?).ok_or_else(|| wrong("whole numbers between commas"))?,
        Kind::Date(Behavior::DateOnly) => Cell::Date(day(text()?).ok_or_else(|| wrong("a date YYYY-MM-DD"))?),
        Kind::Date(_) => {
            let time = DateTime::parse_from_rfc3339(text()?).map_err(|_| wrong("a date and time with its zone"))?;
            Cell::Time(time.to_utc())
        }
        Kind::Guid => Cell::Guid(guid(text()?).ok_or_else(|| wrong("a GUID"))?),
        Kind::Lookup(_) | Kind::Parties(_) => {
            return Err(errors::payload(format!("'{}' is not a property that can be set by its value", column.name)));
        }
    })
}

fn choices(text: &str) -> Option<Cell> {
    if text.is_empty() {
        return Some(Cell::Choices(Vec::new()));
    }
    let mut values: Vec<i64> = text.split(',').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    values.sort_unstable();
    values.dedup();
    Some(Cell::Choices(values))
}

fn day(text: &str) -> Option<NaiveDate> {
    if text.len() == 10 { NaiveDate::parse_from_str(text, "%Y-%m-%d").ok() } else { None }
}

/// Checks the limits of a column, and brings the value into the form in which it is kept.
///
/// # Errors
/// A value outside the limits.
pub fn check(table: &TableDef, column: &ColumnDef, cell: Cell) -> Result<Cell, ApiError> {
    let name = column.name.as_str();
    match (&column.kind, &cell) {
        (Kind::Text(length_max) | Kind::Memo(length_max), Cell::Text(text)) => {
            if text.encode_utf16().count() > *length_max {
                return Err(errors::too_long(name, *length_max));
            }
            if text.contains(|c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r')) {
                return Err(errors::invalid_characters(name));
            }
        }
        (Kind::Int(min, max), Cell::Int(value)) if value < min || value > max => return Err(errors::int_range(name)),
        (Kind::Decimal(precision, min, max), Cell::Decimal(value)) => {
            let bounds = i128::from(*min)..=i128::from(*max);
            if *value < Decimal::new(*bounds.start(), 0) || *value > Decimal::new(*bounds.end(), 0) {
                return Err(errors::decimal_range(name));
            }
            return value.rescale(*precision).map(Cell::Decimal).ok_or_else(|| errors::decimal_range(name));
        }
        (Kind::Money(precision), Cell::Money(value)) => {
            let bound = money_bound();
            if absolute(*value) > bound {
                return Err(errors::decimal_range(name));
            }
            return value.rescale(*precision).map(Cell::Money).ok_or_else(|| errors::decimal_range(name));
        }
        (Kind::Double(min, max), Cell::Double(text)) => {
            let value: f64 = text.parse().map_err(|_| errors::decimal_range(name))?;
            let within = |bound: i64, order: Ordering| {
                bound.to_string().parse::<f64>().is_ok_and(|b| value.total_cmp(&b) != order)
            };
            if !within(*min, Ordering::Less) || !within(*max, Ordering::Greater) {
                return Err(errors::decimal_range(name));
            }
            return Ok(Cell::Double(value.to_string()));
        }
        (Kind::Choice(options), Cell::Choice(value)) if !options.contains(value) => {
            return Err(errors::choice(name, *value));
        }
        (Kind::State, Cell::Choice(value)) if !table.states.iter().any(|s| s.value == *value) => {
            return Err(errors::choice(name, *value));
        }
        (Kind::Status, Cell::Choice(value)) if !table.states.iter().any(|s| s.statuses.contains(value)) => {
            return Err(errors::choice(name, *value));
        }
        (Kind::Choices(options), Cell::Choices(values)) => {
            if let Some(unknown) = values.iter().find(|v| !options.contains(v)) {
                return Err(errors::choice(name, *unknown));
            }
            if values.len() > CHOICES_MAX {
                return Err(errors::invalid_argument(format!("'{name}' has more than {CHOICES_MAX} values")));
            }
        }
        (_, Cell::Time(time)) if time.year() < YEAR_MIN => return Err(errors::date(name)),
        (_, Cell::Time(time)) => return Ok(Cell::Time(time.with_nanosecond(0).unwrap_or(*time))),
        (_, Cell::Date(date)) if date.year() < YEAR_MIN => return Err(errors::date(name)),
        _ => {}
    }
    Ok(cell)
}

fn absolute(value: Decimal) -> Decimal {
    Decimal::parse(value.to_string().trim_start_matches('-')).unwrap_or(value)
}

/// Turns a literal into a value of the column, without its limits. `None` is null.
///
/// # Errors
/// A literal of another type: a number for a text, a text for a number.
pub fn from_literal(column: &ColumnDef, literal: &Literal) -> Result<Option<Cell>, ApiError> {
    let cell = match (&column.kind, literal) {
        (_, Literal::Null) => return Ok(None),
        (Kind::Text(_) | Kind::Memo(_), Literal::Text(text)) => Cell::Text(text.clone()),
        (Kind::Int(..) | Kind::BigInt, Literal::Number(text)) => Cell::Int(parse(column, text)?),
        (Kind::Choice(_) | Kind::State | Kind::Status, Literal::Number(text)) => Cell::Choice(parse(column, text)?),
        (Kind::Decimal(..), Literal::Number(text)) => Cell::Decimal(decimal(column, text)?),
        (Kind::Money(_), Literal::Number(text)) => Cell::Money(decimal(column, text)?),
        (Kind::Double(..), Literal::Number(text)) => Cell::Double(text.clone()),
        (Kind::Bool, Literal::Bool(value)) => Cell::Bool(*value),
        (Kind::Date(Behavior::DateOnly), Literal::Date(date)) => Cell::Date(*date),
        (Kind::Date(Behavior::UserLocal | Behavior::TimeZoneIndependent), Literal::Time(time)) => Cell::Time(*time),
        (Kind::Guid, Literal::Guid(id)) => Cell::Guid(*id),
        (Kind::Lookup(lookup), Literal::Guid(id)) => {
            let table = lookup.targets.first().map(|(table, _)| table.clone()).unwrap_or_default();
            Cell::Lookup { table, id: *id }
        }
        _ => return Err(mismatch(column)),
    };
    Ok(Some(cell))
}

fn mismatch(column: &ColumnDef) -> ApiError {
    errors::uri(format!("A binary operator with incompatible types was detected at '{}'.", column.name))
}

fn parse(column: &ColumnDef, text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| mismatch(column))
}

fn decimal(column: &ColumnDef, text: &str) -> Result<Decimal, ApiError> {
    Decimal::parse(text).ok_or_else(|| mismatch(column))
}

/// Compares as SQL does: text without case and trailing blanks, lookups by id. `None`: not comparable.
#[must_use]
pub fn order(left: &Cell, right: &Cell) -> Option<Ordering> {
    Some(match (left, right) {
        (Cell::Text(a), Cell::Text(b)) => folded(a).cmp(folded(b)),
        (Cell::Int(a) | Cell::Choice(a), Cell::Int(b) | Cell::Choice(b)) => a.cmp(b),
        (Cell::Decimal(a) | Cell::Money(a), Cell::Decimal(b) | Cell::Money(b)) => a.cmp(b),
        (Cell::Double(a), Cell::Double(b)) => a.parse::<f64>().ok()?.total_cmp(&b.parse::<f64>().ok()?),
        (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
        (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
        (Cell::Date(a), Cell::Date(b)) => a.cmp(b),
        (Cell::Guid(a) | Cell::Lookup { id: a, .. }, Cell::Guid(b) | Cell::Lookup { id: b, .. }) => {
            guid_order(*a).cmp(&guid_order(*b))
        }
        _ => return None,
    })
}

/// What SQL Server orders a `uniqueidentifier` by: its last six bytes, the two before, then the other groups from the right,
/// each as it is kept there (the first three with their bytes reversed).
#[must_use]
pub fn guid_order(id: Uuid) -> [u8; 16] {
    let kept = id.to_bytes_le();
    [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3].map(|at: usize| kept.get(at).copied().unwrap_or_default())
}

/// What SQL compares of a text.
fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    text.trim_end_matches(' ').chars().flat_map(char::to_lowercase)
}
