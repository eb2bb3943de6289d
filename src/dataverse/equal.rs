//! Whether a row of the environment already has the values that are to be written: so that they are not sent again, and
//! so that a lost race can be told from a conflict. Pure; in doubt values differ, and a needless write is harmless.

use super::literal;
use crate::domain::schema::{ColumnKind, DateBehavior, TableSchema};
use crate::domain::value::{Columns, Number, Reference, Value};
use chrono::{DateTime, SubsecRound, Utc};
use std::collections::BTreeSet;

/// The columns of `wanted` whose value `current` does not have. A column that is absent from `current` is unknown, so it
/// differs.
#[must_use]
pub fn differing(schema: &TableSchema, current: &Columns, wanted: &Columns) -> BTreeSet<String> {
    let differs = |(column, value): &(&String, &Value)| {
        let kind = schema.columns.get(*column).map(|found| found.kind);
        !matches!((kind, current.get(*column)), (Some(kind), Some(now)) if is_equal(kind, now, value))
    };
    wanted.iter().filter(differs).map(|(column, _)| column.clone()).collect()
}

/// Whether two values of a column of this kind are the same to the environment.
#[must_use]
pub fn is_equal(kind: ColumnKind, a: &Value, b: &Value) -> bool {
    match (is_empty(a), is_empty(b)) {
        (true, true) => return true,
        (false, false) => {}
        (true, false) | (false, true) => return false,
    }
    match kind {
        ColumnKind::Boolean | ColumnKind::Text => a == b,
        ColumnKind::Guid => both(a, b, guid),
        ColumnKind::Integer
        | ColumnKind::BigInt
        | ColumnKind::Decimal
        | ColumnKind::Double
        | ColumnKind::Money
        | ColumnKind::Choice
        | ColumnKind::State
        | ColumnKind::Status => both(a, b, number),
        ColumnKind::Choices => both(a, b, choices),
        // the environment keeps whole seconds
        ColumnKind::DateTime(DateBehavior::DateOnly) => both(a, b, |value| instant(value).map(|at| at.date_naive())),
        ColumnKind::DateTime(DateBehavior::UserLocal | DateBehavior::TimeZoneIndependent) => {
            both(a, b, |value| instant(value).map(|at| at.trunc_subsecs(0)))
        }
        ColumnKind::Lookup | ColumnKind::Owner => both(a, b, reference),
        ColumnKind::PartyList => both(a, b, parties),
        ColumnKind::Unsupported => false,
    }
}

/// What the environment stores as null: an empty text, no choices, no parties.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::Choices(list) => list.is_empty(),
        Value::Parties(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::DateTime(_) | Value::Choice(_) | Value::Lookup(_) => false,
    }
}

fn both<T: PartialEq>(a: &Value, b: &Value, read: impl Fn(&Value) -> Option<T>) -> bool {
    read(a).is_some_and(|a| read(b).is_some_and(|b| a == b))
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::Choice(choice) => Some(Number::from(*choice)),
        Value::Text(text) => Number::parse(text).ok(),
        _ => None,
    }
}

fn choices(value: &Value) -> Option<BTreeSet<i64>> {
    match value {
        Value::Choices(list) => Some(list.iter().copied().collect()),
        Value::Text(text) => text.split(',').map(|choice| choice.trim().parse().ok()).collect(),
        _ => Some([number(value)?.to_i64()?].into()),
    }
}

fn instant(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::DateTime(at) => Some(*at),
        Value::Text(text) => literal::parse_instant(text),
        _ => None,
    }
}

fn guid(value: &Value) -> Option<uuid::Uuid> {
    match value {
        Value::Text(text) => literal::parse_guid(text),
        _ => None,
    }
}

/// Names of rows do not count.
fn reference(value: &Value) -> Option<Reference> {
    match value {
        Value::Lookup(reference) => Some(Reference { name: None, ..reference.clone() }),
        _ => None,
    }
}

