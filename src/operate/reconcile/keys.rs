//! A column's value as a part of a key, to find the row by it. Pure.

use crate::domain::value::{KeyPart, Reference, RowRef, Value};

/// The part; `None` for what no key is made of.
#[must_use]
pub fn part(value: &Value) -> Option<KeyPart> {
    match value {
        Value::Text(text) if text.trim().is_empty() => None,
        Value::Text(text) => Some(KeyPart::Text(text.trim().to_owned())),
        Value::Number(number) => Some(KeyPart::Number(number.clone())),
        Value::Choice(choice) => Some(KeyPart::Number((*choice).into())),
        Value::DateTime(at) => Some(KeyPart::DateTime(*at)),
        Value::Lookup(Reference { row: RowRef::Id(id), .. }) => Some(KeyPart::Guid(*id)),
        Value::Lookup(_) | Value::Null | Value::Bool(_) | Value::Choices(_) | Value::Parties(_) => None,
    }
}
