//! The network of simulated worlds: requests go to a stand-in in this process, on tokio's time.

use super::trace::Trace;
use async_trait::async_trait;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use dataverse_sync::sim::dataverse::Environment;
use dataverse_sync::sim::http::Reply;

/// A wire to one environment.
#[derive(Clone, Debug)]
pub struct Wire {
    pub to: Environment,
    pub name: &'static str,
    pub trace: Trace,
}

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
        let (what, body) = (format!("{} {} {}", self.name, to.method(), to.uri().path()), to.body().clone());
        let condition = ["if-match", "if-none-match"].map(|name| to.headers().get(name).cloned());
        self.trace.line(&format!("{what} {condition:?} {}", String::from_utf8_lossy(&body)));
        let answer = tokio::time::timeout(request.timeout, self.to.handle(to)).await;
        let status = match &answer {
            Ok(Reply::Answer(answer)) => answer.status().as_str().to_owned(),
            Ok(Reply::Hangup) => "connection closed".to_owned(),
            Err(_) => "timed out".to_owned(),
        };
        self.trace.line(&format!("{what} -> {status}"));
        match answer {
            Ok(Reply::Answer(answer)) => {
                let (parts, body) = answer.into_parts();
                Ok(Response { status: parts.status, headers: parts.headers, body })
            }
            Ok(Reply::Hangup) => Err(TransportError::Unknown { host, reason: "connection closed".to_owned() }),
            Err(_) => Err(TransportError::Unknown { host, reason: "timed out".to_owned() }),
        }
    }
}
