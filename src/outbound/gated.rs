//! A transport that keeps a [`Gate`] informed and shut: every answer of the environment is looked at for `Retry-After`,
//! `x-ms-dop-hint` and what it shows, and while the gate is closed or its breaker open nothing is sent, whoever asks.
//!
//! It never waits: a caller who may wait does so at the gate, before it checks its own deadline (PROTOCOL R2).

use super::gate::Gate;
use super::governor::seen::Seen;
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
    /// Sends through `inner` unless the gate is shut.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, gate: Gate, clock: Arc<dyn Clock>) -> Self {
        Self { inner, gate, clock }
    }

    fn look(&self, response: &Response) {
        if matches!(response.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            && let Some(pause) = retry_after(&response.headers, self.clock.now())
        {
            self.gate.close_for(pause);
        }
        let hint = response.headers.get("x-ms-dop-hint").and_then(|value| value.to_str().ok());
        if let Some(hint) = hint.and_then(|hint| hint.trim().parse().ok()) {
            self.gate.advise(hint);
        }
    }
}

#[async_trait]
impl Transport for Gated {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let started = match self.gate.start() {
            Ok(started) => started,
            Err(refusal) => {
                let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
                return Err(TransportError::NotSent { host, reason: refusal.to_string() });
            }
        };
        let answer = self.inner.send(request).await;
        if let Ok(response) = &answer {
            self.look(response);
        }
        self.gate.ended(started, Seen::of(answer.as_ref()));
        answer
    }
}
