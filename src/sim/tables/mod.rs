//! A stand-in for Azure Table Storage: the protocol in path style (`/{account}/{table}...`, as Azurite), in memory.
//! Knows nothing of what is stored.
//!
//! Behaviour was compared with Azurite 3.35.0, request by request. Where Azurite is kinder than the service or
//! breaks, this is as strict as the service's documentation:
//!
//! | request | Azurite 3.35.0 | here |
//! |---|---|---|
//! | transaction over two partitions or two tables | done | 400 `CommandsInBatchActOnDifferentPartitions` |
//! | transaction that is empty or no multipart; with a query in the change set | 500; answered | 400 `InvalidInput`; 405 |
//! | 253 properties | stored | 400 `TooManyProperties` |
//! | value not of its announced type; unknown type; key that is a number | stored; 500; 500 | 400 `InvalidInput` |
//! | whole number outside 32 bits without a type | stored as a number | 400 `InvalidInput` |
//! | property names like `a-b`, `1b`, or of 256 characters | stored | 400 `PropertyNameInvalid`, `PropertyNameTooLong` |
//! | body keys other than the address's (`PUT`, `PATCH`) | done | 400 `InvalidInput` |
//! | forbidden characters in keys, keys over 1 KiB | 400 `InvalidInput` (500 in `GET`, `MERGE`) | 400 `OutOfRangeInput`, `KeyValueTooLarge` |
//! | `DELETE` without `If-Match` | 400 without code | 400 `MissingRequiredHeader` |
//! | `If-Match` that is no ETag | 400 `InvalidOperation` | 400 `InvalidInput` |
//! | no `x-ms-version` | done | 400 `InvalidHeaderValue` |
//! | JSON body without its content type; without `DataServiceVersion: 3.0` | 400 `PropertiesNeedValue`; done | 415; 400 `InvalidHeaderValue` |
//! | filter: operators in capitals, `not a eq 1`, property against property | done | 400 `InvalidInput` |
//! | filter: 64-bit property against a number without `L`; time against a plain text | matches | no match |
//! | filter: 32-bit property against a literal with `L` | 500 | no match |
//! | `$top` 0 or above 1000; `$orderby` | done; ignored | 400; 501 |
//! | continuation tokens | base64 of the key | `1!length!base64` as the service's, refused when made up |
//! | no authorization; a wrong one | 403 `AuthorizationFailure` | 401 `NoAuthenticationInformation`; 403 `AuthenticationFailed` |
//! | `PATCH` and `PUT` with `If-Match: *` on a missing entity | 404 | 404 |
//!
//! Not checked: the age of signatures (the stand-in's clock starts where its settings say) and the content of shared
//! access signatures.

pub mod address;
pub mod answer;
mod batch;
pub mod entity;
mod execute;
pub mod fault;
mod filter;
mod lexer;
mod sign;
mod store;
#[cfg(test)]
mod tests;
pub mod value;

pub use address::Operation;
pub use entity::{Entity, Key};
pub use fault::{Fault, Rule, When};
pub use sign::{DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, Keys};

use super::http::{Reply, Server, serve as serve_http};
use answer::{Envelope, Metadata, Refusal};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use execute::{Context, execute};
use fault::Faults;
use http::{Request, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Account, key, bearer token.
    pub keys: Keys,
    /// The wall-clock time at which it starts; from there it follows tokio's clock.
    pub start: DateTime<Utc>,
    /// Waits before the effect of each request.
    pub latency_before: Duration,
    /// Waits between the effect and the answer.
    pub latency_after: Duration,
    /// Seed of faults by probability.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let keys = Keys { account: DEVELOPMENT_ACCOUNT.into(), key: DEVELOPMENT_KEY.into(), bearer: None };
        // 2026-01-15T10:00:00Z; any fixed time does, since only order and uniqueness matter.
        let start = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_768_471_200);
        Self { keys, start, latency_before: Duration::ZERO, latency_after: Duration::ZERO, seed: 0 }
    }
}

#[derive(Debug)]
struct State {
    store: Store,
    faults: Faults,
    counts: BTreeMap<Operation, u64>,
    requests: u64,
}

/// The service. Clones share their tables.
#[derive(Clone, Debug)]
pub struct TableService {
    settings: Arc<Settings>,
    started: Instant,
    state: Arc<Mutex<State>>,
}

