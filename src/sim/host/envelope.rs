//! The JSON body of an invocation, exactly as the host writes it. Pure. Knows no socket.
//!
//! Strings, numbers, Booleans and arrays are written as strings that contain JSON ("double encoding"), byte arrays as
//! plain base64, objects as objects, times in whole seconds. A text message that is a JSON object leaks its
//! properties into the metadata, where they override what the broker said.

use super::queue::Received;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

/// Lock duration is told as `ExpiresAt`; a queue message lives 14 days unless it says otherwise.
const TIME_TO_LIVE_DAYS: i64 = 14;

/// Who is invoked, when, as what.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The function's name.
    pub function: &'a str,
    /// The trigger binding's name.
    pub binding: &'a str,
    /// Now.
    pub now: DateTime<Utc>,
}

/// A value that is written as a string holding JSON.
fn encoded(value: impl Into<Json>) -> Json {
    Json::String(value.into().to_string())
}

fn local(time: DateTime<Utc>) -> Json {
    time.format("%Y-%m-%dT%H:%M:%S").to_string().into()
}

fn offset(time: DateTime<Utc>) -> Json {
    time.to_rfc3339_opts(SecondsFormat::Secs, false).into()
}

/// The `sys` member of every envelope's metadata.
#[must_use]
pub fn sys(call: &Call<'_>) -> Json {
    let now = call.now.format("%Y-%m-%dT%H:%M:%S%.6f0Z").to_string();
    json!({"MethodName": call.function, "UtcNow": now, "RandGuid": Uuid::new_v4()})
}

/// The envelope of a queue message. `binary` = `dataType: binary`.
#[must_use]
pub fn message(call: &Call<'_>, received: &Received, binary: bool) -> Json {
    let message = &received.message;
    let expires = message.enqueued + chrono::TimeDelta::days(TIME_TO_LIVE_DAYS);
    let mut metadata = Map::new();
    for empty in ["MessageReceiver", "MessageSession", "MessageActions", "SessionActions", "ReceiveActions"] {
        metadata.insert(empty.into(), json!({}));
    }
    metadata.insert(
        "Client".into(),
        json!({"FullyQualifiedNamespace": "stand-in.servicebus.windows.net", "IsClosed": false, "TransportType": 0,
            "Identifier": "stand-in.servicebus.windows.net-0f3c"}),
    );
    let properties = Json::Object(message.properties.clone());
    let mut put = |name: &str, value: Json| metadata.insert(name.to_owned(), value);
    put("DeliveryCount", encoded(message.delivery_count));
    put("LockToken", encoded(received.token.to_string()));
    put("ExpiresAtUtc", local(expires));
    put("ExpiresAt", offset(expires));
    put("EnqueuedTimeUtc", local(message.enqueued));
    put("EnqueuedTime", offset(message.enqueued));
    put("MessageId", encoded(message.message_id.as_str()));
    put("SequenceNumber", encoded(message.sequence_number));
    put("ApplicationProperties", properties.clone());
    put("UserProperties", properties);
    put("sys", sys(call));
    let optional = [
        ("ContentType", &message.content_type),
        ("Subject", &message.subject),
        ("Label", &message.subject),
        ("CorrelationId", &message.correlation_id),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, encoded(value.as_str()));
        }
    }
    let data = if binary {
        Json::String(STANDARD.encode(&message.body))
    } else {
        let text = String::from_utf8_lossy(&message.body);
        leak(&text, &mut metadata);
        encoded(text.as_ref())
    };
    json!({"Data": {call.binding: data}, "Metadata": metadata})
}

