//! A message, as it is sent and as it is received. Knows no queue.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use std::time::Duration;
use tokio::time::Instant;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// The exact bytes.
    pub body: Bytes,
    /// `ApplicationProperties`: scalars.
    pub properties: Map<String, Json>,
    /// `MessageId`; a random one if unset.
    pub message_id: Option<String>,
    /// `ContentType`.
    pub content_type: Option<String>,
    /// `Subject`, also called label.
    pub subject: Option<String>,
    /// `CorrelationId`.
    pub correlation_id: Option<String>,
    /// `SessionId`; kept and given back, but these queues have no sessions.
    pub session_id: Option<String>,
    /// `TimeToLive`, from when it becomes visible; then it is dropped.
    pub time_to_live: Option<Duration>,
    /// Becomes visible after this time (`ScheduledEnqueueTimeUtc`).
    pub delay: Option<Duration>,
}

impl NewMessage {
    /// A message with this body and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With this `MessageId`.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// With one more application property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Visible after this time.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// The exact bytes.
    pub body: Bytes,
    /// `ApplicationProperties`.
    pub properties: Map<String, Json>,
    /// `MessageId`.
    pub message_id: String,
    /// `ContentType`.
    pub content_type: Option<String>,
    /// `Subject`.
    pub subject: Option<String>,
    /// `CorrelationId`.
    pub correlation_id: Option<String>,
    /// `SessionId`.
    pub session_id: Option<String>,
    /// `SequenceNumber`, from 1 on.
    pub sequence_number: u64,
    /// `EnqueuedTime`.
    pub enqueued: DateTime<Utc>,
    /// Deliveries so far, the present one included; counted anew among the dead letters.
    pub delivery_count: u32,
    /// Why it is among the dead letters, if it is.
    pub dead_letter_reason: Option<String>,
    /// When it is dropped unless it is locked then.
    pub(super) expires: Option<Instant>,
}

impl Message {
    pub(super) fn new(new: NewMessage, message_id: String, sequence_number: u64, enqueued: DateTime<Utc>) -> Self {
        let NewMessage { body, properties, content_type, subject, correlation_id, session_id, .. } = new;
        Self {
            body,
            properties,
            message_id,
            content_type,
            subject,
            correlation_id,
            session_id,
            sequence_number,
            enqueued,
            delivery_count: 0,
            dead_letter_reason: None,
            expires: None,
        }
    }
}
