//! The way to an OpenTelemetry collector: its library's requests through our own transport, so that there is one HTTP client, one
//! set of root certificates and one rule for TLS. Knows nothing of what is sent.

use crate::outbound::transport::{Request, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use std::sync::Arc;
use std::time::Duration;

/// How long one request may take: the default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends through a transport.
#[derive(Debug)]
pub struct ToCollector(pub Arc<dyn Transport>);

#[async_trait]
impl HttpClient for ToCollector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request {
            method: parts.method,
            url: parts.uri.to_string(),
            headers: parts.headers,
            body,
            timeout: TIMEOUT,
        };
        let answer = self.0.send(request).await?;
        let mut response = http::Response::new(answer.body);
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response)
    }
}
