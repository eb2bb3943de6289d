//! The real binary, started and stopped as the Functions host and the platform do it. Nothing is behind it: an
//! unreachable target, a ledger in memory.
#![cfg(unix)]

use bytes::Bytes;
use dataverse_sync::sim::http::Sender;
use http::Request;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Process {
    child: Child,
    url: String,
    sender: Sender,
}

impl Process {
    /// Starts the handler and probes it as the host does: every 25 ms, refused connections mean "not yet".
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .env_clear()
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_APP_ROOT_PATH", env!("CARGO_MANIFEST_DIR"))
            .env("TARGET_URL", "http://127.0.0.1:9")
            .env("TARGET_AUTH", "none")
            .env("LEDGER_STORE", "memory")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let process = Self { child, url: format!("http://127.0.0.1:{port}"), sender: Sender::default() };
        for _ in 0..400 {
            if process.get("/").await == Some(200) {
                return process;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not ready after 10 s");
    }

    async fn get(&self, path: &str) -> Option<u16> {
        let request = Request::get(format!("{}{path}", self.url)).body(Bytes::new()).unwrap();
        self.sender.send(request).await.ok().map(|answer| answer.status().as_u16())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end: exit code, standard output, standard error.
    fn end(&mut self) -> (Option<i32>, String, String) {
        let code = self.child.wait().unwrap().code();
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (code, out, err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[tokio::test]
async fn after_sigterm_it_still_answers_and_then_exits_with_zero() {
    let mut process = Process::start().await;
    assert_eq!(process.get("/api/health").await, Some(200));
    process.signal("-TERM");
    assert_eq!(process.get("/api/health").await, Some(200));
    let (code, out, err) = process.end();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string(), "{line}");
    }
    assert!(out.contains("told to stop"), "{out}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start().await;
    process.signal("-TERM");
    process.signal("-INT");
    let (code, _, err) = process.end();
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: told to stop twice"), "{err}");
}
