//! Bad input of every kind, from outside in: whatever bytes come, nothing panics, the answer is one of those that are
//! documented, and what was acknowledged is either done or kept as it came.

use super::keeping::Keeping;
use super::world::{PLAIN, account};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dataverse_sync::dataverse::classify::{Asked, classify};
use dataverse_sync::dataverse::error::Verb;
use dataverse_sync::dataverse::write::Precondition;
use dataverse_sync::domain::decode::DecodeLimits;
use dataverse_sync::functions::queue::Queue;
use dataverse_sync::functions::webhook::Webhook;
use dataverse_sync::host::route::Parameters;
use dataverse_sync::host::{Arrived, Envelope, HttpRequest, Invocation, Kind, Message};
use dataverse_sync::sim::dataverse::RaisedEvent;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

/// One damage: where (of the length, in thousandths), how much is cut, what is put there.
type Damage = (usize, usize, Vec<u8>);

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let put = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..6),
        "[\\[\\]{}\":,0-9eE.+\\-\\\\ntfu\u{0}é]{0,8}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec((0_usize..1_000, 0_usize..40, put), 0..4)
}

fn damaged(valid: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (at, cut, put) in damages {
        let from = bytes.len() * at / 1_000;
        let to = (from + cut).min(bytes.len());
        bytes.splice(from..to, put.iter().copied());
    }
    bytes
}

fn arrived() -> Arrived {
    Arrived { invocation: "fuzz".to_owned(), traceparent: None, at_ms: 1_768_471_200_000 }
}

/// A world with one event in hand.
async fn world() -> (Keeping, RaisedEvent) {
    let keeping = Keeping::new(PLAIN);
    keeping.world.create("account", account("A"));
    let event = keeping.world.events().await.remove(0);
    (keeping, event)
}

