//! Traces and metrics for an OpenTelemetry collector (OTLP over HTTP, protobuf), if one is named. Knows no function and no
//! network: requests go through a client that is given, what is measured is told by others.
//!
//! # Decision (2026-11-21): exports ride along
//! *Context:* the SDK's own processors export from threads or tasks of their own; here nothing outlives its invocation, because
//! whatever runs beside invocations is frozen or killed by the platform without notice. *Options:* export at the end of each
//! invocation (a request more before each answer); a thread all the same; export beside the work of an invocation, now and then.
//! *Choice:* the last. What ended is kept, bounded; the first invocation that begins [`EVERY`] after the last export carries the
//! next one beside its own work, and waits for it after that no longer than it is told ([`beside`]). What was not sent stays for
//! the next. An idle instance keeps its last seconds until it works again or is told to stop ([`finish`]).
//! A collector that is slow or gone costs memory up to a limit, then spans; never an event.

use super::TelemetryError;
use super::metrics::Instruments;
use crate::clock::Clock;
use futures_util::future::{Either, select};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{MetricExporter, RetryPolicy, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// How long after one export the next may begin: the default of `OTEL_BSP_SCHEDULE_DELAY`.
pub const EVERY: Duration = Duration::from_secs(5);
/// Spans that wait at most; the oldest go first. The default of `OTEL_BSP_MAX_QUEUE_SIZE`.
const SPANS_KEPT_MAX: usize = 2_048;
/// Spans of one request at most. The default of `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
const SPANS_SENT_MAX: usize = 512;
/// Who we are when neither `OTEL_SERVICE_NAME` nor `OTEL_RESOURCE_ATTRIBUTES` says it.
const SERVICE: &str = "dataverse-sync";

static EXPORT: OnceLock<Export> = OnceLock::new();

/// What is exported, and where to.
#[derive(Debug)]
pub struct Export {
    clock: Arc<dyn Clock>,
    kept: Arc<Kept>,
    spans: opentelemetry_otlp::SpanExporter,
    reader: Reader,
    metrics: MetricExporter,
    instruments: Instruments,
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
    /// One export at a time.
    busy: AtomicBool,
    /// When the last one began, on [`Clock::monotonic`]'s scale.
    last: Mutex<Duration>,
    /// Whether the last one failed: told when it changes, not each time.
    failing: AtomicBool,
}

impl Export {
    /// An export to the collector that the standard variables of OpenTelemetry name (`OTEL_EXPORTER_OTLP_ENDPOINT`, ..., read by
    /// its library), through this client.
    ///
    /// # Errors
    /// [`TelemetryError::Export`] for variables that make no sense.
    pub fn new(client: impl HttpClient + 'static, clock: Arc<dyn Clock>) -> Result<Self, TelemetryError> {
        let client: Arc<dyn HttpClient> = Arc::new(client);
        // the library waits for its retries by stopping the thread; whoever comes next tries again
        let once = || RetryPolicy::default().with_max_retries(0);
        let wrong = |error: opentelemetry_otlp::ExporterBuildError| TelemetryError::Export(error.to_string());
        let spans = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::clone(&client))
            .with_retry_policy(once());
        let metrics = MetricExporter::builder().with_http().with_shared_http_client(client).with_retry_policy(once());
        let (mut spans, metrics) = (spans.build().map_err(wrong)?, metrics.build().map_err(wrong)?);
        let resource = resource();
        spans.set_resource(&resource);
        let (kept, reader) = (Arc::new(Kept::default()), Reader(Arc::new(ManualReader::default())));
        let tracers = SdkTracerProvider::builder().with_resource(resource.clone());
        let meters = SdkMeterProvider::builder().with_resource(resource).with_reader(reader.clone()).build();
        Ok(Self {
            last: Mutex::new(clock.monotonic()),
            clock,
            spans,
            metrics,
            instruments: Instruments::new(&meters),
            tracers: tracers.with_span_processor(Keeping(Arc::clone(&kept))).build(),
            kept,
            reader,
            meters,
            busy: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        })
    }

    /// What makes spans out of our own.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.tracers.tracer(SERVICE)
    }

    /// Makes it the process's own.
    pub(super) fn install(self) {
        // a second one is dropped, as a second subscriber is refused
        let _ = EXPORT.set(self);
    }

    /// The right to export now; `None`: it is too early, or somebody else does.
    fn turn(&self, early: bool) -> Option<Turn<'_>> {
        let now = self.clock.monotonic();
        let due = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            now.saturating_sub(*last) >= EVERY || self.kept.len() >= SPANS_SENT_MAX
        };
        if !(due || early) || self.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Some(Turn(self))
    }

    async fn send(&self) -> bool {
        let spans = Taken::from(&self.kept);
        let spans = async {
            if spans.batch.is_empty() {
                return Ok(());
            }
            let sent = self.spans.export(spans.batch.clone()).await;
            if sent.is_ok() {
                spans.done();
            }
            sent
        };
        let metrics = async {
            let mut found = ResourceMetrics::default();
            self.reader.collect(&mut found)?;
            PushMetricExporter::export(&self.metrics, &found).await
        };
        let (spans, metrics) = futures_util::future::join(spans, metrics).await;
        let failed = spans.and(metrics).err();
        if self.failing.swap(failed.is_some(), Ordering::AcqRel) != failed.is_some() {
            match &failed {
                Some(error) => tracing::warn!(%error, "traces and metrics cannot be exported"),
                None => tracing::info!(lost = self.kept.lost(), "traces and metrics can be exported again"),
            }
        }
        failed.is_none()
    }
}

