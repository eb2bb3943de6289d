//! Service Bus messages out of an envelope: one, or many with `cardinality: many`. Knows no event.
//!
//! With `dataType: binary`, which our `function.json` sets, the body is the base64 of the exact bytes. The other forms
//! are read too, since a `function.json` can be changed in the portal: text as a string that contains JSON text (what
//! the host sends), text as it is (what the documentation shows), objects, and arrays of all of these.

use super::delivery::{Headers, traceparent_of};
use super::envelope::{Envelope, EnvelopeError, as_count, as_text, as_time, unwrap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Most messages of one invocation; the host's own default (`maxMessageBatchSize`) is 1000.
pub const MESSAGES_MAX: usize = 1000;

/// One message of the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its exact bytes, as far as the host's encoding kept them.
    pub body: Vec<u8>,
    /// The broker's message id.
    pub message_id: Option<String>,
    /// The content type that the sender gave.
    pub content_type: Option<String>,
    /// Application properties as the sender wrote them.
    pub properties: Map<String, Value>,
    /// When the broker took it, in milliseconds since 1970 (the host gives whole seconds).
    pub enqueued_ms: Option<i64>,
    /// How many times it was delivered, from 1. A hint only: a sender can forge it unless the body comes as bytes.
    pub delivery_count: u32,
    /// The sender's trace context, if it is valid.
    pub traceparent: Option<String>,
}

impl Message {
    /// Reads the message or messages of `Data.<binding>`.
    ///
    /// # Errors
    /// [`EnvelopeError`] if the binding is missing, or null, or one of an array is neither text nor object.
    pub fn read(envelope: &Envelope, binding: &str) -> Result<Vec<Self>, EnvelopeError> {
        let path = || format!("Data.{binding}");
        let many = envelope.metadata.keys().any(|name| name.ends_with("Array"));
        match envelope.data.get(binding) {
            Some(Value::String(text)) => match batch(text, many) {
                Some(items) => Self::read_all(envelope, binding, &items),
                None => Ok(vec![Self::at(envelope, None, body_of(text))]),
            },
            Some(object @ Value::Object(_)) => Ok(vec![Self::at(envelope, None, object.to_string().into_bytes())]),
            Some(Value::Array(items)) => Self::read_all(envelope, binding, items),
            other => Err(EnvelopeError::shape(path(), "a message", other)),
        }
    }

    fn read_all(envelope: &Envelope, binding: &str, items: &[Value]) -> Result<Vec<Self>, EnvelopeError> {
        if items.len() > MESSAGES_MAX {
            let all = Value::Array(Vec::new());
            return Err(EnvelopeError::shape(format!("Data.{binding}"), "at most 1000 messages", Some(&all)));
        }
        let read = |(n, item): (usize, &Value)| match item {
            Value::String(text) => Ok(Self::at(envelope, Some(n), body_of(text))),
            Value::Object(_) => Ok(Self::at(envelope, Some(n), item.to_string().into_bytes())),
            other => Err(EnvelopeError::shape(format!("Data.{binding}[{n}]"), "a message", Some(other))),
        };
        items.iter().enumerate().map(read).collect()
    }

    /// The message with what `Metadata` says about it: `MessageId` for a single one, the n-th of `MessageIdArray` else.
    fn at(envelope: &Envelope, index: Option<usize>, body: Vec<u8>) -> Self {
        let meta = |name: &str| match index {
            None => envelope.metadata.get(name).cloned(),
            Some(n) => envelope.metadata(&format!("{name}Array"))?.get(n).cloned(),
        };
        let properties = ["ApplicationProperties", "UserProperties"].iter().find_map(|name| meta(name));
        let properties = match properties.as_ref().map(unwrap) {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let enqueued =
            ["EnqueuedTimeUtc", "EnqueuedTime"].iter().find_map(|name| meta(name).as_ref().and_then(as_time));
        Self {
            body,
            message_id: meta("MessageId").as_ref().and_then(as_text).filter(|id| !id.is_empty()),
            content_type: meta("ContentType").as_ref().and_then(as_text).filter(|kind| !kind.is_empty()),
            enqueued_ms: enqueued.map(|at| at.timestamp_millis()),
            delivery_count: meta("DeliveryCount").as_ref().and_then(as_count).unwrap_or(1).max(1),
            traceparent: traceparent_of(&lower_case(&properties)),
            properties,
        }
    }
}

/// The elements, if the text holds an array of messages rather than one message whose body is a JSON array (a batch of
/// CloudEvents): all are texts, or `Metadata` has the names of `cardinality: many`.
fn batch(text: &str, many: bool) -> Option<Vec<Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) if many || (!items.is_empty() && items.iter().all(Value::is_string)) => Some(items),
        _ => None,
    }
}

/// The bytes behind one text: JSON text that holds a string is unwrapped once, other JSON documents are the body
/// themselves, what is neither and valid base64 is bytes. No base64 of a JSON object or array is JSON, so the forms
/// cannot be confused for any event.
fn body_of(text: &str) -> Vec<u8> {
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => inner.into_bytes(),
        Ok(Value::Object(_) | Value::Array(_)) => text.as_bytes().to_vec(),
        _ => STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()),
    }
}

/// Properties that are texts, names in lower case. They keep their native types, so a string is the text itself.
fn lower_case(properties: &Map<String, Value>) -> Headers {
    properties.iter().filter_map(|(name, value)| Some((name.to_lowercase(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
