//! The network of simulated worlds: requests go to a stand-in in this process, on tokio's time.

use async_trait::async_trait;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use dataverse_sync::sim::dataverse::Environment;
use dataverse_sync::sim::http::Reply;

/// A wire to one environment.
#[derive(Clone, Debug)]
pub struct Wire(pub Environment);

#[async_trait]
impl Transport for Wire {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let host = "stand-in".to_owned();
        let mut to = http::Request::new(request.body);
        *to.method_mut() = request.method;
        *to.uri_mut() = request
            .url
            .parse()
            .map_err(|_| TransportError::NotSent { host: host.clone(), reason: "no url".to_owned() })?;
        *to.headers_mut() = request.headers;
        match tokio::time::timeout(request.timeout, self.0.handle(to)).await {
            Ok(Reply::Answer(answer)) => {
                let (parts, body) = answer.into_parts();
                Ok(Response { status: parts.status, headers: parts.headers, body })
            }
            Ok(Reply::Hangup) => Err(TransportError::Unknown { host, reason: "connection closed".to_owned() }),
            Err(_) => Err(TransportError::Unknown { host, reason: "timed out".to_owned() }),
        }
    }
}
