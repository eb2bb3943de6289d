//! Exports on paused time, through a collector that answers, refuses or keeps silent on command.

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, Response};
use opentelemetry::trace::{Span as _, Tracer};
use opentelemetry_http::HttpError;
use std::sync::atomic::AtomicUsize;
use tokio::time::{Instant, sleep};

#[derive(Debug)]
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Answers with `status` after `takes`, and counts what came.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<State>);

#[derive(Debug, Default)]
struct State {
    status: AtomicUsize,
    takes_ms: AtomicU64,
    traces: AtomicUsize,
    metrics: AtomicUsize,
}

impl Collector {
    fn answers(&self, status: usize, takes: Duration) {
        self.0.status.store(status, Ordering::Relaxed);
        self.0.takes_ms.store(u64::try_from(takes.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Requests with traces and with metrics so far.
    fn asked(&self) -> (usize, usize) {
        (self.0.traces.load(Ordering::Relaxed), self.0.metrics.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let count = if request.uri().path() == "/v1/traces" { &self.0.traces } else { &self.0.metrics };
        count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(self.0.takes_ms.load(Ordering::Relaxed))).await;
        let status = u16::try_from(self.0.status.load(Ordering::Relaxed)).unwrap();
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }
}

fn export() -> (Export, Collector) {
    let collector = Collector::default();
    collector.answers(200, Duration::ZERO);
    (Export::new(collector.clone(), Arc::new(Paused(Instant::now()))).unwrap(), collector)
}

fn spans(export: &Export, count: usize) {
    for _ in 0..count {
        export.tracer().start("work").end();
    }
}

const PATIENCE: Duration = Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn what_ended_goes_along_with_the_first_invocation_after_five_seconds() {
    let (export, collector) = export();
    spans(&export, 3);
    assert_eq!(export.beside(PATIENCE, async { 7 }).await, 7);
    assert_eq!((collector.asked(), export.kept.len()), ((0, 0), 3));
    sleep(EVERY).await;
    export.beside(PATIENCE, async {}).await;
    assert_eq!((collector.asked(), export.kept.len()), ((1, 1), 0));
    spans(&export, 1);
    export.beside(PATIENCE, async {}).await;
    assert_eq!((collector.asked(), export.kept.len()), ((1, 1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_keeps_silent_costs_an_invocation_its_patience_and_loses_nothing() {
    let (export, collector) = export();
    spans(&export, 3);
    collector.answers(200, Duration::from_secs(3600));
    sleep(EVERY).await;
    let start = Instant::now();
    export.beside(PATIENCE, sleep(Duration::from_secs(1))).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1) + PATIENCE);
    assert_eq!(export.kept.len(), 3);
    // the next invocation is not asked to wait at once again
    let start = Instant::now();
    export.beside(PATIENCE, sleep(Duration::from_secs(1))).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    collector.answers(200, Duration::ZERO);
    sleep(EVERY).await;
    export.beside(PATIENCE, async {}).await;
    assert_eq!((collector.asked(), export.kept.len()), ((2, 2), 0));
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_slower_than_the_work_delays_nobody_else() {
    let (export, collector) = export();
    collector.answers(200, Duration::from_millis(150));
    sleep(EVERY).await;
    let start = Instant::now();
    let ((), ()) = tokio::join!(export.beside(PATIENCE, async {}), async {
        export.beside(PATIENCE, async {}).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
    assert_eq!(start.elapsed(), Duration::from_millis(150));
}

#[tokio::test(start_paused = true)]
async fn a_refused_export_is_tried_once_and_again_with_a_later_invocation() {
    let (export, collector) = export();
    spans(&export, 2);
    collector.answers(503, Duration::ZERO);
    sleep(EVERY).await;
    export.beside(PATIENCE, async {}).await;
    assert_eq!((collector.asked(), export.kept.len()), ((1, 1), 2));
    collector.answers(200, Duration::ZERO);
    sleep(EVERY).await;
    export.beside(PATIENCE, async {}).await;
    assert_eq!(export.kept.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_gone_costs_the_oldest_spans_and_no_more_memory() {
    let (export, collector) = export();
    collector.answers(503, Duration::ZERO);
    for _ in 0..3 {
        spans(&export, SPANS_KEPT_MAX);
        sleep(EVERY).await;
        export.beside(PATIENCE, async {}).await;
    }
    assert_eq!(export.kept.len(), SPANS_KEPT_MAX);
    assert_eq!(export.kept.lost(), 2 * u64::try_from(SPANS_KEPT_MAX).unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_is_cut_off_leaves_the_right_to_export_to_the_next() {
    let (export, collector) = export();
    spans(&export, 1);
    collector.answers(200, Duration::from_secs(60));
    sleep(EVERY).await;
    let cut =
        tokio::time::timeout(Duration::from_secs(1), export.beside(PATIENCE, sleep(Duration::from_secs(9)))).await;
    assert!(cut.is_err());
    assert_eq!(export.kept.len(), 1);
    collector.answers(200, Duration::ZERO);
    sleep(EVERY).await;
    export.beside(PATIENCE, async {}).await;
    assert_eq!(export.kept.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_sent_whole() {
    let (export, collector) = export();
    spans(&export, SPANS_SENT_MAX * 2 + 1);
    export.rest().await;
    assert_eq!((collector.asked().0, export.kept.len()), (3, 0));
}
