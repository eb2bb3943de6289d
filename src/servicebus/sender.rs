//! Sending to one queue: a message, or many in as few requests as possible. Knows no repetition.

use crate::servicebus::client::{Call, QueueClient};
use crate::servicebus::error::{Asked, ServiceBusError};
use crate::servicebus::message::Message;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::time::Duration;

/// The content type that makes a request a batch (documentation: Send Message Batch).
const BATCH: HeaderValue = HeaderValue::from_static("application/vnd.microsoft.servicebus.json");

/// Sends to one queue. Clones share everything.
#[derive(Clone, Debug)]
pub struct Sender(QueueClient);

/// Some of many messages were sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("after {sent} messages: {error}")]
pub struct PartlySent {
    /// So many, from the first on, are in the queue for sure.
    pub sent: usize,
    /// What the request after them ended in; it concerns up to [`batch_max`](crate::servicebus::BusLimits) of those that
    /// follow, of which none were sent unless it is [`ServiceBusError::Unknown`].
    pub error: ServiceBusError,
}

/// The next request of many.
enum Chunk {
    /// One message by itself.
    Single,
    /// This many, in this body.
    Batch(usize, String),
}

impl Sender {
    /// Sends to this queue.
    #[must_use]
    pub fn new(queue: QueueClient) -> Self {
        Self(queue)
    }

    /// Sends one message, once. `Ok` means that the queue holds it (or that duplicate detection knew its id).
    ///
    /// # Errors
    /// [`ServiceBusError`]; after [`ServiceBusError::Unknown`] it may be there nevertheless.
    pub async fn send(&self, message: &Message) -> Result<(), ServiceBusError> {
        let (headers, bytes) = message.headers()?;
        self.post(headers, message.body.clone(), bytes).await
    }

    /// Sends messages in their order, in batches where they can be: a batch carries texts without content type and due
    /// time, of one session. Each request is all or nothing; after the first that fails none is sent.
    ///
    /// # Errors
    /// [`PartlySent`] with how many are in the queue for sure.
    pub async fn send_all(&self, messages: &[Message]) -> Result<(), PartlySent> {
        let mut sent = 0;
        while let Some(rest) = messages.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.send_some(rest).await {
                Ok(count) => sent += count,
                Err(error) => return Err(PartlySent { sent, error }),
            }
        }
        Ok(())
    }

    /// One request with as many of these as fit; how many.
    async fn send_some(&self, messages: &[Message]) -> Result<usize, ServiceBusError> {
        let Some(first) = messages.first() else { return Ok(0) };
        match self.chunk(messages)? {
            Chunk::Single => self.send(first).await.map(|()| 1),
            Chunk::Batch(count, body) => {
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, BATCH)]);
                let bytes = body.len();
                self.post(headers, Bytes::from(body), bytes).await.map(|()| count)
            }
        }
    }

    fn chunk(&self, messages: &[Message]) -> Result<Chunk, ServiceBusError> {
        let limits = self.0.limits();
        let session = messages.first().and_then(|message| message.session_id.as_deref());
        let (mut count, mut body) = (0, String::from("["));
        for message in messages.iter().take(limits.batch_max) {
            if message.session_id.as_deref() != session {
                break;
            }
            // what a single send would refuse is refused here too, but not before those in front of it are sent
            let entry = match message.headers().and_then(|_| message.batch_entry()) {
                Ok(Some(entry)) => entry.to_string(),
                Err(error) if count == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            };
            if body.len() + entry.len() + 2 > limits.message_bytes_max {
                break;
            }
            if count > 0 {
                body.push(',');
            }
            body.push_str(&entry);
            count += 1;
        }
        body.push(']');
        Ok(if count < 2 { Chunk::Single } else { Chunk::Batch(count, body) })
    }

    async fn post(&self, headers: HeaderMap, body: Bytes, bytes: usize) -> Result<(), ServiceBusError> {
        if bytes > self.0.limits().message_bytes_max {
            return Err(ServiceBusError::TooLarge { bytes });
        }
        let asked = Asked { right: "Send", bytes, settles: false };
        let (path, wait) = ("/messages".to_owned(), Duration::ZERO);
        let call = Call { method: Method::POST, path, headers, body, wait, asked };
        self.0.call(call, &[StatusCode::CREATED]).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
