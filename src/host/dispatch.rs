//! From a request to its function and back: which path is whose, who may call it, how large it may be, and that a
//! panic ends one invocation only. Knows no socket.

use super::answer::{Failed, HttpAnswer, Problem};
use super::delivery::{Arrived, came_through_the_front, lower_case};
use super::envelope::Envelope;
use super::function::{Function, HttpFunction, HttpRequest, Invocation, InvokedFunction, Kind};
use super::route::{Matched, Parameters, matches, query};
use super::wrapped;
use crate::clock::Clock;
use crate::telemetry;
use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{Method, StatusCode};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// Largest body of an HTTP function, in bytes: CONTRACT "413 too large". Dataverse posts at most 256 KB.
pub const HTTP_BODY_BYTES_MAX: usize = 1 << 20;

/// Largest invocation envelope, in bytes. A message has up to 100 MB (Service Bus Premium), which is 134 MiB of base64;
/// the rest is for `Metadata`. A 1 MiB text of quotes, encoded twice and copied into `Metadata`, has 8 MiB.
/// A larger one is answered 413: the invocation fails, and in the end the broker dead-letters the message.
pub const ENVELOPE_BYTES_MAX: usize = 152 << 20;

/// Largest message of Service Bus, in bytes.
const MESSAGE_BYTES_MAX: usize = 100 << 20;

const _: () = assert!(ENVELOPE_BYTES_MAX >= MESSAGE_BYTES_MAX.div_ceil(3) * 4 + (16 << 20), "base64 and Metadata fit");

/// What `routePrefix` in host.json says, with slashes.
const ROUTE_PREFIX: &str = "/api/";

/// When a sender should come back after a panic: at once would meet the same state, Dataverse retries once.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// The functions of the app.
#[derive(Debug)]
pub struct Dispatch {
    functions: Vec<Function>,
    clock: Arc<dyn Clock>,
}

/// Whose request it is.
#[derive(Debug)]
pub enum Target<'a> {
    /// The host asks whether we are there.
    Ready,
    /// An HTTP function, called over HTTP, and what stands in its route's parameters.
    Http(&'a Function, Parameters),
    /// A function, called with an envelope.
    Envelope(&'a Function),
    /// Nobody's.
    Refused(Problem),
}

impl Target<'_> {
    /// The largest body to read for it, in bytes.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        match self {
            Self::Ready | Self::Refused(_) => 0,
            Self::Http(..) => HTTP_BODY_BYTES_MAX,
            Self::Envelope(_) => ENVELOPE_BYTES_MAX,
        }
    }
}

impl Dispatch {
    /// Serves these functions.
    #[must_use]
    pub fn new(functions: Vec<Function>, clock: Arc<dyn Clock>) -> Self {
        Self { functions, clock }
    }

    /// The functions.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Finds the function. Routes match as ASP.NET matches them ([`super::route`]); names are exact.
    #[must_use]
    pub fn target(&self, parts: &Parts) -> Target<'_> {
        let path = parts.uri.path();
        if path == "/" {
            return match parts.method {
                Method::GET | Method::HEAD => Target::Ready,
                _ => Target::Refused(Problem::method_not_allowed(&[Method::GET])),
            };
        }
        if let Some(route) = route_of(path) {
            return self.by_route(route);
        }
        let name = path.strip_prefix('/').unwrap_or(path);
        match self.functions.iter().find(|function| function.name == name) {
            // told apart from an unknown path by nobody: the address of a function is no business of a client
            Some(_) if came_through_the_front(&parts.headers) => nobody(),
            Some(_) if parts.method != Method::POST => Target::Refused(Problem::method_not_allowed(&[Method::POST])),
            Some(function) => Target::Envelope(function),
            None => nobody(),
        }
    }

    fn by_route(&self, path: &str) -> Target<'_> {
        let matched = self.functions.iter().filter_map(|function| match &function.kind {
            Kind::Http { route, .. } => Some((function, matches(route, path))),
            Kind::Invoked { .. } => None,
        });
        match matched.into_iter().find(|(_, matched)| *matched != Matched::No) {
            Some((function, Matched::Fits(parameters))) => Target::Http(function, parameters),
            Some((_, Matched::Malformed(why))) => Target::Refused(Problem::new(StatusCode::BAD_REQUEST, why)),
            Some((_, Matched::No)) | None => nobody(),
        }
    }

    /// Answers a request whose body was read. Never panics and never leaves an invocation without a JSON object.
    pub async fn answer(&self, target: Target<'_>, parts: Parts, body: Bytes) -> HttpAnswer {
        let (function, parameters) = match target {
            Target::Ready => return HttpAnswer::empty(StatusCode::OK),
            Target::Refused(problem) => return problem.into(),
            Target::Http(function, parameters) => (function, Some(parameters)),
            Target::Envelope(function) => (function, None),
        };
        let arrived = Arrived::read(&parts.headers, self.clock.now().timestamp_millis());
        let span = telemetry::invocation(&arrived.invocation, function.name);
        let start = self.clock.monotonic();
        async {
            let answer = match (&function.kind, parameters) {
                (Kind::Invoked { function, .. }, _) => invoke(function.as_ref(), &body, arrived).await,
                (Kind::Http { route, methods, function }, None) => {
                    wrapped_call(function.as_ref(), route, methods, &body, arrived).await
                }
                (Kind::Http { methods, function, .. }, Some(parameters)) => {
                    let headers = lower_case(&parts.headers);
                    let (path, query) = (parts.uri.path().to_owned(), query(parts.uri.query()));
                    let request = HttpRequest { method: parts.method, path, parameters, query, headers, body, arrived };
                    call(function.as_ref(), methods, request).await
                }
            };
            let ms = self.clock.monotonic().saturating_sub(start).as_millis();
            tracing::debug!(status = answer.status.as_u16(), ms, "answered");
            answer
        }
        .instrument(span)
        .await
    }
}

