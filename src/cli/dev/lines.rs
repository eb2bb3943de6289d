//! What `dev` shows while it runs: one line per invocation, and what the handler and the host say besides. Knows no
//! function.
//!
//! Everything that comes from outside is cleared of control characters: a terminal obeys them.

use crate::cli::place::{one_line, print};
use crate::clock::Clock;
use crate::sim::host::log::Source;
use crate::sim::host::{Invoked, Level, Line, Said};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Results of one batch that are shown one by one.
const RESULTS_MAX: usize = 20;
/// Longest text shown, in characters.
const TEXT_CHARS_MAX: usize = 400;
/// Fields of a log line that the invocation's own line has, or that say nothing here.
const KNOWN_FIELDS: [&str; 6] = ["time", "level", "message", "target", "invocation_id", "function"];

/// The printer.
#[derive(Debug)]
pub(super) struct Lines {
    clock: Arc<dyn Clock>,
}

impl Lines {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    /// Something of our own.
    pub(super) fn say(&self, text: &str) {
        self.show("dev", text);
    }

    /// An invocation that ended.
    pub(super) fn invoked(&self, invoked: &Invoked) {
        let took = invoked.took.as_millis();
        for text in texts(&invoked.said) {
            self.show(&invoked.function, &format!("{text}  {took} ms"));
        }
    }

    /// What the handler or the host said.
    pub(super) fn line(&self, line: &Line) {
        if let Some((who, text)) = worth_showing(line) {
            self.show(&who, &text);
        }
    }

    fn show(&self, who: &str, text: &str) {
        let text: String = one_line(text).chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
        print(&format!("{}  {who:<10} {text}\n", self.clock.now().format("%H:%M:%S")));
    }
}

/// What an invocation's line says; several for a batch.
fn texts(said: &Said) -> Vec<String> {
    match said {
        Said::Answer(status, body) => answer(*status, body),
        Said::Success(logs) if logs.is_empty() => vec!["done".to_owned()],
        Said::Success(logs) => logs.iter().take(RESULTS_MAX).cloned().collect(),
        Said::Failure(why) => vec![format!("FAILED: {why}")],
    }
}

fn answer(status: StatusCode, body: &Bytes) -> Vec<String> {
    let json: Json = serde_json::from_slice(body).unwrap_or_default();
    if let Some(results) = json.get("results").and_then(Json::as_array) {
        return results
            .iter()
            .take(RESULTS_MAX)
            .map(|result| format!("{} {}", status.as_u16(), result_of(result)))
            .collect();
    }
    vec![format!("{} {}", status.as_u16(), result_of(&json)).trim_end().to_owned()]
}

/// An event's result, or why there is none.
fn result_of(json: &Json) -> String {
    let text = |name: &str| json.get(name).and_then(Json::as_str).unwrap_or_default();
    let outcome = text("outcome");
    if let (true, Some(claim)) = (outcome.is_empty(), json.get("claim").and_then(Json::as_str)) {
        return format!("{}: claim {claim}", text("state"));
    }
    if outcome.is_empty() {
        let problem = [text("title"), text("detail"), text("error")];
        return problem.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    }
    let detail = match text("detail") {
        "" => String::new(),
        detail => format!(" ({detail})"),
    };
    format!("{outcome}{detail}: {} {}, event {}", text("table"), text("row"), text("event_id"))
}

/// Who said it, and what; `None` for what an invocation's line says already.
fn worth_showing(line: &Line) -> Option<(String, String)> {
    match line.source {
        Source::System => None,
        Source::Host if line.level >= Level::Warning && !line.text.starts_with("Executed ") => {
            Some(("host".to_owned(), line.text.clone()))
        }
        Source::Host if line.text.starts_with("Worker process started") => {
            Some(("host".to_owned(), "the handler is ready".to_owned()))
        }
        Source::Host => None,
        Source::Console => match serde_json::from_str(&line.text) {
            Ok(Json::Object(fields)) => handlers(&fields),
            _ => Some(("handler".to_owned(), line.text.clone())),
        },
    }
}

/// A handler's line of JSON: `WARN message name=value`.
fn handlers(fields: &Map<String, Json>) -> Option<(String, String)> {
    let text = |name: &str| fields.get(name).and_then(Json::as_str).unwrap_or_default();
    let function = text("function");
    // what a sweep worked on itself is in no line of its own
    if text("message") == "handled" && function != "sweep" {
        return None;
    }
    let mut said = format!("{} {}", text("level"), text("message"));
    for (name, value) in fields.iter().filter(|(name, _)| !KNOWN_FIELDS.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        said.push_str(&format!(" {name}={value}"));
    }
    let who = if function.is_empty() { "handler" } else { function };
    Some((who.to_owned(), said.trim_start().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_is_one_line_and_a_batch_one_per_event() {
        let check = |said: Said, expected: &[&str]| assert_eq!(texts(&said), expected);
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        let applied = r#"{"outcome":"applied","event_id":"e","table":"account","row":"1","detail":"created"}"#;
        check(Said::Answer(StatusCode::OK, body(applied)), &["200 applied (created): account 1, event e"]);
        let batch = r#"{"results":[{"outcome":"stale","event_id":"e","table":"t","row":"1"},{"error":"no id"}]}"#;
        check(Said::Answer(StatusCode::ACCEPTED, body(batch)), &["202 stale: t 1, event e", "202 no id"]);
        let problem = r#"{"title":"not understood","detail":"$.table"}"#;
        check(Said::Answer(StatusCode::BAD_REQUEST, body(problem)), &["400 not understood: $.table"]);
        check(Said::Answer(StatusCode::NO_CONTENT, Bytes::new()), &["204"]);
        check(Said::Success(vec!["a".to_owned()]), &["a"]);
        check(Said::Success(Vec::new()), &["done"]);
        check(Said::Failure("why".to_owned()), &["FAILED: why"]);
    }

    #[test]
    fn what_an_invocations_line_says_already_is_not_shown_twice() {
        let line = |source, level, text: &str| Line { instance: Some(0), source, level, text: text.to_owned() };
        let check = |line: Line, expected: Option<(&str, &str)>| {
            let shown = worth_showing(&line);
            assert_eq!(shown.as_ref().map(|(who, text)| (who.as_str(), text.as_str())), expected);
        };
        let handled =
            |function: &str| format!(r#"{{"level":"INFO","message":"handled","function":"{function}","row":"1"}}"#);
        check(line(Source::Console, Level::Information, &handled("queue")), None);
        check(line(Source::Console, Level::Information, &handled("sweep")), Some(("sweep", "INFO handled row=1")));
        check(line(Source::Console, Level::Information, "plain"), Some(("handler", "plain")));
        check(line(Source::Host, Level::Error, "Executed 'Functions.queue' (Failed)"), None);
        check(line(Source::Host, Level::Error, "x exited with code 1"), Some(("host", "x exited with code 1")));
        check(line(Source::Host, Level::Information, "Executing 'Functions.queue'"), None);
    }
}
