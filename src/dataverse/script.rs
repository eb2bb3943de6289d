//! A transport for tests: answers from a script, requests recorded, and the schemas that the tests write to.

use super::client::{Call, ClientLimits, Dataverse};
use super::environment::EnvironmentUrl;
use crate::clock::Clock;
use crate::domain::disposition::Disposition;
use crate::domain::schema::{ColumnKind, ColumnSchema, DateBehavior, KeySchema, LookupSchema, TableSchema};
use crate::outbound::authorize::{Authorize, AuthorizeError};
use crate::outbound::transport::{Request, Response, Transport, TransportError};
use crate::secret::Secret;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// The time-out of the scripted client.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub(crate) struct StillClock(Mutex<Duration>);

impl StillClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for StillClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

type Scripted = Result<Response, TransportError>;

/// Answers in the order of the script; a request beyond its end fails the test.
#[derive(Debug, Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    requests: Mutex<Vec<Request>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Scripted {
        self.requests.lock().unwrap().push(request);
        tokio::task::yield_now().await;
        self.answers.lock().unwrap().pop_front().expect("more requests than the script has answers")
    }
}

/// Tokens `token-0`, `token-1`, ... : a new one after each drop.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) dropped: Mutex<usize>,
    pub(crate) fails: Mutex<Option<Disposition>>,
    pub(crate) takes: Mutex<Option<(Arc<StillClock>, Duration)>>,
}

#[async_trait]
impl Authorize for Tokens {
    async fn token(&self) -> Result<Option<Secret>, AuthorizeError> {
        if let Some((clock, time)) = &*self.takes.lock().unwrap() {
            clock.advance(*time);
        }
        if let Some(disposition) = *self.fails.lock().unwrap() {
            return Err(AuthorizeError { reason: "no answer".to_owned(), disposition });
        }
        Ok(Some(Secret::new(format!("token-{}", self.dropped.lock().unwrap()))))
    }

    fn drop_token(&self, refused: &Secret) {
        let mut dropped = self.dropped.lock().unwrap();
        if refused.matches(&format!("token-{dropped}")) {
            *dropped += 1;
        }
    }
}

/// A client on a script.
pub(crate) struct Bench {
    pub(crate) client: Dataverse,
    pub(crate) clock: Arc<StillClock>,
    pub(crate) tokens: Arc<Tokens>,
    script: Arc<Script>,
}

impl Bench {
    pub(crate) fn new(answers: impl IntoIterator<Item = Scripted>) -> Self {
        let script = Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), ..Script::default() });
        let (clock, tokens) = (Arc::new(StillClock::default()), Arc::new(Tokens::default()));
        let environment = EnvironmentUrl::parse("https://org.crm4.dynamics.com").unwrap();
        let limits = ClientLimits { request_timeout: TIMEOUT, ..ClientLimits::default() };
        let client = Dataverse::new(
            environment,
            Arc::clone(&tokens) as Arc<dyn Authorize>,
            Arc::clone(&script) as Arc<dyn Transport>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            limits,
        );
        Self { client, clock, tokens, script }
    }

    /// A call with time enough.
    pub(crate) fn call(&self) -> Call {
        Call::until(self.clock.monotonic() + TIMEOUT)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.requests.lock().unwrap().clone()
    }

    /// "METHOD path" below the Web API root, percent-decoded.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(line).collect()
    }

    /// The body of a request as JSON.
    pub(crate) fn body(&self, n: usize) -> serde_json::Value {
        serde_json::from_slice(&self.requests()[n].body).unwrap()
    }

    pub(crate) fn answers_left(&self) -> usize {
        self.script.answers.lock().unwrap().len()
    }
}

fn line(request: &Request) -> String {
    let path = request.url.strip_prefix("https://org.crm4.dynamics.com/api/data/v9.2/").unwrap();
    let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
    format!("{} {path}", request.method)
}

pub(crate) fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Scripted {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Ok(Response { status, headers: map, body: Bytes::from(body.to_owned()) })
}

pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Scripted {
    answer(status, &[], &serde_json::json!({"error": {"code": code, "message": message}}).to_string())
}

pub(crate) fn lost() -> Scripted {
    Err(TransportError::Unknown { host: "org".to_owned(), reason: "time-out".to_owned() })
}

pub(crate) fn not_sent() -> Scripted {
    Err(TransportError::NotSent { host: "org".to_owned(), reason: "refused".to_owned() })
}

/// A GUID of one repeated digit.
pub(crate) fn guid(digit: u128) -> Uuid {
    Uuid::from_u128(digit * 0x1111_1111_1111_1111_1111_1111_1111_1111)
}

/// A table with one column of every kind.
pub(crate) fn every_kind() -> TableSchema {
    let kinds = [
        ("accountid", ColumnKind::Guid),
        ("name", ColumnKind::Text),
        ("accountnumber", ColumnKind::Text),
        ("new_flag", ColumnKind::Boolean),
        ("new_int", ColumnKind::Integer),
        ("new_big", ColumnKind::BigInt),
        ("new_decimal", ColumnKind::Decimal),
        ("new_double", ColumnKind::Double),
        ("revenue", ColumnKind::Money),
        ("new_day", ColumnKind::DateTime(DateBehavior::DateOnly)),
        ("new_local", ColumnKind::DateTime(DateBehavior::UserLocal)),
        ("new_zoneless", ColumnKind::DateTime(DateBehavior::TimeZoneIndependent)),
        ("new_tier", ColumnKind::Choice),
        ("new_tags", ColumnKind::Choices),
        ("statecode", ColumnKind::State),
        ("statuscode", ColumnKind::Status),
        ("parentid", ColumnKind::Lookup),
        ("customerid", ColumnKind::Lookup),
        ("new_loose", ColumnKind::Lookup),
        ("ownerid", ColumnKind::Owner),
        ("to", ColumnKind::PartyList),
        ("from", ColumnKind::PartyList),
        ("new_ref", ColumnKind::Guid),
        ("entityimage", ColumnKind::Unsupported),
    ];
    let column = |kind| ColumnSchema { kind, creatable: true, updatable: true };
    let lookup = |column: &str, referenced: &str, navigation: &str| LookupSchema {
        column: column.to_owned(),
        referenced_table: referenced.to_owned(),
        navigation: navigation.to_owned(),
    };
    let key = |name: &str, columns: &[&str], active| KeySchema {
        name: name.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        active,
    };
    TableSchema {
        name: "account".to_owned(),
        entity_set: "accounts".to_owned(),
        primary_id: "accountid".to_owned(),
        primary_name: Some("name".to_owned()),
        columns: kinds.into_iter().map(|(name, kind)| (name.to_owned(), column(kind))).collect(),
        lookups: vec![
            lookup("parentid", "account", "new_ParentId"),
            lookup("customerid", "account", "customerid_account"),
            lookup("customerid", "contact", "customerid_contact"),
            lookup("ownerid", "owner", "ownerid"),
        ],
        keys: vec![
            key("new_number", &["accountnumber"], true),
            key("new_pair", &["accountnumber", "new_int"], true),
            key("new_day", &["new_day"], true),
            key("new_moment", &["new_local"], true),
            key("new_parent", &["parentid"], true),
            key("new_price", &["new_decimal"], true),
            key("new_sleeping", &["name"], false),
        ],
        links: Vec::new(),
        optimistic_concurrency: true,
        elastic: false,
        external: false,
        files: std::collections::BTreeSet::new(),
        secured: std::collections::BTreeSet::new(),
    }
}
