//! How messages are written.

use super::*;

fn due(seconds: i64, nanos: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_768_471_200 + seconds, nanos).unwrap()
}

fn header(message: &Message, name: &str) -> String {
    message.headers().unwrap().0.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned()
}

#[test]
fn broker_properties_are_written_as_documented() {
    let check = |message: &Message, expected: &str| {
        let written = header(message, "brokerproperties");
        if expected == "-" {
            assert_eq!(written, "-");
        } else {
            assert_eq!(
                serde_json::from_str::<Value>(&written).unwrap(),
                serde_json::from_str::<Value>(expected).unwrap()
            );
        }
    };
    check(&Message::new("a"), "-");
    let full = Message {
        message_id: Some("m".into()),
        correlation_id: Some("c".into()),
        session_id: Some("s".into()),
        label: Some("l".into()),
        time_to_live: Some(Duration::from_millis(40_900)),
        scheduled_enqueue: Some(due(0, 0)),
        ..Message::new("a")
    };
    check(
        &full,
        r#"{"MessageId":"m","CorrelationId":"c","SessionId":"s","Label":"l","TimeToLive":40,
            "ScheduledEnqueueTimeUtc":"Thu, 15 Jan 2026 10:00:00 GMT"}"#,
    );
    let later = Message { scheduled_enqueue: Some(due(0, 1)), ..Message::new("a") };
    check(&later, r#"{"ScheduledEnqueueTimeUtc":"Thu, 15 Jan 2026 10:00:01 GMT"}"#);
}

#[test]
fn every_text_survives_a_header() {
    for text in ["plain", "with \"quotes\" and \\", "Zoë €5 🎉", "line\r\nx: y", "\u{7f}\0", ""] {
        let properties = BTreeMap::from([("ce_subject".to_owned(), Property::from(text))]);
        let message = Message { label: Some(text.to_owned()), properties, ..Message::new("a") };
        assert_eq!(Property::read(&header(&message, "ce_subject")), Property::from(text), "{text:?}");
        let broker: Value = serde_json::from_str(&header(&message, "brokerproperties")).unwrap();
        assert_eq!(broker["Label"], Value::from(text));
    }
}

#[test]
fn values_keep_their_kind() {
    let check = |value: Property, written: &str| {
        let message = Message { properties: BTreeMap::from([("p".to_owned(), value.clone())]), ..Message::new("a") };
        assert_eq!(header(&message, "p"), written);
        assert_eq!(Property::read(written), value);
    };
    check(Property::from("5"), "\"5\"");
    check(Property::Integer(-5), "-5");
    check(Property::Boolean(true), "true");
    check(Property::Number("5.25".to_owned()), "5.25");
    check(Property::from("true"), "\"true\"");
    assert_eq!(Property::read("not quoted"), Property::from("not quoted"));
}

#[test]
fn what_the_service_would_refuse_or_change_is_refused_here() {
    let check = |message: Message, expected: &str| {
        let error = message.headers().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let property = |name: &str| Message {
        properties: BTreeMap::from([(name.to_owned(), Property::from("secret value"))]),
        ..Message::new("a")
    };
    check(Message { message_id: Some(String::new()), ..Message::default() }, "MessageId has 1 to 128");
    check(Message { message_id: Some("é".repeat(129)), ..Message::default() }, "MessageId has 1 to 128");
    check(Message { session_id: Some("s".repeat(129)), ..Message::default() }, "SessionId has 1 to 128");
    check(Message { time_to_live: Some(Duration::from_millis(999)), ..Message::default() }, "less than a second");
    check(Message { content_type: Some("a\nb".into()), ..Message::default() }, "content type");
    for name in ["", "Upper", "with space", "content-type", "authorization", "ü", "a:b"] {
        check(property(name), "a custom property's name");
    }
    let large = Message { label: Some("x".repeat(65 << 10)), ..Message::default() };
    assert!(matches!(large.headers(), Err(ServiceBusError::TooLarge { .. })));
    assert!(Message { message_id: Some("é".repeat(128)), ..Message::default() }.headers().is_ok());
}

#[test]
fn a_batch_carries_only_what_is_documented() {
    let plain = Message {
        message_id: Some("m".into()),
        time_to_live: Some(Duration::from_secs(90_061)),
        properties: BTreeMap::from([("priority".to_owned(), Property::from("low"))]),
        ..Message::new("é")
    };
    let expected = json!({
        "Body": "é",
        "BrokerProperties": {"MessageId": "m", "TimeToLiveTimeSpan": "1.01:01:01"},
        "UserProperties": {"priority": "low"},
    });
    assert_eq!(plain.batch_entry().unwrap(), Some(expected));
    assert_eq!(Message::new("a").batch_entry().unwrap(), Some(json!({"Body": "a"})));
    for alone in [
        Message::new(vec![0xff]),
        Message { scheduled_enqueue: Some(due(0, 0)), ..plain.clone() },
        Message { content_type: Some("application/json".into()), ..plain.clone() },
    ] {
        assert_eq!(alone.batch_entry().unwrap(), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_message_makes_it_panic(
        id in proptest::option::of(".{0,140}"), name in ".{0,8}", value in ".{0,40}", seconds in proptest::num::i64::ANY,
    ) {
        let message = Message {
            message_id: id,
            properties: BTreeMap::from([(name, Property::Text(value))]),
            scheduled_enqueue: DateTime::from_timestamp(seconds % 8_000_000_000_000, 1),
            ..Message::new("a")
        };
        if let Ok((headers, bytes)) = message.headers() {
            proptest::prop_assert!(bytes > 0 && headers.len() >= 2);
        }
    }
}
