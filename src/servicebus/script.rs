//! A transport for tests: answers from a script, requests recorded.

use super::auth::{Auth, SharedKey};
use super::client::{BusLimits, QueueClient};
use super::connection::Connection;
use crate::clock::Clock;
use crate::outbound::transport::{Request, Response, Transport, TransportError};
use crate::secret::Secret;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) type Scripted = Result<Response, TransportError>;

/// Stands still at 2026-01-15 10:00:00 UTC.
#[derive(Debug)]
pub(crate) struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_768_471_200, 0).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Answers in the order of the script; a request beyond its end fails the test.
#[derive(Debug)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    pub(crate) requests: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Scripted {
        self.requests.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("more requests than the script has answers")
    }
}

/// A queue `q` whose answers are these.
pub(crate) fn queue(limits: BusLimits, answers: impl IntoIterator<Item = Scripted>) -> (QueueClient, Arc<Script>) {
    let auth = Auth::SharedKey(SharedKey::new("n", Secret::new("topsecret")).unwrap());
    with_auth(auth, limits, answers)
}

pub(crate) fn with_auth(
    auth: Auth,
    limits: BusLimits,
    answers: impl IntoIterator<Item = Scripted>,
) -> (QueueClient, Arc<Script>) {
    let (answers, requests) = (Mutex::new(answers.into_iter().collect()), Mutex::default());
    let script = Arc::new(Script { answers, requests });
    let connection = Connection::namespace("ns.servicebus.windows.net").unwrap();
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    (QueueClient::new(&connection, "q", auth, transport, Arc::new(StillClock), limits).unwrap(), script)
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Scripted {
    let header = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.iter().map(header).collect::<HeaderMap>());
    Ok(Response { status, headers, body: Bytes::from(body.to_owned()) })
}

pub(crate) fn lost() -> Scripted {
    Err(TransportError::Unknown { host: "ns".to_owned(), reason: "time-out".to_owned() })
}
