//! What lines look like.

use super::*;
use chrono::{DateTime, Utc};
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        "2026-01-15T12:00:00.5Z".parse().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lines(format: LogFormat, filter: &str, log: impl FnOnce()) -> Vec<String> {
    let output = Output::default();
    let writer = output.clone();
    let subscriber = subscriber(format, filter, Arc::new(Noon), move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, log);
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_json_line_is_one_line_and_carries_the_invocation() {
    let lines = lines(LogFormat::Json, "info", || {
        let _outer = invocation("7f9c", "queue", None).entered();
        let _inner = tracing::info_span!("event", table = "account").entered();
        tracing::warn!(attempt = 3_u64, late = true, error = ?"x\ny", "two\nlines");
    });
    assert_eq!(lines.len(), 1);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    let expected = serde_json::json!({
        "timestamp": "2026-01-15T12:00:00.500Z", "level": "WARN", "target": "dataverse_sync::telemetry::tests",
        "message": "two\nlines", "invocation_id": "7f9c", "function": "queue", "table": "account",
        "attempt": 3, "late": true, "error": "\"x\\ny\"",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_text_line_is_one_line_and_carries_the_invocation() {
    let lines = lines(LogFormat::Text, "info", || {
        let _span = invocation("7f9c", "queue", None).entered();
        tracing::info!(table = "a\u{1b}[2Jb", "two\r\nlines\u{2028}three");
    });
    let expected = r"12:00:00.500 INFO  two\r\nlines\u{2028}three table=a\u{1b}[2Jb invocation_id=7f9c function=queue";
    assert_eq!(lines, [expected]);
}

#[test]
fn no_line_begins_with_the_hosts_prefixes() {
    for format in [LogFormat::Text, LogFormat::Json] {
        for message in ["LanguageWorkerConsoleLog x", "\nazfuncjsonlog:{}", "\r\nlanguageworkerconsolelog"] {
            for line in lines(format, "info", || tracing::info!("{message}")) {
                assert!(line.starts_with(['{', '1']), "{line}");
            }
        }
    }
}

#[test]
fn the_filter_decides_and_a_bad_one_is_refused() {
    let log = || {
        tracing::info!("kept");
        tracing::debug!("dropped");
    };
    assert_eq!(lines(LogFormat::Text, FILTER_DEFAULT, log).len(), 1);
    assert_eq!(lines(LogFormat::Text, "off", log).len(), 0);
    assert!(check_filter("info,dataverse_sync=debug").is_ok());
    assert!(check_filter("dataverse_sync=loud").is_err());
}

#[test]
fn long_values_are_cut_at_a_character() {
    let long = "é".repeat(10_000);
    let lines = lines(LogFormat::Json, "info", || tracing::info!(text = long.as_str(), debug = ?long, "m"));
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["text"].as_str().unwrap().len(), 4_096);
    assert!(line["debug"].as_str().unwrap().len() <= 4_096);
}

#[test]
fn a_field_recorded_later_is_there_and_the_inner_value_wins() {
    let lines = lines(LogFormat::Text, "info", || {
        let span = tracing::info_span!("event", row = tracing::field::Empty, n = 1_i64);
        span.record("row", "r1");
        let _in = span.entered();
        tracing::info!(n = 2_i64, "m");
    });
    assert_eq!(lines, ["12:00:00.500 INFO  m n=2 row=r1"]);
}
