//! The queue that a sweep hands entries to: takes what is posted, loses answers before and after, and gives messages out
//! in whatever order they came. Knows only the names that our own messages carry.

use super::trace::Trace;
use async_trait::async_trait;
use dataverse_sync::clock::Clock;
use dataverse_sync::inbox::entry::Name;
use dataverse_sync::outbound::transport::{Request, Response, Transport, TransportError};
use dataverse_sync::servicebus::{BusLimits, Connection, QueueClient, Sender};
use http::{HeaderMap, StatusCode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The queue.
#[derive(Debug)]
pub struct Bus {
    messages: Mutex<Vec<Name>>,
    random: Mutex<StdRng>,
    lost: f64,
    trace: Trace,
}

impl Bus {
    /// Loses this share of all answers, half of them with the message.
    pub fn new(lost: f64, seed: u64, trace: Trace) -> Arc<Self> {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { messages: Mutex::default(), random, lost, trace })
    }

    /// What hands entries to it.
    pub fn sender(self: &Arc<Self>, clock: Arc<dyn Clock>) -> Sender {
        let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0";
        let connection = Connection::parse(text).unwrap();
        let auth = connection.auth(|| Err("a shared key needs no token")).unwrap();
        let transport = Arc::clone(self) as Arc<dyn Transport>;
        Sender::new(QueueClient::new(&connection, "q", auth, transport, clock, BusLimits::default()).unwrap())
    }

    /// All messages that wait.
    pub fn take(&self) -> Vec<Name> {
        std::mem::take(&mut *self.messages.lock().unwrap())
    }

    /// A message whose receiver died comes again.
    pub fn put_back(&self, name: Name) {
        self.messages.lock().unwrap().push(name);
    }

    fn names(request: &Request) -> Vec<Name> {
        match serde_json::from_slice(&request.body).unwrap() {
            Value::Array(all) => {
                all.iter().map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()).collect()
            }
            one => vec![serde_json::from_value(one).unwrap()],
        }
    }
}

#[async_trait]
impl Transport for Bus {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let (names, host) = (Self::names(&request), "queue".to_owned());
        let (takes, lost, first) = {
            let mut random = self.random.lock().unwrap();
            (random.random_range(1..30), random.random_bool(self.lost), random.random_bool(0.5))
        };
        tokio::time::sleep(Duration::from_millis(takes)).await;
        self.trace.line(&format!("queue takes {} lost {lost} {first}", names.len()));
        if lost && first {
            return Err(TransportError::Unknown { host, reason: "request lost".to_owned() });
        }
        self.messages.lock().unwrap().extend(names);
        tokio::time::sleep(Duration::from_millis(takes)).await;
        if lost {
            return Err(TransportError::Unknown { host, reason: "answer lost".to_owned() });
        }
        Ok(Response { status: StatusCode::CREATED, headers: HeaderMap::new(), body: bytes::Bytes::new() })
    }
}
