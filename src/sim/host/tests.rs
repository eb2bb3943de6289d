//! The host stand-in as a whole, with handlers in this process.

use super::*;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

mod processes;

const HOST_JSON: &str = r#"{"version": "2.0", "functionTimeout": "00:10:00",
    "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true},
    "extensions": {"serviceBus": {"maxConcurrentCalls": 8}}}"#;
const QUEUE: &str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in", "name": "message",
    "queueName": "%SYNC_QUEUE%", "connection": "ServiceBus", "dataType": "binary"},
    {"type": "serviceBus", "direction": "out", "name": "out", "queueName": "copies", "connection": "ServiceBus"}]}"#;
const TIMER: &str =
    r#"{"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 * * * * *"}]}"#;
const WEBHOOK: &str = r#"{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "function",
    "methods": ["post", "get"], "route": "webhook/{*rest}"}, {"type": "http", "direction": "out", "name": "res"}]}"#;

struct App(PathBuf);

impl App {
    fn new(host_json: &str, functions: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("host-stand-in-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("host.json"), host_json).unwrap();
        for (name, text) in functions {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("function.json"), text).unwrap();
        }
        Self(root)
    }

    fn usual() -> Self {
        Self::new(HOST_JSON, &[("queue", QUEUE), ("sweep", TIMER), ("webhook", WEBHOOK)])
    }

