//! The real binary between Azurite and the Dataverse stand-in, over real sockets, spoken to as the Functions host speaks:
//! what comes by the queue or as a webhook is in the target once, whoever is asked and however often.
#![cfg(unix)]

use crate::support::azurite::Azurite;
use crate::support::handler::{Answer, Handler};
use crate::support::sides::Sides;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::sim::dataverse::{Cell, Collector, Effect, Environment, RaisedEvent, Rule, When, serve};
use dataverse_sync::sim::http::Server;
use futures_util::future;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The organization of the hand-written payloads.
const PAYLOADS_ORGANIZATION: &str = "8f3a6c21-5d7e-f011-a2b4-7c1e5276a90d";
/// The organization of the payload that was captured.
const CAPTURED_ORGANIZATION: &str = "b0714265-8e72-4d3b-8239-ecf0970a3da6";
const SECRETS: &str = "old-secret,new-secret";

/// Source and target stand-ins with a ledger between them.
struct World {
    azurite: Arc<Azurite>,
    ledger: String,
    source: Environment,
    raised: Collector,
    target: Environment,
    served: Server,
}

impl World {
    async fn new() -> Self {
        let Sides { source, raised, target } = Sides::new();
        let served = serve(target.clone(), 0).await.unwrap();
        let ledger = format!("ledger{}", Uuid::new_v4().simple());
        Self { azurite: Azurite::shared(), ledger, source, raised, target, served }
    }

    async fn handler(&self) -> Handler {
        let organizations = format!("{},{CAPTURED_ORGANIZATION},{PAYLOADS_ORGANIZATION}", Uuid::from_u128(1));
        Handler::start(&[
            ("TARGET_URL", &self.served.url()),
            ("TARGET_AUTH", "none"),
            ("SOURCE_ORGANIZATION_ID", &organizations),
            ("AzureWebJobsStorage", &self.azurite.connection()),
            ("LEDGER_TABLE", &self.ledger),
            ("WEBHOOK_SECRETS", SECRETS),
        ])
        .await
    }

    /// Changes an account three times, and what the source raised for it.
    fn changes(&self, number: &str) -> (Uuid, Vec<RaisedEvent>) {
        let person = self.source.person();
        let first = json!({"name": "A", "accountnumber": number});
        let id = self.source.create(&person, "account", &first).unwrap();
        for change in [json!({"name": "B"}), json!({"telephone1": "+41 44 000 00 00"})] {
            self.source.update(&person, "account", id, &change).unwrap();
        }
        (id, self.raised.take())
    }

    fn cell(&self, table: &str, id: Uuid, column: &str) -> Option<Cell> {
        self.target.row(table, id)?.get(column).cloned()
    }

    fn text(&self, id: Uuid, column: &str) -> String {
        match self.cell("account", id, column) {
            Some(Cell::Text(text)) => text,
            other => panic!("{column}: {other:?}"),
        }
    }
}

/// The forms in which a host may hand over a message: bytes, text, and text as JSON once more.
fn forms(body: &str) -> [Value; 3] {
    [json!(STANDARD.encode(body)), json!(body), json!(json!(body).to_string())]
}

