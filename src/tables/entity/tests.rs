//! Entities to JSON and back, and what is refused.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn entity() -> Entity {
    Entity::new(Key::new("p").unwrap(), Key::new("r").unwrap())
}

fn back(entity: &Entity) -> Entity {
    let mut json: Value = serde_json::from_str(&entity.to_json().unwrap()).unwrap();
    json["odata.etag"] = json!("W/\"1\"");
    json["Timestamp"] = json!("2026-01-01T00:00:00Z");
    let mut read = Entity::from_json(&json).unwrap();
    assert_eq!(read.etag.take().unwrap().as_str(), "W/\"1\"");
    read
}

#[test]
fn types_are_annotated_where_json_does_not_tell() {
    let time = DateTime::from_timestamp(1_768_471_200, 123_456_700).unwrap();
    let entity = entity().with("i", 1).with("l", i64::MAX).with("d", 2.0).with("t", time).with("b", vec![1u8, 2]);
    let json: Value = serde_json::from_str(&entity.to_json().unwrap()).unwrap();
    assert_eq!(
        json,
        json!({
            "PartitionKey": "p", "RowKey": "r", "i": 1, "l": "9223372036854775807", "l@odata.type": "Edm.Int64", "d": 2.0,
            "d@odata.type": "Edm.Double", "t": "2026-01-15T10:00:00.1234567Z", "t@odata.type": "Edm.DateTime", "b": "AQI=",
            "b@odata.type": "Edm.Binary"
        })
    );
    assert_eq!(back(&entity), entity);
}

#[test]
fn what_the_service_would_refuse_is_not_sent() {
    let check = |entity: Entity, expected: &str| {
        let error = entity.to_json().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(entity().with("a b", 1), "\"a b\" is no property name");
    check(entity().with("RowKey", "x"), "no property name");
    check(entity().with("1", 1), "no property name");
    check(entity().with("t", "x".repeat(TEXT_CHARS_MAX + 1)), "property t is 65542 bytes");
    check(entity().with("b", vec![0u8; BINARY_BYTES_MAX + 1]), "property b is");
    check(entity().with("t", DateTime::from_timestamp(TIME_MIN - 1, 0).unwrap()), "1601");
    let many = (0..=PROPERTIES_MAX).fold(entity(), |entity, n| entity.with(&format!("p{n}"), 1));
    check(many, "more than 252");
    let large = (0..16).fold(entity(), |entity, n| entity.with(&format!("p{n}"), vec![0u8; BINARY_BYTES_MAX]));
    check(large, "an entity is");
}

#[test]
fn answers_that_are_no_entity_are_refused_without_showing_them() {
    for (json, expected) in [
        (json!("x"), "an entity"),
        (json!({"RowKey": "r", "odata.etag": "e"}), "PartitionKey"),
        (json!({"PartitionKey": "p", "RowKey": "r"}), "odata.etag"),
        (json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "e", "a": [1]}), "property a"),
        (
            json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "e", "a": "x", "a@odata.type": "Edm.Int64"}),
            "property a",
        ),
        (json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "e", "a": 3000000000u32}), "property a"),
        (
            json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "e", "a": "x", "a@odata.type": "Edm.Guid"}),
            "property a",
        ),
        (json!({"PartitionKey": "p", "RowKey": "r", "odata.etag": "e\n"}), "an ETag"),
    ] {
        let error = Entity::from_json(&json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}

fn value() -> impl Strategy<Value = EdmValue> {
    prop_oneof![
        any::<String>().prop_map(EdmValue::String),
        any::<i32>().prop_map(EdmValue::Int32),
        any::<i64>().prop_map(EdmValue::Int64),
        any::<bool>().prop_map(EdmValue::Bool),
        any::<f64>().prop_filter("NaN is not equal to itself", |d| !d.is_nan()).prop_map(EdmValue::Double),
        (TIME_MIN..=TIME_MAX, 0..10_000_000u32)
            .prop_map(|(s, ticks)| EdmValue::DateTime(DateTime::from_timestamp(s, ticks * 100).unwrap())),
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| EdmValue::Binary(bytes.into())),
    ]
}

proptest! {
    #[test]
    fn every_entity_comes_back(properties in proptest::collection::btree_map("[a-z_][a-zA-Z0-9_]{0,20}", value(), 0..20)) {
        let mut entity = entity();
        entity.properties = properties;
        prop_assert_eq!(back(&entity), entity);
    }
}
