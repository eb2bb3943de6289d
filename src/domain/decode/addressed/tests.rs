//! What an address and its body come to, and what is refused, with its place.

use super::*;
use crate::domain::decode::{Decoded, Item, decode};
use crate::domain::event::EventId;
use proptest::collection::btree_map;
use proptest::prelude::*;

const ID: &str = "6a1ee5f0-0001-4b3c-9d2e-000000000001";

fn change(
    address: Address<'_>,
    headers: &[(&str, &str)],
    content_type: Option<&str>,
    body: &str,
) -> Result<ChangeEvent, DecodeError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let inbound = Inbound { content_type, headers: &headers, message_id: None, body: body.as_bytes() };
    decode_addressed(&inbound, &address, &DecodeLimits::default())
}

fn account(key: &str) -> Address<'_> {
    Address { table: "Account", key, key_column: None, deletes: false }
}

fn patched(body: &str) -> Result<ChangeEvent, DecodeError> {
    change(account(ID), &[("idempotency-key", "k")], Some("application/json"), body)
}

fn row_of(key: &str, column: Option<&str>) -> Result<RowRef, String> {
    row(key, column, &DecodeLimits::default())
}

#[test]
fn it_is_the_event_that_a_row_change_would_be() {
    let columns = r#"{"Name": "A", "revenue": 1250000.50, "parentaccountid": {"table": "account", "id": "6a1ee5f0-0001-4b3c-9d2e-000000000002"}, "tags": [1, 9], "fax": null}"#;
    let whole = format!(
        r#"{{"table": "account", "id": "{ID}", "operation": "upsert", "columns": {columns}, "version": "2026-01-05T08:00:00Z"}}"#
    );
    let headers = [("ce-id".to_owned(), "e1".to_owned()), ("ce-source".to_owned(), "/s".to_owned())].into();
    let inbound = Inbound { content_type: None, headers: &headers, message_id: None, body: whole.as_bytes() };
    let Ok(Decoded::One(Item::Change(expected))) = decode(&inbound, &DecodeLimits::default()) else { panic!() };
    let identity = [("ce-id", "e1"), ("ce-source", "/s")];
    let long = format!(r#"{{"columns": {columns}, "version": "2026-01-05T08:00:00Z"}}"#);
    assert_eq!(change(account(ID), &identity, Some("application/json"), &long).unwrap(), *expected);
    let short =
        change(account(&format!("{{{ID}}}")), &identity, Some("application/merge-patch+json"), columns).unwrap();
    assert_eq!((&short.columns, &short.row, short.stamp.at), (&expected.columns, &expected.row, None));
    assert_eq!(short.content_hash(), expected.content_hash());
}

#[test]
fn the_version_comes_from_the_body_or_the_headers() {
    let stamp = |headers: &[(&str, &str)], body: &str| {
        let headers = [headers, &[("idempotency-key", "\"k 1\"")]].concat();
        let event = change(account(ID), &headers, None, body).unwrap();
        assert_eq!(event.id, EventId::new(None, "k 1").unwrap());
        (event.stamp.at, event.stamp.time, event.stamp.sequence)
    };
    let columns = r#"{"name": "A"}"#;
    assert_eq!(stamp(&[], columns), (None, None, None));
    assert_eq!(stamp(&[], r#"{"columns": {}, "version": 7}"#), (Some(7), None, None));
    let time = ("ce-time", "2026-01-05T08:00:00Z");
    assert_eq!(stamp(&[time], columns), (None, Some(1_767_600_000_000_000), None));
    assert_eq!(stamp(&[time, ("ce-sequence", "12")], columns), (None, Some(1_767_600_000_000_000), Some(12)));
}

#[test]
fn a_binary_cloudevent_is_its_attributes() {
    let headers =
        [("ce-specversion", "1.0"), ("ce-id", "e"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-sequence", "3")];
    let event = change(account(ID), &headers, None, r#"{"name": "A"}"#).unwrap();
    assert_eq!((event.id, event.stamp.sequence), (EventId::new(Some("/s"), "e").unwrap(), Some(3)));
    let error = change(account(ID), &headers[..2], None, "{}").unwrap_err();
    assert_eq!(error.path, "header ce-source");
}

#[test]
fn a_delete_needs_no_body() {
    let delete = |body: &str| {
        let address = Address { deletes: true, ..account(ID) };
        change(address, &[("idempotency-key", "k")], None, body)
    };
    for (body, at) in [("", None), (" \n", None), ("{}", None), (r#"{"version": 4}"#, Some(4))] {
        let event = delete(body).unwrap();
        assert_eq!((event.operation, event.columns.len(), event.stamp.at), (Operation::Delete, 0, at), "{body}");
    }
    assert_eq!(delete(r#"{"columns": {}}"#).unwrap_err().path, "$.columns");
    assert_eq!(delete("[").unwrap_err().path, "$");
}

#[test]
fn keys_are_written_as_in_dataverses_addresses() {
    let key = |parts: &[(&str, KeyPart)]| {
        Ok(RowRef::Key(parts.iter().map(|(name, part)| ((*name).to_owned(), part.clone())).collect()))
    };
    let text = |text: &str| KeyPart::Text(text.to_owned());
    let id = || KeyPart::Guid(ID.parse().unwrap());
    let check = |given: &str, expected: Result<RowRef, String>| assert_eq!(row_of(given, None), expected, "{given}");
    check(ID, Ok(RowRef::Id(ID.parse().unwrap())));
    check(&ID.to_uppercase(), Ok(RowRef::Id(ID.parse().unwrap())));
    check("new_no='A-1'", key(&[("new_no", text("A-1"))]));
    check("New_No=A-1", key(&[("new_no", text("A-1"))]));
    check("a='x, ''y''=z', b=7", key(&[("a", text("x, 'y'=z")), ("b", KeyPart::Number(7.into()))]));
    check("a='7'", key(&[("a", text("7"))]));
    check("a=007", key(&[("a", text("007"))]));
    check(&format!("a={ID}"), key(&[("a", id())]));
    check(&format!("a='{ID}'"), key(&[("a", text(ID))]));
    // where one column identifies rows, its value is enough
    let bare = |given: &str| row_of(given, Some("new_no"));
    assert_eq!(bare("A-1"), key(&[("new_no", text("A-1"))]));
    assert_eq!(bare("4711"), key(&[("new_no", text("4711"))]), "the target's metadata gives it its type");
    assert_eq!(bare("Smith, J"), key(&[("new_no", text("Smith, J"))]));
    assert_eq!(bare("'a=b'"), key(&[("new_no", text("a=b"))]));
    assert_eq!(bare("other=b"), key(&[("other", text("b"))]));
    assert_eq!(bare("6a1ee5f000014b3c9d2e000000000001"), key(&[("new_no", text("6a1ee5f000014b3c9d2e000000000001"))]));
}

#[test]
fn keys_that_cannot_be_meant_are_refused() {
    let check = |given: &str, column: Option<&str>, expected: &str| {
        let error = row_of(given, column).unwrap_err();
        assert!(error.contains(expected), "{given}: {error}");
    };
    check("00000000-0000-0000-0000-000000000000", None, "all zero");
    check("A-1", None, "must be a GUID or column=value");
    check("A-1,b=2", Some("a"), "must be a GUID or column=value");
    check("a=1,A=2", None, "names a column twice");
    check("a=", None, "a value of the key is empty");
    check("''", Some("a"), "a value of the key is empty");
    check("a='x", None, "is not closed");
    check("a='x'y", None, "does not end where it should");
    check("a b=1", None, "a column of the key must be a logical name");
    check(&["a"; 17].map(|name| format!("{name}=1")).join(","), None, "more than 16 columns");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |result: Result<ChangeEvent, DecodeError>, path: &str, expected: &str| {
        let error = result.unwrap_err();
        assert!(error.path == path && error.to_string().contains(expected), "{error}");
    };
    let json = Some("application/json");
    check(change(account(ID), &[], json, "{}"), "header idempotency-key", "event without identity");
    check(change(account(ID), &[("ce-id", " ")], json, "{}"), "header idempotency-key", "event without identity");
    check(change(account("x"), &[("ce-id", "e")], json, "{}"), "address", "must be a GUID");
    let table = Address { table: "a b", ..account(ID) };
    check(change(table, &[("ce-id", "e")], json, "{}"), "address", "the table must be a logical name");
    check(change(account(ID), &[("ce-id", "e"), ("ce-time", "soon")], json, "{}"), "header ce-time", "RFC 3339");
    check(
        change(account(ID), &[("ce-id", "e"), ("ce-sequence", "x")], json, "{}"),
        "header ce-sequence",
        "whole number",
    );
    check(patched(""), "$", "not JSON");
    check(patched("[]"), "$", "an object of columns");
    check(patched(r#"{"name": {"x": 1}}"#), "$.name", "`table` is missing");
    check(patched(r#"{"columns": {"name": {"x": 1}}}"#), "$.columns.name", "`table` is missing");
    check(patched(r#"{"columns": {}, "name": 1}"#), "$.name", "beside `columns`");
    check(patched(r#"{"name": 1, "Version": 1}"#), "$.Version", "no column here");
    check(patched(r#"{"columns": [], "version": 1}"#), "$.columns", "no column here");
    check(patched(r#"{"columns": {}, "version": true}"#), "$.version", "must be a time");
    let batch = change(account(ID), &[("ce-id", "e")], Some("application/cloudevents+json"), "{}");
    check(batch, "header content-type", "the address names the row");
    check(change(account(ID), &[("ce-id", "e")], Some("text/xml"), "<a/>"), "header content-type", "unsupported");
}

proptest! {
    #[test]
    fn a_key_that_is_quoted_comes_back_whole(parts in btree_map("[a-z][a-z0-9_]{0,10}", "[^\\p{C}\\s][^\\p{C}]{0,20}", 1..5)) {
        let written: Vec<String> =
            parts.iter().map(|(name, text)| format!("{name}='{}'", text.replace('\'', "''"))).collect();
        let expected = parts.into_iter().map(|(name, text)| (name, KeyPart::Text(text))).collect();
        prop_assert_eq!(row_of(&written.join(","), None), Ok(RowRef::Key(expected)));
    }

    #[test]
    fn any_key_and_any_body_is_an_event_or_a_refusal(key in ".{0,60}", bare in any::<bool>(), body in ".{0,60}", deletes in any::<bool>()) {
        let address = Address { key_column: bare.then_some("a"), deletes, ..account(&key) };
        let _ = change(address, &[("idempotency-key", "k")], None, &body);
    }
}