/// The only log line of a finished invocation.
fn told(answer: &Answer) -> String {
    assert_eq!((answer.status, &answer.json["Outputs"]), (200, &json!({})), "{answer:?}");
    let logs = answer.json["Logs"].as_array().unwrap();
    assert_eq!(logs.len(), 1, "{answer:?}");
    logs[0].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn queue_messages_in_every_form_are_applied_once() {
    let world = World::new().await;
    let handler = world.handler().await;
    let (id, events) = world.changes("A-1");
    let deliver = async || {
        let mut told_all = Vec::new();
        for (n, event) in events.iter().enumerate() {
            let message = event.queue().unwrap();
            let form = &forms(std::str::from_utf8(&message.body).unwrap())[n];
            told_all.push(told(&handler.invoke(&Uuid::new_v4().to_string(), form, &json!(message.properties)).await));
        }
        told_all
    };
    let first = deliver().await;
    assert!(first.len() == 3 && first.iter().all(|line| line.contains("applied")), "{first:?}");
    assert_eq!((world.text(id, "name"), world.text(id, "accountnumber")), ("B".to_owned(), "A-1".to_owned()));
    assert_eq!(world.text(id, "telephone1"), "+41 44 000 00 00");
    let writes = world.target.requests().count_writes();
    let again = deliver().await;
    assert!(again.iter().all(|line| line.contains("duplicate")), "{again:?}");
    assert_eq!(world.target.requests().count_writes(), writes);
}

#[tokio::test]
async fn recorded_payloads_end_as_they_should() {
    let world = World::new().await;
    let handler = world.handler().await;
    // an update of a row that is not there creates it; a change that bears our mark is our own echo
    let updated = include_str!("payloads/xes_update_account_sync_webhook.json");
    let echo = include_str!("payloads/synthetic_create_account_async_tag.json");
    for (payload, outcome) in [(updated, "applied"), (echo, "ignored")] {
        for form in forms(payload) {
            let line = told(&handler.invoke(&Uuid::new_v4().to_string(), &form, &json!({})).await);
            let repeated = form != forms(payload)[0] && outcome == "applied";
            assert!(line.contains(if repeated { "duplicate" } else { outcome }), "{line}");
        }
    }
    let id = Uuid::parse_str("ec4e2f7d-9d60-e811-a95a-000d3af24950").unwrap();
    assert!(!world.text(id, "telephone1").is_empty());
    assert_eq!(world.target.rows("account").len(), 1);
}

#[tokio::test]
async fn one_event_at_three_handlers_is_one_write() {
    let world = World::new().await;
    let handlers = future::join3(world.handler(), world.handler(), world.handler()).await;
    let (id, events) = world.changes("A-3");
    let message = events[0].queue().unwrap();
    let (form, properties) = (json!(STANDARD.encode(&message.body)), json!(message.properties));
    let deliver =
        async |handler: &Handler| told(&handler.invoke(&Uuid::new_v4().to_string(), &form, &properties).await);
    let (a, b, c) = future::join3(deliver(&handlers.0), deliver(&handlers.1), deliver(&handlers.2)).await;
    let applied =
        [&a, &b, &c].into_iter().filter(|line| line.contains("applied") && !line.contains("duplicate")).count();
    assert_eq!(applied, 1, "{a} / {b} / {c}");
    assert_eq!(world.text(id, "name"), "A");
    assert_eq!(world.target.requests().count_writes(), 1);
}

#[tokio::test]
async fn webhooks_are_answered_as_the_contract_says() {
    let world = World::new().await;
    let handler = world.handler().await;
    let id = Uuid::from_u128(0x6a1e_e5f0);
    let change = |name: &str| {
        json!({"table": "account", "id": id, "operation": "upsert", "columns": {"name": name},
            "version": "2026-01-05T08:00:00Z"})
        .to_string()
    };
    let kind = ("content-type", "application/json");
    let (event, old, new) = (("ce-id", "e1"), ("x-webhook-secret", "old-secret"), ("x-webhook-secret", "new-secret"));
    let post = async |headers: &[(&str, &str)], body: String| handler.send("POST", "/api/webhook", headers, body).await;

    let answer = post(&[kind, event, old], change("A")).await;
    assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("applied")), "{answer:?}");
    assert_eq!((&answer.json["event_id"], &answer.json["table"]), (&json!("e1"), &json!("account")));
    assert_eq!(world.text(id, "name"), "A");
    let answer = post(&[kind, event, new], change("A")).await;
    assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("duplicate")), "{answer:?}");
    assert_eq!(post(&[kind, event, new], change("B")).await.status, 422);
    assert_eq!(world.text(id, "name"), "A");

    let no_id = post(&[kind, new], change("B")).await;
    assert_eq!((no_id.status, no_id.kind.as_str()), (400, "application/problem+json"), "{no_id:?}");
    assert_eq!(post(&[kind, event, new], "{".to_owned()).await.status, 400);
    for wrong in [&[kind, event][..], &[kind, event, ("x-webhook-secret", "other")]] {
        let refused = post(wrong, change("B")).await;
        assert_eq!((refused.status, refused.kind.as_str()), (401, "application/problem+json"), "{refused:?}");
    }
    let health = handler.send("GET", "/api/health", &[], "").await;
    assert_eq!((health.status, health.json), (200, json!({"status": "ok"})));
    assert_eq!(world.target.requests().count_writes(), 1);
}

/// Longest time from SIGTERM to the end when nothing is asked any more: 20 s of grace, and what a loaded machine takes.
const END_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stopped_handler_answers_what_is_under_way_and_logs_lines_of_json() {
    let world = World::new().await;
    let mut handler = world.handler().await;
    let (id, events) = world.changes("A-5");
    let slow = Effect::Slow { before: Duration::from_secs(1), after: Duration::ZERO };
    world.target.faults().add(Rule::new(When::Nth(1), slow).writes());
    let message = events[0].queue().unwrap();
    let (form, properties) = (json!(STANDARD.encode(&message.body)), json!(message.properties));
    let invocation = "24ad4c06-24ad-4e5b-8294-3da9714877e9";
    let clock = SystemClock::default();
    let told_to_stop = async {
        // the write is under way when the target has its metadata read
        while world.target.requests().count() == 0 {
            tokio::task::yield_now().await;
        }
        handler.signal("-TERM");
        clock.monotonic()
    };
    let (answer, at) = future::join(handler.invoke(invocation, &form, &properties), told_to_stop).await;
    assert!(told(&answer).contains("applied"), "{answer:?}");
    assert_eq!(world.text(id, "name"), "A");
    let ended = handler.end();
    let took = clock.monotonic() - at;
    assert!(took < END_MAX, "{took:?}");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{}", ended.out);
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"].is_string()), "{lines:?}");
    let of_it: Vec<_> = lines.iter().filter(|line| line["invocation_id"] == invocation).collect();
    assert!(of_it.iter().any(|line| line.to_string().contains("applied")), "{lines:?}");
}

#[test]
fn bad_settings_and_a_bad_mapping_are_told_all_at_once() {
    let folder = std::env::temp_dir().join(format!("process-{}", Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("sync.toml"), "version = 2\n[tables.account]\ncolums = {}\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let run = |more: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .arg("serve")
            .env_clear()
            .env("FUNCTIONS_APP_ROOT_PATH", &folder)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .envs(more.iter().copied())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
        String::from_utf8(output.stderr).unwrap()
    };
    let err = run(&[("TARGET_URL", "http://example.com"), ("LEDGER_TABLE", "a-b"), ("TARGET_CLIENT_SECRT", "x")]);
    for expected in ["error: ", "TARGET_URL: plain http", "LEDGER_TABLE: ", "did you mean `TARGET_CLIENT_SECRET`?"] {
        assert!(err.contains(expected), "{expected} in {err}");
    }
    let err = run(&[("TARGET_URL", "http://127.0.0.1:9"), ("TARGET_AUTH", "none"), ("LEDGER_STORE", "memory")]);
    for expected in
        ["sync.toml:1:11: `version` must be 1", "sync.toml:3:1: unknown key `colums`", "did you mean `columns`?"]
    {
        assert!(err.contains(expected), "{expected} in {err}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
