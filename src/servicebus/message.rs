//! A message to be sent, and how its properties are written: `BrokerProperties` as JSON, custom properties as headers
//! (documentation: Send Message, Send Message Batch). Knows no queue.

use crate::servicebus::error::ServiceBusError;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// `MessageId` and `SessionId` have up to 128 characters (Service Bus quotas).
const ID_CHARS_MAX: usize = 128;

/// All properties together, in bytes (Service Bus quotas: 64 KB for the header of a message).
const PROPERTIES_BYTES_MAX: usize = 64 << 10;

/// Headers that belong to HTTP, to the protocol or to what stands between: no custom property can have these names.
const RESERVED: [&str; 28] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "brokerproperties",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A message. Everything but the body may be left out.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The exact bytes.
    pub body: Bytes,
    /// `ContentType`; `application/octet-stream` if unset.
    pub content_type: Option<String>,
    /// `MessageId`, by which duplicate detection goes: 1 to 128 characters.
    pub message_id: Option<String>,
    /// `CorrelationId`.
    pub correlation_id: Option<String>,
    /// `SessionId`: 1 to 128 characters.
    pub session_id: Option<String>,
    /// `Label`, also called subject.
    pub label: Option<String>,
    /// How long it waits in the queue at most; whole seconds, at least one. Unset: the queue's default.
    pub time_to_live: Option<Duration>,
    /// When it becomes visible, to the second, rounded up; a time that has passed means at once.
    pub scheduled_enqueue: Option<DateTime<Utc>>,
    /// Custom (application) properties. Names are lower-case letters, digits, `-`, `_` and `.`, because they travel as
    /// names of headers, which have no case.
    pub properties: BTreeMap<String, Property>,
}

/// A custom property's value. Texts are quoted on the wire, so that `"5"` and `5` stay different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A Boolean.
    Boolean(bool),
    /// A received number that is no `i64`, with its exact text.
    Number(String),
}

impl From<&str> for Property {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Property {
    fn json(&self) -> Result<Value, ServiceBusError> {
        Ok(match self {
            Self::Text(text) => json!(text),
            Self::Integer(number) => json!(number),
            Self::Boolean(flag) => json!(flag),
            Self::Number(text) => {
                let number: serde_json::Number =
                    text.parse().map_err(|_| ServiceBusError::invalid("a custom property is no number"))?;
                Value::Number(number)
            }
        })
    }

    /// A header's value as the service writes it: quoted text, number, Boolean; what is neither is a text as it stands.
    pub(super) fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Value::String(text)) => Self::Text(text),
            Ok(Value::Bool(flag)) => Self::Boolean(flag),
            Ok(Value::Number(number)) => {
                number.as_i64().map_or_else(|| Self::Number(number.to_string()), Self::Integer)
            }
            _ => Self::Text(text.to_owned()),
        }
    }
}

impl Message {
    /// A message with this body and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The headers of a single send, and the bytes that count against the size limit.
    pub(super) fn headers(&self) -> Result<(HeaderMap, usize), ServiceBusError> {
        let mut headers = HeaderMap::new();
        let mut broker = self.broker()?;
        if let Some(time) = self.time_to_live {
            broker.insert("TimeToLive".to_owned(), json!(seconds(time)?));
        }
        if let Some(due) = self.scheduled_enqueue {
            broker.insert("ScheduledEnqueueTimeUtc".to_owned(), json!(date(due)?));
        }
        if !broker.is_empty() {
            headers.insert(HeaderName::from_static("brokerproperties"), ascii(&Value::Object(broker))?);
        }
        for (name, value) in &self.properties {
            let header = HeaderName::from_lowercase(name.as_bytes());
            let header = header.map_err(|_| ServiceBusError::invalid("a custom property's name is no header name"))?;
            headers.insert(header, ascii(&value.json()?)?);
        }
        let kind = self.content_type.as_deref().unwrap_or("application/octet-stream");
        let kind =
            HeaderValue::from_str(kind).map_err(|_| ServiceBusError::invalid("the content type is no header"))?;
        headers.insert(CONTENT_TYPE, kind);
        let properties: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if properties > PROPERTIES_BYTES_MAX {
            return Err(ServiceBusError::TooLarge { bytes: properties });
        }
        Ok((headers, properties + self.body.len()))
    }

    /// The message as an element of a batch; `None` if a batch cannot carry it as it is: there a body is a text, a content
    /// type is not among the properties that are read, and how a due time is written is not documented.
    pub(super) fn batch_entry(&self) -> Result<Option<Value>, ServiceBusError> {
        let Ok(body) = std::str::from_utf8(&self.body) else { return Ok(None) };
        if self.scheduled_enqueue.is_some() || self.content_type.is_some() {
            return Ok(None);
        }
        let mut broker = self.broker()?;
        if let Some(time) = self.time_to_live {
            broker.insert("TimeToLiveTimeSpan".to_owned(), json!(time_span(seconds(time)?)));
        }
        let properties = self.properties.iter().map(|(name, value)| Ok((name.clone(), value.json()?)));
        let properties: Map<String, Value> = properties.collect::<Result<_, ServiceBusError>>()?;
        let mut entry = Map::from_iter([("Body".to_owned(), json!(body))]);
        if !broker.is_empty() {
            entry.insert("BrokerProperties".to_owned(), Value::Object(broker));
        }
        if !properties.is_empty() {
            entry.insert("UserProperties".to_owned(), Value::Object(properties));
        }
        Ok(Some(Value::Object(entry)))
    }

    /// What both forms share, checked.
    fn broker(&self) -> Result<Map<String, Value>, ServiceBusError> {
        for (what, id) in [("MessageId", &self.message_id), ("SessionId", &self.session_id)] {
            if id.as_ref().is_some_and(|id| !(1..=ID_CHARS_MAX).contains(&id.chars().count())) {
                return Err(ServiceBusError::invalid(format!("{what} has 1 to {ID_CHARS_MAX} characters")));
            }
        }
        for name in self.properties.keys() {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            let fine = !name.is_empty() && name.bytes().all(plain) && !RESERVED.contains(&name.as_str());
            if !fine {
                let what =
                    "a custom property's name is not lower-case letters, digits, `-`, `_` and `.`, or is a header's";
                return Err(ServiceBusError::invalid(what));
            }
        }
        let fields = [
            ("MessageId", &self.message_id),
            ("CorrelationId", &self.correlation_id),
            ("SessionId", &self.session_id),
            ("Label", &self.label),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Ok(given.collect())
    }
}

/// JSON in ASCII, as headers need it: everything else as `\u` and four digits, in UTF-16 where one unit is not enough.
fn ascii(value: &Value) -> Result<HeaderValue, ServiceBusError> {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    HeaderValue::from_str(&text).map_err(|_| ServiceBusError::invalid("a property is no header value"))
}

fn seconds(time: Duration) -> Result<u64, ServiceBusError> {
    match time.as_secs() {
        0 => Err(ServiceBusError::invalid("the time to live is less than a second")),
        seconds => Ok(seconds),
    }
}

/// `d.hh:mm:ss`.
fn time_span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{days}.{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// RFC 2822 as in the documentation; rounded up, so that nothing becomes visible too early.
fn date(due: DateTime<Utc>) -> Result<String, ServiceBusError> {
    let more = i64::from(due.timestamp_subsec_nanos() > 0);
    let due = DateTime::from_timestamp(due.timestamp().saturating_add(more), 0);
    let due = due.ok_or_else(|| ServiceBusError::invalid("the due time is out of range"))?;
    Ok(due.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests;
