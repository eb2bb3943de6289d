//! One log line as text: escaped, bounded, one line whatever the values hold.

use super::LogFormat;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use std::fmt::{Debug, Write as _};
use tracing::Metadata;
use tracing::field::{Field, Visit};

/// Longest text of one field, in bytes; the rest is cut off.
const FIELD_BYTES_MAX: usize = 4_096;

/// Most fields of one line, those of its spans included.
const FIELDS_MAX: usize = 64;

/// Fields in the order in which they were recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Adds what is not there yet.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            if self.0.len() < FIELDS_MAX && !self.0.iter().any(|(known, _)| known == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        // how a span is to look in a trace is nothing to log
        if field.name().starts_with("otel.") {
            return;
        }
        let value = value.into();
        if let Some((_, slot)) = self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            *slot = value;
        } else if self.0.len() < FIELDS_MAX {
            self.0.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Bounded::default();
        // it stops with an error when it is full
        let _ = write!(text, "{value:?}");
        self.set(field, text.0);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, cut(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
}

/// Text that takes no more than [`FIELD_BYTES_MAX`].
#[derive(Debug, Default)]
struct Bounded(String);

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = FIELD_BYTES_MAX - self.0.len().min(FIELD_BYTES_MAX);
        let end = text.floor_char_boundary(room.min(text.len()));
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(FIELD_BYTES_MAX)).unwrap_or(text)
}

/// The line, with its end.
pub(super) fn render(format: LogFormat, at: DateTime<Utc>, metadata: &Metadata<'_>, fields: &Fields) -> String {
    match format {
        LogFormat::Json => json(at, metadata, fields),
        LogFormat::Text => text(at, metadata, fields),
    }
}

fn json(at: DateTime<Utc>, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut object = Map::new();
    for (name, value) in &fields.0 {
        object.insert((*name).to_owned(), value.clone());
    }
    object.insert("timestamp".to_owned(), at.to_rfc3339_opts(SecondsFormat::Millis, true).into());
    object.insert("level".to_owned(), metadata.level().as_str().into());
    object.insert("target".to_owned(), metadata.target().into());
    object.entry("message").or_insert_with(|| metadata.name().into());
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

fn text(at: DateTime<Utc>, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut line = format!("{} {:5} ", at.format("%H:%M:%S%.3f"), metadata.level().as_str());
    let message = fields.0.iter().find(|(name, _)| *name == "message").map(|(_, value)| value);
    push_escaped(&mut line, message.and_then(Value::as_str).unwrap_or_else(|| metadata.name()));
    for (name, value) in fields.0.iter().filter(|(name, _)| *name != "message") {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) => push_escaped(&mut line, text),
            other => push_escaped(&mut line, &other.to_string()),
        }
    }
    line.push('\n');
    line
}

/// Control characters and line separators as escapes: a value can neither break the line nor steer the terminal.
fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}