    fn settings(&self) -> HostSettings {
        let mut settings = HostSettings::new(&self.0);
        let pairs = [("SYNC_QUEUE", "events"), ("ServiceBus__fullyQualifiedNamespace", "ns.example")];
        settings.environment = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        settings.keys.host = vec!["key".into()];
        settings
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn reply(status: u16, kind: &str, body: &str) -> Reply {
    let answer = Response::builder().status(status).header("content-type", kind);
    Reply::Answer(answer.body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
}

fn success() -> Reply {
    reply(200, "application/json", "{}")
}

async fn attached<F>(
    app: &App,
    change: impl FnOnce(&mut HostSettings),
    handle: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
) -> (Host, Server)
where
    F: Future<Output = Reply> + Send + 'static,
{
    let server = serve(0, handle).await.unwrap();
    let mut settings = app.settings();
    settings.handlers = Handlers::Attached(vec![server.address]);
    change(&mut settings);
    (Host::start(settings).await.unwrap(), server)
}

async fn call(host: &Host, path: &str, key: &str) -> (u16, String) {
    let request = Request::post(format!("{}{path}", host.url())).header("x-functions-key", key);
    let request = request.body(Bytes::from_static(b"hello")).unwrap();
    let answer = crate::sim::http::Sender::default().send(request).await.unwrap();
    (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
}

fn events(host: &Host) -> Queue {
    host.queue("events").unwrap()
}

#[tokio::test]
async fn a_message_is_invoked_by_the_envelope_and_completed() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let handle = move |request: Request<Bytes>| {
        seen.send(request).unwrap();
        async { reply(200, "application/json", r#"{"Outputs": {"out": ["copy"], "unknown": 1}, "Logs": ["said"]}"#) }
    };
    let (host, _server) = attached(&App::usual(), |_| {}, handle).await;
    events(&host).send(NewMessage::new(r#"{"a": 1}"#).id("m1").property("cloudEvents:id", "e1"));
    events(&host).idle().await;
    let request = requests.recv().await.unwrap();
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/queue"));
    let header = |n: &str| request.headers().get(n).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header("transfer-encoding"), "chunked");
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    assert_eq!(header("x-azure-functions-hostversion"), invoke::HOST_VERSION);
    assert!(header("x-azure-functions-invocationid").parse::<uuid::Uuid>().is_ok());
    let json: Json = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(json["Data"]["message"], "eyJhIjogMX0=");
    assert_eq!(json["Metadata"]["MessageId"], "\"m1\"");
    assert_eq!(json["Metadata"]["ApplicationProperties"], json!({"cloudEvents:id": "e1"}));
    let copy = host.queue("copies").unwrap().receive().await;
    assert_eq!((copy.message.body, copy.message.content_type.as_deref()), ("copy".into(), Some("text/plain")));
    assert!(host.log().contains("said"));
    assert_eq!((host.counts().successes, events(&host).counts().completed), (1, 1));
}

#[tokio::test]
async fn messages_that_wait_come_together_and_end_alike() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let first = Arc::new(AtomicUsize::new(0));
    let handle = move |request: Request<Bytes>| {
        seen.send(request).unwrap();
        let fails = first.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if fails { reply(500, "application/json", "{}") } else { success() } }
    };
    let many = QUEUE.replacen("\"dataType\"", "\"cardinality\": \"many\", \"dataType\"", 1);
    let host_json = HOST_JSON.replace("\"maxConcurrentCalls\": 8", "\"maxMessageBatchSize\": 4");
    let app = App::new(&host_json, &[("queue", &many)]);
    let queue = Queue::new(QueueSettings::default());
    (0..6).for_each(|n| assert!(queue.send(NewMessage::new(format!("{n}")).id(format!("m{n}"))).is_some()));
    let there = queue.clone();
    let (host, _server) =
        attached(&app, move |settings| drop(settings.queues.insert("events".into(), there)), handle).await;
    queue.idle().await;
    let json: Json = serde_json::from_slice(requests.recv().await.unwrap().body()).unwrap();
    assert_eq!(json["Data"]["message"], r#"["MA==","MQ==","Mg==","Mw=="]"#);
    assert_eq!(json["Metadata"]["MessageIdArray"], r#"["m0","m1","m2","m3"]"#);
    let counts = queue.counts();
    assert_eq!((counts.abandoned, counts.redelivered, counts.completed), (4, 4, 6), "one answer for all of them");
    assert_eq!((host.counts().failures, host.counts().successes), (1, 2));
}

#[tokio::test]
async fn a_failing_message_is_redelivered_at_once_and_dead_lettered() {
    let (seen, mut ids) = tokio::sync::mpsc::unbounded_channel();
    let handle = move |request: Request<Bytes>| {
        seen.send(request.headers()["x-azure-functions-invocationid"].clone()).unwrap();
        async { reply(500, "application/json", "{}") }
    };
    let (host, _server) = attached(&App::usual(), |s| s.queue.max_delivery_count = 3, handle).await;
    events(&host).send(NewMessage::new("x").id("poison"));
    events(&host).idle().await;
    let dead = events(&host).dead_letters();
    assert_eq!((dead[0].message.message_id.as_str(), dead[0].reason.as_str()), ("poison", "MaxDeliveryCountExceeded"));
    let mut unique = std::collections::HashSet::new();
    while let Ok(id) = ids.try_recv() {
        assert!(unique.insert(id), "every attempt has an id of its own");
    }
    assert_eq!((unique.len(), host.counts().failures), (3, 3));
}

#[tokio::test]
async fn an_empty_answer_hangs_until_the_timeout_kills_the_handler_with_everything_in_it() {
    let first = std::sync::Arc::new(AtomicUsize::new(0));
    let handle = move |request: Request<Bytes>| {
        let turn = first.fetch_add(1, Ordering::SeqCst);
        async move {
            match (request.uri().path(), turn) {
                ("/queue", 0) => reply(204, "application/json", ""),
                ("/queue", 1) => std::future::pending().await,
                _ => success(),
            }
        }
    };
    let (host, _server) =
        attached(&App::usual(), |s| s.function_timeout = Some(Duration::from_millis(200)), handle).await;
    events(&host).send(NewMessage::new("a"));
    events(&host).send(NewMessage::new("b"));
    events(&host).idle().await;
    let counts = host.counts();
    assert!(counts.timeouts >= 1 && host.deaths() >= 1, "{counts:?}");
    assert_eq!((counts.failures, counts.successes), (2, 2), "both were cut, both were redelivered");
}

#[tokio::test]
async fn requests_are_proxied_after_the_key_is_checked() {
    let handle = |request: Request<Bytes>| async move {
        match request.uri().path() {
            "/api/webhook/hangup" => Reply::Hangup,
            "/api/webhook/refuse" => reply(422, "application/problem+json", "{}"),
            _ => {
                let id = request.headers().get("x-ms-invocation-id").map_or("none", |v| v.to_str().unwrap());
                reply(200, "text/plain", &format!("{} {} {}", request.uri(), id.len(), request.body().len()))
            }
        }
    };
    let (host, _server) = attached(&App::usual(), |_| {}, handle).await;
    assert_eq!(call(&host, "/api/webhook/a?b=1&b=2", "key").await, (200, "/api/webhook/a?b=1&b=2 36 5".into()));
    assert_eq!(call(&host, "/api/webhook/a", "wrong").await.0, 401);
    assert_eq!(call(&host, "/api/webhook/refuse", "key").await.0, 422);
    assert_eq!(call(&host, "/api/webhook/hangup", "key").await.0, 500);
    assert_eq!(call(&host, "/queue", "key").await.0, 404, "invocation paths are not reachable from outside");
    assert_eq!(host.counts().http, BTreeMap::from([(200, 1), (401, 1), (404, 1), (422, 1), (500, 1)]));
}

#[tokio::test]
async fn what_a_killed_instance_held_is_redelivered_when_its_lock_ends() {
    let first = std::sync::Arc::new(AtomicUsize::new(0));
    let (started, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let handle = move |_| {
        let turn = first.fetch_add(1, Ordering::SeqCst);
        started.send(()).unwrap();
        async move { if turn == 0 { std::future::pending().await } else { success() } }
    };
    let lock = Duration::from_millis(300);
    let (host, _server) = attached(&App::usual(), |s| s.queue.lock_duration = lock, handle).await;
    events(&host).send(NewMessage::new("a"));
    begun.recv().await.unwrap();
    host.kill(0).await.unwrap();
    events(&host).idle().await;
    let counts = events(&host).counts();
    assert_eq!((counts.abandoned, counts.locks_lost, counts.redelivered, counts.completed), (0, 1, 1, 1));
}

#[tokio::test]
async fn timers_fire_on_demand_and_tell_their_schedule() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let handle = move |request: Request<Bytes>| {
        seen.send(request).unwrap();
        async { success() }
    };
    let (host, _server) = attached(&App::usual(), |_| {}, handle).await;
    assert!(matches!(host.fire("sweep").await, Ok(Ending::Success(_))));
    assert!(host.fire("queue").await.is_err());
    let request = requests.recv().await.unwrap();
    assert_eq!(request.uri().path(), "/sweep");
    let json: Json = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(json["Data"]["timer"]["IsPastDue"], false);
}

#[tokio::test]
async fn json_mode_builds_the_response_from_the_output() {
    let app = App::new(&HOST_JSON.replace("\"enableProxyingHttpRequest\": true", "\"a\": 1"), &[("webhook", WEBHOOK)]);
    let handle = |request: Request<Bytes>| async move {
        let json: Json = serde_json::from_slice(request.body()).unwrap();
        let body = json["Data"]["req"]["Params"]["rest"].clone();
        reply(200, "application/json", &json!({"Outputs": {"res": {"statusCode": 201, "body": body}}}).to_string())
    };
    let (host, _server) = attached(&app, |_| {}, handle).await;
    assert_eq!(call(&host, "/api/webhook/a/b", "key").await, (201, "a/b".into()));
}

#[test]
fn what_the_host_refuses_is_refused() {
    let check = |host_json: &str, expected: &str| {
        let app = App::new(host_json, &[("queue", QUEUE)]);
        let error = manifest::read(&app.0, &app.settings().environment).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("{", "Unable to parse host configuration file");
    check("{}", "'version'");
    check(r#"{"version": "2.0"}"#, "WorkerConfig for runtime: custom not found");
    check(r#"{"version": "2.0", "customHandler": {}}"#, "Missing worker Description.");
    check(r#"{"version": "2.0", "customHandler": {"description": {}}}"#, "DefaultExecutablePath cannot be empty");
    let described = r#""description": {"defaultExecutablePath": "x"}"#;
    check(
        &format!(r#"{{"version": "2.0", "functionTimeout": "soon", "customHandler": {{{described}}}}}"#),
        "functionTimeout",
    );
    check(
        &format!(r#"{{"version": "2.0", "customHandler": {{{described}, "http": {{"routes": []}}}}}}"#),
        "Detected both",
    );
}

#[test]
fn a_bad_function_is_skipped_and_says_why() {
    let folders = [
        ("1st", TIMER),
        ("host", TIMER),
        ("a.b", TIMER),
        ("ok", TIMER),
        ("empty", r#"{"bindings": []}"#),
        ("binding", &TIMER.replace("\"timer\"", "\"my_timer\"")),
        ("cron", &TIMER.replace("0 * * * * *", "often")),
        ("kind", &TIMER.replace("timerTrigger", "blobTrigger")),
        ("text", "{"),
        ("script", r#"{"scriptFile": "x", "bindings": [1]}"#),
    ];
    let app = App::new(HOST_JSON, &folders);
    let manifest = manifest::read(&app.0, &BTreeMap::new()).unwrap();
    assert_eq!(manifest.functions.keys().collect::<Vec<_>>(), ["ok"]);
    assert_eq!(manifest.skipped.len(), folders.len() - 1);
    let unset = App::new(HOST_JSON, &[("queue", QUEUE)]);
    let skipped = manifest::read(&unset.0, &BTreeMap::new()).unwrap().skipped;
    assert!(skipped[0].contains("does not resolve"), "{skipped:?}");
}
