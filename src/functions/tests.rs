//! The functions against an engine that answers as it is told: who may call, what outcomes look like, what is kept.

use super::queue::Queue;
use super::webhook::Webhook;
use crate::domain::decode::DecodeLimits;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use crate::domain::event::ChangeEvent;
use crate::domain::outcome::{Applied, Ignored, Outcome};
use crate::host::route::Parameters;
use crate::host::{Arrived, Done, Envelope, Failed, Headers, HttpAnswer, HttpRequest, Invocation, Kind};
use crate::secret::Secret;
use crate::sync::{HandleEvent, Owed, RawEvent};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROW: &str = "6a1ee5f0-0001-4b3c-9d2e-000000000001";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const AT_MS: i64 = 1_768_471_200_000;

/// Ends each event as scripted by its id, else as updated; remembers what it got.
#[derive(Debug, Default)]
struct Scripted {
    ends: BTreeMap<&'static str, End>,
    seen: Mutex<Vec<(String, Delivery)>>,
    under_way: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
enum End {
    As(Outcome),
    Unfinished(u64),
    Reused { stored: bool },
}

#[async_trait]
impl HandleEvent for Scripted {
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        let (id, table, row) = (event.id.id().to_owned(), event.table.clone(), event.row.to_string());
        {
            let mut busy = self.under_way.lock().unwrap();
            assert!(!busy.contains(&row), "two events of one row at the same time");
            busy.push(row.clone());
        }
        tokio::task::yield_now().await;
        self.under_way.lock().unwrap().retain(|other| *other != row);
        self.seen.lock().unwrap().push((id.clone(), delivery.clone()));
        match self.ends.get(id.as_str()) {
            None => Ok(Report { outcome: Outcome::Applied(Applied::Updated), event_id: id, table, row }),
            Some(End::As(outcome)) => Ok(Report { outcome: outcome.clone(), event_id: id, table, row }),
            Some(End::Unfinished(seconds)) => {
                let retry_after = Duration::from_secs(*seconds);
                Err(Unfinished { reason: "ledger unreachable".to_owned(), retry_after }.into())
            }
            Some(End::Reused { stored }) => Err(NotHandled::IdReused { event_id: id, table, row, stored: *stored }),
        }
    }

    async fn keep_raw(&self, raw: RawEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        Err(Unfinished { reason: raw.problem, retry_after: Duration::from_secs(60) }.into())
    }

    async fn come_back(&self, _owed: &Owed, _invocation: &str) -> Result<Option<Report>, NotHandled> {
        Ok(None)
    }

    fn deliveries_max(&self) -> u32 {
        10
    }
}

