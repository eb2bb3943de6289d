//! A transport that keeps a [`Gate`] informed and closed: every answer of the environment is looked at for
//! `Retry-After` and `x-ms-dop-hint`, and while the gate is closed nothing is sent, whoever asks.
//!
//! It never waits: a caller who may wait does so at the gate, before it checks its own deadline (PROTOCOL R2).

use super::gate::Gate;
use super::retry::retry_after;
use super::transport::{Request, Response, Transport, TransportError};
use crate::clock::Clock;
use async_trait::async_trait;
use http::StatusCode;
use std::sync::Arc;

/// A gated transport.
#[derive(Debug)]
pub struct Gated {
    inner: Arc<dyn Transport>,
    gate: Gate,
    clock: Arc<dyn Clock>,
}

impl Gated {
    /// Sends through `inner` unless the gate is closed.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, gate: Gate, clock: Arc<dyn Clock>) -> Self {
        Self { inner, gate, clock }
    }
}

#[async_trait]
impl Transport for Gated {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if let Some(left) = self.gate.closed_for() {
            let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
            let reason = format!("it asked for a pause of another {} ms", left.as_millis());
            return Err(TransportError::NotSent { host, reason });
        }
        let response = self.inner.send(request).await?;
        if matches!(response.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            && let Some(pause) = retry_after(&response.headers, self.clock.now())
        {
            self.gate.close_for(pause);
        }
        let hint = response.headers.get("x-ms-dop-hint").and_then(|value| value.to_str().ok());
        if let Some(hint) = hint.and_then(|hint| hint.trim().parse().ok()) {
            self.gate.advise(hint);
        }
        Ok(response)
    }
}
