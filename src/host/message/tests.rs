//! Every form in which the facts say that a message may arrive.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const BODY: &str = r#"{"jobId":42,"text":"a \"quoted\" word"}"#;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(data: &Value, metadata: &Value) -> Result<Vec<Message>, EnvelopeError> {
    let body = json!({"Data": {"message": data}, "Metadata": metadata});
    Message::read(&Envelope::parse(body.to_string().as_bytes()).unwrap(), "message")
}

fn bodies(data: &Value, metadata: &Value) -> Vec<String> {
    read(data, metadata).unwrap().into_iter().map(|message| String::from_utf8(message.body).unwrap()).collect()
}

#[test]
fn a_single_body_is_read_in_every_encoding() {
    let double = serde_json::to_string(BODY).unwrap();
    let check = |data: Value, expected: &str| assert_eq!(bodies(&data, &json!({})), [expected], "{data}");
    check(json!(STANDARD.encode(BODY)), BODY);
    check(json!(double), BODY);
    check(json!(BODY), BODY);
    check(json!("\"hello\""), "hello");
    check(json!("hello, not base64"), "hello, not base64");
    check(json!({"jobId": 42}), r#"{"jobId":42}"#);
    check(json!(""), "");
    // one message whose body is a batch of CloudEvents
    check(json!(r#"[{"id":"1"},{"id":"2"}]"#), r#"[{"id":"1"},{"id":"2"}]"#);
    check(json!(STANDARD.encode(r#"[{"id":"1"}]"#)), r#"[{"id":"1"}]"#);
    check(json!(serde_json::to_string(r#"[{"id":"1"}]"#).unwrap()), r#"[{"id":"1"}]"#);
}

#[test]
fn binary_keeps_the_exact_bytes() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(read(&json!(STANDARD.encode(&bytes)), &json!({})).unwrap()[0].body, bytes);
    let digits = STANDARD.decode("12345678").unwrap();
    assert_eq!(read(&json!("12345678"), &json!({})).unwrap()[0].body, digits);
}

#[test]
fn numbers_in_objects_keep_their_text() {
    let envelope = br#"{"Data":{"message":{"price":1.10000000000000000001}}}"#;
    let all = Message::read(&Envelope::parse(envelope).unwrap(), "message").unwrap();
    assert_eq!(all[0].body, br#"{"price":1.10000000000000000001}"#);
}

#[test]
fn many_messages_are_read_in_every_encoding() {
    let many = json!({"MessageIdArray": "[\"m1\",\"m2\"]"});
    let two = ["{\"a\":1}", "{\"a\":2}"];
    let check = |data: Value, metadata: &Value| assert_eq!(bodies(&data, metadata), two, "{data}");
    check(json!(json!(two).to_string()), &many);
    check(json!(json!(two).to_string()), &json!({}));
    check(json!(two), &many);
    check(json!(json!(two.map(|text| STANDARD.encode(text))).to_string()), &many);
    check(json!(json!([{"a": 1}, {"a": 2}]).to_string()), &many);
    check(json!([{"a": 1}, {"a": 2}]), &many);
    assert_eq!(bodies(&json!("[]"), &many), Vec::<String>::new());
}

#[test]
fn metadata_of_one_message_is_read_in_every_wrapping() {
    let properties = json!({"attempt": 2, "cloudEvents:id": "\"7\"", "traceparent": TRACE, "none": null});
    let expected = Message {
        body: b"{}".to_vec(),
        message_id: Some("a1b2c3".to_owned()),
        content_type: Some("application/json".to_owned()),
        properties: properties.as_object().unwrap().clone(),
        enqueued_ms: Some(1_768_471_200_000),
        delivery_count: 3,
        traceparent: Some(TRACE.to_owned()),
    };
    let check = |metadata: Value| {
        assert_eq!(read(&json!("{}"), &metadata).unwrap()[..], *std::slice::from_ref(&expected), "{metadata}")
    };
    check(json!({"MessageId": "\"a1b2c3\"", "ContentType": "\"application/json\"", "DeliveryCount": "3",
        "EnqueuedTimeUtc": "2026-01-15T10:00:00", "ApplicationProperties": properties,
        "UserProperties": {"other": 1}, "sys": {"MethodName": "queue"}}));
    check(json!({"MessageId": "a1b2c3", "ContentType": "application/json", "DeliveryCount": "\"3\"",
        "EnqueuedTime": "2026-01-15T11:00:00+01:00", "UserProperties": properties.to_string()}));
}

#[test]
fn metadata_of_many_messages_goes_with_its_message() {
    let metadata = json!({
        "MessageIdArray": "[\"m1\",\"m2\"]", "DeliveryCountArray": "[1,4]", "ContentTypeArray": "[null,\"text/json\"]",
        "EnqueuedTimeUtcArray": "[\"2026-01-15T10:00:00Z\",\"2026-01-15T10:00:01\"]",
        "ApplicationPropertiesArray": "[{\"A\":\"x\"}]"});
    let all = read(&json!("[\"{}\",\"{}\"]"), &metadata).unwrap();
    assert_eq!(all[0].message_id.as_deref(), Some("m1"));
    assert_eq!(all[0].properties.get("A"), Some(&json!("x")));
    assert_eq!((all[0].delivery_count, all[0].content_type.as_deref()), (1, None));
    assert_eq!(all[1].message_id.as_deref(), Some("m2"));
    assert_eq!((all[1].delivery_count, all[1].content_type.as_deref()), (4, Some("text/json")));
    assert_eq!(all[1].enqueued_ms, Some(1_768_471_201_000));
    assert_eq!(all[1].properties, Map::new());
}

#[test]
fn broken_metadata_counts_as_absent() {
    let forged = json!({"MessageId": {"a": 1}, "DeliveryCount": "\"lots\"", "EnqueuedTimeUtc": "never",
        "ApplicationProperties": "[1]", "ContentType": [], "deliverycount": "9"});
    let expected = Message { body: b"{}".to_vec(), delivery_count: 1, ..Message::default() };
    assert_eq!(read(&json!("{}"), &forged).unwrap(), [expected]);
}

#[test]
fn what_is_no_message_is_named() {
    let check = |data: Value, expected: &str| {
        assert_eq!(read(&data, &json!({})).unwrap_err().to_string(), expected);
    };
    check(json!(null), "Data.message: a message expected, null found");
    check(json!(5), "Data.message: a message expected, a number found");
    check(json!(["{}", 5]), "Data.message[1]: a message expected, a number found");
    let other = Envelope::parse(br#"{"Data":{"msg":"{}"}}"#).unwrap();
    let error = Message::read(&other, "message").unwrap_err();
    assert_eq!(error.to_string(), "Data.message: a message expected, nothing found");
    let crowd = json!(vec!["{}"; MESSAGES_MAX + 1]);
    assert!(read(&crowd, &json!({})).is_err());
}

proptest! {
    #[test]
    fn any_bytes_come_through_base64(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let all = read(&json!(STANDARD.encode(&bytes)), &json!({})).unwrap();
        prop_assert_eq!(&all[0].body, &bytes);
    }

    #[test]
    fn any_text_comes_through_two_encodings(text in any::<String>()) {
        let all = read(&json!(json!(text).to_string()), &json!({})).unwrap();
        prop_assert_eq!(&all[0].body, text.as_bytes());
    }

    #[test]
    fn nothing_in_the_envelope_panics(data in "[\\[\\]{}\",:a-z0-9\\\\]{0,24}", meta in "[\\[\\]{}\",:a-z0-9]{0,24}") {
        let metadata = json!({"MessageIdArray": meta, "MessageId": meta, "ApplicationProperties": meta});
        let _ = read(&json!(data), &metadata);
        let _ = read(&json!([data]), &metadata);
    }
}
