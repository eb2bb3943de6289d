//! The seam between us and the network: one HTTP request, one answer, and what is known when there is none.
//!
//! Everything that talks HTTP (tables, dataverse, tokens) goes through [`Transport`], so that tests can
//! count calls, lose answers and decide the time. The trait knows no retries: whoever knows the protocol decides.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use std::time::Duration;

/// One HTTP request, complete: nothing is added on the way but `host`, `content-length` and `user-agent`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL, already percent-encoded; it is sent byte for byte.
    pub url: String,
    /// All headers. May hold credentials: never logged.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Bytes,
    /// How long to wait for the whole answer, connecting included.
    pub timeout: Duration,
}

/// One HTTP answer, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, bounded by the transport (16 MiB unless told otherwise).
    pub body: Bytes,
}

/// Why there is no answer. The difference decides what may be repeated (STYLE rule 9).
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// The request did not leave this machine: no connection, no name, not a valid request. It had no effect.
    #[error("request to {host} was not sent: {reason}")]
    NotSent {
        /// The host that was meant.
        host: String,
        /// What went wrong, without URL or header values.
        reason: String,
    },
    /// The request may have worked, now or later: time-out, connection reset, answer cut short.
    #[error("no answer from {host}: {reason}")]
    Unknown {
        /// The host that was asked.
        host: String,
        /// What went wrong, without URL or header values.
        reason: String,
    },
}

/// Sends one request. Implementations: reqwest, and the simulated network of the tests.
#[async_trait]
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Sends the request and reads the whole answer, within `request.timeout`.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] if there was no effect for sure, else [`TransportError::Unknown`].
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}
