//! What is below `/admin/` where the host runs on a developer's machine: running a function now, as `func start` and the
//! portal do, and (of our own) putting messages into a local queue. Knows no handler.
//!
//! | request | does |
//! |---|---|
//! | `POST /admin/functions/{name}` | a timer: fires it and waits for its end, 202, or 500 with the reason. A queue function: sends the `input` of the body, `{"input": "..."}`, to its queue |
//! | `POST /admin/queues/{name}/messages` | sends the body. Header `message-id` is the message's id, `subject` and `correlation-id` likewise; each header that HTTP does not know is an application property, `"in quotes"` text, else a number, a Boolean, or text as it stands. 201 |
//! | `GET /admin/queues/{name}` | how many messages wait, were completed, redelivered and given up |
//!
//! A page in a browser may not call these: whoever sends an `Origin` is refused.

use super::function::{AuthLevel, Trigger};
use super::invoke::Ending;
use super::message::NewMessage;
use super::queue::Queue;
use super::work::Shared;
use crate::sim::http::status;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value as Json, json};

const PREFIX: &str = "/admin/";
/// Largest message, in bytes: the Standard tier's (256 KiB).
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Headers that are no application properties: those of HTTP, and those that stand for a part of the message.
const OWN_HEADERS: [&str; 17] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "correlation-id",
    "expect",
    "host",
    "message-id",
    "pragma",
    "subject",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-functions-key",
];

/// Whether a path is for [`answer`].
#[must_use]
pub fn is_below(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers a request below `/admin/`.
pub async fn answer(shared: &Shared, request: &Request<Bytes>) -> Response<Bytes> {
    if request.headers().contains_key(header::ORIGIN) {
        return text(StatusCode::FORBIDDEN, "this is not for pages in a browser");
    }
    if !shared.keys.admit("", AuthLevel::Admin, request) {
        return status(StatusCode::UNAUTHORIZED);
    }
    let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::POST, ["functions", name]) => run(shared, name, request.body()).await,
        (&Method::POST, ["queues", name, "messages"]) => match shared.queues.get(*name) {
            Some(queue) => send(queue, request),
            None => no_queue(shared, name),
        },
        (&Method::GET, ["queues", name]) => match shared.queues.get(*name) {
            Some(queue) => described(queue),
            None => no_queue(shared, name),
        },
        _ => text(StatusCode::NOT_FOUND, "there are: functions/{name}, queues/{name}, queues/{name}/messages"),
    }
}

fn text(code: StatusCode, text: &str) -> Response<Bytes> {
    let mut answer = status(code);
    *answer.body_mut() = Bytes::from(format!("{text}\n"));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn in_json(code: StatusCode, json: &Json) -> Response<Bytes> {
    let mut answer = status(code);
    *answer.body_mut() = Bytes::from(format!("{json}\n"));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn no_queue(shared: &Shared, name: &str) -> Response<Bytes> {
    let names: Vec<&str> = shared.queues.keys().map(String::as_str).collect();
    text(StatusCode::NOT_FOUND, &format!("no queue {name}; there are: {}", names.join(", ")))
}

async fn run(shared: &Shared, name: &str, body: &Bytes) -> Response<Bytes> {
    let function = match shared.manifest.functions.get(name) {
        Some(function) => function,
        None => return text(StatusCode::NOT_FOUND, &format!("no function {name}")),
    };
    match &function.trigger {
        Trigger::Timer { .. } => match shared.tick(name, false).await {
            Ok(Ending::Success(_)) => status(StatusCode::ACCEPTED),
            Ok(Ending::Failure(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, &why),
            Ok(Ending::TimedOut) => text(StatusCode::INTERNAL_SERVER_ERROR, "functionTimeout was over"),
            Ok(Ending::Lost) => text(StatusCode::BAD_GATEWAY, "the handler is gone"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        Trigger::Queue { queue, .. } => {
            let json: Option<Json> = serde_json::from_slice(body).ok();
            let input = json.as_ref().and_then(|json| json.get("input")).and_then(Json::as_str);
            match (input, shared.queues.get(queue)) {
                (Some(input), Some(queue)) => {
                    let message = NewMessage::new(input.to_owned());
                    queue.send(NewMessage { content_type: Some("application/json".to_owned()), ..message });
                    status(StatusCode::ACCEPTED)
                }
                _ => text(StatusCode::BAD_REQUEST, "the body is {\"input\": \"the message\"}"),
            }
        }
        Trigger::Http { route, .. } => {
            text(StatusCode::BAD_REQUEST, &format!("call its route, /{}/{route}", shared.manifest.route_prefix))
        }
    }
}

fn send(queue: &Queue, request: &Request<Bytes>) -> Response<Bytes> {
    if request.body().len() > MESSAGE_BYTES_MAX {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "a message has at most 256 KiB");
    }
    match message(request.headers(), request.body()) {
        Ok(message) => in_json(StatusCode::CREATED, &json!({"sequence_number": queue.send(message)})),
        Err(why) => text(StatusCode::BAD_REQUEST, &why),
    }
}

fn message(headers: &HeaderMap, body: &Bytes) -> Result<NewMessage, String> {
    let mut message = NewMessage::new(body.clone());
    for (name, value) in headers {
        let value = value.to_str().map_err(|_| format!("header {name} is not ASCII"))?;
        match name.as_str() {
            // what curl says unless told otherwise
            "content-type" if value.starts_with("application/x-www-form-urlencoded") => {}
            "content-type" => message.content_type = Some(value.to_owned()),
            "message-id" if value.is_empty() || value.len() > 128 => {
                return Err("message-id has 1 to 128 characters".to_owned());
            }
            "message-id" => message.message_id = Some(value.to_owned()),
            "subject" => message.subject = Some(value.to_owned()),
            "correlation-id" => message.correlation_id = Some(value.to_owned()),
            own if OWN_HEADERS.contains(&own) => {}
            property => {
                let scalar = serde_json::from_str(value).ok().filter(|v: &Json| !v.is_array() && !v.is_object());
                message.properties.insert(property.to_owned(), scalar.unwrap_or_else(|| value.into()));
            }
        }
    }
    message.content_type.get_or_insert_with(|| "application/json".to_owned());
    Ok(message)
}

fn described(queue: &Queue) -> Response<Bytes> {
    let counts = queue.counts();
    let dead: Vec<Json> = queue
        .dead_letters()
        .iter()
        .map(|dead| json!({"message_id": dead.message.message_id, "reason": dead.reason}))
        .collect();
    let body = json!({"waiting": queue.pending(), "sent": counts.sent, "completed": counts.completed,
        "redelivered": counts.redelivered, "dead_lettered": counts.dead_lettered, "dead_letters": dead});
    in_json(StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_what_a_message_has_beside_its_body() {
        let request = Request::post("/")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("message-id", "m-1")
            .header("user-agent", "curl/8")
            .header("cloudEvents_id", "\"e 1\"")
            .header("plain", "some text")
            .header("count", "3");
        let request = request.body(Bytes::from_static(b"{}")).unwrap();
        let made = message(request.headers(), request.body()).unwrap();
        assert_eq!(made.message_id.as_deref(), Some("m-1"));
        assert_eq!(made.content_type.as_deref(), Some("application/json"));
        let properties = json!({"cloudevents_id": "e 1", "plain": "some text", "count": 3});
        assert_eq!(Json::Object(made.properties), properties);
        let long = Request::post("/").header("message-id", "x".repeat(129)).body(Bytes::new()).unwrap();
        assert!(message(long.headers(), long.body()).is_err());
    }
}
