//! One queue's address, credentials and limits, and how a request reaches it. Knows no operation.

use crate::clock::Clock;
use crate::outbound::authorised::send_authorised;
use crate::outbound::retry::retry_after;
use crate::outbound::transport::{Request, Response, Transport};
use crate::servicebus::auth::{Auth, RESOURCE};
use crate::servicebus::connection::Connection;
use crate::servicebus::error::{Asked, ServiceBusError, classify};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Limits of one queue's calls.
#[derive(Clone, Copy, Debug)]
pub struct BusLimits {
    /// One request, connecting and a token included, besides the time that a receiver waits for a message. Default 10 s.
    pub request: Duration,
    /// Largest message in bytes, its properties included, and largest batch. Default 256 KiB, the Standard tier's;
    /// the Premium tier takes 1 MiB unless the queue is set up for more.
    pub message_bytes_max: usize,
    /// Most messages in one batch. Default 100.
    pub batch_max: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self { request: Duration::from_secs(10), message_bytes_max: 256 << 10, batch_max: 100 }
    }
}

/// One queue. Clones share everything.
#[derive(Clone, Debug)]
pub struct QueueClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    auth: Auth,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    limits: BusLimits,
}

/// What is sent, before it is signed.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the queue's address, with a slash in front; empty for the queue itself.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What the service may wait before it answers.
    pub(super) wait: Duration,
    pub(super) asked: Asked,
}

impl QueueClient {
    /// The queue `name` behind `connection`. `auth` is what the connection's proof is made into by whoever composes
    /// the parts: an identity needs a token source.
    ///
    /// # Errors
    /// [`ServiceBusError::Invalid`] if the name is none, belongs to another connection, or a limit is zero.
    pub fn new(
        connection: &Connection,
        name: &str,
        auth: Auth,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        limits: BusLimits,
    ) -> Result<Self, ServiceBusError> {
        if limits.request.is_zero() || limits.message_bytes_max == 0 || limits.batch_max == 0 {
            return Err(ServiceBusError::invalid("a limit is zero: nothing could ever be sent"));
        }
        let url = connection.queue_url(name).map_err(|error| ServiceBusError::invalid(error.what))?;
        Ok(Self(Arc::new(Inner { url, auth, transport, clock, limits })))
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> BusLimits {
        self.0.limits
    }

    /// Sends once; gives back the answer if its status is one of `fine`, else its meaning.
    pub(super) async fn call(&self, call: Call, fine: &[StatusCode]) -> Result<Response, ServiceBusError> {
        let inner = &self.0;
        let asked = call.asked;
        let timeout = inner.limits.request.saturating_add(call.wait);
        let url = format!("{}{}", inner.url, call.path);
        let mut request = Request { method: call.method, url, headers: call.headers, body: call.body, timeout };
        let answer = match &inner.auth {
            Auth::Bearer(tokens) => send_authorised(inner.transport.as_ref(), tokens, RESOURCE, request).await?,
            Auth::SharedKey(key) => {
                let token = key.token(&inner.url, inner.clock.now());
                authorize(&mut request, token.expose())?;
                inner.transport.send(request).await?
            }
            Auth::Signature(signature) => {
                authorize(&mut request, &format!("SharedAccessSignature {}", signature.expose()))?;
                inner.transport.send(request).await?
            }
        };
        if fine.contains(&answer.status) {
            return Ok(answer);
        }
        Err(classify(answer.status, &answer.body, retry_after(&answer.headers, inner.clock.now()), asked))
    }
}

fn authorize(request: &mut Request, value: &str) -> Result<(), ServiceBusError> {
    let value = HeaderValue::from_str(value);
    let mut value = value.map_err(|_| ServiceBusError::invalid("the signature cannot be used in a header"))?;
    value.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, value);
    Ok(())
}
