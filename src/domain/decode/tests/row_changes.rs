//! Row changes: every form that CONTRACT names, and what is refused.

use super::super::json::Json;
use super::{Sent, column, sent, shown};
use crate::domain::event::{EventId, Link, Operation};
use crate::domain::value::{KeyPart, RowRef};
use serde_json::json;
use uuid::uuid;

const ID: &str = "6420f0cc-916b-ee11-9ae6-000d3a688809";

fn change(fields: Json) -> Sent {
    let mut change = json!({"table": "account", "id": ID, "operation": "upsert", "columns": {}});
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Json::Null => change.as_object_mut().unwrap().remove(name).map(drop).unwrap_or_default(),
            value => change[name] = value.clone(),
        }
    }
    sent(change.to_string()).header("idempotency-key", "\"k-1\"")
}

#[test]
fn all_column_forms() {
    let event =
        change(json!({"table": "Account", "version": "2026-01-15T10:00:00.000001+01:00", "unknown": 1, "columns": {
            "Name": "N", "none": null, "flag": true, "whole": 3, "interests": [9, 1], "cleared": [],
            "parent": {"table": "Account", "id": format!("{{{}}}", ID.to_uppercase()), "name": "P"},
            "owner": {"table": "team", "key": {"name": "T"}}, "when": "2026-01-15T10:00:00Z", "date": "/Date(0)/",
        }}))
        .event();
    assert_eq!(
        shown(&event.columns),
        [
            "cleared: null",
            "date: '/Date(0)/'",
            "flag: true",
            "interests: choices [9, 1]",
            "name: 'N'",
            "none: null",
            "owner: team(name='T')",
            "parent: account(6420f0cc-916b-ee11-9ae6-000d3a688809) P",
            "when: '2026-01-15T10:00:00Z'",
            "whole: #3",
        ]
    );
    assert_eq!((event.table.as_str(), &event.operation), ("account", &Operation::Upsert));
    assert_eq!(event.row, RowRef::Id(uuid!("6420f0cc-916b-ee11-9ae6-000d3a688809")));
    assert_eq!(event.stamp.at, Some(1_768_467_600_000_001));
    assert_eq!(event.id, EventId::new(None, "k-1").unwrap());
}

#[test]
fn decimals_stay_exact() {
    let body = r#"{"table":"a","id":"6420f0cc-916b-ee11-9ae6-000d3a688809","operation":"upsert",
        "columns":{"d":12345678901234567890.10,"e":1e400}}"#;
    let event = sent(body).header("ce-id", "1").event();
    assert_eq!(column(&event.columns, "d"), "#12345678901234567890.10");
    assert_eq!(column(&event.columns, "e").to_lowercase().replace('+', ""), "#1e400");
}

#[test]
fn keys_links_deletes_and_versions() {
    let event =
        change(json!({"id": null, "version": -3, "key": {"Code": "A-1", "no": 7, "parent": {"table": "t", "id": ID}}}))
            .event();
    let parts = [
        ("code".to_owned(), KeyPart::Text("A-1".to_owned())),
        ("no".to_owned(), KeyPart::Number(7.into())),
        ("parent".to_owned(), KeyPart::Guid(uuid!("6420f0cc-916b-ee11-9ae6-000d3a688809"))),
    ];
    assert_eq!((event.row, event.stamp.at), (RowRef::Key(parts.into()), Some(-3)));

    let related = json!({"table": "Contact", "id": ID});
    for (word, wrap) in [("link", Operation::Link as fn(Link) -> Operation), ("unlink", Operation::Unlink)] {
        let fields = json!({"operation": word, "relationship": "A_nn", "related": related, "columns": null});
        let expected = Link {
            relationship: "A_nn".to_owned(),
            related: vec![("contact".to_owned(), uuid!("6420f0cc-916b-ee11-9ae6-000d3a688809"))],
        };
        assert_eq!(change(fields).event().operation, wrap(expected));
    }

    let event = change(json!({"operation": "delete", "columns": {"name": "ignored"}})).event();
    assert_eq!((event.operation, event.columns.len(), event.stamp.at), (Operation::Delete, 0, None));
}

