//! What a handler's answer means to the host, and what its outputs become. Pure. Knows no socket and no queue.

use super::function::{Output, Target};
use super::manifest::member;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Map, Value as Json};

/// Longest part of an answer that is quoted in a failure, in characters.
const QUOTE_CHARS_MAX: usize = 500;

/// How an answer to an invocation is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It succeeded, with this result.
    Success(Outcome),
    /// It failed, and why. Outputs and logs in it are dropped.
    Failure(String),
    /// The host never completes the invocation: it ends by `functionTimeout`, which kills the handler.
    Hang,
}

/// The members of a successful answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// `Outputs`, by binding.
    pub outputs: Map<String, Json>,
    /// `Logs`.
    pub logs: Vec<String>,
    /// `ReturnValue`.
    pub return_value: Option<Json>,
}

/// Judges an answer as the host does.
#[must_use]
pub fn judge(answer: &Response<Bytes>) -> Judgement {
    let status = answer.status();
    if !status.is_success() {
        let reason = status.canonical_reason().unwrap_or("");
        let text = format!("Response status code does not indicate success: {} ({reason}).", status.as_u16());
        return Judgement::Failure(text);
    }
    let body = answer.body();
    if body.is_empty() {
        return Judgement::Hang;
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !matches!(media.as_str(), "application/json" | "text/json") {
        return invalid(
            status,
            &format!("No MediaTypeFormatter is available to read content with media type '{media}'"),
        );
    }
    match serde_json::from_slice(body) {
        Ok(Json::Null) => Judgement::Hang,
        Ok(Json::Object(map)) => outcome(&map).map_or_else(|why| invalid(status, &why), Judgement::Success),
        Ok(_) => invalid(status, &format!("no object: {}", quote(body))),
        Err(error) => invalid(status, &format!("{error}: {}", quote(body))),
    }
}

fn invalid(status: StatusCode, why: &str) -> Judgement {
    Judgement::Failure(format!("Invalid HttpResponseMessage:\nStatusCode: {}, {why}", status.as_u16()))
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(QUOTE_CHARS_MAX).collect()
}

fn outcome(map: &Map<String, Json>) -> Result<Outcome, String> {
    let outputs = match member(map, "Outputs") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(outputs)) => outputs.clone(),
        Some(_) => return Err("Outputs is no object".into()),
    };
    let logs = match member(map, "Logs") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(logs)) => logs
            .iter()
            .map(|l| match l {
                Json::String(s) => Ok(s.clone()),
                Json::Number(_) | Json::Bool(_) => Ok(l.to_string()),
                _ => Err("Logs holds something other than texts".to_owned()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("Logs is no array".into()),
    };
    let return_value = member(map, "ReturnValue").filter(|v| !v.is_null()).cloned();
    Ok(Outcome { outputs, logs, return_value })
}

/// The messages that a queue output sends, literally as the host does it (see the facts of the output bindings): a
/// text that happens to be base64 is decoded and sent as the name of a .NET type, arrays are split, objects are
/// written anew with indentation.
#[must_use]
pub fn queue_output(value: &Json, binary: bool) -> Vec<Bytes> {
    let text = |v: &Json| match v {
        Json::String(s) => Bytes::from(s.clone()),
        other => Bytes::from(serde_json::to_string_pretty(other).unwrap_or_default()),
    };
    match value {
        Json::Null => Vec::new(),
        Json::Array(all) => all.iter().filter(|v| !v.is_null()).map(text).collect(),
        Json::String(s) => {
            let decoded = STANDARD.decode(s).ok().filter(|d| !d.is_empty());
            match (decoded, binary) {
                (Some(bytes), true) => vec![Bytes::from(bytes)],
                (Some(_), false) => vec![Bytes::from_static(b"System.Byte[]")],
                (None, _) => match serde_json::from_str::<Json>(s.trim()) {
                    Ok(Json::Array(all)) => all.iter().filter(|v| !v.is_null()).map(text).collect(),
                    Ok(object @ Json::Object(_)) => vec![text(&object)],
                    _ => vec![text(value)],
                },
            }
        }
        other => vec![text(other)],
    }
}

/// The response of an HTTP function in JSON mode, from its `http` output. Without one it is 200 with `{}`.
#[must_use]
pub fn http_output(outcome: &Outcome, outputs: &[Output]) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    let Some(output) = outputs.iter().find(|o| o.target == Target::Http) else { return answer };
    let value =
        if output.name == "$return" { outcome.return_value.as_ref() } else { outcome.outputs.get(&output.name) };
    let Some(value) = value else {
        if !outcome.outputs.is_empty() {
            *answer.body_mut() = Bytes::from_static(b"{}");
        }
        return answer;
    };
    let none = Map::new();
    let map = value.as_object().unwrap_or(&none);
    let status = match member(map, "statusCode") {
        Some(Json::Number(n)) => n.as_u64(),
        Some(Json::String(s)) => s.parse().ok(),
        _ => None,
    };
    let status = status.and_then(|s| u16::try_from(s).ok()).and_then(|s| StatusCode::from_u16(s).ok());
    *answer.status_mut() = status.unwrap_or(StatusCode::OK);
    let (body, kind) = match if map.is_empty() { Some(value) } else { member(map, "body") } {
        None | Some(Json::Null) => (String::new(), None),
        Some(Json::String(s)) => (s.clone(), Some("text/plain; charset=utf-8")),
        Some(other) => {
            (serde_json::to_string_pretty(other).unwrap_or_default(), Some("application/json; charset=utf-8"))
        }
    };
    *answer.body_mut() = Bytes::from(body);
    if let Some(kind) = kind {
        answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    }
    for (name, value) in member(map, "headers").and_then(Json::as_object).into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(status: u16, kind: &str, body: &str) -> Judgement {
        let answer = Response::builder().status(status).header("content-type", kind);
        judge(&answer.body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
    }

    #[test]
    fn answers_are_judged_as_the_host_judges_them() {
        for (kind, body) in [
            ("application/json", "{}"),
            ("text/json", "{}"),
            ("application/json; charset=utf-8", r#"{"outputs": {}, "LOGS": ["x"], "returnvalue": 1, "other": 2}"#),
        ] {
            assert!(matches!(judged(200, kind, body), Judgement::Success(_)), "{kind} {body}");
        }
        for (status, kind, body) in [
            (500, "application/json", "{}"),
            (404, "application/json", "{}"),
            (302, "application/json", "{}"),
            (200, "application/problem+json", "{}"),
            (200, "text/plain", "ok"),
            (200, "", "{}"),
            (200, "application/json", "{nope"),
            (200, "application/json", "[]"),
            (200, "application/json", "\"ok\""),
            (200, "application/json", r#"{"Outputs": []}"#),
            (200, "application/json", r#"{"Logs": "x"}"#),
            (200, "application/json", r#"{"Logs": [{}]}"#),
        ] {
            assert!(matches!(judged(status, kind, body), Judgement::Failure(_)), "{status} {kind} {body}");
        }
        for (status, body) in [(200, ""), (204, ""), (202, ""), (200, "null")] {
            assert_eq!(judged(status, "application/json", body), Judgement::Hang, "{status} {body}");
        }
    }

    #[test]
    fn queue_outputs_are_taken_literally() {
        let check = |value: Json, expected: &[&str]| assert_eq!(queue_output(&value, false), expected, "{value}");
        check(json!(["exact text"]), &["exact text"]);
        check(json!(["test"]), &["test"]);
        check(json!("test"), &["System.Byte[]"]);
        check(json!("12345678"), &["System.Byte[]"]);
        check(json!("no base64!"), &["no base64!"]);
        check(json!("[1, \"a\"]"), &["1", "a"]);
        check(json!("{\"a\":1}"), &["{\n  \"a\": 1\n}"]);
        check(json!({"a": 1}), &["{\n  \"a\": 1\n}"]);
        check(Json::Null, &[]);
        assert_eq!(queue_output(&json!("dGVzdA=="), true), ["test"]);
    }

    #[test]
    fn an_http_output_becomes_the_response() {
        let outputs = [Output { name: "res".into(), target: Target::Http }];
        let answer = |res: Json| {
            let Json::Object(outputs_json) = json!({"res": res}) else { panic!() };
            http_output(&Outcome { outputs: outputs_json, ..Outcome::default() }, &outputs)
        };
        let created = answer(json!({"StatusCode": "201", "headers": {"x-a": "b"}, "body": {"a": 1}}));
        assert_eq!((created.status().as_u16(), created.headers()["x-a"].to_str().unwrap()), (201, "b"));
        assert_eq!(created.body(), "{\n  \"a\": 1\n}");
        assert_eq!(answer(json!({"status": 201, "body": "x"})).status(), 200);
        assert_eq!(http_output(&Outcome::default(), &outputs).body(), "");
    }
}
