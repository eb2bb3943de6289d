//! What the HTTP ways in for events share: who may come in, what is told of a delivery, and how an outcome looks in HTTP.
//! Knows no route and decodes nothing.

use super::events::{is_stored_only, report_json};
use crate::domain::decode::{DecodeError, Refusal};
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report};
use crate::host::delivery::traceparent_of;
use crate::host::{Arrived, Headers, HttpAnswer, Problem};
use crate::secret::Secret;
use http::StatusCode;
use serde_json::json;

/// The header that carries the shared secret.
pub const SECRET_HEADER: &str = "x-webhook-secret";

/// Refuses whoever carries none of the secrets, if there are any: without them the host's function key is the only guard.
/// Compares with every one, in constant time: two are valid while they are rotated.
///
/// # Errors
/// 401.
pub fn admit(secrets: &[Secret], headers: &Headers) -> Result<(), Problem> {
    let given = headers.get(SECRET_HEADER).map(String::as_str).unwrap_or_default();
    let allowed = secrets.is_empty() || secrets.iter().fold(false, |any, secret| any | secret.matches(given));
    if allowed {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, format!("header {SECRET_HEADER}: missing or wrong")))
}

/// The delivery that a request is: nobody repeats it, so the event is owed from the start.
#[must_use]
pub fn delivery(headers: &Headers, arrived: &Arrived) -> Delivery {
    Delivery {
        channel: Channel::Webhook,
        arrival_ms: arrived.at_ms,
        delivery_count: 1,
        invocation: arrived.invocation.clone(),
        traceparent: arrived.traceparent.clone().or_else(|| traceparent_of(headers)),
        until: None,
    }
}

/// The answer to one event.
#[must_use]
pub fn answer(result: Result<Report, NotHandled>) -> HttpAnswer {
    match result {
        Ok(report) if is_stored_only(&report.outcome) => HttpAnswer::json(StatusCode::ACCEPTED, &report_json(&report)),
        Ok(report) => HttpAnswer::json(StatusCode::OK, &report_json(&report)),
        Err(NotHandled::Unfinished(unfinished)) => {
            Problem::unavailable(unfinished.reason, unfinished.retry_after).into()
        }
        Err(reused @ NotHandled::IdReused { .. }) => {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reused.to_string());
            match reused {
                NotHandled::IdReused { event_id, table, row, .. } => {
                    problem.with("event_id", json!(event_id)).with("table", json!(table)).with("row", json!(row)).into()
                }
                NotHandled::Unfinished(_) => problem.into(),
            }
        }
    }
}

/// The answer to what was not understood.
#[must_use]
pub fn refused(error: &DecodeError) -> HttpAnswer {
    tracing::warn!(%error, "not understood");
    let status = match error.refusal() {
        Refusal::NotUnderstood => StatusCode::BAD_REQUEST,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    Problem::new(status, error.to_string()).with("path", json!(error.path)).into()
}
