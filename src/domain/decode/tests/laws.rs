//! Laws over generated and mutated input: nothing panics, identity sees content only.

use super::super::json::Json;
use super::{PAYLOADS, sent};
use crate::domain::decode::{Decoded, Item};
use proptest::prelude::*;

/// Writes a document with its keys in reverse order and `/` escaped or not.
fn rewritten(json: &Json, escape: bool) -> String {
    match json {
        Json::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .rev()
                .map(|(name, item)| format!("{}: {}", text(name, escape), rewritten(item, escape)))
                .collect();
            format!("{{ {} }}", fields.join(" ,\n"))
        }
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| rewritten(item, escape)).collect();
            format!("[{}]", items.join(", "))
        }
        Json::String(plain) => text(plain, escape),
        other => other.to_string(),
    }
}

fn text(plain: &str, escape: bool) -> String {
    let json = Json::from(plain).to_string();
    if escape { json.replace('/', "\\/") } else { json }
}

#[test]
fn key_order_white_space_and_escapes_change_nothing() {
    for payload in PAYLOADS {
        let json: Json = serde_json::from_str(payload).unwrap();
        let without = {
            let mut json = json.clone();
            json["OperationId"] = Json::Null;
            json
        };
        for document in [json, without] {
            let plain = sent(document.to_string()).event();
            for escape in [true, false] {
                let again = sent(rewritten(&document, escape)).event();
                assert_eq!(again, plain);
                assert_eq!(again.content_hash(), plain.content_hash());
            }
        }
    }
}

#[test]
fn no_two_payloads_share_an_id() {
    let mut ids: Vec<_> = PAYLOADS.iter().map(|payload| sent(payload).event().id).collect();
    ids.sort();
    ids.dedup();
    // the two versions of the all-fields event are one event, altered where the key rule does not look
    assert_eq!(ids.len(), PAYLOADS.len() - 1);
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Json::from),
        prop_oneof![
            Just("Target".to_owned()),
            Just("Entity:x".to_owned()),
            Just("/Date(9223372036854775807+9999)/".to_owned()),
            Just("00000000-0000-0000-0000-000000000000".to_owned()),
            ".{0,12}",
        ]
        .prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let name = prop_oneof![
            Just("__type".to_owned()),
            Just("Value".to_owned()),
            Just("key".to_owned()),
            Just("value".to_owned()),
            Just("Id".to_owned()),
            Just("$serde_json::private::Number".to_owned()),
            ".{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

/// All places of a document, in the order of a walk.
fn place_count(json: &Json) -> usize {
    1 + match json {
        Json::Array(items) => items.iter().map(place_count).sum(),
        Json::Object(fields) => fields.values().map(place_count).sum(),
        _ => 0,
    }
}

/// Puts a value at the n-th place.
fn put(json: &mut Json, n: &mut usize, value: &Json) -> bool {
    if *n == 0 {
        *json = value.clone();
        return true;
    }
    *n -= 1;
    match json {
        Json::Array(items) => items.iter_mut().any(|item| put(item, n, value)),
        Json::Object(fields) => fields.iter_mut().any(|(_, item)| put(item, n, value)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
        let kind = ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"][kind];
        let _ = sent(body).typed(kind).decode();
    }

    #[test]
    fn damaged_payloads_never_panic(which in 0..PAYLOADS.len(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = PAYLOADS[which].trim_end().as_bytes().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = sent(&body).decode();
        body.truncate(at);
        prop_assert!(sent(body).decode().is_err());
    }

    #[test]
    fn payloads_with_a_foreign_part_never_panic_and_events_have_ids(
        which in 0..PAYLOADS.len(), at in any::<prop::sample::Index>(), part in any_json(),
    ) {
        let mut json: Json = serde_json::from_str(PAYLOADS[which]).unwrap();
        let mut n = at.index(place_count(&json));
        prop_assert!(put(&mut json, &mut n, &part));
        match sent(json.to_string()).decode() {
            Ok(Decoded::One(Item::Change(event))) => prop_assert!(!event.id.id().is_empty() && !event.table.is_empty()),
            Ok(Decoded::One(Item::NotForUs(event))) => prop_assert!(!event.event_id.id().is_empty()),
            Ok(other) => prop_assert!(other == Decoded::Heartbeat),
            Err(error) => prop_assert!(error.path.starts_with('$'), "{}", error),
        }
    }
}