fn engine(ends: &[(&'static str, End)]) -> Arc<Scripted> {
    Arc::new(Scripted { ends: ends.iter().cloned().collect(), ..Scripted::default() })
}

fn change(row: &str) -> String {
    json!({"table": "account", "id": row, "operation": "upsert", "columns": {"name": "A"}, "version": 7}).to_string()
}

fn arrived() -> Arrived {
    Arrived { invocation: "inv".to_owned(), traceparent: None, at_ms: AT_MS }
}

async fn call(
    engine: &Arc<Scripted>,
    secrets: &[&str],
    method: Method,
    headers: &[(&str, &str)],
    body: &str,
) -> HttpAnswer {
    let secrets = secrets.iter().map(|text| Secret::new(*text)).collect();
    let Kind::Http { function, .. } = Webhook::function(engine.clone(), secrets, DecodeLimits::default()).kind else {
        panic!("not HTTP");
    };
    let headers: Headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let path = "/api/webhook".to_owned();
    let (parameters, query, body) = (Parameters::new(), Parameters::new(), body.to_owned().into());
    function.answer(HttpRequest { method, path, parameters, query, headers, body, arrived: arrived() }).await
}

async fn post(engine: &Arc<Scripted>, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let answer = call(engine, &[], Method::POST, headers, body).await;
    (answer.status.as_u16(), serde_json::from_str(&answer.body).unwrap())
}

fn header(answer: &HttpAnswer, name: &str) -> Option<String> {
    let value = answer.headers.iter().find(|(own, _)| own.as_str() == name)?;
    Some(value.1.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_outcome_has_its_status_and_words() {
    let at = DateTime::from_timestamp(1_768_471_200, 0).unwrap();
    let check = async |end: Outcome, status: u16, outcome: &str, detail: &str| {
        let engine = engine(&[("e1", End::As(end))]);
        let (got, body) = post(&engine, &[("ce-id", "e1")], &change(ROW)).await;
        let mut expected =
            json!({"outcome": outcome, "event_id": "e1", "table": "account", "row": ROW, "detail": detail});
        if outcome == "deferred" {
            expected["retry_at"] = json!("2026-01-15T10:00:00+00:00");
        }
        assert_eq!((got, body), (status, expected));
    };
    check(Outcome::Applied(Applied::Raced), 200, "applied", "raced").await;
    check(Outcome::Duplicate("updated".to_owned()), 200, "duplicate", "updated").await;
    check(Outcome::Stale, 200, "stale", "").await;
    check(Outcome::Ignored(Ignored::OwnEcho), 200, "ignored", "own_echo").await;
    check(Outcome::Deferred { retry_at: at, reason: "busy".to_owned() }, 202, "deferred", "busy").await;
    check(Outcome::Parked { reason: "key_conflict".to_owned() }, 202, "parked", "key_conflict").await;
}

#[tokio::test]
async fn what_is_not_stored_is_never_acknowledged() {
    let engine = engine(&[("e1", End::Unfinished(7)), ("e2", End::Reused { stored: false })]);
    let answer = call(&engine, &[], Method::POST, &[("ce-id", "e1")], &change(ROW)).await;
    assert_eq!(
        (answer.status, header(&answer, "retry-after").as_deref()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("7"))
    );
    let (status, body) = post(&engine, &[("ce-id", "e2")], &change(ROW)).await;
    assert_eq!((status, &body["event_id"], &body["row"]), (422, &json!("e2"), &json!(ROW)));
}

#[tokio::test]
async fn a_secret_that_is_set_must_be_carried() {
    let check = async |given: Option<&str>, expected: u16| {
        let engine = engine(&[]);
        let headers = [("ce-id", "e1"), ("x-webhook-secret", given.unwrap_or_default())];
        let headers = if given.is_some() { &headers[..] } else { &headers[..1] };
        let answer = call(&engine, &["old", "new"], Method::POST, headers, &change(ROW)).await;
        assert_eq!(answer.status.as_u16(), expected, "{given:?}");
        assert_eq!(engine.seen.lock().unwrap().len(), usize::from(expected == 200));
        assert!(!answer.body.contains("old") && !answer.body.contains("new"));
    };
    check(Some("old"), 200).await;
    check(Some("new"), 200).await;
    check(Some("New"), 401).await;
    check(Some(""), 401).await;
    check(None, 401).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let check = async |headers: &[(&str, &str)], body: &str, expected: u16| {
        let engine = engine(&[]);
        let (status, problem) = post(&engine, headers, body).await;
        assert_eq!((status, &problem["status"]), (expected, &json!(expected)), "{problem}");
        assert!(problem["path"].is_string() && engine.seen.lock().unwrap().is_empty());
    };
    check(&[("ce-id", "e1")], "{", 400).await;
    check(&[("ce-id", "e1")], "{\"table\": 5}", 400).await;
    check(&[], &change(ROW), 400).await;
    check(&[("ce-id", "e1"), ("content-type", "application/xml")], "<a/>", 415).await;
    let large = DecodeLimits::default().body_bytes_max + 1;
    check(&[("ce-id", "e1")], &" ".repeat(large), 413).await;
    // Dataverse never comes back after a 400
    check(&[("x-ms-dynamics-request-name", "Update")], "{", 503).await;
}

#[tokio::test]
async fn a_heartbeat_is_ignored() {
    let (status, body) = post(&engine(&[]), &[("x-ms-dynamics-request-name", "URL_VALIDATION")], "").await;
    assert_eq!((status, &body["outcome"]), (200, &json!("ignored")));
}

#[tokio::test]
async fn a_sender_of_cloudevents_is_given_permission() {
    let asked = [("webhook-request-origin", "eventgrid.azure.net"), ("webhook-request-rate", "120")];
    let answer = call(&engine(&[]), &["secret"], Method::OPTIONS, &asked, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "webhook-allowed-origin").as_deref(), Some("eventgrid.azure.net"));
    assert_eq!(header(&answer, "webhook-allowed-rate").as_deref(), Some("120"));
    assert_eq!(header(&answer, "allow").as_deref(), Some("POST, OPTIONS"));
    let answer = call(&engine(&[]), &[], Method::OPTIONS, &[], "").await;
    assert_eq!(header(&answer, "webhook-allowed-origin"), None);
}

fn cloud_event(id: Option<&str>, row: &str) -> Value {
    let data: Value = serde_json::from_str(&change(row)).unwrap();
    let mut event = json!({"specversion": "1.0", "source": "/s", "type": "t", "data": data});
    if let Some(id) = id {
        event["id"] = json!(id);
    }
    event
}

const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const OTHER: &str = "6a1ee5f0-0001-4b3c-9d2e-000000000002";

#[tokio::test]
async fn a_batch_is_answered_in_order_and_by_its_slowest() {
    let deferred = Outcome::Deferred { retry_at: DateTime::UNIX_EPOCH, reason: "busy".to_owned() };
    let engine = engine(&[("late", End::As(deferred)), ("reused", End::Reused { stored: true })]);
    let events = [(Some("a"), ROW), (None, ROW), (Some("b"), OTHER), (Some("reused"), OTHER), (Some("c"), ROW)];
    let batch = |more: &[(Option<&str>, &str)]| {
        let all: Vec<Value> = events.iter().chain(more).map(|(id, row)| cloud_event(*id, row)).collect();
        json!(all).to_string()
    };
    let (status, body) = post(&engine, &[BATCH], &batch(&[])).await;
    let results = body["results"].as_array().unwrap();
    let ids: Vec<_> = results.iter().map(|result| result["event_id"].as_str().unwrap_or("-")).collect();
    assert_eq!((status, ids), (200, vec!["a", "-", "b", "reused", "c"]));
    assert!(results[1]["error"].is_string() && results[3]["error"].is_string(), "{body}");
    assert_eq!(engine.seen.lock().unwrap().len(), 4);
    let (status, body) = post(&engine, &[BATCH], &batch(&[(Some("late"), ROW)])).await;
    assert_eq!((status, &body["results"][5]["outcome"]), (202, &json!("deferred")));
}

#[tokio::test]
async fn one_unfinished_event_brings_the_whole_batch_back() {
    let engine = engine(&[("x", End::Unfinished(3)), ("y", End::Unfinished(9))]);
    let all = json!([cloud_event(Some("y"), ROW), cloud_event(Some("a"), OTHER), cloud_event(Some("x"), ROW)]);
    let answer = call(&engine, &[], Method::POST, &[BATCH], &all.to_string()).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "retry-after").as_deref()), (503, Some("9")));
}