/// The envelope of several queue messages (`cardinality: many`): the names of `Metadata` end in `Array`, every value is an array
/// with one element for each message, `null` where it has none, and nothing of a body leaks.
#[must_use]
pub fn messages(call: &Call<'_>, received: &[Received], binary: bool) -> Json {
    let mut metadata = Map::new();
    for empty in ["MessageReceiver", "MessageSession", "MessageActions", "SessionActions", "ReceiveActions"] {
        metadata.insert(empty.into(), json!({}));
    }
    let exact = |time: DateTime<Utc>| Json::from(time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    let expires = |one: &Received| exact(one.message.enqueued + chrono::TimeDelta::days(TIME_TO_LIVE_DAYS));
    let properties = |one: &Received| Json::Object(one.message.properties.clone());
    type Column<'a> = (&'a str, &'a dyn Fn(&Received) -> Json);
    let columns: [Column<'_>; 14] = [
        ("DeliveryCount", &|one| one.message.delivery_count.into()),
        ("LockToken", &|one| one.token.to_string().into()),
        ("ExpiresAtUtc", &expires),
        ("ExpiresAt", &expires),
        ("EnqueuedTimeUtc", &|one| exact(one.message.enqueued)),
        ("EnqueuedTime", &|one| exact(one.message.enqueued)),
        ("MessageId", &|one| one.message.message_id.as_str().into()),
        ("SequenceNumber", &|one| one.message.sequence_number.into()),
        ("ApplicationProperties", &properties),
        ("UserProperties", &properties),
        ("ContentType", &|one| one.message.content_type.clone().into()),
        ("Subject", &|one| one.message.subject.clone().into()),
        ("Label", &|one| one.message.subject.clone().into()),
        ("CorrelationId", &|one| one.message.correlation_id.clone().into()),
    ];
    for (name, column) in columns {
        metadata.insert(format!("{name}Array"), encoded(received.iter().map(column).collect::<Vec<_>>()));
    }
    metadata.insert("sys".into(), sys(call));
    let body = |one: &Received| match binary {
        true => Json::String(STANDARD.encode(&one.message.body)),
        false => Json::String(String::from_utf8_lossy(&one.message.body).into_owned()),
    };
    let data = encoded(received.iter().map(body).collect::<Vec<_>>());
    json!({"Data": {call.binding: data}, "Metadata": metadata})
}

/// Copies the top-level properties of a text that is a JSON object into the metadata, neither arrays nor nulls;
/// scalars become strings. A name that differs only in case replaces the one that is there.
fn leak(text: &str, metadata: &mut Map<String, Json>) {
    let Ok(Json::Object(body)) = serde_json::from_str::<Json>(text) else { return };
    for (name, value) in body {
        let value = match value {
            Json::Null | Json::Array(_) => continue,
            Json::Object(_) => value,
            Json::String(s) => encoded(s),
            Json::Bool(b) => encoded(if b { "True" } else { "False" }),
            Json::Number(n) => encoded(n.to_string()),
        };
        if name.to_ascii_lowercase().ends_with("trigger") {
            continue;
        }
        let there = metadata.keys().find(|k| k.eq_ignore_ascii_case(&name)).cloned();
        metadata.insert(there.unwrap_or(name), value);
    }
}

/// The envelope of a timer. `status` = last and next occurrence, absent below one minute.
#[must_use]
pub fn timer(call: &Call<'_>, status: Option<(DateTime<Utc>, DateTime<Utc>)>, past_due: bool) -> Json {
    let status = status.map(|(last, next)| {
        let exact = |t: DateTime<Utc>| t.to_rfc3339_opts(SecondsFormat::AutoSi, false);
        json!({"Last": exact(last), "Next": exact(next), "LastUpdated": exact(last)})
    });
    let timer = json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": status, "IsPastDue": past_due});
    json!({"Data": {call.binding: timer}, "Metadata": {"sys": sys(call)}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::message::{Message, NewMessage};

    fn call() -> Call<'static> {
        Call { function: "process-job", binding: "msg", now: "2026-01-15T10:00:01.640002Z".parse().unwrap() }
    }

    fn received(body: &str) -> Received {
        let mut new = NewMessage::new(body.to_owned()).property("tenant", "acme").property("attempt", 2);
        new.content_type = Some("application/json".into());
        new.subject = Some("resize".into());
        let enqueued = "2026-01-15T10:00:00Z".parse().unwrap();
        let mut message = Message::new(new, "a1b2c3".into(), 17, enqueued);
        message.delivery_count = 1;
        Received { message, token: Uuid::nil(), locked_until: enqueued }
    }

    #[test]
    fn a_text_message_is_encoded_twice_and_leaks_into_the_metadata() {
        let body = r#"{"jobId":42,"kind":"resize","list":[1],"no":null,"messageid":"forged","o":{"a":1},"xTrigger":1}"#;
        let json = message(&call(), &received(body), false);
        assert_eq!(json["Data"]["msg"], serde_json::to_string(body).unwrap());
        let metadata = &json["Metadata"];
        assert_eq!(metadata["jobId"], r#""42""#);
        assert_eq!(metadata["kind"], r#""resize""#);
        assert_eq!(metadata["o"], json!({"a": 1}));
        assert_eq!(metadata["MessageId"], r#""forged""#);
        assert!(["list", "no", "messageid", "xTrigger"].iter().all(|n| metadata.get(n).is_none()));
    }

    #[test]
    fn a_binary_message_is_its_exact_bytes_and_its_metadata_the_brokers() {
        let json = message(&call(), &received(r#"{"MessageId":"forged"}"#), true);
        assert_eq!(json["Data"]["msg"], STANDARD.encode(r#"{"MessageId":"forged"}"#));
        let metadata = &json["Metadata"];
        assert_eq!(metadata["MessageId"], r#""a1b2c3""#);
        assert_eq!(metadata["DeliveryCount"], "1");
        assert_eq!(metadata["SequenceNumber"], "17");
        assert_eq!(metadata["EnqueuedTimeUtc"], "2026-01-15T10:00:00");
        assert_eq!(metadata["EnqueuedTime"], "2026-01-15T10:00:00+00:00");
        assert_eq!(metadata["ExpiresAtUtc"], "2026-01-29T10:00:00");
        assert_eq!(metadata["ApplicationProperties"], json!({"tenant": "acme", "attempt": 2}));
        assert_eq!(metadata["Label"], r#""resize""#);
        assert_eq!(metadata["sys"]["UtcNow"], "2026-01-15T10:00:01.6400020Z");
        assert!(metadata.get("CorrelationId").is_none());
    }

    #[test]
    fn many_messages_are_one_array_and_so_is_everything_about_them() {
        let mut plain = received("[1]");
        (plain.message.content_type, plain.message.subject) = (None, None);
        plain.message.delivery_count = 3;
        let json = messages(&call(), &[received(r#"{"MessageId":"forged"}"#), plain], true);
        let bodies = json!([STANDARD.encode(r#"{"MessageId":"forged"}"#), STANDARD.encode("[1]")]);
        assert_eq!(json["Data"]["msg"], bodies.to_string());
        let metadata = &json["Metadata"];
        assert_eq!(metadata["MessageIdArray"], r#"["a1b2c3","a1b2c3"]"#);
        assert_eq!(metadata["DeliveryCountArray"], "[1,3]");
        assert_eq!(metadata["ContentTypeArray"], r#"["application/json",null]"#);
        assert_eq!(metadata["EnqueuedTimeUtcArray"], r#"["2026-01-15T10:00:00Z","2026-01-15T10:00:00Z"]"#);
        assert!(metadata["ApplicationPropertiesArray"].as_str().unwrap().starts_with(r#"[{"attempt":2"#));
        assert!(metadata.get("MessageId").is_none() && metadata.get("DeliveryCount").is_none());
    }

    #[test]
    fn a_timer_tells_its_schedule() {
        let time = |t: &str| t.parse::<DateTime<Utc>>().unwrap();
        let json = timer(&call(), Some((time("2026-01-15T09:55:00Z"), time("2026-01-15T10:00:00Z"))), false);
        assert_eq!(json["Data"]["msg"]["ScheduleStatus"]["Next"], "2026-01-15T10:00:00+00:00");
        assert_eq!(json["Data"]["msg"]["IsPastDue"], false);
        assert_eq!(timer(&call(), None, false)["Data"]["msg"]["ScheduleStatus"], Json::Null);
    }
}
