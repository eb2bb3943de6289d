//! A batch of messages in one request, all or nothing. Knows no queue.

use super::{NewMessage, set_broker};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use std::time::Duration;

/// What makes a request a batch.
pub(super) const CONTENT_TYPE: &[u8] = b"application/vnd.microsoft.servicebus.json";

/// The messages of `[{"Body": "...", "BrokerProperties": {...}, "UserProperties": {...}}, ...]`.
pub(super) fn messages(body: &Bytes, now: DateTime<Utc>) -> Result<Vec<NewMessage>, String> {
    let all: Vec<Map<String, Json>> = serde_json::from_slice(body).map_err(|e| format!("batch: {e}"))?;
    if all.is_empty() {
        return Err("batch: empty".into());
    }
    all.iter().map(|entry| message(entry, now)).collect()
}

fn message(entry: &Map<String, Json>, now: DateTime<Utc>) -> Result<NewMessage, String> {
    let mut message = NewMessage::default();
    for (name, value) in entry {
        match (name.as_str(), value) {
            ("Body", Json::String(body)) => message.body = Bytes::from(body.clone()),
            ("BrokerProperties", Json::Object(broker)) => {
                // the documentation shows TimeToLiveTimeSpan in batches, and no due time
                if broker.contains_key("TimeToLive") || broker.contains_key("ScheduledEnqueueTimeUtc") {
                    return Err("batch: TimeToLive and ScheduledEnqueueTimeUtc are not documented for batches".into());
                }
                set_broker(&mut message, broker, now)?;
            }
            ("UserProperties", Json::Object(all)) => {
                let scalar = |v: &Json| v.is_string() || v.is_number() || v.is_boolean();
                if let Some((name, _)) = all.iter().find(|(_, value)| !scalar(value)) {
                    return Err(format!("batch: property {name} is no text, number or Boolean"));
                }
                message.properties.clone_from(all);
            }
            _ => return Err(format!("batch: {name} is not understood")),
        }
    }
    if entry.contains_key("Body") { Ok(message) } else { Err("batch: a message without Body".into()) }
}

/// `d.hh:mm:ss`.
pub(super) fn time_span(text: &str) -> Option<Duration> {
    let (days, rest) = text.split_once('.')?;
    let parts: Vec<u64> = rest.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours @ 0..24, minutes @ 0..60, seconds @ 0..60] = *parts else { return None };
    let days: u64 = days.parse().ok()?;
    Some(Duration::from_secs(days.checked_mul(86_400)?.checked_add(hours * 3_600 + minutes * 60 + seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_documented_or_refused_whole() {
        let read = |text: &str| messages(&Bytes::from(text.to_owned()), DateTime::UNIX_EPOCH);
        let two = read(
            r#"[{"Body": "a", "BrokerProperties": {"Label": "M1", "TimeToLiveTimeSpan": "0.00:00:40"}},
                {"Body": "b", "UserProperties": {"Priority": "Low"}}]"#,
        );
        let two = two.unwrap();
        assert_eq!((two.len(), two[0].subject.as_deref()), (2, Some("M1")));
        assert_eq!(two[0].time_to_live, Some(Duration::from_secs(40)));
        assert_eq!((two[1].body.as_ref(), &two[1].properties["Priority"]), (b"b".as_ref(), &Json::from("Low")));
        for wrong in [
            "[]",
            "{}",
            r#"[{"BrokerProperties": {}}]"#,
            r#"[{"Body": {}}]"#,
            r#"[{"Body": "a"}, {"Body": "b", "Else": 1}]"#,
            r#"[{"Body": "a", "BrokerProperties": {"TimeToLive": 4}}]"#,
            r#"[{"Body": "a", "BrokerProperties": {"ContentType": "x"}}]"#,
            r#"[{"Body": "a", "BrokerProperties": {"TimeToLiveTimeSpan": "40"}}]"#,
            r#"[{"Body": "a", "UserProperties": {"x": [1]}}]"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
