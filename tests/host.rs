//! The handler over real loopback sockets, spoken to as the Functions host speaks: directly, proxied, and as older
//! hosts do. The engine behind it answers as it is told; what it does with events is tested elsewhere.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dataverse_sync::app::{App, HostSettings};
use dataverse_sync::clock::SystemClock;
use dataverse_sync::domain::delivery::{Delivery, NotHandled, Report, Unfinished};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::{Applied, Outcome};
use dataverse_sync::host::drain::{DrainLimits, End};
use dataverse_sync::sim::http::Sender;
use dataverse_sync::sync::{HandleEvent, Owed, RawEvent};
use futures_util::{future, stream};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const ROW: &str = "6a1ee5f0-0001-4b3c-9d2e-000000000001";

/// Updates everything, except that `boom` panics and `wait` waits to be released.
#[derive(Debug, Default)]
struct Engine {
    calls: AtomicUsize,
    invocations: Mutex<Vec<String>>,
    waiting: Notify,
    release: Notify,
}

#[async_trait]
impl HandleEvent for Engine {
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.invocations.lock().unwrap().push(delivery.invocation.clone());
        match event.id.id() {
            "boom" => panic!("an engine may be wrong"),
            "wait" => {
                self.waiting.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        let (event_id, row) = (event.id.id().to_owned(), event.row.to_string());
        Ok(Report { outcome: Outcome::Applied(Applied::Updated), event_id, table: event.table, row })
    }

    async fn keep_raw(&self, raw: RawEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        Err(Unfinished { reason: raw.problem, retry_after: Duration::from_secs(60) }.into())
    }

    async fn come_back(&self, _owed: &Owed, _invocation: &str) -> Result<Option<Report>, NotHandled> {
        Ok(None)
    }

    fn deliveries_max(&self) -> u32 {
        10
    }
}

/// What a test has in hand while the handler serves.
struct Handler {
    url: String,
    sender: Sender,
    engine: Arc<Engine>,
    signals: mpsc::UnboundedSender<()>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    kind: String,
    retry_after: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Handler {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.sender.send(request.body(body.into()).unwrap()).await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Answer {
            status: answer.status().as_u16(),
            kind: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: String::from_utf8(answer.body().to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, id: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/json"), ("ce-id", id)], change()).await
    }

    /// As the host invokes: the message as bytes.
    async fn invoke(&self, id: &str) -> Answer {
        self.send("POST", "/queue", &HOST, envelope(&json!(STANDARD.encode(change())), id)).await
    }
}

const HOST: [(&str, &str); 4] = [
    ("x-azure-functions-hostversion", "4.1037.0.0"),
    ("x-azure-functions-invocationid", "24ad4c06-24ad-4e5b-8294-3da9714877e9"),
    ("user-agent", "Azure-Functions-Host/4.1037.0.0"),
    ("content-type", "application/json; charset=utf-8"),
];

fn change() -> String {
    json!({"table": "account", "id": ROW, "operation": "upsert", "columns": {"name": "A"}, "version": 7}).to_string()
}

fn envelope(message: &Value, id: &str) -> String {
    json!({"Data": {"message": message}, "Metadata": {"MessageId": json!(id).to_string(), "sys": {}}}).to_string()
}

/// Runs `test` beside a serving handler, tells the handler to stop, and says how it ended.
async fn serving(test: impl AsyncFnOnce(&Handler)) -> End {
    let drain = DrainLimits { grace: Duration::from_secs(60), idle: Duration::from_millis(200) };
    let app = App::bind(HostSettings { port: 0, drain, ..HostSettings::default() }).await.unwrap();
    let url = format!("http://{}", app.address().unwrap());
    let engine = Arc::new(Engine::default());
    let (signals, heard) = mpsc::unbounded_channel();
    let heard = Box::pin(stream::unfold(heard, async |mut heard| heard.recv().await.map(|()| ((), heard))));
    let handler = Handler { url, sender: Sender::default(), engine: engine.clone(), signals };
    let behind: Arc<dyn HandleEvent> = engine;
    let served = app.serve(&behind, None, Arc::new(SystemClock::default()), heard);
    let tested = async {
        test(&handler).await;
        let _ = handler.signals.send(());
    };
    let (end, ()) = future::join(served, tested).await;
    end.unwrap()
}

#[tokio::test]
async fn the_handler_is_ready_without_touching_anything() {
    let end = serving(async |handler| {
        let ready = handler.get("/").await;
        assert_eq!((ready.status, ready.body.as_str()), (200, ""));
        let health = handler.get("/api/health").await;
        assert_eq!((health.status, health.json()), (200, json!({"status": "ok"})));
        assert_eq!(handler.engine.calls.load(Ordering::SeqCst), 0);
    });
    assert_eq!(end.await, End::Idle);
}

#[tokio::test]
async fn a_second_handler_on_the_port_says_so_in_the_hosts_words() {
    let first = App::bind(HostSettings { port: 0, ..HostSettings::default() }).await.unwrap();
    let port = first.address().unwrap().port();
    let error = App::bind(HostSettings { port, ..HostSettings::default() }).await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("address already in use") && error.contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn routes_match_as_the_host_matches_them() {
    serving(async |handler| {
        for path in ["/api/webhook", "/API/Webhook", "/api/webhook/", "/api/webhook?code=k"] {
            let answer = handler.post(path, "e1").await;
            assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"), "{path}");
            let expected =
                json!({"outcome": "applied", "event_id": "e1", "table": "account", "row": ROW, "detail": "updated"});
            assert_eq!(answer.json(), expected);
        }
        for path in ["/api/queue", "/api/", "/api", "/api/webhook/more", "/Queue", "/admin", "//", "/queue/"] {
            let answer = handler.post(path, "e1").await;
            assert_eq!((answer.status, answer.kind.as_str()), (404, "application/problem+json"), "{path}");
        }
        for (method, path) in [("GET", "/api/webhook"), ("POST", "/api/health"), ("GET", "/queue"), ("POST", "/")] {
            let answer = handler.send(method, path, &[], "").await;
            assert_eq!((answer.status, &answer.json()["status"]), (405, &json!(405)), "{method} {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_cannot_reach_an_invocation_path() {
    serving(async |handler| {
        let body = envelope(&json!(STANDARD.encode(change())), "m1");
        for mark in ["x-ms-invocation-id", "x-forwarded-for", "x-forwarded-host", "forwarded"] {
            for path in ["/queue", "/webhook", "/health"] {
                let headers: Vec<_> = HOST.into_iter().chain([(mark, "x")]).collect();
                let answer = handler.send("POST", path, &headers, body.clone()).await;
                assert_eq!(answer.status, 404, "{path} with {mark}");
            }
        }
        let twice: Vec<_> = HOST.into_iter().chain([("x-azure-functions-invocationid", "mine")]).collect();
        assert_eq!(handler.send("POST", "/queue", &twice, body).await.status, 404);
        assert_eq!(handler.engine.calls.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn an_invocation_always_ends_in_a_json_object() {
    serving(async |handler| {
        let (good, text) = (json!(STANDARD.encode(change())), json!(change()));
        let double = json!(json!(change()).to_string());
        let cases = [
            (envelope(&good, "m1"), 200),
            (envelope(&text, "m1"), 200),
            (envelope(&double, "m1"), 200),
            (envelope(&json!("nonsense"), "m1"), 500),
            (json!({"Data": {}}).to_string(), 500),
            ("{".to_owned(), 500),
            (String::new(), 500),
            ("[]".to_owned(), 500),
        ];
        for (body, expected) in cases {
            let answer = handler.send("POST", "/queue", &HOST, body.clone()).await;
            assert_eq!((answer.status, answer.kind.as_str()), (expected, "application/json"), "{body}");
            let json = answer.json();
            assert_eq!(json["Outputs"], json!({}), "{body}");
            assert_eq!(json["Logs"].as_array().map(Vec::len), Some(1), "{json}");
        }
        let ids = handler.engine.invocations.lock().unwrap().clone();
        assert_eq!(ids, ["24ad4c06-24ad-4e5b-8294-3da9714877e9"; 3]);
    })
    .await;
}

#[tokio::test]
async fn http_in_an_envelope_is_http() {
    serving(async |handler| {
        let request = |name: &str, method: &str, headers: Value, body: Value| {
            let url = format!("http://localhost:7071/api/{name}");
            json!({"Data": {"req": {"Url": url, "Method": method, "Query": {}, "Headers": headers, "Params": {},
                "Identities": [], "Body": body}}, "Metadata": {"sys": {}}})
            .to_string()
        };
        let res = async |path: &str, body: String| {
            let answer = handler.send("POST", path, &HOST, body).await;
            assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"));
            answer.json()["Outputs"]["res"].clone()
        };
        let headers = json!({"Content-Type": ["application/json"], "CE-Id": ["e1"]});
        let got = res("/webhook", request("webhook", "POST", headers.clone(), json!(change()))).await;
        assert_eq!(got["statusCode"], json!(200));
        let body: Value = serde_json::from_str(got["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["outcome"], &body["event_id"]), (&json!("applied"), &json!("e1")));
        let got = res("/webhook", request("webhook", "PUT", headers.clone(), json!(""))).await;
        assert_eq!((&got["statusCode"], &got["headers"]["allow"]), (&json!(405), &json!("POST, OPTIONS")));
        let large = " ".repeat((1 << 20) + 1);
        assert_eq!(res("/webhook", request("webhook", "POST", headers, json!(large))).await["statusCode"], json!(413));
        let got = res("/health", request("health", "GET", json!({}), Value::Null)).await;
        assert_eq!(got["body"], json!("{\"status\":\"ok\"}"));
    })
    .await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_and_large_envelopes_are_not() {
    serving(async |handler| {
        let mib = 1 << 20;
        let exact = handler.send("POST", "/api/webhook", &[("ce-id", "e1")], vec![b' '; mib]).await;
        assert_eq!(exact.status, 400);
        let over = handler.send("POST", "/api/webhook", &[("ce-id", "e1")], vec![b' '; mib + 1]).await;
        assert_eq!((over.status, over.kind.as_str()), (413, "application/problem+json"));
        let padded = format!("{}{}", change(), " ".repeat(mib - change().len()));
        // the largest message that is handled, in the form that takes the most room
        let quoted = json!(json!(padded).to_string());
        assert_eq!(handler.send("POST", "/queue", &HOST, envelope(&quoted, "m1")).await.status, 200);
        // larger ones arrive and are told apart from a broken connection
        let huge = envelope(&json!(STANDARD.encode(vec![b' '; 9 * mib])), "m1");
        let several = (0..3).map(|_| handler.send("POST", "/queue", &HOST, huge.clone()));
        for answer in future::join_all(several).await {
            assert_eq!(answer.status, 500);
            assert!(answer.json()["Logs"][0].as_str().unwrap().contains("larger than"), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_panic_fails_one_invocation_only() {
    serving(async |handler| {
        let others = async {
            handler.engine.waiting.notified().await;
            let http = handler.post("/api/webhook", "boom").await;
            assert_eq!((http.status, http.retry_after.as_deref()), (503, Some("5")));
            assert!(!http.body.contains("an engine may be wrong"), "the text of a panic may hold values");
            let invoked = handler.invoke("boom").await;
            assert_eq!((invoked.status, &invoked.json()["Outputs"]), (500, &json!({})));
            handler.engine.release.notify_one();
        };
        let (waited, ()) = future::join(handler.invoke("wait"), others).await;
        assert_eq!(waited.status, 200);
        assert_eq!(handler.post("/api/webhook", "e2").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn after_the_signal_old_and_new_requests_are_served() {
    let end = serving(async |handler| {
        let others = async {
            handler.engine.waiting.notified().await;
            handler.signals.send(()).unwrap();
            assert_eq!(handler.post("/api/webhook", "new").await.status, 200);
            assert_eq!(handler.invoke("new too").await.status, 200);
            handler.engine.release.notify_one();
            handler.invoke("last").await
        };
        let (waited, last) = future::join(handler.post("/api/webhook", "wait"), others).await;
        assert_eq!((waited.status, last.status), (200, 200));
        handler.signals.closed().await;
    });
    assert_eq!(end.await, End::Idle);
}

#[tokio::test]
async fn a_second_signal_ends_with_work_under_way() {
    let end = serving(async |handler| {
        let others = async {
            handler.engine.waiting.notified().await;
            handler.signals.send(()).unwrap();
            handler.signals.send(()).unwrap();
            handler.signals.closed().await;
        };
        // the request is never answered; nobody waits for it any longer than the handler does
        future::select(Box::pin(handler.post("/api/webhook", "wait")), Box::pin(others)).await;
    });
    assert_eq!(end.await, End::Twice);
}
