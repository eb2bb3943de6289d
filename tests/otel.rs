//! Traces and metrics as an OpenTelemetry collector gets them from the real binary, and that a collector which does not answer
//! costs no event.
#![cfg(unix)]

use crate::support::handler::Handler;
use crate::support::sides::Sides;
use crate::support::table::connection;
use bytes::Bytes;
use dataverse_sync::sim::dataverse::{RaisedEvent, serve};
use dataverse_sync::sim::http::{self as sim_http, Reply, Server};
use dataverse_sync::sim::tables::{self, TableService};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What a collector got: path, the header that opens it, body.
type Got = Arc<Mutex<Vec<(String, Option<String>, Bytes)>>>;

async fn collector(silent: bool) -> (Server, Got) {
    let got = Got::default();
    let kept = Arc::clone(&got);
    let server = sim_http::serve(0, move |request| {
        let kept = Arc::clone(&kept);
        async move {
            let key = request.headers().get("x-key").map(|key| key.to_str().unwrap().to_owned());
            kept.lock().unwrap().push((request.uri().path().to_owned(), key, request.into_body()));
            if silent {
                std::future::pending::<()>().await;
            }
            Reply::Answer(http::Response::new(Bytes::new()))
        }
    });
    (server.await.unwrap(), got)
}

/// Runs a handler with a collector, lets it handle one event twice by queue, and stops it.
async fn handled(collector: &Server) -> (Sides, Uuid, Duration) {
    let sides = Sides::new();
    let storage = tables::serve(TableService::new(tables::Settings::default()), 0).await.unwrap();
    let target = serve(sides.target.clone(), 0).await.unwrap();
    let id = sides.source.create(&sides.source.person(), "account", &json!({ "name": "A very secret name" })).unwrap();
    let event = sides.raised.take().remove(0);
    let mut handler = Handler::start(&[
        ("TARGET_URL", target.url().as_str()),
        ("TARGET_AUTH", "none"),
        ("AzureWebJobsStorage", connection(&storage.url()).as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=opens"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ])
    .await;
    for outcome in ["applied", "duplicate"] {
        let answer = by_queue(&handler, &event).await;
        assert!(answer.contains(outcome), "{answer}");
    }
    let stopping = Instant::now();
    handler.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || handler.end()).await.unwrap();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{}", ended.out);
    (sides, id, stopping.elapsed())
}

async fn by_queue(handler: &Handler, event: &RaisedEvent) -> String {
    let message = event.queue().unwrap();
    let body = json!(String::from_utf8(message.body.to_vec()).unwrap());
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let answer =
        handler.invoke_traced(&Uuid::new_v4().to_string(), &body, &json!(message.properties), &traceparent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json.to_string()
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_collector_gets_each_invocation_with_its_requests_and_what_came_of_the_events() {
    let (collector, got) = collector(false).await;
    let (sides, id, _) = handled(&collector).await;
    let got = got.lock().unwrap().clone();
    assert!(got.iter().all(|(_, key, _)| key.as_deref() == Some("opens")), "{got:?}");
    for (path, _, body) in &got {
        for secret in ["A very secret name", &id.to_string()] {
            // the log lines of an invocation are its span's events, and name rows; metrics name none
            let may = path == "/v1/traces" && secret != "A very secret name";
            assert!(may || !String::from_utf8_lossy(body).contains(secret), "{path} tells {secret}");
        }
    }

    let mut spans: Vec<Span> = Vec::new();
    for (_, _, body) in got.iter().filter(|(path, _, _)| path == "/v1/traces") {
        for resource in ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            assert_eq!(text(&attributes, "service.name").as_deref(), Some("dataverse-sync"));
            assert_eq!(text(&attributes, "deployment.environment.name").as_deref(), Some("test"));
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let invocations: Vec<&Span> = spans.iter().filter(|span| span.name == "queue").collect();
    assert_eq!(invocations.len(), 2, "{spans:?}");
    for invocation in &invocations {
        assert_eq!((hex(&invocation.trace_id).as_str(), hex(&invocation.parent_span_id).as_str()), (TRACE, PARENT));
        assert!(invocation.events.iter().any(|event| event.name == "handled"), "{invocation:?}");
    }
    let patches = spans.iter().filter(|span| span.name == "PATCH").count();
    assert_eq!(u64::try_from(patches).unwrap(), sides.target.requests().count_writes(), "{spans:?}");
    let inside = |span: &&Span| invocations.iter().any(|invocation| span.parent_span_id == invocation.span_id);
    assert!(spans.iter().filter(|span| span.name == "PATCH").all(|span| inside(&span)), "{spans:?}");

    let mut counted = BTreeMap::new();
    let mut names = Vec::new();
    for (_, _, body) in got.iter().filter(|(path, _, _)| path == "/v1/metrics") {
        let request = ExportMetricsServiceRequest::decode(body.clone()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            names.push(metric.name.clone());
            let Some(Data::Sum(sum)) = metric.data else { continue };
            for point in sum.data_points {
                let Some(Number::AsInt(count)) = point.value else { panic!("{point:?}") };
                let name = |name: &str| text(&point.attributes, name).unwrap();
                counted.insert((metric.name.clone(), name("outcome"), name("table")), count);
            }
        }
    }
    for name in [
        "faas.invoke_duration",
        "http.client.request.duration",
        "dataverse_sync.calls.limit",
        "dataverse_sync.breaker.open",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    let key = |outcome: &str| ("dataverse_sync.events".to_owned(), outcome.to_owned(), "account".to_owned());
    assert_eq!((counted.get(&key("applied")), counted.get(&key("duplicate"))), (Some(&1), Some(&1)), "{counted:?}");
}

#[tokio::test]
async fn a_collector_that_keeps_silent_costs_no_event_and_ends_no_later_than_it_may() {
    let (collector, got) = collector(true).await;
    let (sides, id, stopping) = handled(&collector).await;
    assert!(sides.target.row("account", id).is_some());
    assert!(!got.lock().unwrap().is_empty());
    // 3 s without work, 2 s for what is left, and a loaded machine
    assert!(stopping < Duration::from_secs(15), "{stopping:?}");
}
