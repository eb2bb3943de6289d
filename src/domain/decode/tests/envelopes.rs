//! CloudEvents in all modes, ids from everywhere, heartbeats, stripped bodies, messages that are not for us.

use super::super::json::Json;
use super::super::{Decoded, Inbound, Item, headers_of_properties};
use super::{Sent, changed, payload, sent};
use crate::domain::event::{Completeness, EventId, Operation};
use crate::domain::outcome::Ignored;
use crate::domain::value::{KeyPart, RowRef};
use serde_json::json;
use uuid::uuid;

const UPDATE: &str = payload!("synthetic_update_contact_async_full_postimage");

fn id(source: Option<&str>, id: &str) -> EventId {
    EventId::new(source, id).unwrap()
}

/// A binary-mode CloudEvent around a body.
fn binary(body: &str) -> Sent {
    sent(body)
        .header("ce-specversion", "1.0")
        .header("ce-id", "e%201")
        .header("ce-source", "/crm")
        .header("ce-type", "row.changed")
        .header("ce-time", "2026-01-15T10:00:00.000001Z")
        .header("ce-sequence", "0042")
}

/// The same as a structured one.
fn structured(data: &Json) -> Json {
    json!({
        "specversion": "1.0", "id": "e 1", "source": "/crm", "type": "row.changed",
        "time": "2026-01-15T10:00:00.000001Z", "sequence": "0042", "data": data,
    })
}

fn structured_sent(event: &Json) -> Sent {
    sent(event.to_string()).typed("application/cloudevents+json; charset=utf-8")
}

#[test]
fn the_two_forms_of_one_cloudevent_are_the_same_event() {
    for body in super::PAYLOADS {
        let event = binary(body).event();
        assert_eq!(event.id, id(Some("/crm"), "e 1"));
        assert_eq!((event.stamp.time, event.stamp.sequence), (Some(1_768_471_200_000_001), Some(42)));
        let data: Json = serde_json::from_str(body).unwrap();
        let whole = structured(&data);
        assert_eq!(structured_sent(&whole).event(), event);
        // the media type was lost on the way
        assert_eq!(sent(whole.to_string()).event(), event);
        let mut encoded = whole.clone();
        let object = encoded.as_object_mut().unwrap();
        object.remove("data");
        object.insert("datacontenttype".to_owned(), "application/json".into());
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body);
        object.insert("data_base64".to_owned(), base64.into());
        assert_eq!(structured_sent(&encoded).event(), event);
    }
}

#[test]
fn attributes_on_a_queue_message_are_the_same_as_headers() {
    for (mark, other) in [(':', '_'), ('_', ':')] {
        let Json::Object(properties) = json!({
            format!("cloudEvents{mark}specversion"): "1.0", format!("cloudEvents{mark}id"): "e 1",
            format!("cloudEvents{other}source"): "/crm", format!("cloudEvents{mark}type"): "row.changed",
            format!("cloudEvents{mark}time"): "2026-01-15T10:00:00.000001", format!("cloudEvents{mark}sequence"): 42,
        }) else {
            panic!()
        };
        let mut queued = sent(UPDATE).queued("m-1");
        queued.headers = headers_of_properties(&properties);
        assert_eq!(queued.event(), binary(UPDATE).event());
    }
}

#[test]
fn a_batch_is_judged_event_by_event() {
    let row = json!({"table": "account", "id": "6420f0cc-916b-ee11-9ae6-000d3a688809", "operation": "delete"});
    let good = structured(&row);
    let without = |name: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(name);
        event
    };
    let mut inside = good.clone();
    inside["data"]["operation"] = "explode".into();
    let events = json!([good, without("id"), without("source"), inside, without("data"), 7]);
    let Ok(Decoded::Batch(results)) = sent(events.to_string()).typed("application/cloudevents-batch+json").decode()
    else {
        panic!()
    };
    let texts: Vec<String> = results
        .iter()
        .map(|result| match result {
            Ok(Item::Change(event)) => format!("{} {}", event.operation.name(), event.row),
            Ok(Item::NotForUs(_)) => "not for us".to_owned(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "delete 6420f0cc-916b-ee11-9ae6-000d3a688809",
            "$[1]: event without identity: a CloudEvent must have an `id`",
            "$[2]: bad value: `source` is missing",
            "$[3].data.operation: bad value: `operation` must be one of upsert, delete, link, unlink",
            "$[4]: unknown shape: a CloudEvent without `data`",
            "$[5]: unknown shape: a CloudEvent must be an object, not a number",
        ]
    );
    assert_eq!(sent("[]").typed("application/cloudevents-batch+json").decode(), Ok(Decoded::Batch(vec![])));
}

