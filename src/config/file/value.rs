//! Column values written in `sync.toml` (placeholders, value maps) as domain values. Knows no column types: the writer
//! of the target turns a number into a choice where the column is one.

use super::read::{Field, Report};
use crate::domain::value::{Number, Value};
use chrono::{DateTime, NaiveDate};
use toml::de::DeValue;

/// A scalar, or a list of whole numbers (a multi-select).
pub fn read(field: &Field<'_>, report: &mut Report<'_>) -> Option<Value> {
    let value = match field.value() {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
        DeValue::Integer(_) => whole(field.value()).map(|number| Value::Number(number.into())),
        DeValue::Float(float) => {
            let text = float.as_str().trim_start_matches('+');
            Number::parse(text).ok().map(Value::Number)
        }
        DeValue::Datetime(at) => instant(&at.to_string()).map(Value::DateTime),
        DeValue::Array(items) => {
            items.iter().map(|item| whole(item.get_ref())).collect::<Option<Vec<i64>>>().map(Value::Choices)
        }
        DeValue::Table(_) => None,
    };
    if value.is_none() {
        let help = "text, true or false, a number, a date with its time zone, or a list of choices like [1, 9]";
        report.say(field.value_at(), format!("`{}` is not a column value", field.path), help);
    }
    value
}

/// A whole number in any of TOML's notations.
pub fn whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A date-time with offset, or a date (its midnight in UTC).
fn instant(text: &str) -> Option<DateTime<chrono::Utc>> {
    let with_offset = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|at| at.and_utc());
    with_offset.ok().or_else(date)
}