/// The right to export, until dropped.
struct Turn<'a>(&'a Export);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Does the work, and an export beside it if one is due; when the work is done, the export has this much `patience` left.
pub async fn beside<T>(patience: Duration, work: impl Future<Output = T>) -> T {
    match EXPORT.get() {
        None => work.await,
        Some(export) => export.beside(patience, work).await,
    }
}

/// Sends what is left, at most for this long.
pub async fn finish(patience: Duration) {
    let Some(export) = EXPORT.get() else { return };
    // what cannot be sent now is lost with the process
    let _ = tokio::time::timeout(patience, export.rest()).await;
}

/// What measures, if anybody wants to know.
pub(super) fn instruments() -> Option<&'static Instruments> {
    EXPORT.get().map(|export| &export.instruments)
}

/// The meters, if anybody wants to know.
pub(super) fn meters() -> Option<&'static SdkMeterProvider> {
    EXPORT.get().map(|export| &export.meters)
}

impl Export {
    async fn beside<T>(&self, patience: Duration, work: impl Future<Output = T>) -> T {
        let Some(_turn) = self.turn(false) else { return work.await };
        let (work, sending) = (pin!(work), pin!(self.send()));
        match select(work, sending).await {
            Either::Left((done, sending)) => {
                // not sent in time, the spans go back
                let _ = tokio::time::timeout(patience, sending).await;
                done
            }
            Either::Right((_, work)) => work.await,
        }
    }

    async fn rest(&self) {
        let Some(_turn) = self.turn(true) else { return };
        while self.send().await && self.kept.len() > 0 {}
    }
}

/// Ended spans that wait.
#[derive(Debug, Default)]
struct Kept {
    spans: Mutex<VecDeque<SpanData>>,
    lost: AtomicU64,
}

impl Kept {
    fn len(&self) -> usize {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many were lost because there were too many.
    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn keep(&self, span: SpanData) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() >= SPANS_KEPT_MAX {
            spans.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        spans.push_back(span);
    }
}

/// Spans on their way; those that do not arrive go back to where they were.
struct Taken<'a> {
    batch: Vec<SpanData>,
    kept: &'a Kept,
}

impl<'a> Taken<'a> {
    fn from(kept: &'a Kept) -> Self {
        let mut spans = kept.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let count = spans.len().min(SPANS_SENT_MAX);
        Self { batch: spans.drain(..count).collect(), kept }
    }

    fn done(mut self) {
        self.batch.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut spans = self.kept.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for span in self.batch.drain(..).rev() {
            if spans.len() < SPANS_KEPT_MAX {
                spans.push_front(span);
            } else {
                self.kept.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Keeps what ends.
#[derive(Debug)]
struct Keeping(Arc<Kept>);

impl SpanProcessor for Keeping {
    fn on_start(&self, _span: &mut Span, _context: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.keep(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The reader is the provider's and ours.
#[derive(Clone, Debug)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, found: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(found)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// Who we are: as the environment says, else the service's own name.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = Key::new("service.name");
    let unnamed = found.get(&name).is_none_or(|value| value.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", Value::from(env!("CARGO_PKG_VERSION")));
    let named = unnamed.then(|| KeyValue::new(name, SERVICE));
    Resource::builder().with_attributes(named.into_iter().chain([version])).build()
}

#[cfg(test)]
mod tests;
