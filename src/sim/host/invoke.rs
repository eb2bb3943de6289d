//! One invocation: sent as the host sends it, ended by an answer, the function's timeout or the handler's death.
//! Knows no queue and no route.

use super::instance::{Death, Instance};
use super::verdict::{Judgement, Outcome, judge};
use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value as Json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use uuid::Uuid;

/// The version the host says it has.
pub const HOST_VERSION: &str = "4.1037.0.0";
/// Most redirects followed.
const REDIRECTS_MAX: usize = 50;

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It succeeded.
    Success(Outcome),
    /// It failed, and why.
    Failure(String),
    /// It took longer than `functionTimeout`: the handler was killed and replaced.
    TimedOut,
    /// The whole instance is gone: nobody is left to say how it ended.
    Lost,
}

/// A body whose length is not announced, so that it is sent in chunks as .NET does.
struct Chunked(Full<Bytes>);

impl Body for Chunked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.get_mut().0).poll_frame(cx)
    }
}

/// Sends invocations, with keep-alive.
#[derive(Clone, Debug)]
pub struct Client(HyperClient<HttpConnector, Chunked>);

impl Default for Client {
    fn default() -> Self {
        Self(HyperClient::builder(TokioExecutor::new()).build_http())
    }
}

impl Client {
    /// Invokes a function on an instance and waits for its end.
    pub async fn invoke(
        &self,
        instance: &Instance,
        function: &str,
        invocation: Uuid,
        envelope: &Json,
        timeout: Option<Duration>,
    ) -> Ending {
        let mut deaths = instance.deaths();
        let address = match instance.ready().await {
            Ok(address) => address,
            Err(why) => return Ending::Failure(why),
        };
        deaths.mark_unchanged();
        let work = async {
            let answer = self.post(address, function, invocation, envelope).await;
            match answer.as_ref().map(judge) {
                Ok(Judgement::Success(outcome)) => Ending::Success(outcome),
                Ok(Judgement::Failure(why)) => Ending::Failure(why),
                Ok(Judgement::Hang) => std::future::pending().await,
                Err(why) => Ending::Failure(why.clone()),
            }
        };
        let expired = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = work => ending,
            _ = deaths.changed() => match deaths.borrow().1 {
                Death::Handler => Ending::Failure("The handler process exited during the invocation".into()),
                Death::Instance => Ending::Lost,
            },
            () = expired => {
                instance.restart(Death::Handler).await;
                Ending::TimedOut
            }
        }
    }

    async fn post(
        &self,
        address: SocketAddr,
        function: &str,
        invocation: Uuid,
        envelope: &Json,
    ) -> Result<Response<Bytes>, String> {
        let body = Bytes::from(envelope.to_string());
        let mut method = Method::POST;
        let mut uri: Uri = format!("http://{address}/{function}").parse().map_err(|e| format!("address: {e}"))?;
        for _ in 0..=REDIRECTS_MAX {
            let request = Request::builder()
                .method(method.clone())
                .uri(uri.clone())
                .header("X-Azure-Functions-HostVersion", HOST_VERSION)
                .header("X-Azure-Functions-InvocationId", invocation.to_string())
                .header("User-Agent", format!("Azure-Functions-Host/{HOST_VERSION}"))
                .header("Content-Type", "application/json; charset=utf-8");
            let content = if method == Method::POST { body.clone() } else { Bytes::new() };
            let request = request.body(Chunked(Full::new(content))).map_err(|e| e.to_string())?;
            let answer =
                self.0.request(request).await.map_err(|e| format!("{e}: {:?}", std::error::Error::source(&e)))?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            let location = parts.headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
            match (parts.status.as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    if !matches!(parts.status.as_u16(), 307 | 308) {
                        method = Method::GET;
                    }
                    uri = absolute(address, location)?;
                }
                _ => return Ok(Response::from_parts(parts, body)),
            }
        }
        Err("too many redirects".into())
    }
}

fn absolute(address: SocketAddr, location: &str) -> Result<Uri, String> {
    let text = if location.starts_with('/') { format!("http://{address}{location}") } else { location.to_owned() };
    text.parse().map_err(|e| format!("redirect: {e}"))
}
