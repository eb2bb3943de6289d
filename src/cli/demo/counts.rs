//! What the handlers say they did, read from their log lines as they come. Knows no handler and no event.

use crate::sim::host::Line;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most different reasons kept; they hold times and ids, so there is no end to them.
const REASONS_MAX: usize = 200;

/// Outcomes so far.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    outcomes: BTreeMap<(String, String), u64>,
    webhooks_kept: u64,
    unfinished: u64,
    reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// Takes in one line of the host's log.
    pub(super) fn line(&self, line: &Line) {
        if line.instance.is_none() || !line.text.starts_with('{') {
            return;
        }
        let Ok(json) = serde_json::from_str::<Json>(&line.text) else { return };
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        match text("message") {
            // the line that names the row is the one per event
            Some("handled") if json.get("row").is_some() => {
                let key = (text("outcome").unwrap_or_default(), text("detail").unwrap_or_default());
                let mut inner = self.lock();
                inner.webhooks_kept += u64::from(key.0 == "deferred" && text("function") == Some("webhook"));
                *inner.outcomes.entry((key.0.to_owned(), key.1.to_owned())).or_default() += 1;
            }
            Some("unfinished") => {
                let mut inner = self.lock();
                inner.unfinished += 1;
                let reason = text("reason").unwrap_or_default().to_owned();
                if inner.reasons.len() < REASONS_MAX || inner.reasons.contains_key(&reason) {
                    *inner.reasons.entry(reason).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// How many events ended so.
    pub(super) fn outcome(&self, outcome: &str) -> u64 {
        self.lock().outcomes.iter().filter(|((name, _), _)| name == outcome).map(|(_, count)| count).sum()
    }

    /// How many events ended exactly so.
    pub(super) fn detail(&self, outcome: &str, detail: &str) -> u64 {
        self.lock().outcomes.get(&(outcome.to_owned(), detail.to_owned())).copied().unwrap_or_default()
    }

    /// How many webhooks were answered 202: kept, to be finished later.
    pub(super) fn webhooks_kept(&self) -> u64 {
        self.lock().webhooks_kept
    }

    /// How often work on an event ended without an outcome, so that its sender had to come again.
    pub(super) fn unfinished(&self) -> u64 {
        self.lock().unfinished
    }

    /// The most frequent reasons for that.
    pub(super) fn reasons(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.lock().reasons.clone().into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(5);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::{Level, Log};
    use std::sync::Arc;

    #[test]
    fn lines_of_handlers_are_counted_by_their_outcome() {
        let counts = Arc::new(Counts::default());
        let listener = Arc::clone(&counts);
        let log = Log::listening(move |line| listener.line(line));
        let raced = r#"{"message":"handled","outcome":"applied","detail":"raced","row":"1"}"#;
        log.console(0, false, true, raced);
        log.console(1, false, true, raced);
        log.console(1, false, true, r#"{"message":"handled","outcome":"applied","detail":"raced"}"#);
        log.console(1, false, true, r#"{"message":"handled","outcome":"applied","detail":"created","row":"2"}"#);
        log.console(1, false, true, r#"{"message":"unfinished","reason":"row_busy"}"#);
        log.console(1, false, true, "plain text");
        for function in ["webhook", "queue"] {
            let kept = r#"{"message":"handled","outcome":"deferred","detail":"x","row":"3","function":"F"}"#;
            log.console(2, false, true, &kept.replace('F', function));
        }
        log.host(None, Level::Information, raced);
        assert_eq!((counts.outcome("applied"), counts.detail("applied", "raced")), (3, 2));
        assert_eq!((counts.outcome("deferred"), counts.webhooks_kept()), (2, 1));
        assert_eq!((counts.unfinished(), counts.reasons()), (1, vec![("row_busy".to_owned(), 1)]));
    }
}
