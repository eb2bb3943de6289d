//! Whether the target holds a value as well as it can. Pure. Beyond what [`crate::dataverse::equal`] says about two values of
//! one kind, this knows that a target keeps fewer digits and shorter texts than the source, and what a null may hide.

use crate::dataverse::equal;
use crate::dataverse::metadata::facts::ColumnFacts;
use crate::domain::schema::ColumnKind;
use crate::domain::value::{Number, Value};

/// Digits after the point that are assumed for amounts whose precision is that of their currency or organisation: what both
/// have unless somebody changed it (pricing decimal precision, currency precision).
const PRECISION_ELSEWHERE: u32 = 2;

/// What a comparison of two values says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same, as far as the target can hold it.
    Equal,
    /// Not the same.
    Different,
    /// The text is longer than the target's column; the target holds its beginning.
    Truncated,
    /// The text is longer than the target's column, and what the target holds is something else.
    TooLong,
    /// A secured column was read as null: that says nothing.
    Hidden,
}

/// Compares what the target holds with what it should hold. `source` and `target` are the facts about the two columns.
#[must_use]
pub fn compare(
    kind: ColumnKind,
    (source, target): (&ColumnFacts, &ColumnFacts),
    current: &Value,
    wanted: &Value,
) -> Verdict {
    if equal::is_equal(kind, current, wanted) {
        return Verdict::Equal;
    }
    if source.secured && *wanted == Value::Null || target.secured && *current == Value::Null {
        return Verdict::Hidden;
    }
    match kind {
        ColumnKind::Decimal | ColumnKind::Money => {
            let own = if target.precision_elsewhere { None } else { target.precision };
            let rounded = match (number(current), number(wanted)) {
                (Some(current), Some(wanted)) => is_rounded(&current, &wanted, own.unwrap_or(PRECISION_ELSEWHERE)),
                _ => false,
            };
            if rounded { Verdict::Equal } else { Verdict::Different }
        }
        ColumnKind::Double => match (float(current), float(wanted)) {
            (Some(current), Some(wanted)) if current.total_cmp(&wanted).is_eq() => Verdict::Equal,
            _ => Verdict::Different,
        },
        ColumnKind::Text => match (length_of(wanted), target.length_max) {
            (Some(length), Some(max)) if length > max => {
                if is_beginning(current, wanted, max) {
                    Verdict::Truncated
                } else {
                    Verdict::TooLong
                }
            }
            _ => Verdict::Different,
        },
        _ => Verdict::Different,
    }
}

/// Whether a text fits the target's column; everything else does, as far as is known here.
#[must_use]
pub fn fits(kind: ColumnKind, target: &ColumnFacts, wanted: &Value) -> bool {
    kind != ColumnKind::Text
        || !matches!((length_of(wanted), target.length_max), (Some(length), Some(max)) if length > max)
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::Choice(choice) => Some((*choice).into()),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    number(value)?.as_str().parse().ok()
}

/// In UTF-16 units, as the service counts.
fn length_of(value: &Value) -> Option<usize> {
    match value {
        Value::Text(text) => Some(text.encode_utf16().count()),
        _ => None,
    }
}

fn is_beginning(current: &Value, wanted: &Value, units_max: usize) -> bool {
    let (Value::Text(current), Value::Text(wanted)) = (current, wanted) else { return false };
    // the service may cut a character in two, which nobody can write
    wanted.starts_with(current.as_str()) && current.encode_utf16().count() + 1 >= units_max
}

/// Whether the two differ by at most half a unit of the last digit that is kept: rounded to even or away from zero, nobody
/// documents which.
fn is_rounded(current: &Number, wanted: &Number, digits: u32) -> bool {
    let scale = digits.saturating_add(1);
    let (Some(current), Some(wanted)) = (scaled(current, scale), scaled(wanted, scale)) else { return false };
    // `wanted` may have more digits than the scale: what was cut off can only matter at exactly half
    current.whole % 10 == 0 && current.is_exact && {
        let off = (current.whole - wanted.whole).abs();
        off < 5 || off == 5 && (wanted.is_exact || wanted.whole.abs() < current.whole.abs())
    }
}

struct Scaled {
    whole: i128,
    is_exact: bool,
}

