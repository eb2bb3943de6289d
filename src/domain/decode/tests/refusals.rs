//! What is refused, and that the refusal says where and what.

use super::super::json::Json;
use super::super::{DecodeLimits, Refusal};
use super::{Sent, changed, payload, sent};
use serde_json::json;

const UPDATE: &str = payload!("synthetic_update_contact_async_full_postimage");
const LINK: &str = payload!("synthetic_associate_nn_async");

fn check(sent: &Sent, refusal: Refusal, expected: &str) {
    let error = sent.decode().unwrap_err();
    assert_eq!((error.to_string().as_str(), error.refusal()), (expected, refusal));
}

#[test]
fn a_broken_context_names_the_path() {
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Json), &'a str);
    let cases: [Case<'_>; 10] = [
        (
            UPDATE,
            &|c| c["InputParameters"][0]["value"]["Attributes"][2]["value"]["Value"] = "12".into(),
            "$.InputParameters[0].value.Attributes[2].value.Value: bad value: column `creditlimit`: `Value` must be a number, not a text",
        ),
        (
            UPDATE,
            &|c| c["InputParameters"][0]["value"]["Attributes"][5]["value"][1]["__type"] = "Odd:x".into(),
            "$.InputParameters[0].value.Attributes[5].value[1]: bad value: column `new_interests`: choices mixed with something else",
        ),
        (
            UPDATE,
            &|c| c["InputParameters"][0]["value"]["Attributes"][1] = json!({"key": "jobtitle"}),
            "$.InputParameters[0].value.Attributes[1]: bad value: must be an object with a text `key` and a `value`",
        ),
        (
            UPDATE,
            &|c| c["InputParameters"][0]["value"]["__type"] = "EntityReference:x".into(),
            "$.InputParameters[0].value: unknown shape: `Target` must be an Entity",
        ),
        (
            UPDATE,
            &|c| c["InputParameters"][0]["key"] = "Other".into(),
            "$.InputParameters: unknown shape: there is no `Target`",
        ),
        (
            UPDATE,
            &|c| c["InputParameters"][0]["value"]["Id"] = "4a91".into(),
            "$.InputParameters[0].value.Id: bad value: `Id` must be a GUID",
        ),
        (
            LINK,
            &|c| c["InputParameters"][1]["key"] = "R".into(),
            "$.InputParameters: unknown shape: there is no `Relationship`",
        ),
        (
            LINK,
            &|c| c["InputParameters"][2]["value"] = json!([]),
            "$.InputParameters[2].value: bad value: `RelatedEntities` must be an array with at least one reference",
        ),
        (
            LINK,
            &|c| c["InputParameters"] = json!([]),
            "$: unknown shape: a link without its rows (the body was too large)",
        ),
        (
            payload!("synthetic_oversized_stripped_update"),
            &|c| c["PrimaryEntityId"] = "00000000-0000-0000-0000-000000000000".into(),
            "$: bad value: neither a `Target` nor a usable `PrimaryEntityId`",
        ),
    ];
    for (payload, change, expected) in cases {
        check(&changed(payload, change), Refusal::NotUnderstood, expected);
    }
}

#[test]
fn odd_values_in_images_do_not_stop_an_event() {
    let plain = sent(UPDATE).event();
    let event = changed(UPDATE, |context| {
        let image = context["PostEntityImages"][0]["value"]["Attributes"].as_array_mut().unwrap();
        image.push(json!({"key": "new_odd", "value": {"__type": "AliasedValue:x", "Value": {}}}));
        context["PostEntityImages"].as_array_mut().unwrap().push(json!("strange"));
    })
    .event();
    assert_eq!(event, plain);
}

