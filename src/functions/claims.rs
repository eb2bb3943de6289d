//! `claims`: "has this been done, and if not, may I do it?" over HTTP, for flows. The protocol is [`crate::ledger::flow`]; here are
//! only its words in HTTP.
//!
//! POST takes the id of the address, PUT marks it as done, DELETE gives it back. Who calls is in `x-claim-owner`, a text that
//! the caller chooses (a flow: the name of its run), so that it can ask again after a lost answer; POST draws one for
//! whoever sends none. Statuses are chosen for programs that look at nothing else: 201 do it, 200 it is done, 409 not now
//! or not yours, 503 ask again.

use crate::host::{Function, HttpAnswer, HttpFunction, HttpRequest, Kind, Problem};
use crate::ledger::claim::LedgerError;
use crate::ledger::flow::{Flows, Settled, Taken, Token};
use crate::ledger::store::StoreError;
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The header that says who calls.
pub const OWNER_HEADER: &str = "x-claim-owner";
/// Lease of a claim unless the caller says otherwise, in seconds: an HTTP action of Power Automate waits two minutes, a few of them
/// fit.
const LEASE_S: u64 = 300;
/// Shortest and longest lease, in seconds. Below the first a slow answer uses it up; above the second a dead flow stands in the
/// way for longer than people wait.
const LEASE_S_RANGE: std::ops::RangeInclusive<u64> = 10..=86_400;
/// Longest result, in bytes of JSON: it stands in one property of an entity, and every later POST carries it.
pub const RESULT_BYTES_MAX: usize = 8 << 10;
/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// When to ask again if the ledger does not say.
const LATER: Duration = Duration::from_secs(5);

/// The function.
#[derive(Debug)]
pub struct Claims {
    flows: Option<Arc<Flows>>,
}

impl Claims {
    /// The function as the host knows it. Without a ledger nothing can be claimed.
    #[must_use]
    pub fn function(flows: Option<Arc<Flows>>) -> Function {
        let methods = &[Method::POST, Method::PUT, Method::DELETE];
        let function = Box::new(Self { flows });
        Function { name: "claims", kind: Kind::Http { route: "claims/{id}", methods, function } }
    }

    async fn claim(&self, request: &HttpRequest) -> Result<HttpAnswer, Problem> {
        let Some(flows) = &self.flows else { return Err(Problem::unavailable("there is no ledger", LATER)) };
        let id = request.parameters.get("id").map(String::as_str).unwrap_or_default();
        let owner = match request.headers.get(OWNER_HEADER) {
            Some(text) => {
                Some(Token::new(text).map_err(|error| bad(&format!("header {OWNER_HEADER}"), error.to_string()))?)
            }
            None => None,
        };
        let body = body(request)?;
        if request.method == Method::POST {
            let hold = lease(&body)?;
            let owner = owner.unwrap_or_else(Token::drawn);
            let taken = flows.take(id, &owner, hold).await.map_err(|error| failed(id, &error))?;
            return Ok(taken_answer(id, &owner, hold, taken));
        }
        let missing = || bad(&format!("header {OWNER_HEADER}"), "is missing: only the owner may do this".to_owned());
        let owner = owner.ok_or_else(missing)?;
        let (settled, done) = if request.method == Method::PUT {
            let result = result(&body)?;
            (flows.finish(id, &owner, result.as_deref()).await, true)
        } else {
            only(&body, &[])?;
            (flows.give_up(id, &owner).await, false)
        };
        settled_answer(id, settled.map_err(|error| failed(id, &error))?, done)
    }
}

#[async_trait]
impl HttpFunction for Claims {
    async fn answer(&self, request: HttpRequest) -> HttpAnswer {
        self.claim(&request).await.unwrap_or_else(HttpAnswer::from)
    }
}

fn bad(path: &str, what: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("{path}: {what}")).with("path", json!(path))
}

/// The members of the body; an empty one has none.
fn body(request: &HttpRequest) -> Result<Map<String, Value>, Problem> {
    if request.body.len() > BODY_BYTES_MAX {
        let what = format!("the body has more than {BODY_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what));
    }
    if request.body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let kind = request.headers.get("content-type").map(String::as_str).unwrap_or_default().to_ascii_lowercase();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.is_empty() && !essence.ends_with("/json") && !essence.ends_with("+json") {
        let what = "header content-type: send application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what).with("path", json!("header content-type")));
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(bad("$", "must be an object".to_owned())),
        Err(error) => Err(bad("$", format!("not JSON (line {}, column {})", error.line(), error.column()))),
    }
}

/// Refuses what would be passed over.
fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let Some(name) = body.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let known = if known.is_empty() { "no body".to_owned() } else { format!("`{}`", known.join("`, `")) };
    Err(bad(&format!("$.{name}"), format!("not known here, there may be {known}")))
}

