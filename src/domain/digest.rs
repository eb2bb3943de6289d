//! Canonical digests of values: equal values give equal digests whatever their JSON looked like. A lookup's name and
//! the order of multi-select choices do not count.

use super::event::hex;
use super::value::{Columns, KeyPart, RowRef, Value};
use sha2::{Digest, Sha256};

/// Digest of one value: 16 hex digits of SHA-256. For "is it the same value", not against an adversary.
#[must_use]
pub fn value(value: &Value) -> String {
    let mut hash = Sha256::new();
    feed(&mut hash, value);
    hex(&hash.finalize(), 16)
}

/// Digest of a set of columns: 32 hex digits.
#[must_use]
pub fn columns(columns: &Columns) -> String {
    let mut hash = Sha256::new();
    feed_columns(&mut hash, columns);
    hex(&hash.finalize(), 32)
}

fn feed_columns(hash: &mut Sha256, columns: &Columns) {
    hash.update((columns.len() as u64).to_be_bytes());
    for (name, value) in columns {
        feed_text(hash, name);
        feed(hash, value);
    }
}

fn feed_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(b) => hash.update(if *b { b"t" } else { b"f" }),
        // a choice, a number and money of one amount are the same thing in different words
        Value::Number(number) => {
            hash.update(b"#");
            feed_text(hash, &number.canonical());
        }
        Value::Choice(choice) => {
            hash.update(b"#");
            feed_text(hash, &super::value::Number::from(*choice).canonical());
        }
        Value::Text(text) => {
            hash.update(b"s");
            feed_text(hash, text);
        }
        Value::DateTime(at) => {
            hash.update(b"d");
            hash.update(at.timestamp_micros().to_be_bytes());
        }
        Value::Choices(choices) => {
            let mut sorted = choices.clone();
            sorted.sort_unstable();
            hash.update(b"c");
            sorted.iter().for_each(|choice| hash.update(choice.to_be_bytes()));
        }
        Value::Lookup(reference) => {
            hash.update(b"l");
            feed_text(hash, &reference.table);
            feed_row(hash, &reference.row);
        }
        Value::Parties(parties) => {
            hash.update(b"p");
            parties.iter().for_each(|party| feed_columns(hash, party));
        }
    }
}

fn feed_row(hash: &mut Sha256, row: &RowRef) {
    match row {
        RowRef::Id(id) => hash.update(id.as_bytes()),
        RowRef::Key(parts) => {
            for (column, part) in parts {
                feed_text(hash, column);
                match part {
                    KeyPart::Text(text) => feed_text(hash, text),
                    KeyPart::Number(number) => feed_text(hash, &number.canonical()),
                    KeyPart::Guid(id) => hash.update(id.as_bytes()),
                    KeyPart::DateTime(at) => hash.update(at.timestamp_micros().to_be_bytes()),
                }
            }
        }
    }
}
