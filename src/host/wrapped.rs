//! HTTP as older hosts bring it: the request inside an invocation envelope, the answer inside `Outputs`.
//!
//! A host that does not know `enableProxyingHttpRequest` and does not forward either sends `POST /<name>` with
//! `Data.req` (facts, 3.7) and reads `Outputs.res` (4.2). Functions do not see the difference.

use super::answer::{HttpAnswer, invocation};
use super::delivery::{Arrived, Headers, is_traceparent};
use super::envelope::{Envelope, EnvelopeError, unwrap};
use super::function::HttpRequest;
use super::route::{Parameters, query};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

/// Name of the trigger's binding in the `function.json` of every HTTP function.
pub const REQUEST_BINDING: &str = "req";
/// Name of its output binding.
pub const ANSWER_BINDING: &str = "res";

/// Reads the request out of `Data.req`.
///
/// # Errors
/// [`EnvelopeError`] if it is missing or its method, headers or body are not what the host sends.
pub fn read(envelope: &Envelope, arrived: Arrived) -> Result<HttpRequest, EnvelopeError> {
    let value = envelope.data.get(REQUEST_BINDING);
    let Some(Value::Object(request)) = value.map(unwrap) else {
        return Err(EnvelopeError::shape("Data.req", "an HTTP request", value));
    };
    let method = request.get("Method");
    let Some(method) = method.and_then(Value::as_str).and_then(|name| Method::try_from(name).ok()) else {
        return Err(EnvelopeError::shape("Data.req.Method", "an HTTP method", method));
    };
    let url = request.get("Url").and_then(Value::as_str).and_then(|url| url.parse::<Uri>().ok());
    let headers = headers(&request)?;
    let body = body(&request, &headers)?;
    let traceparent = headers.get("traceparent").filter(|text| is_traceparent(text)).cloned();
    let arrived = Arrived { traceparent: traceparent.or(arrived.traceparent), ..arrived };
    let (path, query) = url.map(|url| (url.path().to_owned(), query(url.query()))).unwrap_or_default();
    // whose route it is only the dispatch knows
    Ok(HttpRequest { method, path, parameters: Parameters::new(), query, headers, body, arrived })
}

/// `{name: [value, ...]}`; a bare value is accepted.
fn headers(request: &Map<String, Value>) -> Result<Headers, EnvelopeError> {
    let given = match request.get("Headers").map(unwrap) {
        Some(Value::Object(given)) => given,
        None | Some(Value::Null) => return Ok(Headers::new()),
        other => return Err(EnvelopeError::shape("Data.req.Headers", "an object", other.as_ref())),
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        _ => None,
    };
    Ok(given.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), text(value)?))).collect())
}

/// Text as it is; base64 for the types that the host takes for binary. Absent when the request had no length.
fn body(request: &Map<String, Value>, headers: &Headers) -> Result<Bytes, EnvelopeError> {
    let value = request.get("Body");
    let text = match value {
        None | Some(Value::Null) => return Ok(Bytes::new()),
        Some(Value::String(text)) => text,
        // some versions parse a JSON body
        Some(Value::Object(_) | Value::Array(_)) => return Ok(value.map(Value::to_string).unwrap_or_default().into()),
        other => return Err(EnvelopeError::shape("Data.req.Body", "text", other)),
    };
    let kind = headers.get("content-type").map(|kind| kind.to_ascii_lowercase()).unwrap_or_default();
    if kind.starts_with("application/octet-stream") || kind.starts_with("multipart/") {
        let bytes = STANDARD.decode(text);
        return bytes.map(Bytes::from).map_err(|_| EnvelopeError::shape("Data.req.Body", "base64", value));
    }
    Ok(Bytes::from(text.clone()))
}

/// Puts the answer into `Outputs.res`. The body goes as text, so that the host leaves it as it is.
#[must_use]
pub fn wrap(answer: &HttpAnswer) -> HttpAnswer {
    let headers: Map<String, Value> = answer
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))))
        .collect();
    let response = json!({"statusCode": answer.status.as_u16(), "headers": headers, "body": answer.body});
    invocation(StatusCode::OK, json!({ ANSWER_BINDING: response }), &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::answer::Problem;
    use std::time::Duration;

    fn arrived() -> Arrived {
        Arrived { invocation: "i".to_owned(), traceparent: None, at_ms: 5 }
    }

    fn request(req: &Value) -> Result<HttpRequest, EnvelopeError> {
        let body = json!({"Data": {"req": req}, "Metadata": {"Query": {}, "Headers": {}, "sys": {}}});
        read(&Envelope::parse(body.to_string().as_bytes()).unwrap(), arrived())
    }

    #[test]
    fn a_wrapped_request_is_the_request() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let got = request(&json!({
            "Url": "http://localhost:7071/api/webhook?code=k", "Method": "POST", "Query": {"code": "k"},
            "Headers": {"Content-Type": ["application/json"], "ce-id": ["1"], "X": ["a", "b"], "traceparent": [trace]},
            "Params": {}, "Identities": [], "Body": "{\"a\":1}"}))
        .unwrap();
        assert_eq!((got.method, got.path.as_str(), &got.body[..]), (Method::POST, "/api/webhook", &b"{\"a\":1}"[..]));
        assert_eq!(got.headers["ce-id"], "1");
        assert_eq!(got.headers["x"], "a, b");
        assert_eq!(got.arrived, Arrived { traceparent: Some(trace.to_owned()), ..arrived() });
    }

    #[test]
    fn bodies_are_read_in_every_form() {
        let check = |kind: &str, body: Value, expected: &str| {
            let got = request(&json!({"Method": "POST", "Headers": {"content-type": kind}, "Body": body})).unwrap();
            assert_eq!(got.body, expected.as_bytes(), "{kind}");
        };
        check("application/json", json!("{}"), "{}");
        check("application/json", json!({"a": 1}), "{\"a\":1}");
        check("application/octet-stream", json!("e30="), "{}");
        check("multipart/form-data; boundary=x", json!("e30="), "{}");
        check("text/plain", json!(null), "");
        assert!(request(&json!({"Method": "OPTIONS", "Query": "{}"})).unwrap().body.is_empty());
    }

    #[test]
    fn what_is_no_request_is_named() {
        let check = |req: Value, expected: &str| assert_eq!(request(&req).unwrap_err().to_string(), expected);
        check(json!("x"), "Data.req: an HTTP request expected, text found");
        check(json!({}), "Data.req.Method: an HTTP method expected, nothing found");
        check(json!({"Method": "GET", "Headers": 1}), "Data.req.Headers: an object expected, a number found");
        check(json!({"Method": "GET", "Body": true}), "Data.req.Body: text expected, a bool found");
        let binary = json!({"Method": "POST", "Headers": {"content-type": ["multipart/x"]}, "Body": "?"});
        check(binary, "Data.req.Body: base64 expected, text found");
    }

    #[test]
    fn an_answer_is_wrapped_with_status_headers_and_text() {
        let wrapped = wrap(&Problem::unavailable("later", Duration::from_secs(5)).into());
        assert_eq!(wrapped.status, StatusCode::OK);
        let body: Value = serde_json::from_str(&wrapped.body).unwrap();
        let res = &body["Outputs"]["res"];
        assert_eq!(res["statusCode"], json!(503));
        assert_eq!(res["headers"], json!({"content-type": "application/problem+json", "retry-after": "5"}));
        assert!(res["body"].as_str().unwrap().contains("\"later\""));
    }
}
