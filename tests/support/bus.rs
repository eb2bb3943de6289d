//! Service Bus in one process: requests of our sender end in a local queue, unless it is told to fail.

use async_trait::async_trait;
use bytes::Bytes;
use dataverse_sync::clock::Clock;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use dataverse_sync::secret::Secret;
use dataverse_sync::servicebus::{Auth, BusLimits, Connection, QueueClient, Sender, SharedKey};
use dataverse_sync::sim::host::{NewMessage, Queue};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A way of not answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Nobody is there.
    NotSent,
    /// It works, and the answer is lost.
    AnswerLost,
    /// 401: no right to send.
    Refused,
}

/// The wire to one queue.
#[derive(Debug)]
pub struct Bus {
    pub queue: Queue,
    /// Messages that were taken and lost: of so many one.
    pub loses: AtomicUsize,
    pub trouble: Mutex<Trouble>,
    pub sends: AtomicUsize,
    /// Whether any request was too large, or not what the service documents.
    pub broken: AtomicBool,
}

impl Bus {
    pub fn new(queue: Queue) -> Arc<Self> {
        Arc::new(Self {
            queue,
            loses: AtomicUsize::new(0),
            trouble: Mutex::new(Trouble::None),
            sends: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        })
    }

    pub fn is(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// A sender over this wire.
    pub fn sender(self: &Arc<Self>, clock: Arc<dyn Clock>) -> Sender {
        let connection = Connection::namespace("ns.servicebus.windows.net").unwrap();
        let auth = Auth::SharedKey(SharedKey::new("send", Secret::new("a2V5")).unwrap());
        let transport = Arc::clone(self) as Arc<dyn Transport>;
        Sender::new(QueueClient::new(&connection, "q", auth, transport, clock, BusLimits::default()).unwrap())
    }

    fn take(&self, body: &str, id: Option<&Value>, properties: impl Iterator<Item = (String, Value)>) {
        let mut message = NewMessage::new(body.to_owned());
        message.message_id = id.map(|id| id.as_str().unwrap().to_owned());
        message.properties = properties.collect();
        let loses = self.loses.load(Ordering::SeqCst);
        let number = self.queue.counts().sent + 1;
        if loses == 0 || !number.is_multiple_of(u64::try_from(loses).unwrap()) {
            self.queue.send(message);
        } else {
            // taken, and gone: as if somebody had emptied the queue
            self.queue.send(NewMessage { time_to_live: Some(Duration::ZERO), ..message });
        }
    }
}

#[async_trait]
impl Transport for Bus {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.sends.fetch_add(1, Ordering::SeqCst);
        let trouble = *self.trouble.lock().unwrap();
        let (host, reason) = ("ns".to_owned(), "test".to_owned());
        let answer = |status| Ok(Response { status, headers: HeaderMap::new(), body: Bytes::new() });
        match trouble {
            Trouble::NotSent => return Err(TransportError::NotSent { host, reason }),
            Trouble::Refused => return answer(StatusCode::UNAUTHORIZED),
            Trouble::None | Trouble::AnswerLost => {}
        }
        self.broken.fetch_or(request.body.len() > 256 << 10, Ordering::SeqCst);
        let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        if header("content-type").is_some_and(|kind| kind == "application/vnd.microsoft.servicebus.json") {
            let batch: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
            for entry in &batch {
                let properties = entry["UserProperties"].as_object().cloned().unwrap_or_default();
                let id = entry["BrokerProperties"].get("MessageId");
                self.take(entry["Body"].as_str().unwrap(), id, properties.into_iter());
            }
        } else {
            let broker: Value = serde_json::from_str(&header("brokerproperties").unwrap()).unwrap();
            let own = ["authorization", "brokerproperties", "content-type"];
            let custom = request.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
            let custom =
                custom.map(|(name, value)| (name.to_string(), serde_json::from_slice(value.as_bytes()).unwrap()));
            self.take(std::str::from_utf8(&request.body).unwrap(), broker.get("MessageId"), custom);
        }
        if trouble == Trouble::AnswerLost {
            Err(TransportError::Unknown { host, reason })
        } else {
            answer(StatusCode::CREATED)
        }
    }
}
