//! What goes back to the host: HTTP answers, problem details, and the JSON object that ends an invocation.
//!
//! For an invocation the host wants 2xx, `application/json` and an object: an empty 2xx would hang until the function
//! times out and the whole handler is killed (facts, 4). Knows no outcome.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, content type included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body, UTF-8.
    pub body: String,
}

impl HttpAnswer {
    /// An answer without body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self::typed(status, "application/json", body)
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn typed(status: StatusCode, kind: &'static str, body: &Value) -> Self {
        Self { status, headers: vec![(CONTENT_TYPE, HeaderValue::from_static(kind))], body: body.to_string() }
    }

    /// The answer as a response on the wire.
    #[must_use]
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::from(self.body));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// What is wrong, as RFC 9457 `application/problem+json`. Never with a secret or a row's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem: the status, and what is wrong and where.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// Come back later. The delay is given in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        let whole = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        problem.headers.push((RETRY_AFTER, HeaderValue::from(whole.max(1))));
        problem
    }

    /// Another method than the function's.
    #[must_use]
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let names = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this address answers {names}"));
        problem.headers.extend(HeaderValue::try_from(names).ok().map(|value| (ALLOW, value)));
        problem
    }

    /// The same with one more member in the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

impl From<Problem> for HttpAnswer {
    fn from(problem: Problem) -> Self {
        let mut body = problem.members;
        body.insert("type".to_owned(), json!("about:blank"));
        body.insert("title".to_owned(), json!(problem.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".to_owned(), json!(problem.status.as_u16()));
        body.insert("detail".to_owned(), json!(problem.detail));
        let mut answer = Self::typed(problem.status, "application/problem+json", &Value::Object(body));
        answer.headers.extend(problem.headers);
        answer
    }
}

/// A finished invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Lines that the host shows with the invocation, without values.
    pub logs: Vec<String>,
}

impl Done {
    /// The object that completes the invocation.
    #[must_use]
    pub fn into_answer(self) -> HttpAnswer {
        invocation(StatusCode::OK, json!({}), &self.logs)
    }
}

/// An invocation that the host shall count as failed: the broker keeps the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failed {
    /// Why, without secrets and values.
    pub reason: String,
}

impl Failed {
    /// A failure for a reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The answer that fails the invocation. The host looks at the status only; the body is for people who call us.
    #[must_use]
    pub fn into_answer(self) -> HttpAnswer {
        invocation(StatusCode::INTERNAL_SERVER_ERROR, json!({}), &[self.reason])
    }
}

/// The JSON object of CONTRACT and facts 4: all three members, so that every host version is content.
pub(super) fn invocation(status: StatusCode, outputs: Value, logs: &[String]) -> HttpAnswer {
    HttpAnswer::json(status, &json!({"Outputs": outputs, "Logs": logs, "ReturnValue": null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &HttpAnswer) -> Value {
        serde_json::from_str(&answer.body).unwrap()
    }

    #[test]
    fn invocations_always_end_in_an_object() {
        let done = Done { logs: vec!["applied".to_owned()] }.into_answer();
        assert_eq!(body(&done), json!({"Outputs": {}, "Logs": ["applied"], "ReturnValue": null}));
        assert_eq!(done.status, StatusCode::OK);
        let failed = Failed::new("ledger unreachable").into_answer();
        assert_eq!(body(&failed), json!({"Outputs": {}, "Logs": ["ledger unreachable"], "ReturnValue": null}));
        assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
        for answer in [done, failed] {
            assert_eq!(answer.headers, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        }
    }

    #[test]
    fn problems_carry_the_five_members_and_their_headers() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "no id").with("path", json!("$.id"));
        let answer = HttpAnswer::from(problem);
        let expected = json!({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no id",
            "path": "$.id"});
        assert_eq!(body(&answer), expected);
        assert_eq!(answer.headers, [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))]);
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        let check = |delay: Duration, expected: &str| {
            let response = HttpAnswer::from(Problem::unavailable("later", delay)).into_response();
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[RETRY_AFTER], expected, "{delay:?}");
        };
        check(Duration::ZERO, "1");
        check(Duration::from_millis(1500), "2");
        check(Duration::from_secs(30), "30");
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let answer = HttpAnswer::from(Problem::method_not_allowed(&[Method::POST, Method::OPTIONS]));
        assert_eq!(answer.clone().into_response().headers()[ALLOW], "POST, OPTIONS");
        assert_eq!(body(&answer)["status"], json!(405));
    }
}
