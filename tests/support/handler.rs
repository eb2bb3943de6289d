//! The real binary as a handler process, spoken to as the Functions host speaks.

use bytes::Bytes;
use dataverse_sync::sim::http::Sender;
use http::Request;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often and how far apart a starting handler is asked, as the host does.
const PROBES_MAX: u32 = 400;
const PROBE_PAUSE: Duration = Duration::from_millis(25);

/// A running handler; it ends with the test.
#[derive(Debug)]
pub struct Handler {
    child: Child,
    url: String,
    sender: Sender,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub json: Value,
}

/// How a handler ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Handler {
    /// Starts it with these settings and nothing else of the environment, and waits until it answers.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .env_clear()
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_APP_ROOT_PATH", env!("CARGO_MANIFEST_DIR"))
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut handler = Self { child, url: format!("http://127.0.0.1:{port}"), sender: Sender::default() };
        for _ in 0..PROBES_MAX {
            let request = Request::get(&handler.url).body(Bytes::new()).unwrap();
            if handler.sender.send(request).await.is_ok_and(|answer| answer.status() == 200) {
                return handler;
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        let _ = handler.child.kill();
        panic!("the handler does not answer: {:?}", handler.end());
    }

    /// One request as it came from outside, proxied by the host.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.sender.send(request.body(body.into()).unwrap()).await.unwrap();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let json = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        Answer { status: answer.status().as_u16(), kind: kind.unwrap_or_default(), json }
    }

    /// One invocation of `queue`: `message` is what stands in `Data`, `properties` are the sender's.
    pub async fn invoke(&self, invocation: &str, message: &Value, properties: &Value) -> Answer {
        self.invoke_with(invocation, message, properties, &[]).await
    }

    /// The same as a part of a trace.
    pub async fn invoke_traced(&self, invocation: &str, message: &Value, properties: &Value, trace: &str) -> Answer {
        self.invoke_with(invocation, message, properties, &[("traceparent", trace)]).await
    }

    async fn invoke_with(
        &self,
        invocation: &str,
        message: &Value,
        properties: &Value,
        more: &[(&str, &str)],
    ) -> Answer {
        let metadata = json!({
            "DeliveryCount": "1", "MessageId": json!(format!("m-{invocation}")).to_string(),
            "ContentType": json!("application/json").to_string(),
            "EnqueuedTimeUtc": json!("2026-01-05T08:00:00Z").to_string(), "SequenceNumber": "7",
            "ApplicationProperties": properties, "UserProperties": properties,
            "sys": {"MethodName": "queue", "UtcNow": "2026-01-05T08:00:01Z", "RandGuid": "0"},
        });
        let envelope = json!({"Data": {"message": message}, "Metadata": metadata}).to_string();
        let headers = [
            ("x-azure-functions-hostversion", "4.1037.0.0"),
            ("x-azure-functions-invocationid", invocation),
            ("user-agent", "Azure-Functions-Host/4.1037.0.0"),
            ("content-type", "application/json; charset=utf-8"),
        ];
        self.send("POST", "/queue", &[headers.as_slice(), more].concat(), envelope).await
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One tick of a timer.
    pub async fn tick(&self, function: &str) -> Answer {
        let envelope = json!({"Data": {"timer": {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false}},
            "Metadata": {"sys": {"MethodName": function, "UtcNow": "2026-01-05T08:00:01Z", "RandGuid": "0"}}});
        let invocation = uuid::Uuid::new_v4().to_string();
        let headers = [
            ("x-azure-functions-hostversion", "4.1037.0.0"),
            ("x-azure-functions-invocationid", invocation.as_str()),
            ("user-agent", "Azure-Functions-Host/4.1037.0.0"),
            ("content-type", "application/json; charset=utf-8"),
        ];
        self.send("POST", &format!("/{function}"), &headers, envelope.to_string()).await
    }

    /// Sends a signal, `-TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn end(&mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ended { code, out, err }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