fn nobody<'a>() -> Target<'a> {
    Target::Refused(Problem::new(StatusCode::NOT_FOUND, "no function has this address"))
}

fn route_of(path: &str) -> Option<&str> {
    let (prefix, route) = path.split_at_checked(ROUTE_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(ROUTE_PREFIX).then_some(route)
}

async fn call(function: &dyn HttpFunction, methods: &[Method], request: HttpRequest) -> HttpAnswer {
    if !methods.contains(&request.method) {
        return Problem::method_not_allowed(methods).into();
    }
    if request.body.len() > HTTP_BODY_BYTES_MAX {
        return too_large(HTTP_BODY_BYTES_MAX).into();
    }
    let answer = AssertUnwindSafe(function.answer(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        tracing::error!("the function panicked");
        Problem::unavailable("the handler failed unexpectedly", AFTER_PANIC).into()
    })
}

async fn invoke(function: &dyn InvokedFunction, body: &[u8], arrived: Arrived) -> HttpAnswer {
    let envelope = match Envelope::parse(body) {
        Ok(envelope) => envelope,
        Err(error) => return failed(Failed::new(error.to_string())),
    };
    match AssertUnwindSafe(function.run(Invocation { envelope, arrived })).catch_unwind().await {
        Ok(Ok(done)) => done.into_answer(),
        Ok(Err(failure)) => failed(failure),
        Err(_) => failed(Failed::new("the function panicked")),
    }
}

async fn wrapped_call(
    function: &dyn HttpFunction,
    route: &str,
    methods: &[Method],
    body: &[u8],
    arrived: Arrived,
) -> HttpAnswer {
    let mut request = match Envelope::parse(body).and_then(|envelope| wrapped::read(&envelope, arrived)) {
        Ok(request) => request,
        Err(error) => return failed(Failed::new(error.to_string())),
    };
    // the host has matched its own route already, and may be reached under another prefix
    match route_of(&request.path).map_or(Matched::No, |path| matches(route, path)) {
        Matched::Fits(parameters) => request.parameters = parameters,
        Matched::No if !route.contains('{') => {}
        Matched::No => {
            let problem =
                Problem::new(StatusCode::BAD_REQUEST, format!("the address does not fit {ROUTE_PREFIX}{route}"));
            return wrapped::wrap(&problem.into());
        }
        Matched::Malformed(why) => return wrapped::wrap(&Problem::new(StatusCode::BAD_REQUEST, why).into()),
    }
    wrapped::wrap(&call(function, methods, request).await)
}

fn failed(failure: Failed) -> HttpAnswer {
    tracing::warn!(reason = %failure.reason, "the invocation failed");
    failure.into_answer()
}

/// The body is larger than the target takes.
#[must_use]
pub fn too_large(bytes_max: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {bytes_max} bytes"))
}
