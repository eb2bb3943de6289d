//! A received message: what `BrokerProperties` and the headers say. Knows no queue.

use crate::outbound::transport::Response;
use crate::servicebus::error::ServiceBusError;
use crate::servicebus::message::Property;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Headers of an answer that are no custom properties.
const OWN_HEADERS: [&str; 14] = [
    "brokerproperties",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "location",
    "server",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "via",
];

/// A message that was taken out, or is hidden under a lock. `Debug` shows no content.
#[derive(Clone)]
pub struct Received {
    /// The exact bytes.
    pub body: Bytes,
    /// `ContentType`.
    pub content_type: Option<String>,
    /// `MessageId`.
    pub message_id: Option<String>,
    /// `CorrelationId`.
    pub correlation_id: Option<String>,
    /// `SessionId`.
    pub session_id: Option<String>,
    /// `Label`.
    pub label: Option<String>,
    /// `SequenceNumber`: unique in its queue.
    pub sequence_number: u64,
    /// `DeliveryCount`, this delivery included.
    pub delivery_count: u32,
    /// `EnqueuedTimeUtc`.
    pub enqueued: Option<DateTime<Utc>>,
    /// `DeadLetterReason` of a dead letter: `MaxDeliveryCountExceeded`, `TTLExpiredException`, ...
    pub dead_letter_reason: Option<String>,
    /// `DeadLetterErrorDescription` of a dead letter.
    pub dead_letter_description: Option<String>,
    /// Custom properties. Names are in lower case, because they travel as names of headers.
    pub properties: BTreeMap<String, Property>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("message_id", &self.message_id)
            .field("sequence_number", &self.sequence_number)
            .field("delivery_count", &self.delivery_count)
            .field("dead_letter_reason", &self.dead_letter_reason)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The lock on one received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub(super) sequence_number: u64,
    pub(super) token: Uuid,
    /// When it ends unless it is renewed, by the service's clock.
    pub until: Option<DateTime<Utc>>,
}

/// A message that is hidden from others until its lock ends.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The message.
    pub message: Received,
    /// What settles it.
    pub lock: Lock,
}

impl Received {
    pub(super) fn read(answer: &Response) -> Result<Self, ServiceBusError> {
        let broker = broker(&answer.headers)?;
        let text = |name: &str| broker.get(name).and_then(Value::as_str).map(str::to_owned);
        let sequence_number = broker.get("SequenceNumber").and_then(Value::as_u64);
        let delivery_count = broker.get("DeliveryCount").and_then(Value::as_u64);
        let mut properties = properties(&answer.headers);
        let mut words = |name: &str| match properties.remove(name) {
            Some(Property::Text(text)) => Some(text),
            _ => None,
        };
        let (dead_letter_reason, dead_letter_description) =
            (words("deadletterreason"), words("deadlettererrordescription"));
        let content_type = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        Ok(Self {
            body: answer.body.clone(),
            content_type,
            message_id: text("MessageId"),
            correlation_id: text("CorrelationId"),
            session_id: text("SessionId"),
            label: text("Label"),
            sequence_number: sequence_number.ok_or_else(|| ServiceBusError::decode("SequenceNumber"))?,
            delivery_count: delivery_count.map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)),
            enqueued: time(&broker, "EnqueuedTimeUtc"),
            dead_letter_reason,
            dead_letter_description,
            properties,
        })
    }
}

impl Locked {
    pub(super) fn read(answer: &Response) -> Result<Self, ServiceBusError> {
        let message = Received::read(answer)?;
        let broker = broker(&answer.headers)?;
        let token = broker.get("LockToken").and_then(Value::as_str).and_then(|token| token.parse().ok());
        let token = token.ok_or_else(|| ServiceBusError::decode("LockToken"))?;
        let (until, sequence_number) = (time(&broker, "LockedUntilUtc"), message.sequence_number);
        Ok(Self { message, lock: Lock { sequence_number, token, until } })
    }
}

fn broker(headers: &HeaderMap) -> Result<Map<String, Value>, ServiceBusError> {
    let text =
        headers.get("brokerproperties").ok_or_else(|| ServiceBusError::decode("an answer without BrokerProperties"))?;
    serde_json::from_slice(text.as_bytes()).map_err(|_| ServiceBusError::decode("BrokerProperties"))
}

fn properties(headers: &HeaderMap) -> BTreeMap<String, Property> {
    let custom = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        !OWN_HEADERS.contains(&name) && !name.starts_with("x-ms-")
    });
    // a header that is no UTF-8 is kept as far as it can be read: a person looks at dead letters
    custom
        .map(|(name, value)| (name.as_str().to_owned(), Property::read(&String::from_utf8_lossy(value.as_bytes()))))
        .collect()
}

fn time(broker: &Map<String, Value>, name: &str) -> Option<DateTime<Utc>> {
    let text = broker.get(name)?.as_str()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc))
}
