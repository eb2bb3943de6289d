//! From the source to the handlers: late, out of order, twice, by the queue or as a webhook. Whoever posts a webhook
//! sends it again until it is acknowledged, as senders of CloudEvents do; what is acknowledged is never sent again.

use super::between;
use bytes::Bytes;
use dataverse_sync::sim::dataverse::{Message, RaisedEvent};
use dataverse_sync::sim::host::{NewMessage, Queue};
use dataverse_sync::sim::http::Sender;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Share of events that are posted instead of queued, of those that come a second time by the other way, and of
/// creates that come later than what refers to the new row.
const POSTED: f64 = 0.35;
const TWICE: f64 = 0.15;
const LATE: f64 = 0.5;
/// How long a sender waits for an answer: shorter than processes stand still.
const ANSWER_MAX: Duration = Duration::from_secs(6);
const MS: fn(u64) -> Duration = Duration::from_millis;

/// The way from the source, and what was seen on it.
#[derive(Debug)]
pub struct Delivery {
    seed: u64,
    url: String,
    queue: Queue,
    sender: Sender,
    /// Webhooks answered 202: kept for later.
    pub kept: AtomicU64,
    /// Posts without an answer, or with one that acknowledges nothing.
    pub refused: AtomicU64,
    /// Events that came by both ways.
    pub twice: AtomicU64,
}

impl Delivery {
    pub fn new(seed: u64, url: String, queue: Queue) -> Self {
        let [kept, refused, twice] = [(); 3].map(|()| AtomicU64::new(0));
        Self { seed, url, queue, sender: Sender::default(), kept, refused, twice }
    }

    /// Delivers one event; an error has it delivered again.
    pub async fn deliver(&self, event: RaisedEvent) -> Result<(), String> {
        let (high, low) = event.operation.as_u64_pair();
        let mut random = StdRng::seed_from_u64(self.seed ^ high ^ low.rotate_left(23));
        let late = event.message == Message::Create && random.random_bool(LATE);
        let delay = if late { between(&mut random, MS(300), MS(1_500)) } else { between(&mut random, MS(0), MS(300)) };
        let posted = random.random_bool(POSTED);
        let again = random.random_bool(TWICE).then(|| between(&mut random, MS(0), MS(2_500)));
        self.twice.fetch_add(u64::from(again.is_some()), Ordering::Relaxed);
        if posted {
            if let Some(later) = again {
                self.enqueue(&event, delay + later);
            }
            tokio::time::sleep(delay).await;
            return self.post(&event).await;
        }
        self.enqueue(&event, delay);
        match again {
            Some(later) => {
                tokio::time::sleep(delay + later).await;
                self.post(&event).await
            }
            None => Ok(()),
        }
    }

    fn enqueue(&self, event: &RaisedEvent, delay: Duration) {
        let message = event.queue().unwrap();
        let properties = message.properties.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        let content_type = Some(message.content_type.to_owned());
        let message = NewMessage { body: message.body, properties, content_type, ..NewMessage::default() };
        self.queue.send(message.delayed(delay));
    }

    async fn post(&self, event: &RaisedEvent) -> Result<(), String> {
        let webhook = event.webhook();
        let mut request = http::Request::post(&self.url);
        for (name, value) in &webhook.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Bytes::clone(&webhook.body)).unwrap();
        match tokio::time::timeout(ANSWER_MAX, self.sender.send(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => {
                self.kept.fetch_add(u64::from(answer.status() == http::StatusCode::ACCEPTED), Ordering::Relaxed);
                Ok(())
            }
            Ok(Ok(answer)) if answer.status().is_client_error() => {
                panic!("a webhook was refused: {} {:?}", answer.status(), answer.body())
            }
            ended => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(format!("{ended:?}"))
            }
        }
    }
}
