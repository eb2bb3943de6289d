//! Where events go: collected for a test, posted to a webhook, or handed to a function (a queue). Knows no commit.

use super::events::RaisedEvent;
use crate::sim::http::Sender;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// A webhook that does not answer in this time has failed (use-webhooks).
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Between a 502, 503 or 504 and the one more attempt (assumed; the service does not say).
const WEBHOOK_RETRY: Duration = Duration::from_secs(1);
/// First wait of a queue post that failed; it doubles.
const QUEUE_RETRY: Duration = Duration::from_secs(1);
/// Attempts of a queue post.
const QUEUE_ATTEMPTS_MAX: u32 = 10;

/// Receives one event; an error is an external failure.
pub type Receive = Arc<dyn Fn(RaisedEvent) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Where the events of a step go.
#[derive(Clone)]
pub enum Sink {
    /// Kept, in the order of the commits, until somebody takes them.
    Collect(Collector),
    /// Posted: 60 s, one more attempt after 502, 503, 504, then the job has failed.
    Webhook(Arc<Webhook>),
    /// Given to a function, and again with growing pauses while it fails (as to a Service Bus).
    Call(Receive),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Collect(_) => "Collect",
            Self::Webhook(_) => "Webhook",
            Self::Call(_) => "Call",
        })
    }
}

/// Events that wait to be taken.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Vec<RaisedEvent>>>);

impl Collector {
    /// All events since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<RaisedEvent> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn push(&self, event: RaisedEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// A registered webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to, query included (`?code=...`). Reality allows ports 80 and 443 only; a stand-in has neither.
    pub url: String,
    /// Headers of its own (HttpHeader authentication).
    pub headers: Vec<(String, String)>,
    sender: Sender,
}

impl Webhook {
    /// A webhook without headers of its own.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), headers: Vec::new(), sender: Sender::default() }
    }

    /// The webhook with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    async fn post(&self, event: &RaisedEvent) -> Result<http::StatusCode, String> {
        let post = event.webhook();
        let mut request = http::Request::post(&self.url);
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::clone(&post.body)).map_err(|e| e.to_string())?;
        match tokio::time::timeout(WEBHOOK_TIMEOUT, self.sender.send(request)).await {
            Ok(Ok(answer)) => Ok(answer.status()),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("no answer within 60 s".to_owned()),
        }
    }
}

/// A system job that failed: its event is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedJob {
    /// Its step.
    pub step: Uuid,
    /// Its id.
    pub operation: Uuid,
    /// The commit's number.
    pub sequence: u64,
    /// Why.
    pub reason: String,
}

/// Delivers one event.
///
/// # Errors
/// The job that failed.
pub(super) async fn deliver(sink: &Sink, event: &RaisedEvent) -> Result<(), FailedJob> {
    let failed =
        |reason: String| FailedJob { step: event.step, operation: event.operation, sequence: event.sequence, reason };
    match sink {
        Sink::Collect(collector) => {
            collector.push(event.clone());
            Ok(())
        }
        Sink::Webhook(webhook) => {
            let mut status = webhook.post(event).await.map_err(failed)?;
            if matches!(status.as_u16(), 502..=504) {
                tokio::time::sleep(WEBHOOK_RETRY).await;
                status = webhook.post(event).await.map_err(failed)?;
            }
            if status.is_success() { Ok(()) } else { Err(failed(format!("status {}", status.as_u16()))) }
        }
        Sink::Call(receive) => {
            let mut pause = QUEUE_RETRY;
            let mut reason = String::new();
            for _ in 0..QUEUE_ATTEMPTS_MAX {
                match receive(event.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(text) => reason = text,
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(failed(reason))
        }
    }
}
