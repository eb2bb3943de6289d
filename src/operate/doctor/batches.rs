//! Messages that come together (`cardinality: many`): as many as the handler can take at once, and locks that last, because the
//! host renews none of them. Reads function.json and host.json; knows nothing of the handler.

use super::Check;
use super::host_json::{DEFAULT_BATCH_WAIT, member, read, span};
use super::manifests::place_of;
use crate::domain::mapping::Limits;
use crate::ledger::fold::FOLD_EVENTS_MAX;
use serde_json::Value as Json;
use std::path::Path;
use std::time::Duration;

const NAME: &str = "host.json";
/// What the host hands over where host.json says nothing.
const DEFAULT_MOST: u64 = 1_000;

/// How messages come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// What is wrong.
    pub checks: Vec<Check>,
    /// Longer than this a message's lock must last; `None`: messages come one by one, and the host renews their locks.
    pub lock: Option<Duration>,
}

/// Looks at the queue's manifest and at host.json in the app root.
#[must_use]
pub fn batches(root: &Path, limits: &Limits) -> Batches {
    let manifest = place_of(root, "queue").and_then(|path| read(&path).ok());
    let cardinality = manifest.as_ref().and_then(|json| {
        let trigger = member(json, &["bindings"])?.as_array()?.first()?;
        member(trigger, &["cardinality"])?.as_str()
    });
    if !cardinality.is_some_and(|cardinality| cardinality.eq_ignore_ascii_case("many")) {
        return Batches::default();
    }
    judge(&read(&root.join(NAME)).unwrap_or(Json::Null), limits)
}

fn judge(host: &Json, limits: &Limits) -> Batches {
    let given = |name: &str| member(host, &["extensions", "serviceBus", name]);
    let count = |name: &str, default: u64| given(name).and_then(Json::as_u64).unwrap_or(default);
    let (most, least) = (count("maxMessageBatchSize", DEFAULT_MOST), count("minMessageBatchSize", 1));
    let mut checks = Vec::new();
    let usual = u64::try_from(FOLD_EVENTS_MAX).unwrap_or(u64::MAX);
    if most > usual {
        let detail =
            format!("maxMessageBatchSize is {most}: the handler works on {usual} at a time, and the rest waits");
        let remedy = format!("set extensions.serviceBus.maxMessageBatchSize to {usual} or less: locks are not renewed");
        checks.push(Check::warn(NAME, detail, remedy));
    }
    // locks run while the host waits for more
    let wait = if least > 1 {
        given("maxBatchWaitTime").and_then(Json::as_str).and_then(span).unwrap_or(DEFAULT_BATCH_WAIT)
    } else {
        Duration::ZERO
    };
    let longest = limits.queue_deadline.saturating_add(limits.request_timeout);
    Batches { checks, lock: Some(longest.saturating_add(wait)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(bus: Json) -> (Vec<String>, u64) {
        let batches = judge(&json!({ "extensions": { "serviceBus": bus } }), &Limits::default());
        (batches.checks.into_iter().map(|check| check.detail).collect(), batches.lock.unwrap().as_secs())
    }

    #[test]
    fn a_lock_lasts_as_long_as_the_work_and_the_wait_before_it() {
        assert_eq!(judged(json!({ "maxMessageBatchSize": 64 })), (vec![], 90));
        let waits = json!({ "maxMessageBatchSize": 64, "minMessageBatchSize": 8, "maxBatchWaitTime": "00:00:20" });
        assert_eq!(judged(waits), (vec![], 110));
        assert_eq!(judged(json!({ "maxMessageBatchSize": 64, "minMessageBatchSize": 8 })), (vec![], 120));
    }

    #[test]
    fn more_than_can_be_worked_on_at_once_is_told() {
        let (told, _) = judged(json!({}));
        assert!(told[0].contains("maxMessageBatchSize is 1000"), "{told:?}");
    }
}