#[test]
fn unknown_documents_are_refused() {
    let expected = "expected a Dataverse execution context (`MessageName`) or a row change (`table`, `operation`)";
    for (body, what) in [("{}", "an object"), ("7", "a number"), (r#"{"EventId":"x"}"#, "an object")] {
        check(&sent(body), Refusal::NotUnderstood, &format!("$: unknown shape: {expected}, not {what}"));
    }
    let hint = "a batch of CloudEvents needs the content type application/cloudevents-batch+json";
    check(&sent("[]"), Refusal::NotUnderstood, &format!("$: unknown shape: {expected}, not an array; {hint}"));
    check(&sent("{\n]"), Refusal::NotUnderstood, "$: not JSON (line 2, column 1)");
    check(&sent(""), Refusal::NotUnderstood, "$: not JSON (line 1, column 0)");
}

#[test]
fn an_event_without_identity_is_refused() {
    let row = json!({"table": "account", "id": "6420f0cc-916b-ee11-9ae6-000d3a688809", "operation": "delete"});
    let missing = "event without identity: send a `ce-id` or an `Idempotency-Key` header";
    check(&sent(row.to_string()), Refusal::NotUnderstood, &format!("$: {missing}"));
    for blank in ["", "  ", "\"\""] {
        let sent = sent(row.to_string()).header("idempotency-key", blank);
        check(&sent, Refusal::NotUnderstood, &format!("$: {missing}"));
    }
    let no_id = sent(row.to_string())
        .header("ce-specversion", "1.0")
        .header("ce-source", "s")
        .header("ce-type", "t")
        .header("idempotency-key", "k");
    let expected = "header ce-id: event without identity: a CloudEvent must have an `id`";
    check(&no_id, Refusal::NotUnderstood, expected);
}

#[test]
fn a_broken_envelope_names_the_attribute() {
    let binary = |name: &str, value: &str| {
        let full = sent(UPDATE)
            .header("ce-specversion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "s")
            .header("ce-type", "t");
        full.header(name, value)
    };
    for (name, value, expected) in [
        ("ce-specversion", "0.3", "header ce-specversion: bad value: only CloudEvents 1.0 is read"),
        ("ce-source", "", "header ce-source: bad value: is missing"),
        ("ce-type", " ", "header ce-type: bad value: is missing"),
        ("ce-time", "yesterday", "header ce-time: bad value: must be a time (RFC 3339)"),
        ("ce-id", "%ff", "header ce-id: bad value: percent-encoded bytes that are not UTF-8"),
    ] {
        check(&binary(name, value), Refusal::NotUnderstood, expected);
    }
    let long = "x".repeat(1025);
    let expected = "header ce-id: bad value: event id and source must have 1 to 1024 bytes";
    check(&binary("ce-id", &long), Refusal::NotUnderstood, expected);
    check(&sent(UPDATE).header("ce-id", &long), Refusal::NotUnderstood, expected);
    let structured = |field: &str, value: Json| {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {}});
        event[field] = value;
        sent(event.to_string()).typed("application/cloudevents+json")
    };
    for (field, value, refusal, expected) in [
        ("specversion", json!("0.3"), Refusal::NotUnderstood, "$.specversion: bad value: only CloudEvents 1.0 is read"),
        ("source", json!(7), Refusal::NotUnderstood, "$.source: bad value: `source` must be a text, not a number"),
        ("time", json!("?"), Refusal::NotUnderstood, "$.time: bad value: `time` must be a time (RFC 3339)"),
        (
            "data_base64",
            json!("e30="),
            Refusal::NotUnderstood,
            "$.data_base64: bad value: `data` and `data_base64` exclude each other",
        ),
        (
            "datacontenttype",
            json!("text/csv"),
            Refusal::UnsupportedMediaType,
            "$.datacontenttype: unsupported media type: text/csv: application/json is expected",
        ),
    ] {
        check(&structured(field, value), refusal, expected);
    }
    let coded = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "eyJ0YWJsZSI6IDd9"});
    let coded = sent(coded.to_string()).typed("application/cloudevents+json");
    check(&coded, Refusal::NotUnderstood, "$.data_base64.table: bad value: `table` must be a text, not a number");
}

#[test]
fn media_types_and_limits() {
    let expected = "header content-type: unsupported media type: application/msbin1: set MessageFormat = 2 (Json) on the service endpoint in Dataverse, its default is .NET binary";
    check(&sent(UPDATE).typed("application/msbin1"), Refusal::UnsupportedMediaType, expected);
    let expected = "header content-encoding: unsupported media type: compressed bodies are not read";
    check(&sent(UPDATE).header("content-encoding", "gzip"), Refusal::UnsupportedMediaType, expected);
    let limits = DecodeLimits { columns_max: 3, batch_max: 1, depth_max: 20, ..DecodeLimits::default() };
    let text = |sent: &Sent| sent.decode_within(&limits).unwrap_err().to_string();
    assert_eq!(text(&sent(UPDATE)), "$.InputParameters[0].value.Attributes: more than 3 columns");
    assert_eq!(text(&sent("[1,2]").typed("application/cloudevents-batch+json")), "$: more than 1 events in a batch");
    assert_eq!(text(&sent("[".repeat(21))), "$: nested deeper than 20 levels");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    check(&sent(large), Refusal::TooLarge, "$: the body is larger than 1048576 bytes");
}

#[test]
fn no_refusal_repeats_a_value() {
    let secret = "s3cret-value";
    for path in ["telephone1", "parentcustomerid"] {
        let sent = changed(UPDATE, |context| {
            let columns = context["InputParameters"][0]["value"]["Attributes"].as_array_mut().unwrap();
            columns.push(json!({"key": path, "value": {"__type": secret, "Value": secret}}));
        });
        assert!(!sent.refused().contains(secret), "{}", sent.refused());
    }
}