#[test]
fn the_id_comes_from_where_the_contract_says() {
    let row = change(json!({}));
    let id = |sent: &Sent| sent.event().id;
    assert_eq!(id(&row.clone().header("ce-id", "c").header("ce-source", "s")), EventId::new(Some("s"), "c").unwrap());
    assert_eq!(id(&row.clone().queued("m")), EventId::new(None, "k-1").unwrap());
    let mut bare = row.queued(" m ");
    bare.headers.clear();
    assert_eq!(id(&bare), EventId::new(None, "m").unwrap());
}

#[test]
fn wrong_shapes_say_where_and_what() {
    for (fields, expected) in [
        (json!({"table": null}), "$: bad value: `table` is missing"),
        (
            json!({"table": "a b"}),
            "$.table: bad value: `table` must be a logical name (letters, digits and _, at most 128)",
        ),
        (json!({"id": null}), "$: bad value: the row must have an `id` or a `key`"),
        (json!({"key": {"a": 1}}), "$.key: bad value: the row must have `id` or `key`, not both"),
        (json!({"id": "x"}), "$.id: bad value: `id` must be a GUID"),
        (json!({"id": 7}), "$.id: bad value: `id` must be a text, not a number"),
        (json!({"id": "00000000-0000-0000-0000-000000000000"}), "$.id: bad value: `id` must not be all zero"),
        (json!({"id": null, "key": {}}), "$.key: bad value: `key` must be an object with at least one column"),
        (json!({"id": null, "key": {"a": ""}}), "$.key.a: bad value: a key value must not be empty"),
        (json!({"id": null, "key": {"a": true}}), "$.key.a: bad value: a key value cannot be a boolean"),
        (json!({"operation": null}), "$: bad value: `operation` is missing"),
        (
            json!({"operation": "Update"}),
            "$.operation: bad value: `operation` must be one of upsert, delete, link, unlink; did you mean `upsert`?",
        ),
        (
            json!({"operation": "delte"}),
            "$.operation: bad value: `operation` must be one of upsert, delete, link, unlink; did you mean `delete`?",
        ),
        (json!({"columns": null}), "$: bad value: `columns` is missing"),
        (json!({"columns": []}), "$.columns: bad value: `columns` must be an object, not an array"),
        (
            json!({"columns": {"a b": 1}}),
            "$.columns[\"a b\"]: bad value: a column name must be a logical name (letters, digits and _, at most 128)",
        ),
        (
            json!({"columns": {"a": ["1"]}}),
            "$.columns.a[0]: bad value: an option of a multi-select must be a number, not a text",
        ),
        (
            json!({"columns": {"a": [1.5]}}),
            "$.columns.a[0]: bad value: an option of a multi-select must be a whole number of 64 bits",
        ),
        (json!({"columns": {"a": {}}}), "$.columns.a: bad value: `table` is missing"),
        (json!({"columns": {"a": {"table": "t"}}}), "$.columns.a: bad value: a lookup must have either `id` or `key`"),
        (json!({"columns": {"a": 1, "A": 2}}), "$.columns.a: bad value: the same column twice"),
        (json!({"version": "1"}), "$.version: bad value: `version` must be a time (RFC 3339) or a whole number"),
        (json!({"version": 1.5}), "$.version: bad value: `version` must be a whole number of 64 bits"),
        (json!({"operation": "link"}), "$: bad value: `relationship` is missing"),
        (
            json!({"operation": "link", "relationship": "r", "related": []}),
            "$.related: bad value: `related` must be an object, not an array",
        ),
    ] {
        assert_eq!(change(fields.clone()).refused(), expected, "{fields}");
    }
}
