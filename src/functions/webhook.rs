//! `webhook`: events over HTTP, from Dataverse itself or from any sender of CloudEvents or row changes. It decides who
//! may call and how an outcome looks in HTTP; what an event means is decided elsewhere.
//!
//! Nobody redelivers a webhook, so 2xx is said only of what is finished or stored. What Dataverse itself sent and we
//! cannot read is parked as it came and answered 202 (CONTRACT), because Dataverse never retries a 400; where it cannot be
//! stored the answer is 503: nothing is acknowledged that is not kept.

use super::door::{admit, answer, delivery, refused};
use super::events::{handle, handle_all, is_stored_only, report_json};
use crate::domain::decode::{self, DecodeError, DecodeLimits, Decoded, Handshake, Inbound, Item, handshake};
use crate::domain::delivery::{Delivery, NotHandled, Unfinished};
use crate::host::{Function, Headers, HttpAnswer, HttpFunction, HttpRequest, Kind, Problem};
use crate::secret::Secret;
use crate::sync::{HandleEvent, RawEvent, Unusable};
use async_trait::async_trait;
use http::header::ALLOW;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// When Dataverse should come back with what we could not read: it does so once, on 503, after a time of its own.
const UNREADABLE_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The function.
#[derive(Debug)]
pub struct Webhook {
    engine: Arc<dyn HandleEvent>,
    secrets: Vec<Secret>,
    limits: DecodeLimits,
}

impl Webhook {
    /// The function as the host knows it. Without `secrets` the host's function key is the only guard.
    #[must_use]
    pub fn function(engine: Arc<dyn HandleEvent>, secrets: Vec<Secret>, limits: DecodeLimits) -> Function {
        let methods = &[Method::POST, Method::OPTIONS];
        let function = Box::new(Self { engine, secrets, limits });
        Function { name: "webhook", kind: Kind::Http { route: "webhook", methods, function } }
    }

    /// What Dataverse sent and we cannot read: kept as it came.
    async fn undecodable(&self, error: &DecodeError, request: &HttpRequest, delivery: &Delivery) -> HttpAnswer {
        tracing::warn!(%error, "not understood, though it comes from Dataverse");
        let telling = |name: &str| name.starts_with("x-ms-") || name.starts_with("ce-") || name == "content-type";
        let headers = request.headers.iter().filter(|(name, _)| telling(name));
        let raw = RawEvent {
            why: Unusable::Undecodable,
            body: request.body.to_vec(),
            headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
            problem: error.to_string(),
        };
        match self.engine.keep_raw(raw, delivery).await {
            Ok(report) => HttpAnswer::json(StatusCode::ACCEPTED, &report_json(&report)),
            Err(_) => {
                Problem::unavailable(error.to_string(), UNREADABLE_RETRY_AFTER).with("path", json!(error.path)).into()
            }
        }
    }

    async fn batch(&self, items: Vec<Result<Item, DecodeError>>, delivery: &Delivery) -> HttpAnswer {
        let mut errors = Vec::with_capacity(items.len());
        let mut work = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Ok(item) => {
                    errors.push(None);
                    work.push((item, delivery.clone()));
                }
                Err(error) => errors.push(Some(json!({"error": error.to_string()}))),
            }
        }
        let mut handled = handle_all(self.engine.as_ref(), work).await.into_iter();
        let mut status = StatusCode::OK;
        let mut again: Option<Unfinished> = None;
        let mut results = Vec::with_capacity(errors.len());
        for error in errors {
            results.push(match error {
                Some(error) => error,
                None => match handled.next() {
                    Some(Ok(report)) => {
                        if is_stored_only(&report.outcome) {
                            status = StatusCode::ACCEPTED;
                        }
                        report_json(&report)
                    }
                    Some(Err(NotHandled::Unfinished(unfinished))) => {
                        again = Some(longer(again, unfinished));
                        Value::Null
                    }
                    Some(Err(reused @ NotHandled::IdReused { .. })) => reused_json(&reused),
                    None => Value::Null,
                },
            });
        }
        match again {
            // nothing of it is acknowledged: the whole batch comes again, and what was done is a duplicate then
            Some(unfinished) => Problem::unavailable(unfinished.reason, unfinished.retry_after).into(),
            None => HttpAnswer::json(status, &json!({ "results": results })),
        }
    }
}

#[async_trait]
impl HttpFunction for Webhook {
    async fn answer(&self, request: HttpRequest) -> HttpAnswer {
        if request.method == Method::OPTIONS {
            // senders of CloudEvents ask before they are configured to send headers of their own (assumed); the
            // question changes nothing, and the function key was checked
            return permission(&request.headers);
        }
        if let Err(problem) = admit(&self.secrets, &request.headers) {
            return problem.into();
        }
        let inbound = Inbound {
            content_type: request.headers.get("content-type").map(String::as_str),
            headers: &request.headers,
            message_id: None,
            body: &request.body,
        };
        let delivery = delivery(&request.headers, &request.arrived);
        match decode::decode(&inbound, &self.limits) {
            Ok(Decoded::Heartbeat) => heartbeat(),
            Ok(Decoded::One(item)) => answer(handle(self.engine.as_ref(), item, &delivery).await),
            Ok(Decoded::Batch(items)) => self.batch(items, &delivery).await,
            Err(error) if inbound.is_from_dataverse() => self.undecodable(&error, &request, &delivery).await,
            Err(error) => refused(&error),
        }
    }
}

fn permission(headers: &Headers) -> HttpAnswer {
    let header = |name: &str| headers.get(name).map(String::as_str);
    let answer = HttpAnswer::empty(StatusCode::OK).with(ALLOW, HeaderValue::from_static(decode::ALLOW));
    match handshake(header("webhook-request-origin"), header("webhook-request-rate")) {
        Handshake::Granted { allow_origin, allow_rate } => {
            match (HeaderValue::try_from(allow_origin), HeaderValue::try_from(allow_rate)) {
                (Ok(origin), Ok(rate)) => answer
                    .with(HeaderName::from_static("webhook-allowed-origin"), origin)
                    .with(HeaderName::from_static("webhook-allowed-rate"), rate),
                _ => answer,
            }
        }
        Handshake::NotGranted => answer,
    }
}

fn heartbeat() -> HttpAnswer {
    let body = json!({"outcome": "ignored", "event_id": "", "table": "", "row": "", "detail": "url_validation"});
    HttpAnswer::json(StatusCode::OK, &body)
}

fn reused_json(reused: &NotHandled) -> Value {
    match reused {
        NotHandled::IdReused { event_id, table, row, .. } => {
            json!({"error": reused.to_string(), "event_id": event_id, "table": table, "row": row})
        }
        NotHandled::Unfinished(_) => Value::Null,
    }
}

fn longer(known: Option<Unfinished>, new: Unfinished) -> Unfinished {
    match known {
        Some(known) if known.retry_after >= new.retry_after => known,
        _ => new,
    }
}
