//! The target as the measurement sees it: the stand-in with its own log, or an environment of settings behind a listener
//! that passes every request on. Knows no handler.

use crate::app::trial::Upstream;
use crate::sim::dataverse::{Collector, Environment, Record};
use crate::sim::http::{Reply, Server, serve};
use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

const CORRELATION: &str = "x-ms-correlation-request-id";
const ADVICE: &str = "x-ms-dop-hint";

/// One request of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The event's.
    pub(super) correlation: Option<Uuid>,
    /// `None`: no answer.
    pub(super) status: Option<u16>,
    /// Whether its method writes.
    pub(super) writes: bool,
}

/// The target.
#[derive(Debug)]
pub(super) enum Target {
    /// The stand-in.
    StandIn {
        /// It.
        environment: Environment,
        /// Every change of it.
        written: Collector,
    },
    /// The environment of settings.
    Settings(Calls),
}

impl Target {
    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        match self {
            Self::StandIn { environment, .. } => environment.gate().under_way(),
            Self::Settings(calls) => calls.0.under_way.load(Ordering::Relaxed),
        }
    }

    /// Forgets what was asked so far.
    pub(super) fn forget(&self) {
        match self {
            Self::StandIn { environment, written } => {
                environment.requests().clear();
                let _ = written.take();
            }
            Self::Settings(calls) => calls.0.log().clear(),
        }
    }

    /// What was asked.
    pub(super) fn calls(&self) -> Vec<Call> {
        match self {
            Self::StandIn { environment, .. } => environment.requests().last().iter().map(of_record).collect(),
            Self::Settings(calls) => calls.0.log().clone(),
        }
    }

    /// What it advises as requests at once.
    pub(super) fn advice(&self, of_the_stand_in: u32) -> Option<u32> {
        match self {
            Self::StandIn { .. } => Some(of_the_stand_in),
            Self::Settings(calls) => Some(calls.0.advice.load(Ordering::Relaxed)).filter(|advice| *advice > 0),
        }
    }

    /// How often each event's row was written: changes where the target tells them, else writes that were answered well.
    pub(super) fn writes(&self, calls: &[Call]) -> BTreeMap<Uuid, u64> {
        let done = |call: &Call| call.writes && call.status.is_some_and(|status| (200..300).contains(&status));
        let correlations: Vec<Uuid> = match self {
            Self::StandIn { written, .. } => written.take().iter().map(|event| event.correlation).collect(),
            Self::Settings(_) => calls.iter().filter(|call| done(call)).filter_map(|call| call.correlation).collect(),
        };
        let mut writes = BTreeMap::new();
        for correlation in correlations {
            *writes.entry(correlation).or_default() += 1;
        }
        writes
    }
}

fn of_record(record: &Record) -> Call {
    let correlation = record.headers.get(CORRELATION).and_then(|text| Uuid::try_parse(text).ok());
    Call { correlation, status: record.status, writes: record.writes() }
}

/// What handlers asked of an environment. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    log: Mutex<Vec<Call>>,
    under_way: AtomicUsize,
    advice: AtomicU32,
}

impl Inner {
    fn log(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way; it is logged however it ends.
struct Passing {
    calls: Calls,
    call: Call,
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.calls.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.calls.0.log().push(self.call.clone());
    }
}

impl Calls {
    fn begin(&self, headers: &HeaderMap, method: &Method) -> Passing {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        let correlation = headers.get(CORRELATION).and_then(|text| Uuid::try_parse(text.to_str().ok()?).ok());
        Passing { calls: self.clone(), call: Call { correlation, status: None, writes: method != Method::GET } }
    }

    /// Listens for handlers and passes on what they ask.
    ///
    /// # Errors
    /// No port.
    pub(super) async fn listen(&self, upstream: Upstream) -> anyhow::Result<Server> {
        let calls = self.clone();
        let server = serve(0, move |request: Request<Bytes>| {
            let (upstream, mut passing) = (upstream.clone(), calls.begin(request.headers(), request.method()));
            async move {
                match upstream.pass(request).await {
                    Ok(answer) => {
                        passing.call.status = Some(answer.status().as_u16());
                        let advice = answer.headers().get(ADVICE).and_then(|text| text.to_str().ok()?.parse().ok());
                        if let Some(advice) = advice {
                            passing.calls.0.advice.store(advice, Ordering::Relaxed);
                        }
                        Reply::Answer(answer)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a request could not be passed on");
                        Reply::Hangup
                    }
                }
            }
        });
        server.await.context("a port before the target")
    }
}
