//! The REST side of Service Bus for the local queues: sending, receiving under a lock or for good, settling, and the
//! same for dead letters. Knows no function.
//!
//! Addresses: `/{queue}/messages`, `/{queue}/messages/head`, `/{queue}/messages/{id}/{lock}`, each also below
//! `/{queue}/$DeadLetterQueue`, and `/{queue}?api-version=` for how the queue is set up. Stricter than the service: a
//! custom property that is neither quoted text, number nor Boolean is refused, and so is whatever of a message would be
//! passed over in silence. Sessions are not there.

mod batch;
mod describe;
mod sign;

use super::message::{Message, NewMessage};
use super::queue::{Queue, Received};
use crate::sim::http::{Reply, Server, serve, status};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use uuid::Uuid;

/// Longest wait for a message, as in the service (its default is 60 s).
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Headers that belong to HTTP or the protocol; all others are custom properties.
const OWN_HEADERS: [&str; 17] = [
    "accept",
    "accept-encoding",
    "authorization",
    "brokerproperties",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
];

/// Who may use the broker, and how large messages may be.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// The bearer token that is accepted.
    pub bearer: Option<String>,
    /// Whether `SharedAccessSignature` with a signature in it is accepted (unless there is a key, it is not verified).
    pub shared_access: bool,
    /// Name and key of the policy that signatures are verified with.
    pub shared_key: Option<(String, String)>,
    /// Whether who may send may also ask how a queue is set up (right `Manage`).
    pub manage: bool,
    /// Largest message in bytes (256 KiB in the Standard tier).
    pub message_bytes_max: usize,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self { bearer: None, shared_access: true, shared_key: None, manage: true, message_bytes_max: 256 << 10 }
    }
}

/// Serves these queues on a loopback port (0 = a free one).
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve_broker(
    queues: BTreeMap<String, Queue>,
    settings: BrokerSettings,
    port: u16,
) -> std::io::Result<Server> {
    let (server, known) = announce_broker(settings, port).await?;
    // nobody else has it
    let _ = known.set(queues);
    Ok(server)
}

/// Queues that a broker serves as soon as they are known.
pub type KnownQueues = Arc<OnceLock<BTreeMap<String, Queue>>>;

/// Serves queues that are not there yet, because whoever makes them has to be told the address first; until they are
/// known the answer is 503.
///
/// # Errors
/// When the port cannot be bound.
pub async fn announce_broker(settings: BrokerSettings, port: u16) -> std::io::Result<(Server, KnownQueues)> {
    let queues = KnownQueues::default();
    let shared = Arc::new((Arc::clone(&queues), settings));
    let server = serve(port, move |request| {
        let shared = Arc::clone(&shared);
        async move {
            Reply::Answer(match shared.0.get() {
                Some(queues) => answer(queues, &shared.1, &request).await,
                None => status(StatusCode::SERVICE_UNAVAILABLE),
            })
        }
    });
    Ok((server.await?, queues))
}

