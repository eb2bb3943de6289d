//! Logs: one line per event on standard output, with level, message, fields and the invocation it belongs to; traces and metrics
//! for a collector, if there is one ([`export`], [`metrics`]). Knows no settings: format and filter are arguments.
//!
//! The Functions host reads a handler's output line by line and links nothing to invocations (facts/functions-host.md 2.7): so
//! every line carries `invocation_id` and `function` of the enclosing span [`invocation`]. Standard error would be an error in
//! its eyes, whatever the level: nothing goes there. A line never begins with the host's own prefixes
//! (`LanguageWorkerConsoleLog`, `azfuncjsonlog:`): it begins with `{` or with the time.

pub mod export;
mod line;
pub mod metrics;

use crate::clock::Clock;
pub use export::Export;
use line::Fields;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use std::sync::Arc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The filter when none is given: our own events, and of libraries only what they warn about.
pub const FILTER_DEFAULT: &str = "warn,dataverse_sync=info";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("is not a log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Another subscriber was installed before.
    #[error("logging was started twice")]
    StartedTwice(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// What the `OTEL_*` variables say cannot be done.
    #[error(
        "traces and metrics cannot be exported: {0}; correct the OTEL_ variables, or unset OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    Export(String),
}

/// Whether the filter can be used.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    EnvFilter::builder().parse(filter).map(drop).map_err(Into::into)
}

/// Starts logging to standard output, and the export if there is one, for the whole process.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(
    format: LogFormat,
    filter: &str,
    clock: Arc<dyn Clock>,
    export: Option<Export>,
) -> Result<(), TelemetryError> {
    let traces = export.as_ref().map(|export| {
        // the place in the source and the thread say nothing to who reads a trace
        tracing_opentelemetry::layer().with_tracer(export.tracer()).with_location(false).with_threads(false)
    });
    let subscriber = subscriber(format, filter, clock, std::io::stdout)?.with(traces);
    tracing::subscriber::set_global_default(subscriber)?;
    if let Some(export) = export {
        export.install();
    }
    Ok(())
}

/// A subscriber that writes lines to `output`.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    clock: Arc<dyn Clock>,
    output: W,
) -> Result<impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(filter)?;
    Ok(tracing_subscriber::registry().with(filter).with(Lines { format, clock, output }))
}

/// The span of one invocation. Everything logged within it carries `invocation_id` and `function`. In traces it is a part of
/// what `traceparent` (W3C, valid) names.
#[must_use]
pub fn invocation(id: &str, function: &str, traceparent: Option<&str>) -> Span {
    let span =
        tracing::error_span!("invocation", invocation_id = id, function, otel.name = function, otel.kind = "server");
    if let Some(traceparent) = traceparent.filter(|_| export::instruments().is_some()) {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // refused only where nothing is traced
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
    span
}

/// The span of one request to another service.
#[must_use]
pub fn request(method: &str, host: &str) -> Span {
    tracing::info_span!(
        "request",
        otel.name = method,
        otel.kind = "client",
        http.request.method = method,
        server.address = host,
        http.response.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    )
}

/// How the request of a span ended: with a status, or without an answer.
pub fn ended(span: &Span, status: Option<u16>) {
    match status {
        Some(status) => {
            span.record("http.response.status_code", status);
        }
        None => {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Writes each event as one line.
#[derive(Debug)]
struct Lines<W> {
    format: LogFormat,
    clock: Arc<dyn Clock>,
    output: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // inner spans first: the nearest value of a name wins
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add(outer);
            }
        }
        let line = line::render(self.format, self.clock.now(), event.metadata(), &fields);
        // there is nobody to tell that a log line could not be written
        let _ = std::io::Write::write_all(&mut self.output.make_writer(), line.as_bytes());
    }
}

#[cfg(test)]
mod tests;
