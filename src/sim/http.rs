//! HTTP for the stand-ins: a loopback server around a function, and a plain client. Knows no stand-in.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Largest request body a stand-in reads, in bytes (the Functions front end allows 100 MiB).
pub const BODY_BYTES_MAX: usize = 100 << 20;

/// What a stand-in does with one request: answer it, or close the connection without an answer.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Answer(http::Response<Bytes>),
    /// The connection is closed without a byte: the client cannot know what happened.
    Hangup,
}

/// A running loopback server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, `127.0.0.1:port`.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// `http://127.0.0.1:port`, no slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `handle` on a loopback port (0 = a free one).
///
/// # Errors
/// When the port cannot be bound.
#[expect(
    clippy::disallowed_methods,
    reason = "a server of the stand-ins has connections of its own, and ends when dropped"
)]
pub async fn serve<F, Fut>(port: u16, handle: F) -> std::io::Result<Server>
where
    F: Fn(http::Request<Bytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let handle = Arc::new(handle);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let handle = Arc::clone(&handle);
            connections.spawn(async move {
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let handle = Arc::clone(&handle);
                    async move {
                        let (parts, body) = request.into_parts();
                        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
                            return Err("body not readable");
                        };
                        match handle(http::Request::from_parts(parts, body.to_bytes())).await {
                            Reply::Answer(answer) => Ok(answer.map(Full::new)),
                            Reply::Hangup => Err("hang up"),
                        }
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Server { address, task })
}

/// A plain HTTP client with keep-alive, for stand-ins that send (webhooks, the host to its handler).
#[derive(Clone, Debug)]
pub struct Sender(Client<HttpConnector, Full<Bytes>>);

impl Default for Sender {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Sender {
    /// Sends one request and reads the answer. No time-out of its own.
    ///
    /// # Errors
    /// A text that says what failed; `connection refused` appears in it when nobody listens.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
        let answer = self.0.request(request.map(Full::new)).await.map_err(|e| chain(&e))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|e| chain(&e))?;
        Ok(http::Response::from_parts(parts, body.to_bytes()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// An answer with a status and nothing else.
#[must_use]
pub fn status(status: http::StatusCode) -> http::Response<Bytes> {
    let mut answer = http::Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}