async fn answer(
    queues: &BTreeMap<String, Queue>,
    settings: &BrokerSettings,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let now = queues.values().next().map_or(DateTime::UNIX_EPOCH, Queue::now);
    if !authorized(request, settings, now) {
        return status(StatusCode::UNAUTHORIZED);
    }
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let Some((name, rest)) = parts.split_first() else { return status(StatusCode::NOT_FOUND) };
    if request.method() == http::Method::GET && rest.is_empty() {
        return if settings.manage {
            describe::answer(name, queues.get(*name), request)
        } else {
            status(StatusCode::UNAUTHORIZED)
        };
    }
    let Some(queue) = queues.get(*name) else { return status(StatusCode::NOT_FOUND) };
    let (queue, rest, dead) = match rest {
        [dead, rest @ ..] if dead.eq_ignore_ascii_case("$deadletterqueue") => (queue.dead_letter_queue(), rest, true),
        rest => (Some(queue.clone()), rest, false),
    };
    let Some(queue) = queue else { return status(StatusCode::NOT_FOUND) };
    match (request.method().as_str(), rest) {
        ("POST", ["messages"]) if !dead => send(&queue, settings, request),
        ("POST", ["messages", "head"]) => match next(&queue, request).await {
            Some(received) => received_answer(StatusCode::CREATED, &received, request),
            None => status(StatusCode::NO_CONTENT),
        },
        ("DELETE", ["messages", "head"]) => match next(&queue, request).await {
            Some(received) if queue.complete(received.token).is_ok() => {
                received_answer(StatusCode::OK, &received, request)
            }
            _ => status(StatusCode::NO_CONTENT),
        },
        (method @ ("DELETE" | "PUT" | "POST"), ["messages", _, lock]) => {
            let Ok(token) = lock.parse::<Uuid>() else { return status(StatusCode::BAD_REQUEST) };
            let settled = match method {
                "DELETE" => queue.complete(token),
                "PUT" => queue.abandon(token),
                _ => queue.renew(token),
            };
            status(if settled.is_ok() { StatusCode::OK } else { StatusCode::GONE })
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn authorized(request: &Request<Bytes>, settings: &BrokerSettings, now: DateTime<Utc>) -> bool {
    let Some(given) = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()) else { return false };
    match given.split_once(' ') {
        Some(("Bearer", token)) => settings.bearer.as_deref() == Some(token),
        Some(("SharedAccessSignature", signature)) => {
            let signed = ["sr=", "sig=", "se="].iter().all(|f| signature.contains(f));
            let good = |(name, key): &(String, String)| sign::verified(signature, name, key, request, now);
            settings.shared_access && signed && settings.shared_key.as_ref().is_none_or(good)
        }
        _ => false,
    }
}

/// The next message, waiting as long as the query's `timeout` (seconds) says.
async fn next(queue: &Queue, request: &Request<Bytes>) -> Option<Received> {
    let query = request.uri().query().unwrap_or("");
    let seconds = query.split('&').find_map(|p| p.strip_prefix("timeout=")?.parse().ok()).map(Duration::from_secs);
    tokio::time::timeout(seconds.unwrap_or(WAIT_MAX).min(WAIT_MAX), queue.receive()).await.ok()
}

fn send(queue: &Queue, settings: &BrokerSettings, request: &Request<Bytes>) -> Response<Bytes> {
    if request.body().len() > settings.message_bytes_max {
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let messages = match kind {
        Some(batch::CONTENT_TYPE) => batch::messages(request.body(), queue.now()),
        _ => new_message(queue, request).map(|message| vec![message]),
    };
    match messages {
        Ok(messages) => {
            for message in messages {
                queue.send(message);
            }
            status(StatusCode::CREATED)
        }
        Err(why) => {
            let mut answer = status(StatusCode::BAD_REQUEST);
            *answer.body_mut() = Bytes::from(why);
            answer
        }
    }
}

fn new_message(queue: &Queue, request: &Request<Bytes>) -> Result<NewMessage, String> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let broker: Map<String, Json> = match text("brokerproperties") {
        None => Map::new(),
        Some(json) => serde_json::from_str(json).map_err(|e| format!("BrokerProperties: {e}"))?,
    };
    let mut message = NewMessage::new(request.body().clone());
    set_broker(&mut message, &broker, queue.now())?;
    message.content_type = text("content-type").map(str::to_owned);
    for (name, value) in headers {
        let name = name.as_str();
        if !OWN_HEADERS.contains(&name) {
            let value = value.to_str().map_err(|_| format!("property {name} is not ASCII"))?;
            let value =
                property(value).ok_or_else(|| format!("property {name} is no quoted text, number or Boolean"))?;
            message.properties.insert(name.to_owned(), value);
        }
    }
    Ok(message)
}

/// What `BrokerProperties` say. Unknown ones are passed over by the service; here they are refused.
fn set_broker(message: &mut NewMessage, broker: &Map<String, Json>, now: DateTime<Utc>) -> Result<(), String> {
    for (name, value) in broker {
        let text = || value.as_str().map(str::to_owned).ok_or_else(|| format!("BrokerProperties: {name} is no text"));
        let id = || match text()? {
            id if id.is_empty() || id.chars().count() > 128 => {
                Err(format!("BrokerProperties: {name} has 1 to 128 characters"))
            }
            id => Ok(Some(id)),
        };
        match name.as_str() {
            _ if value.is_null() => {}
            "MessageId" => message.message_id = id()?,
            "SessionId" => message.session_id = id()?,
            "CorrelationId" => message.correlation_id = Some(text()?),
            "Label" => message.subject = Some(text()?),
            "TimeToLive" => {
                let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                message.time_to_live = Some(seconds.ok_or("BrokerProperties: TimeToLive is no number of seconds")?);
            }
            "TimeToLiveTimeSpan" => {
                let time =
                    batch::time_span(&text()?).ok_or("BrokerProperties: TimeToLiveTimeSpan is not d.hh:mm:ss")?;
                message.time_to_live = Some(time);
            }
            "ScheduledEnqueueTimeUtc" => {
                let due = DateTime::parse_from_rfc2822(&text()?);
                let due = due.map_err(|_| "ScheduledEnqueueTimeUtc is no RFC 2822 time")?;
                message.delay = (due.with_timezone(&Utc) - now).to_std().ok();
            }
            _ => return Err(format!("BrokerProperties: {name} is not known here")),
        }
    }
    Ok(())
}

/// A custom property's value: a quoted text, a number, a Boolean.
fn property(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok().filter(|v: &Json| v.is_string() || v.is_number() || v.is_boolean())
}

fn received_answer(code: StatusCode, received: &Received, request: &Request<Bytes>) -> Response<Bytes> {
    let message = &received.message;
    let mut answer = Response::new(message.body.clone());
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    set("BrokerProperties", &Json::Object(broker_properties(received, code == StatusCode::CREATED)).to_string());
    if let Some(kind) = &message.content_type {
        set("content-type", kind);
    }
    for (name, value) in &message.properties {
        set(name, &value.to_string());
    }
    if let Some(reason) = &message.dead_letter_reason {
        set("DeadLetterReason", &Json::from(reason.as_str()).to_string());
    }
    if code == StatusCode::CREATED {
        let base = request.uri().path().trim_end_matches("head");
        set("location", &format!("{base}{}/{}", message.sequence_number, received.token));
    }
    answer
}

fn broker_properties(received: &Received, locked: bool) -> Map<String, Json> {
    let Message { message_id, correlation_id, subject, session_id, sequence_number, enqueued, delivery_count, .. } =
        &received.message;
    let time = |t: &DateTime<Utc>| t.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut all = Map::from_iter([
        ("MessageId".to_owned(), json!(message_id)),
        ("SequenceNumber".to_owned(), json!(sequence_number)),
        ("EnqueuedTimeUtc".to_owned(), json!(time(enqueued))),
        ("DeliveryCount".to_owned(), json!(delivery_count)),
        ("State".to_owned(), json!("Active")),
    ]);
    for (name, value) in [("CorrelationId", correlation_id), ("Label", subject), ("SessionId", session_id)] {
        if let Some(value) = value {
            all.insert(name.to_owned(), json!(value));
        }
    }
    if locked {
        all.insert("LockToken".into(), json!(received.token));
        all.insert("LockedUntilUtc".into(), json!(time(&received.locked_until)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::queue::QueueSettings;

    struct Bench(BTreeMap<String, Queue>, BrokerSettings);

    impl Bench {
        fn new() -> Self {
            let queue = Queue::new(QueueSettings { max_delivery_count: 1, ..QueueSettings::default() });
            let settings = BrokerSettings { bearer: Some("t".into()), ..BrokerSettings::default() };
            Self(BTreeMap::from([("events".to_owned(), queue)]), settings)
        }

        async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
            let builder = Request::builder().method(method).uri(path).header("authorization", "Bearer t");
            let builder = headers.iter().fold(builder, |b, (n, v)| b.header(*n, *v));
            answer(&self.0, &self.1, &builder.body(Bytes::from_static(b"hello")).unwrap()).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_sent_with_its_properties_and_received_under_a_lock() {
        let bench = Bench::new();
        let broker = r#"{"MessageId": "m1", "Label": "l", "ScheduledEnqueueTimeUtc": "Thu, 15 Jan 2026 10:00:30 GMT"}"#;
        let headers = [("brokerproperties", broker), ("content-type", "text/x"), ("ce_id", "\"e1\""), ("n", "2")];
        assert_eq!(bench.send("POST", "/events/messages", &headers).await.status(), 201);
        assert_eq!(bench.send("POST", "/events/messages/head?timeout=1", &[]).await.status(), 204);
        let got = bench.send("POST", "/events/messages/head", &[]).await;
        assert_eq!((got.status().as_u16(), got.body().as_ref()), (201, b"hello".as_ref()));
        assert_eq!(got.headers()["ce_id"], "\"e1\"");
        let properties: Json = serde_json::from_str(got.headers()["brokerproperties"].to_str().unwrap()).unwrap();
        assert_eq!((&properties["MessageId"], &properties["DeliveryCount"]), (&json!("m1"), &json!(1)));
        let location = got.headers()["location"].to_str().unwrap();
        assert_eq!(bench.send("POST", location, &[]).await.status(), 200);
        assert_eq!(bench.send("PUT", location, &[]).await.status(), 200);
        assert_eq!(bench.send("DELETE", location, &[]).await.status(), 410);
        let dead = bench.send("DELETE", "/events/$deadletterqueue/messages/head", &[]).await;
        assert_eq!(
            (dead.status().as_u16(), dead.headers()["deadletterreason"].to_str().unwrap()),
            (200, "\"MaxDeliveryCountExceeded\"")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_is_refused() {
        let bench = Bench::new();
        let check = async |headers: &[(&str, &str)], path: &str, expected: u16| {
            assert_eq!(bench.send("POST", path, headers).await.status().as_u16(), expected, "{headers:?} {path}");
        };
        check(&[("brokerproperties", "{")], "/events/messages", 400).await;
        check(&[("brokerproperties", r#"{"MessageId": 1}"#)], "/events/messages", 400).await;
        check(&[("brokerproperties", r#"{"ScheduledEnqueueTimeUtc": "soon"}"#)], "/events/messages", 400).await;
        check(&[("prop", "unquoted")], "/events/messages", 400).await;
        check(&[], "/other/messages", 404).await;
        check(&[], "/events/$deadletterqueue/messages", 404).await;
        let request = Request::post("/events/messages").header("authorization", "Bearer x").body(Bytes::new()).unwrap();
        assert_eq!(answer(&bench.0, &bench.1, &request).await.status(), 401);
        let request =
            Request::post("/events/messages").header("authorization", "SharedAccessSignature sr=a&sig=b&se=1");
        let large = request.body(Bytes::from(vec![0; 257 << 10])).unwrap();
        assert_eq!(answer(&bench.0, &bench.1, &large).await.status(), 413);
        assert_eq!(bench.0["events"].pending(), 0);
    }
}