fn lease(body: &Map<String, Value>) -> Result<Duration, Problem> {
    only(body, &["lease_seconds"])?;
    let seconds = match body.get("lease_seconds") {
        None | Some(Value::Null) => Some(LEASE_S),
        Some(value) => value.as_u64().filter(|seconds| LEASE_S_RANGE.contains(seconds)),
    };
    let (least, most) = (LEASE_S_RANGE.start(), LEASE_S_RANGE.end());
    let wrong = || bad("$.lease_seconds", format!("must be a whole number from {least} to {most}"));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn result(body: &Map<String, Value>) -> Result<Option<String>, Problem> {
    only(body, &["result"])?;
    let text = body.get("result").filter(|result| !result.is_null()).map(Value::to_string);
    if text.as_ref().is_some_and(|text| text.len() > RESULT_BYTES_MAX) {
        let what = format!("$.result: has more than {RESULT_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what).with("path", json!("$.result")));
    }
    Ok(text)
}

fn taken_answer(id: &str, owner: &Token, hold: Duration, taken: Taken) -> HttpAnswer {
    match taken {
        Taken::Held { until_ms, attempt } => {
            tracing::info!(claim = id, attempt, "claim taken");
            let body = json!({"claim": id, "state": "held", "owner": owner.as_str(), "until": time(until_ms),
                "lease_seconds": hold.as_secs(), "attempt": attempt});
            HttpAnswer::json(StatusCode::CREATED, &body)
        }
        Taken::Done { result, done_ms } => {
            tracing::info!(claim = id, "claim is done already");
            // it was JSON when it came
            let result = result.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let body = json!({"claim": id, "state": "done", "done_at": time(done_ms), "result": result});
            HttpAnswer::json(StatusCode::OK, &body)
        }
        Taken::Busy { free_in, until_ms } => {
            tracing::info!(claim = id, "claim is held by somebody else");
            let whole = free_in.as_secs() + u64::from(free_in.subsec_nanos() > 0);
            let answer =
                HttpAnswer::from(conflict(id, "held", "somebody else holds it").with("until", json!(time(until_ms))));
            answer.with(RETRY_AFTER, HeaderValue::from(whole.max(1)))
        }
    }
}

fn settled_answer(id: &str, settled: Settled, done: bool) -> Result<HttpAnswer, Problem> {
    let state = if done { "done" } else { "free" };
    match settled {
        Settled::Settled => {
            tracing::info!(claim = id, state, "claim settled");
            Ok(HttpAnswer::json(StatusCode::OK, &json!({"claim": id, "state": state})))
        }
        Settled::Overtaken => {
            tracing::warn!(claim = id, "claim was taken over");
            Err(conflict(
                id,
                "overtaken",
                "it is not yours any more: the lease ended and somebody else has taken it, or it never was",
            ))
        }
        Settled::Finished if done => {
            Err(conflict(id, "done", "you finished it before with another result, which stays"))
        }
        Settled::Finished => Err(conflict(id, "done", "you finished it before; what is done cannot be given back")),
        Settled::GivenUp => Err(conflict(id, "free", "you gave it back; take it again first")),
        Settled::Missing => {
            let problem = Problem::new(StatusCode::NOT_FOUND, "nobody has claimed this id, or too long ago");
            Err(problem.with("claim", json!(id)).with("state", json!("free")))
        }
    }
}

fn conflict(id: &str, state: &str, what: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, what).with("claim", json!(id)).with("state", json!(state))
}

fn failed(id: &str, error: &LedgerError) -> Problem {
    tracing::warn!(claim = id, %error, "claim failed");
    match error {
        LedgerError::Store(StoreError::Unavailable { after, .. }) => {
            Problem::unavailable(error.to_string(), after.unwrap_or(LATER))
        }
        _ if error.is_passing() => Problem::unavailable(error.to_string(), LATER),
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn time(ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests;