/// Runs on a paused runtime.
fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// What is parked as it came.
async fn kept_raw(keeping: &Keeping) -> Vec<Vec<u8>> {
    let (inbox, mut kept) = (keeping.inbox(), Vec::new());
    for parked in keeping.parked().await {
        kept.extend(inbox.parked_by_id(&parked.id).await.unwrap().and_then(|(_, _, raw)| raw));
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_webhook_from_dataverse_is_never_refused_for_its_content_and_never_lost(damages in damage()) {
        on_paused_time(async {
            let (keeping, event) = world().await;
            let engine = Arc::new(keeping.world.instance());
            let Kind::Http { function, .. } = Webhook::function(engine, Vec::new(), DecodeLimits::default()).kind else {
                panic!("not HTTP");
            };
            let post = event.webhook();
            let body = damaged(&post.body, &damages);
            let headers = post.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
            let path = "/api/webhook".to_owned();
            let request = HttpRequest { method: Method::POST, path, parameters: Parameters::new(), query: Parameters::new(), headers, body: body.clone().into(), arrived: arrived() };
            let answer = function.answer(request).await;
            assert!(matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED), "{} {}", answer.status, answer.body);
            let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let detail = said["detail"].as_str().unwrap_or_default();
            if said["outcome"] == "parked" && detail.starts_with("undecodable") {
                assert_eq!(kept_raw(&keeping).await, [body], "kept as it came");
            } else if said["outcome"] == "applied" {
                assert!(keeping.world.target_writes() > 0);
            } else {
                let known = ["ignored", "parked", "deferred", "stale"].iter().any(|word| said["outcome"] == *word);
                assert!(known, "{}", answer.body);
            }
        });
    }

    #[test]
    fn other_webhooks_are_done_or_refused_with_what_and_where(damages in damage(), kind in 0_usize..4) {
        on_paused_time(async {
            let (keeping, _) = world().await;
            let engine = Arc::new(keeping.world.instance());
            let Kind::Http { function, .. } = Webhook::function(engine, Vec::new(), DecodeLimits::default()).kind else {
                panic!("not HTTP");
            };
            let row = "6a1ee5f0-0001-4b3c-9d2e-000000000001";
            let change = json!({"table": "account", "id": row, "operation": "upsert", "columns": {"name": "A"}, "version": 7});
            let cloud = json!({"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": change});
            let (content_type, valid) = [
                ("application/json", change.clone()),
                ("application/cloudevents+json", cloud.clone()),
                ("application/cloudevents-batch+json", json!([cloud])),
                ("text/plain", change),
            ][kind].clone();
            let headers = [("content-type", content_type), ("idempotency-key", "k")];
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let body = damaged(valid.to_string().as_bytes(), &damages);
            let path = "/api/webhook".to_owned();
            let request = HttpRequest { method: Method::POST, path, parameters: Parameters::new(), query: Parameters::new(), headers, body: body.into(), arrived: arrived() };
            let answer = function.answer(request).await;
            let documented = [200, 202, 400, 413, 415];
            assert!(documented.contains(&answer.status.as_u16()), "{} {}", answer.status, answer.body);
            let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert!(answer.status.is_success() || said["detail"].is_string(), "{said}");
        });
    }

    #[test]
    fn whatever_message_the_queue_brings_is_done_or_kept_as_it_came(damages in damage()) {
        on_paused_time(async {
            let (keeping, event) = world().await;
            let engine = Arc::new(keeping.world.instance());
            let Kind::Invoked { function, .. } = Queue::function(engine, DecodeLimits::default()).kind else {
                panic!("not invoked");
            };
            let body = damaged(&event.queue().unwrap().body, &damages);
            let envelope = json!({
                "Data": {"message": STANDARD.encode(&body)},
                "Metadata": {"MessageId": "\"m-1\"", "ContentType": "\"application/json\"", "DeliveryCount": "1"},
            });
            let envelope = Envelope::parse(envelope.to_string().as_bytes()).unwrap();
            let ended = function.run(Invocation { envelope, arrived: arrived() }).await;
            assert!(ended.is_ok(), "ledger and inbox are there, so nothing goes back: {ended:?}");
            let (kept, done) = (kept_raw(&keeping).await, keeping.world.target_writes() > 0);
            let said = format!("{ended:?}");
            assert!(done || kept.contains(&body) || said.contains("ignored") || !keeping.parked().await.is_empty(), "{said}");
        });
    }

    #[test]
    fn an_envelope_is_read_or_refused_with_its_place(damages in damage(), any_bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let valid = json!({
            "Data": {"message": STANDARD.encode("{}"), "timer": {"ScheduleStatus": null}},
            "Metadata": {"MessageId": "\"m\"", "DeliveryCount": "1", "ApplicationProperties": "{\"a\":1}", "MessageIdArray": "[\"a\"]"},
        });
        for bytes in [damaged(valid.to_string().as_bytes(), &damages), any_bytes] {
            match Envelope::parse(&bytes) {
                Ok(envelope) => {
                    if let Err(error) = Message::read(&envelope, "message") {
                        prop_assert!(error.to_string().contains("Data"), "{error}");
                    }
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn every_refusal_of_an_environment_means_something(
        damages in damage(),
        status in 300_u16..600,
        wait in proptest::collection::vec(0x20_u8..0x7f, 0..12),
    ) {
        let valid = json!({"error": {"code": "0x80040237", "message": "A record with matching key values already exists.",
            "@Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes": "<DuplicateAttributes><accountnumber>A</accountnumber></DuplicateAttributes>"}});
        let body = damaged(valid.to_string().as_bytes(), &damages);
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_bytes(&wait).unwrap());
        let now = chrono::DateTime::from_timestamp(1_768_471_200, 0).unwrap();
        for verb in [Verb::Read, Verb::Query, Verb::Write, Verb::Create, Verb::Delete, Verb::Link, Verb::Unlink] {
            let asked = Asked { verb, table: "account", address: None, precondition: &Precondition::None, binds: false };
            let error = classify(asked, StatusCode::from_u16(status).unwrap(), &headers, &body, now);
            let _ = error.disposition();
            prop_assert!(error.to_string().len() < 2_000, "an error is no place for a body");
            prop_assert!(error.retry_after().is_none_or(|pause| pause <= dataverse_sync::outbound::retry::RETRY_AFTER_MAX));
        }
    }

    #[test]
    fn a_damaged_mapping_is_read_whole_or_refused_with_lines_that_exist(damages in damage()) {
        let valid = include_bytes!("../../sync.toml");
        let text = String::from_utf8_lossy(&damaged(valid, &damages)).into_owned();
        if let Err(problems) = dataverse_sync::config::file::compile("sync.toml", &text) {
            prop_assert!(!problems.problems.is_empty());
            for problem in &problems.problems {
                match &problem.place {
                    dataverse_sync::config::Place::File { line, column, .. } => {
                        prop_assert!(*line >= 1 && *line <= text.matches('\n').count() + 1 && *column >= 1, "{problem:?}");
                    }
                    other @ dataverse_sync::config::Place::Setting(_) => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}

#[test]
fn damage_leaves_some_whole_and_breaks_some() {
    let valid = b"{\"a\": 1}".to_vec();
    assert_eq!(damaged(&valid, &[]), valid);
    assert_eq!(damaged(&valid, &[(500, 1, b"x".to_vec())]), b"{\"a\"x 1}");
}
