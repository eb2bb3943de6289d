//! Values as the Web API spells them: plain numbers, dates, and literals of addresses and filters. Pure; knows no table.

use crate::domain::schema::{ColumnKind, ColumnSchema, DateBehavior};
use crate::domain::value::{KeyPart, Number};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use uuid::Uuid;

/// Longest plain text of a number with an exponent, in characters: a decimal has at most 22 digits, so this is far more
/// than any column holds.
const PLAIN_CHARS_MAX: usize = 64;

/// The number without an exponent (`1.5e3` is `1500`), or `None` if that would be longer than 64 characters.
/// A number that has no exponent keeps its exact text.
#[must_use]
pub fn plain(number: &Number) -> Option<String> {
    let text = number.as_str();
    if !text.contains(['e', 'E']) {
        return Some(text.to_owned());
    }
    let canonical = number.canonical();
    let (digits, exponent) = canonical.split_once('e').unwrap_or((&canonical, "0"));
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let exponent: i64 = exponent.parse().ok()?;
    let places = usize::try_from(exponent.unsigned_abs()).ok().filter(|&places| places <= PLAIN_CHARS_MAX)?;
    let text = if exponent >= 0 {
        format!("{sign}{digits}{}", "0".repeat(places))
    } else {
        let padded = format!("{}{digits}", "0".repeat((places + 1).saturating_sub(digits.len())));
        let (whole, fraction) = padded.split_at_checked(padded.len().checked_sub(places)?)?;
        format!("{sign}{whole}.{fraction}")
    };
    (text.len() <= PLAIN_CHARS_MAX).then_some(text)
}

/// `Edm.Date`: the UTC date of the instant.
#[must_use]
pub fn date(at: DateTime<Utc>) -> String {
    at.date_naive().format("%Y-%m-%d").to_string()
}

/// `Edm.DateTimeOffset` in UTC, with as many fractional digits as the instant has.
#[must_use]
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An instant from text: RFC 3339, or `YYYY-MM-DD` as its midnight in UTC. A time without a zone is refused: whose it is
/// cannot be known.
#[must_use]
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0).map(|at| at.and_utc())
}

/// A GUID from text, with or without braces, in any case.
#[must_use]
pub fn parse_guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// The name of a column in addresses, filters and `$select`: a lookup is `_column_value`.
#[must_use]
pub fn property(name: &str, kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Lookup | ColumnKind::Owner => format!("_{name}_value"),
        ColumnKind::Boolean
        | ColumnKind::Integer
        | ColumnKind::BigInt
        | ColumnKind::Decimal
        | ColumnKind::Double
        | ColumnKind::Money
        | ColumnKind::Text
        | ColumnKind::DateTime(_)
        | ColumnKind::Choice
        | ColumnKind::Choices
        | ColumnKind::State
        | ColumnKind::Status
        | ColumnKind::PartyList
        | ColumnKind::Guid
        | ColumnKind::Unsupported => name.to_owned(),
    }
}

/// The value as an OData literal of this column: text quoted and doubled, everything else bare. Not percent-encoded.
/// `None` if the value does not fit what the column holds.
#[must_use]
pub fn literal(column: &ColumnSchema, part: &KeyPart) -> Option<String> {
    match column.kind {
        ColumnKind::Text => match part {
            KeyPart::Text(text) => Some(format!("'{}'", text.replace('\'', "''"))),
            KeyPart::Number(_) | KeyPart::Guid(_) | KeyPart::DateTime(_) => None,
        },
        ColumnKind::Integer | ColumnKind::BigInt | ColumnKind::Choice | ColumnKind::State | ColumnKind::Status => {
            number(part)?.to_i64().map(|whole| whole.to_string())
        }
        ColumnKind::Decimal | ColumnKind::Double | ColumnKind::Money => plain(&number(part)?),
        ColumnKind::Guid | ColumnKind::Lookup | ColumnKind::Owner => match part {
            KeyPart::Guid(id) => Some(id.to_string()),
            KeyPart::Text(text) => parse_guid(text).map(|id| id.to_string()),
            KeyPart::Number(_) | KeyPart::DateTime(_) => None,
        },
        ColumnKind::DateTime(behavior) => {
            let at = match part {
                KeyPart::DateTime(at) => *at,
                KeyPart::Text(text) => parse_instant(text)?,
                KeyPart::Number(_) | KeyPart::Guid(_) => return None,
            };
            Some(match behavior {
                DateBehavior::DateOnly => date(at),
                DateBehavior::UserLocal | DateBehavior::TimeZoneIndependent => instant(at),
            })
        }
        ColumnKind::Boolean | ColumnKind::Choices | ColumnKind::PartyList | ColumnKind::Unsupported => None,
    }
}

fn number(part: &KeyPart) -> Option<Number> {
    match part {
        KeyPart::Number(number) => Some(number.clone()),
        KeyPart::Text(text) => Number::parse(text).ok(),
        KeyPart::Guid(_) | KeyPart::DateTime(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_their_exponent_and_nothing_else() {
        for (text, expected) in [
            ("10.0100", Some("10.0100")),
            ("1.5e3", Some("1500")),
            ("-1.25E-2", Some("-0.0125")),
            ("1e-1", Some("0.1")),
            ("12e-1", Some("1.2")),
            ("0e5", Some("0")),
            ("1e99", None),
            ("1e-99", None),
            ("12345678901234567890.123456789", Some("12345678901234567890.123456789")),
        ] {
            assert_eq!(plain(&Number::parse(text).unwrap()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_no_instant() {
        for (text, expected) in [
            ("2024-05-06", Some("2024-05-06T00:00:00Z")),
            ("2024-05-06T23:30:00-02:00", Some("2024-05-07T01:30:00Z")),
            ("2024-05-06T01:02:03.250Z", Some("2024-05-06T01:02:03.250Z")),
            ("2024-05-06T01:02:03", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_instant(text).map(instant).as_deref(), expected, "{text}");
        }
    }
}
