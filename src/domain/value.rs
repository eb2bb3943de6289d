//! Column values as events carry them and as the target gets them. Exact: a decimal keeps its text.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns of one row by logical name (lower case).
pub type Columns = BTreeMap<String, Value>;

/// One column value. Absent columns are absent from [`Columns`]; `Null` clears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Cleared.
    Null,
    /// Two options.
    Bool(bool),
    /// A number whose exact text is kept: whole, decimal or float. Money is a number too.
    Number(Number),
    /// Text; also GUIDs without metadata and dates of senders that write them as text.
    Text(String),
    /// An instant. A date-only column is the UTC date of it.
    DateTime(DateTime<Utc>),
    /// Choice, state or status.
    Choice(i64),
    /// Multi-select choices, in the order given.
    Choices(Vec<i64>),
    /// A reference to a row, in whichever form the sender knows it.
    Lookup(Reference),
    /// Activity parties: always the whole collection.
    Parties(Vec<Columns>),
}

/// A reference to a row: table (logical name) and identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// Logical name of the table.
    pub table: String,
    /// Which row.
    pub row: RowRef,
    /// The row's primary name, if the sender gave it. No part of what is compared or hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The identity of a row: its GUID or an alternate key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowRef {
    /// The primary key.
    Id(Uuid),
    /// Alternate key: column -> value as text (`KeyPart` keeps whether it was a number).
    Key(BTreeMap<String, KeyPart>),
}

/// One part of an alternate key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// Text: quoted in URLs.
    Text(String),
    /// Number or choice: bare in URLs.
    Number(Number),
    /// A lookup by GUID, or a GUID column.
    Guid(Uuid),
    /// An instant.
    DateTime(DateTime<Utc>),
}

impl std::fmt::Display for RowRef {
    /// A GUID, or `column='value',...`: for people (answers, history), not for URLs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Key(parts) => {
                for (n, (column, part)) in parts.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    match part {
                        KeyPart::Text(text) => write!(f, "{comma}{column}='{text}'")?,
                        KeyPart::Number(number) => write!(f, "{comma}{column}={}", number.as_str())?,
                        KeyPart::Guid(id) => write!(f, "{comma}{column}={id}")?,
                        KeyPart::DateTime(at) => write!(f, "{comma}{column}={}", at.to_rfc3339())?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// A JSON number with its exact text. Equality and order are numeric: `1.0` equals `1.00`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Number(String);

/// Longest number text accepted, in characters. Dataverse's decimals have at most 22 digits; doubles write up to 25.
pub const NUMBER_CHARS_MAX: usize = 64;

/// The text is not a JSON number, or longer than [`NUMBER_CHARS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number of at most {NUMBER_CHARS_MAX} characters")]
pub struct NotANumber;

impl Number {
    /// Checks that the text is a JSON number of bounded length.
    ///
    /// # Errors
    /// [`NotANumber`].
    pub fn parse(text: &str) -> Result<Self, NotANumber> {
        if text.len() > NUMBER_CHARS_MAX || !is_json_number(text) {
            return Err(NotANumber);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a whole number, if it is one (`3`, `3.0`, `3e0`) and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        let (negative, digits, exponent) = self.parts();
        if digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(exponent).ok().filter(|&zeros| digits.len() + zeros <= 19)?;
        format!("{}{digits}{}", if negative { "-" } else { "" }, "0".repeat(zeros)).parse().ok()
    }

    /// One text per numeric value: `[-]digits[e exponent]` without leading or trailing zeros in the digits.
    #[must_use]
    pub fn canonical(&self) -> String {
        let (negative, digits, exponent) = self.parts();
        match (digits.is_empty(), exponent) {
            (true, _) => "0".to_owned(),
            (false, 0) => format!("{}{digits}", if negative { "-" } else { "" }),
            (false, _) => format!("{}{digits}e{exponent}", if negative { "-" } else { "" }),
        }
    }

    /// Sign, significant digits (empty for zero) and the power of ten they are multiplied with.
    fn parts(&self) -> (bool, String, i64) {
        let (negative, rest) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.0.as_str()),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -99_999 } else { 99_999 });
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        let dropped = i64::try_from(significant.len() - trimmed.len()).unwrap_or(0);
        let fraction_digits = i64::try_from(fraction.len()).unwrap_or(0);
        (negative, trimmed.to_owned(), exponent.saturating_sub(fraction_digits).saturating_add(dropped))
    }
}

fn is_json_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (rest, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let leading = whole == "0" || !whole.starts_with('0');
    digits(whole) && leading && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.canonical() == other.canonical()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    /// A total order that agrees with equality (canonical text); it is for maps, not for arithmetic.
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical().cmp(&other.canonical())
    }
}

impl TryFrom<String> for Number {
    type Error = NotANumber;

    fn try_from(text: String) -> Result<Self, NotANumber> {
        Self::parse(&text)
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.0
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value_and_keep_their_text() {
        for (a, b, equal) in [
            ("1.0", "1.00", true),
            ("10.01", "10.0100", true),
            ("100", "1e2", true),
            ("0", "-0.0", true),
            ("0.1", "0.10000000000000000001", false),
            ("12345678901234567890.1", "12345678901234567890.2", false),
        ] {
            let (x, y) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
            assert_eq!(x.canonical() == y.canonical(), equal, "{a} {b}");
            assert_eq!(x.as_str(), a);
        }
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for bad in ["", "-", "01", "1.", ".5", "1e", "NaN", "+1", "1_0", " 1", &"9".repeat(65)] {
            assert!(Number::parse(bad).is_err(), "{bad}");
        }
        for (text, whole) in [("3", Some(3)), ("3.0", Some(3)), ("-30e1", Some(-300)), ("3.5", None), ("0.0", Some(0))]
        {
            assert_eq!(Number::parse(text).unwrap().to_i64(), whole, "{text}");
        }
    }
}
