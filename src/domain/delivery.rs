//! One delivery of an event: what the way in knows about it, and what is answered. Shared by host, functions and sync.

use super::outcome::Outcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a delivery came in; decides how long work on it may take and what happens when it can't be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// HTTP: nobody redelivers it (Dataverse retries 502/503/504 once).
    Webhook,
    /// A Service Bus message: the broker redelivers at once, up to its maximum.
    Queue,
    /// The inbox: an event that was stored for later and is due now.
    Inbox,
}

/// Facts about one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The way in.
    pub channel: Channel,
    /// When the event was first seen, in milliseconds since 1970: the broker's enqueued time, or our receive time (R1).
    pub arrival_ms: i64,
    /// How many times the broker has delivered the message, from 1; 1 for HTTP.
    pub delivery_count: u32,
    /// The host's invocation id, for logs.
    pub invocation: String,
    /// W3C `traceparent` to pass on, if the sender gave a valid one.
    pub traceparent: Option<String>,
    /// Until when work on it may take, on the monotonic clock, because others came with it; `None`: as long as its way in
    /// allows. What has not begun by then is stored.
    pub until: Option<Duration>,
}

/// The answer to one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The event's id.
    pub event_id: String,
    /// Source table.
    pub table: String,
    /// The row, as the event names it: a GUID or `column='value'`.
    pub row: String,
}

/// The event could be neither finished nor stored: HTTP answers 503 with `Retry-After`, a queue invocation fails, so
/// that the sender keeps it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unfinished {
    /// Why, without secrets and values.
    pub reason: String,
    /// When to come back, at the earliest.
    pub retry_after: Duration,
}

/// Why there is no [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHandled {
    /// Neither finished nor stored.
    #[error("{0}")]
    Unfinished(#[from] Unfinished),
    /// The id was used before for the same row with other content. HTTP answers 422.
    #[error("the id was used before for this row with other content")]
    IdReused {
        /// The event's id.
        event_id: String,
        /// Source table.
        table: String,
        /// The row, as the event names it.
        row: String,
        /// It is parked, so that a queue message may be completed; else the invocation fails and the broker keeps it.
        stored: bool,
    },
}
