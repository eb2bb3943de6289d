//! The way in: every request is logged, checked for its token, counted against the limits, hit by faults, and answered.
//! What it does is up to `requests`; that it is done does not depend on the caller's patience.

use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange, Prefer};
use super::faults::Effect;
use super::log::Record;
use super::protection::Entry;
use super::requests;
use super::url::Address;
use super::world::Auth;
use crate::sim::http::{Reply, Server};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// Headers that the log keeps.
const LOGGED: [&str; 9] = [
    "if-match",
    "if-none-match",
    "prefer",
    "traceparent",
    "x-ms-client-request-id",
    "x-ms-correlation-request-id",
    "mscrm.suppresscallbackregistrationexpanderjob",
    "mscrm.bypassbusinesslogicexecution",
    "content-length",
];

/// Serves an environment on a loopback port (0 = a free one).
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve(environment: Environment, port: u16) -> std::io::Result<Server> {
    crate::sim::http::serve(port, move |request| {
        let environment = environment.clone();
        async move { environment.handle(request).await }
    })
    .await
}

/// What a gateway in between answers: no JSON, none of the service's headers.
fn gateway(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"<html><body>gateway</body></html>"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html"));
    response
}

impl Environment {
    /// Answers one request, or hangs up. What it changes is changed even if the caller stops waiting.
    pub async fn handle(&self, request: Request<Bytes>) -> Reply {
        let mut record = self.record(&request);
        let started = Instant::now();
        let effect = self.faults().decide(&record.method, record.table.as_deref());
        match effect {
            Some(Effect::Down | Effect::HangupBefore) => {
                self.requests().push(record);
                return Reply::Hangup;
            }
            Some(Effect::Late { lands_after, silent_for }) => {
                let environment = self.clone();
                self.background(async move {
                    sleep(lands_after).await;
                    let _ = environment.answer(request).await;
                });
                self.requests().push(record);
                sleep(silent_for).await;
                return Reply::Hangup;
            }
            _ => {}
        }
        let (sender, receiver) = oneshot::channel();
        let environment = self.clone();
        self.background(async move {
            let (reply, code) = environment.perform(request, effect).await;
            record.took = started.elapsed();
            record.status = match &reply {
                Reply::Answer(answer) => Some(answer.status().as_u16()),
                Reply::Hangup => None,
            };
            record.code = code;
            environment.requests().push(record);
            let _ = sender.send(reply);
        });
        receiver.await.unwrap_or(Reply::Hangup)
    }

    fn record(&self, request: &Request<Bytes>) -> Record {
        let address = Address::parse(request.uri()).ok();
        let schema = &self.world().schema;
        let table = address.as_ref().and_then(|a| a.segments.first()).and_then(|s| schema.by_set(&s.name));
        let headers = LOGGED
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), request.headers().get(name)?.to_str().ok()?.to_owned())))
            .collect();
        Record {
            at: self.elapsed(),
            took: Duration::ZERO,
            method: request.method().clone(),
            path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            table: table.map(|def| def.name.clone()),
            status: None,
            code: None,
            tag: address.and_then(|a| a.query.tag),
            headers,
        }
    }

    async fn perform(&self, request: Request<Bytes>, effect: Option<Effect>) -> (Reply, Option<String>) {
        let prefer = Prefer::read(request.headers());
        let refuse = |error: ApiError, remaining: u64| {
            let code = Some(error.code.clone());
            (Reply::Answer(self.refusal(&error, &prefer, remaining)), code)
        };
        if let Err(error) = self.authenticate(request.headers()) {
            return refuse(error, 0);
        }
        let entry: Entry = match self.gate().enter() {
            Ok(entry) => entry,
            Err(error) => return refuse(error, 0),
        };
        if let Some(Effect::Status { status, code, retry_after }) = &effect {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let error = ApiError { retry_after: *retry_after, ..ApiError::new(status, code, "Fault on demand.") };
            return refuse(error, entry.remaining);
        }
        let (before, after) = match effect {
            Some(Effect::Slow { before, after }) => (before, after),
            _ => (Duration::ZERO, Duration::ZERO),
        };
        let half = self.half_latency();
        sleep(before + half).await;
        let outcome = self.answer(request).await;
        sleep(after + half).await;
        if effect == Some(Effect::HangupAfter) {
            return (Reply::Hangup, None);
        }
        if let Some(Effect::StatusAfter(status)) = effect {
            return (Reply::Answer(gateway(status)), None);
        }
        match outcome {
            Ok(answer) => (Reply::Answer(self.response(answer, entry.remaining)), None),
            Err(error) => refuse(error, entry.remaining),
        }
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Answer, ApiError> {
        let exchange = Exchange::read(self, request)?;
        requests::answer(self, &exchange).await
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Auth::Bearer(check) = self.auth() else { return Ok(()) };
        let token = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        if token.is_some_and(|token| check(token)) { Ok(()) } else { Err(errors::unauthorized()) }
    }

    fn refusal(&self, error: &ApiError, prefer: &Prefer, remaining: u64) -> Response<Bytes> {
        let annotations = prefer.wants("Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes");
        let body = Some(error.body(annotations));
        let mut answer = Answer { status: error.status, headers: Vec::new(), body };
        if let Some(wait) = error.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            answer.headers.push(("retry-after", seconds.to_string()));
        }
        if error.status == StatusCode::UNAUTHORIZED {
            let challenge = format!("Bearer authorization_uri=https://login, resource_id={}", self.world().base_url);
            answer.headers.push(("www-authenticate", challenge));
        }
        self.response(answer, remaining)
    }

    fn response(&self, answer: Answer, remaining: u64) -> Response<Bytes> {
        let mut response = Response::new(answer.body.map(|b| Bytes::from(b.to_string())).unwrap_or_default());
        *response.status_mut() = answer.status;
        let fixed = [
            ("date", httpdate::fmt_http_date(self.now().into())),
            ("odata-version", "4.0".to_owned()),
            ("x-ms-service-request-id", self.new_id().to_string()),
            ("x-ms-dop-hint", self.dop_hint().to_string()),
            ("x-ms-ratelimit-burst-remaining-xrm-requests", remaining.to_string()),
            ("x-ms-ratelimit-time-remaining-xrm-requests", "1,200.00".to_owned()),
        ];
        let kind = (!response.body().is_empty())
            .then(|| ("content-type", "application/json; odata.metadata=minimal".to_owned()));
        for (name, value) in fixed.into_iter().chain(answer.headers).chain(kind) {
            if let Ok(value) = http::HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