impl TableService {
    /// An empty account.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let faults = Faults::new(settings.seed);
        let state = State { store: Store::default(), faults, counts: BTreeMap::new(), requests: 0 };
        Self { settings: Arc::new(settings), started: Instant::now(), state: Arc::new(Mutex::new(state)) }
    }

    /// Answers one request, after the waits and faults that the settings and rules say.
    pub async fn handle(&self, request: Request<Bytes>) -> Reply {
        let operation = self.operation(&request);
        let fault = self.count_and_draw(operation, &request);
        tokio::time::sleep(self.settings.latency_before).await;
        let mut wait_after = self.settings.latency_after;
        let mut hangs_up = false;
        match fault {
            None => {}
            Some(Fault::Status(status, code)) => {
                let refusal = Refusal::new(status, code, "a fault on demand");
                return Reply::Answer(self.refuse(&request, &refusal));
            }
            Some(Fault::HangupBefore) => return Reply::Hangup,
            Some(Fault::HangupAfter) => hangs_up = true,
            Some(Fault::Late(delay)) => {
                self.later(request, delay);
                return Reply::Hangup;
            }
            Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::SlowAnswer(delay)) => wait_after += delay,
        }
        let answer = self.execute(&request);
        tokio::time::sleep(wait_after).await;
        if hangs_up { Reply::Hangup } else { Reply::Answer(answer) }
    }

    #[expect(clippy::disallowed_methods, reason = "the effect outlives the request on purpose: that is the fault")]
    fn later(&self, request: Request<Bytes>, delay: Duration) {
        let service = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            service.execute(&request);
        });
    }

    /// Adds a fault rule.
    pub fn add_fault(&self, rule: Rule) {
        self.lock().faults.add(rule);
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How many requests met a fault so far.
    #[must_use]
    pub fn faults_drawn(&self) -> u64 {
        self.lock().faults.drawn()
    }

    /// Requests by kind since the start or the last [`reset_counts`](Self::reset_counts), faulty ones included.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.lock().counts.clone()
    }

    /// All requests: the round trips of the clients.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.lock().counts.values().sum()
    }

    /// Starts counting again.
    pub fn reset_counts(&self) {
        self.lock().counts.clear();
    }

    /// The entities of a table in key order; empty if the table does not exist.
    #[must_use]
    pub fn entities(&self, table: &str) -> Vec<Entity> {
        self.lock().store.all(table)
    }

    /// The tables' names.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        self.lock().store.names()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operation(&self, request: &Request<Bytes>) -> Operation {
        let tunnelled = request.headers().get("x-http-method").and_then(|v| v.to_str().ok());
        address::parse(request.uri().path(), &self.settings.keys.account)
            .map_or(Operation::Other, |resource| Operation::of(request.method(), &resource, tunnelled))
    }

    fn count_and_draw(&self, operation: Operation, request: &Request<Bytes>) -> Option<Fault> {
        let target = request.uri().path_and_query().map_or("", |p| p.as_str());
        let mut state = self.lock();
        *state.counts.entry(operation).or_default() += 1;
        state.faults.draw(operation, target, request.body())
    }

    fn now(&self) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(self.started.elapsed()).unwrap_or(TimeDelta::MAX);
        self.settings.start.checked_add_signed(elapsed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn envelope(&self, state: &mut State) -> Envelope {
        state.requests += 1;
        let id = uuid::Uuid::from_u64_pair(0x7ab1_e5e5_0000_4000, 0x8000_0000_0000_0000 | state.requests);
        Envelope { request_id: id.to_string(), time: value::time_text_full(self.now()) }
    }

    fn refuse(&self, request: &Request<Bytes>, refusal: &Refusal) -> Response<Bytes> {
        let accept = request.headers().get("accept").and_then(|v| v.to_str().ok());
        let envelope = self.envelope(&mut self.lock());
        envelope.refuse(refusal, Metadata::parse(accept))
    }

    fn execute(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let outcome = sign::check(request, &self.settings.keys).and_then(|()| {
            let mut state = self.lock();
            let envelope = self.envelope(&mut state);
            let account = &self.settings.keys.account;
            let now = self.now();
            execute(request, &mut Context { store: &mut state.store, account, now, envelope: &envelope })
        });
        outcome.unwrap_or_else(|refusal| self.refuse(request, &refusal))
    }
}

/// Serves the account on a loopback port (0 = a free one).
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve(service: TableService, port: u16) -> std::io::Result<Server> {
    serve_http(port, move |request| {
        let service = service.clone();
        async move { service.handle(request).await }
    })
    .await
}