#[tokio::test]
async fn the_engine_is_told_how_a_webhook_came() {
    let engine = engine(&[]);
    post(&engine, &[("ce-id", "e1"), ("diagnostic-id", TRACE)], &change(ROW)).await;
    let expected = Delivery {
        channel: Channel::Webhook,
        arrival_ms: AT_MS,
        delivery_count: 1,
        invocation: "inv".to_owned(),
        traceparent: Some(TRACE.to_owned()),
        until: None,
    };
    assert_eq!(*engine.seen.lock().unwrap(), [("e1".to_owned(), expected)]);
}

async fn deliver(engine: &Arc<Scripted>, data: Value, metadata: Value) -> Result<Done, Failed> {
    let Kind::Invoked { function, .. } = Queue::function(engine.clone(), DecodeLimits::default()).kind else {
        panic!("not invoked");
    };
    let body = json!({"Data": {"message": data}, "Metadata": metadata}).to_string();
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    function.run(Invocation { envelope, arrived: arrived() }).await
}

fn bytes(text: &str) -> Value {
    json!(STANDARD.encode(text))
}

#[tokio::test]
async fn every_end_of_an_event_completes_its_message() {
    let at = DateTime::UNIX_EPOCH;
    let check = async |end: End, line: &str| {
        let engine = engine(&[("m1", end)]);
        let done = deliver(&engine, bytes(&change(ROW)), json!({"MessageId": "\"m1\""})).await.unwrap();
        assert_eq!(done.logs, [line]);
    };
    let whole = |start: &str| format!("{start}: account {ROW}, event m1");
    check(End::As(Outcome::Applied(Applied::Created)), &whole("applied (created)")).await;
    check(End::As(Outcome::Duplicate("created".to_owned())), &whole("duplicate (created)")).await;
    check(End::As(Outcome::Stale), &whole("stale")).await;
    check(End::As(Outcome::Deferred { retry_at: at, reason: "busy".to_owned() }), &whole("deferred (busy)")).await;
    check(End::As(Outcome::Parked { reason: "refused".to_owned() }), &whole("parked (refused)")).await;
    check(End::Reused { stored: true }, "parked (id_reused): event m1").await;
}

