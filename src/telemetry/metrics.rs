//! What is counted and timed, for whoever exports it; while nobody does, telling costs one look. Names follow OpenTelemetry's
//! conventions. No measure has a row's identity or values among its attributes, and none has attributes without bound.

use super::export;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use std::time::Duration;

/// Upper bounds of durations, in seconds: a warm ledger request takes milliseconds, a webhook's deadline is 10 s, a call's 30 s.
const SECONDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The instruments.
#[derive(Debug)]
pub(super) struct Instruments {
    events: Counter<u64>,
    invocations: Histogram<f64>,
    calls: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new(meters: &SdkMeterProvider) -> Self {
        let meter = meter(meters);
        let seconds = |name: &'static str, what: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(SECONDS.into()).build()
        };
        let events = meter.u64_counter("dataverse_sync.events").with_unit("{event}");
        Self {
            events: events.with_description("Events that ended, were deferred or parked").build(),
            invocations: seconds("faas.invoke_duration", "How long invocations took"),
            calls: seconds("http.client.request.duration", "How long requests to other services took"),
        }
    }
}

fn meter(meters: &SdkMeterProvider) -> Meter {
    meters.meter("dataverse-sync")
}

/// An event ended as `outcome` ("applied", "deferred", ...). `table` as the mapping names it; empty if it is not in there.
pub fn handled(outcome: &'static str, table: &str) {
    if let Some(instruments) = export::instruments() {
        let attributes = [KeyValue::new("outcome", outcome), KeyValue::new("table", table.to_owned())];
        instruments.events.add(1, &attributes);
    }
}

/// An invocation of a function was answered.
pub fn answered(function: &'static str, status: u16, took: Duration) {
    if let Some(instruments) = export::instruments() {
        let attributes = [
            KeyValue::new("faas.invoked_name", function),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        instruments.invocations.record(took.as_secs_f64(), &attributes);
    }
}

/// A request to another service ended; `status`: `None` without an answer.
pub fn called(method: &str, host: &str, status: Option<u16>, took: Duration) {
    if let Some(instruments) = export::instruments() {
        let ended = match status {
            Some(status) => KeyValue::new("http.response.status_code", i64::from(status)),
            None => KeyValue::new("error.type", "no_answer"),
        };
        let attributes = [
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("server.address", host.to_owned()),
            ended,
        ];
        instruments.calls.record(took.as_secs_f64(), &attributes);
    }
}

/// How the way to one environment stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// How long it asked us to wait, what is left of it.
    pub closed_for: Duration,
    /// Whether the breaker is open: one call tries now and then, all others wait.
    pub is_open: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls at once that are allowed now.
    pub limit: u32,
}

/// From now on each export looks at the way to `environment` ("target", "source").
pub fn watch(environment: &'static str, look: impl Fn() -> Way + Clone + Send + Sync + 'static) {
    let Some(meters) = export::meters() else { return };
    let meter = meter(meters);
    let gauge = |name: &'static str, unit: &'static str, what: &'static str, value: fn(&Way) -> f64| {
        let look = look.clone();
        let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(what);
        let attributes = [KeyValue::new("environment", environment)];
        gauge.with_callback(move |gauge| gauge.observe(value(&look()), &attributes)).build();
    };
    gauge("dataverse_sync.gate.closed", "s", "What is left of a pause that the environment asked for", |way| {
        way.closed_for.as_secs_f64()
    });
    gauge("dataverse_sync.breaker.open", "1", "1 while the breaker lets no calls through", |way| {
        f64::from(u8::from(way.is_open))
    });
    gauge("dataverse_sync.calls.active", "{call}", "Calls under way", |way| f64::from(way.in_flight));
    gauge("dataverse_sync.calls.limit", "{call}", "Calls at once that are allowed now", |way| f64::from(way.limit));
}
