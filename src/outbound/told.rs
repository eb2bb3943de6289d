//! Tells traces and metrics of each request: method, host, status, time. Never the path, which names rows, nor headers.

use super::transport::{Request, Response, Transport, TransportError};
use crate::clock::Clock;
use crate::telemetry;
use async_trait::async_trait;
use std::sync::Arc;
use tracing::Instrument;

/// A transport whose requests are told of.
#[derive(Debug)]
pub struct Told {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
}

impl Told {
    /// Tells what goes through `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Told {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (method, host) = (request.method.clone(), host(&request.url).to_owned());
        let span = telemetry::request(method.as_str(), &host);
        let start = self.clock.monotonic();
        let ended = self.inner.send(request).instrument(span.clone()).await;
        let status = ended.as_ref().ok().map(|answer| answer.status.as_u16());
        telemetry::ended(&span, status);
        telemetry::metrics::called(method.as_str(), &host, status, self.clock.monotonic().saturating_sub(start));
        ended
    }
}

/// The host of an absolute URL, without user and port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_told_without_user_port_and_path() {
        for (url, expected) in [
            ("https://org.crm4.dynamics.com/api/data/v9.2/accounts(1)", "org.crm4.dynamics.com"),
            ("http://127.0.0.1:10002/devstoreaccount1/t?x=/", "127.0.0.1"),
            ("http://user:word@host:80?q", "host"),
            ("http://[::1]:80/", "[::1]"),
            ("https://host", "host"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