#[tokio::test]
async fn the_broker_keeps_what_was_neither_finished_nor_stored() {
    let check = async |end: End, data: Value, expected: &str| {
        let engine = engine(&[("m1", end)]);
        let failed = deliver(&engine, data, json!({"MessageId": "m1"})).await.unwrap_err();
        assert!(failed.reason.contains(expected), "{failed}");
    };
    let stale = || End::As(Outcome::Stale);
    check(End::Unfinished(5), bytes(&change(ROW)), "ledger unreachable").await;
    check(End::Reused { stored: false }, bytes(&change(ROW)), "used before").await;
    check(stale(), bytes("no event"), "not kept (undecodable: $").await;
    check(stale(), json!(null), "Data.message: a message expected, null found").await;
}

#[tokio::test]
async fn the_engine_is_told_how_a_message_came() {
    let engine = engine(&[]);
    let metadata = json!({"MessageId": "m1", "DeliveryCount": "4", "EnqueuedTimeUtc": "2026-01-15T09:00:00",
        "ApplicationProperties": {"Diagnostic-Id": TRACE, "cloudEvents:id": "ce1", "cloudEvents:source": "/s",
        "cloudEvents:specversion": "1.0", "cloudEvents:type": "t"}});
    deliver(&engine, bytes(&change(ROW)), metadata).await.unwrap();
    let expected = Delivery {
        channel: Channel::Queue,
        arrival_ms: AT_MS - 3_600_000,
        delivery_count: 4,
        invocation: "inv".to_owned(),
        traceparent: Some(TRACE.to_owned()),
        until: None,
    };
    assert_eq!(*engine.seen.lock().unwrap(), [("ce1".to_owned(), expected)]);
}

#[tokio::test]
async fn one_bad_message_of_many_fails_the_invocation_after_the_others() {
    let engine = engine(&[]);
    let texts = json!([change(ROW), "nonsense", change(OTHER), change(ROW)]).to_string();
    let metadata = json!({"MessageIdArray": "[\"m1\",\"m2\",\"m3\",\"m4\"]"});
    let failed = deliver(&engine, json!(texts), metadata).await.unwrap_err();
    assert!(failed.reason.contains("not kept (undecodable"), "{failed}");
    let mut ids: Vec<_> = engine.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    ids.sort();
    assert_eq!(ids, ["m1", "m3", "m4"]);
}