#[test]
fn a_given_id_counts_more_than_a_derived_one() {
    let derived = sent(UPDATE).event().id;
    assert_eq!(sent(UPDATE).header("ce-id", "a%C3%A9").header("ce-source", "s").event().id, id(Some("s"), "aé"));
    assert_eq!(sent(UPDATE).header("ce-id", "a").event().id, id(None, "a"));
    // neither of these says which event it is
    let noise = sent(UPDATE).header("idempotency-key", "k").header("x-ms-correlation-request-id", "c");
    assert_eq!(noise.header("x-request-id", "r").queued("m-1").event().id, derived);
}

#[test]
fn heartbeats_are_answered_and_contexts_are_never_taken_for_one() {
    let named = |sent: Sent| sent.header("x-ms-dynamics-request-name", "URL_VALIDATION").decode();
    assert_eq!(named(sent("")), Ok(Decoded::Heartbeat));
    assert_eq!(named(sent("ping").typed("text/plain")), Ok(Decoded::Heartbeat));
    assert_eq!(named(sent(r#"{"hello":1}"#)), Ok(Decoded::Heartbeat));
    assert_eq!(sent(r#"{"MessageName":"URL_VALIDATION"}"#).decode(), Ok(Decoded::Heartbeat));
    assert!(matches!(named(sent(UPDATE)), Ok(Decoded::One(Item::Change(_)))));
    let broken = changed(UPDATE, |context| context["InputParameters"] = json!("?"));
    assert!(named(broken).is_err());
}

#[test]
fn dataverse_is_known_by_its_headers() {
    for (name, expected) in [("x-ms-dynamics-organization", true), ("x-ms-correlation-request-id", false)] {
        let sent = sent("?").header(name, "o");
        let inbound = Inbound { content_type: None, headers: &sent.headers, message_id: None, body: &sent.body };
        assert_eq!(inbound.is_from_dataverse(), expected, "{name}");
    }
}

#[test]
fn a_registered_image_wins_wherever_it_stands() {
    for order in [[0, 1], [1, 0]] {
        let event = changed(UPDATE, |context| {
            let images = context["PostEntityImages"].as_array().unwrap();
            let mut images = order.map(|n| images[n].clone());
            for image in &mut images {
                let automatic = image["key"] == "AsynchronousStepPrimaryName";
                image["value"]["Attributes"] =
                    json!([{"key": "fullname", "value": if automatic { "automatic" } else { "registered" }}]);
            }
            context["PostEntityImages"] = json!(images);
        })
        .event();
        assert_eq!(super::column(&event.image, "fullname"), "'registered'");
    }
}

#[test]
fn the_bytes_of_an_image_are_passed_over() {
    let plain = sent(UPDATE).event();
    let with = |value: Json| {
        changed(UPDATE, |context| {
            let columns = context["InputParameters"][0]["value"]["Attributes"].as_array_mut().unwrap();
            columns.push(json!({"key": "new_photo", "value": value}));
        })
    };
    assert_eq!(with(json!([137, 80, 78, 71])).event(), plain);
    assert!(with(json!([137, 256])).decode().is_err());
}

#[test]
fn other_messages_are_not_for_us_and_have_an_identity() {
    for name in ["SetState", "SetStateDynamicEntity", "Assign", "Close", "GrantAccess", "new_Custom"] {
        let sent = changed(UPDATE, |context| {
            context["MessageName"] = name.into();
            // parameters of another message are not looked at
            context["InputParameters"] = json!([{"key": "EntityMoniker", "value": {"x": [1]}}]);
        });
        let Ok(Decoded::One(Item::NotForUs(event))) = sent.decode() else { panic!("{name}") };
        assert_eq!((event.table.as_str(), event.why), ("contact", Ignored::MessageNotSupported));
        assert_eq!(event.row, "4a91f7d2-8c3b-f111-88b4-000d3a5c9e17");
        assert_eq!(event.event_id.id().len(), 64);
    }
}

#[test]
fn messages_that_may_be_all_that_tells_of_a_change_are_refused_with_what_to_register() {
    for (name, instead) in [
        ("CreateMultiple", "on Create"),
        ("updatemultiple", "on Update"),
        ("UpsertMultiple", "on Create and Update"),
        ("DeleteMultiple", "on Delete"),
        ("Merge", "on Update"),
    ] {
        let error = changed(UPDATE, |context| context["MessageName"] = name.into()).decode().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(instead) && error.contains("MessageName"), "{error}");
    }
}

#[test]
fn a_body_is_stripped_if_marked_or_without_parameters() {
    let full = sent(UPDATE).event();
    for (mark, expected) in [("True", Completeness::Stripped), ("false", Completeness::Full)] {
        let marked = sent(UPDATE).header("x-ms-dynamics-msg-size-exceeded", mark).event();
        assert_eq!((marked.completeness, &marked.id), (expected, &full.id));
    }
    for emptied in [json!(null), json!([])] {
        let event = changed(UPDATE, |context| {
            for name in ["InputParameters", "PreEntityImages", "PostEntityImages", "ParentContext"] {
                context[name] = emptied.clone();
            }
        })
        .event();
        assert_eq!(event.completeness, Completeness::Stripped);
        assert_eq!((&event.row, &event.table, &event.id), (&full.row, &full.table, &full.id));
        // the same id with less content is not another event
        assert!(crate::domain::event::same_content(&event.content_hash(), &full.content_hash()));
    }
}

#[test]
fn the_row_is_found_wherever_the_context_has_it() {
    let nil = "00000000-0000-0000-0000-000000000000";
    let row = |change: &dyn Fn(&mut Json)| changed(UPDATE, change).event().row;
    let target = uuid!("4a91f7d2-8c3b-f111-88b4-000d3a5c9e17");
    assert_eq!(row(&|context| context["PrimaryEntityId"] = nil.into()), RowRef::Id(target));
    assert_eq!(row(&|context| context["InputParameters"][0]["value"]["Id"] = nil.into()), RowRef::Id(target));
    let by_key = |context: &mut Json| {
        context["MessageName"] = "Upsert".into();
        context["PrimaryEntityId"] = nil.into();
        context["InputParameters"][0]["value"]["Id"] = nil.into();
        context["InputParameters"][0]["value"]["KeyAttributes"] =
            json!([{"key": "new_Code", "value": "C-1"}, {"key": "new_no", "value": 7}]);
    };
    let event = changed(UPDATE, by_key).event();
    let parts =
        [("new_code".to_owned(), KeyPart::Text("C-1".to_owned())), ("new_no".to_owned(), KeyPart::Number(7.into()))];
    assert_eq!((event.row, event.operation), (RowRef::Key(parts.into()), Operation::Upsert));
    // the upsert's answer tells which row it was; its key stays known
    let event = changed(UPDATE, |context| {
        by_key(context);
        context["OutputParameters"] = json!([{"key": "RecordCreated", "value": false}, {"key": "Target", "value":
            {"__type": "EntityReference:x", "Id": "11111111-0000-4000-8000-0000000000aa", "LogicalName": "contact"}}]);
    })
    .event();
    assert_eq!(event.row, RowRef::Id(uuid!("11111111-0000-4000-8000-0000000000aa")));
    assert_eq!(super::column(&event.image, "new_code"), "'C-1'");
}

#[test]
fn loop_markers_are_found_on_every_level_of_the_chain() {
    let variable = |tag: &str| json!([{"key": "tag", "value": tag}, {"key": "odd"}, 7]);
    let event = changed(UPDATE, |context| {
        context["ParentContext"] = json!({"SharedVariables": variable("b"), "ParentContext":
            {"SharedVariables": variable("a"), "InputParameters": {"strange": [[[1]]]},
             "ParentContext": {"SharedVariables": variable("c"), "ParentContext": "nonsense"}}});
        context["SharedVariables"] = variable("a");
    })
    .event();
    assert_eq!(event.origin.tags, ["a", "b", "c"]);
}