/// The number times ten to `scale`, cut off after the point. `None` if it is longer than anything a column holds.
fn scaled(number: &Number, scale: u32) -> Option<Scaled> {
    let canonical = number.canonical();
    let (digits, exponent) = canonical.split_once('e').unwrap_or((&canonical, "0"));
    let shift = exponent.parse::<i64>().ok()?.checked_add(i64::from(scale))?;
    let digits: i128 = digits.parse().ok()?;
    let power = 10_i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?);
    match (shift >= 0, power) {
        (true, power) => Some(Scaled { whole: digits.checked_mul(power?)?, is_exact: true }),
        (false, Some(power)) => Some(Scaled { whole: digits / power, is_exact: digits % power == 0 }),
        (false, None) => Some(Scaled { whole: 0, is_exact: digits == 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn number(text: &str) -> Value {
        Value::Number(Number::parse(text).unwrap())
    }

    fn check(kind: ColumnKind, target: &ColumnFacts, current: &Value, wanted: &Value, expected: Verdict) {
        let verdict = compare(kind, (&ColumnFacts::default(), target), current, wanted);
        assert_eq!(verdict, expected, "{current:?} {wanted:?}");
    }

    #[test]
    fn a_number_that_the_target_rounds_is_equal() {
        let facts = |precision| ColumnFacts { precision: Some(precision), ..ColumnFacts::default() };
        for (precision, current, wanted, expected) in [
            (2, "1.23", "1.2345", Verdict::Equal),
            (2, "1.24", "1.235", Verdict::Equal),
            (2, "1.23", "1.235", Verdict::Equal),
            (2, "1.24", "1.2350001", Verdict::Equal),
            (2, "1.23", "1.2350001", Verdict::Different),
            (2, "-1.24", "-1.235", Verdict::Equal),
            (2, "1.22", "1.2345", Verdict::Different),
            (2, "1.25", "1.2345", Verdict::Different),
            (0, "2", "2.4999", Verdict::Equal),
            (0, "3", "2.4999", Verdict::Different),
            (4, "0.0001", "0.00005", Verdict::Equal),
            (2, "12345678901234567.89", "12345678901234567.894", Verdict::Equal),
            (2, "0.00", "0.0000000000000000000000000001", Verdict::Equal),
            (2, "1.234", "1.2341", Verdict::Different),
        ] {
            check(ColumnKind::Decimal, &facts(precision), &number(current), &number(wanted), expected);
        }
        let elsewhere = ColumnFacts { precision: Some(4), precision_elsewhere: true, ..ColumnFacts::default() };
        check(ColumnKind::Money, &elsewhere, &number("1.23"), &number("1.2345"), Verdict::Equal);
        check(ColumnKind::Integer, &facts(2), &number("1"), &number("2"), Verdict::Different);
        check(ColumnKind::Double, &facts(2), &number("0.1"), &number("0.1000000000000000055511"), Verdict::Equal);
        check(ColumnKind::Double, &facts(2), &number("0.1"), &number("0.2"), Verdict::Different);
        check(ColumnKind::Decimal, &facts(2), &Value::Null, &number("0.001"), Verdict::Different);
    }

    #[test]
    fn a_text_that_does_not_fit_is_told_apart_from_one_that_differs() {
        let facts = ColumnFacts { length_max: Some(3), ..ColumnFacts::default() };
        for (current, wanted, expected) in [
            ("abc", "abc", Verdict::Equal),
            ("abx", "abc", Verdict::Different),
            ("abc", "abcd", Verdict::Truncated),
            ("abx", "abcd", Verdict::TooLong),
            ("a", "abcd", Verdict::TooLong),
            ("ab", "ab\u{1f600}", Verdict::Truncated),
        ] {
            check(ColumnKind::Text, &facts, &text(current), &text(wanted), expected);
        }
        assert!(fits(ColumnKind::Text, &facts, &text("abc")) && !fits(ColumnKind::Text, &facts, &text("abcd")));
        assert!(fits(ColumnKind::Text, &ColumnFacts::default(), &text("abcd")));
    }

    #[test]
    fn a_null_of_a_secured_column_says_nothing() {
        let (open, secured) = (ColumnFacts::default(), ColumnFacts { secured: true, ..ColumnFacts::default() });
        for (source, target, current, wanted, expected) in [
            (&secured, &open, text("x"), Value::Null, Verdict::Hidden),
            (&secured, &open, text("x"), text("y"), Verdict::Different),
            (&open, &secured, Value::Null, text("x"), Verdict::Hidden),
            (&open, &secured, text("y"), Value::Null, Verdict::Different),
            (&open, &open, text("x"), Value::Null, Verdict::Different),
            (&secured, &open, Value::Null, Value::Null, Verdict::Equal),
        ] {
            assert_eq!(compare(ColumnKind::Text, (source, target), &current, &wanted), expected);
        }
    }
}