/// Who takes part; the order does not count, and an address only where there is no row.
fn parties(value: &Value) -> Option<Vec<(Option<Reference>, Option<String>)>> {
    let Value::Parties(list) = value else { return None };
    let party = |party: &Columns| {
        let row = party.get("partyid").and_then(reference);
        let address = match party.get("addressused") {
            Some(Value::Text(address)) if row.is_none() => Some(address.clone()),
            _ => None,
        };
        (row, address)
    };
    let mut all: Vec<_> = list.iter().map(party).collect();
    all.sort();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataverse::script::{every_kind, guid as id};
    use crate::domain::value::RowRef;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn number(text: &str) -> Value {
        Value::Number(Number::parse(text).unwrap())
    }

    fn lookup(table: &str, digit: u128, name: Option<&str>) -> Value {
        let (table, name) = (table.to_owned(), name.map(str::to_owned));
        Value::Lookup(Reference { table, row: RowRef::Id(id(digit)), name })
    }

    #[test]
    fn values_are_equal_as_the_environment_sees_them() {
        let moment = |text: &str| Value::DateTime(literal::parse_instant(text).unwrap());
        let party = |digit, mask| {
            Columns::from([
                ("partyid".to_owned(), lookup("contact", digit, None)),
                ("participationtypemask".to_owned(), Value::Choice(mask)),
            ])
        };
        for (column, current, wanted, equal) in [
            ("name", text("a"), text("a"), true),
            ("name", text("a"), text("A"), false),
            ("name", Value::Null, text(""), true),
            ("name", Value::Null, text("a"), false),
            ("new_decimal", number("10.0100000000"), number("10.01"), true),
            ("new_decimal", number("10.01"), text("10.01"), true),
            ("new_decimal", number("10.01"), number("10.02"), false),
            ("new_tier", Value::Choice(3), number("3.0"), true),
            ("new_tags", Value::Choices(vec![1, 9]), Value::Choices(vec![9, 1]), true),
            ("new_tags", Value::Choices(vec![1, 9]), text("9,1"), true),
            ("new_tags", Value::Null, Value::Choices(vec![]), true),
            ("new_tags", Value::Choices(vec![1]), Value::Choices(vec![1, 2]), false),
            ("new_day", moment("2024-05-06"), moment("2024-05-06T22:00:00Z"), true),
            ("new_local", moment("2024-05-06T01:00:00Z"), moment("2024-05-06T01:00:00.900Z"), true),
            ("new_local", moment("2024-05-06T01:00:00Z"), text("2024-05-06T03:00:00+02:00"), true),
            ("new_local", moment("2024-05-06T01:00:00Z"), moment("2024-05-06T01:00:01Z"), false),
            ("customerid", lookup("account", 1, Some("A")), lookup("account", 1, None), true),
            ("customerid", lookup("account", 1, None), lookup("contact", 1, None), false),
            ("new_ref", text(&id(0xa).to_string()), text(&id(0xa).to_string().to_uppercase()), true),
            (
                "to",
                Value::Parties(vec![party(1, 2), party(2, 2)]),
                Value::Parties(vec![party(2, 9), party(1, 9)]),
                true,
            ),
            ("to", Value::Parties(vec![party(1, 2)]), Value::Parties(vec![party(3, 2)]), false),
            ("entityimage", text("x"), text("x"), false),
        ] {
            let kind = every_kind().columns[column].kind;
            assert_eq!(is_equal(kind, &current, &wanted), equal, "{column} {current:?} {wanted:?}");
            assert_eq!(is_equal(kind, &wanted, &current), equal, "{column} reversed");
        }
    }

    #[test]
    fn what_is_unknown_differs() {
        let columns = |list: &[&str]| -> Columns { list.iter().map(|c| ((*c).to_owned(), text("v"))).collect() };
        let differing =
            differing(&every_kind(), &columns(&["name", "nope"]), &columns(&["name", "accountnumber", "nope"]));
        assert_eq!(differing.into_iter().collect::<Vec<_>>(), ["accountnumber", "nope"]);
    }
}
