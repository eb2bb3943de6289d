//! Events in the target's terms.

use super::*;
use crate::domain::event::{Completeness, EventId, Origin};
use crate::domain::mapping::{Identity, Limits, LookupRule};
use crate::domain::schema::DateBehavior;
use crate::domain::value::{KeyPart, Number, Reference, Value};
use crate::domain::version::Stamp;
use std::collections::BTreeSet;
use uuid::Uuid;

const ROW: Uuid = Uuid::from_u128(7);

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str) -> Value {
    Value::Number(Number::parse(text).unwrap())
}

fn columns(list: &[(&str, Value)]) -> Columns {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn lookup(table: &str, row: RowRef) -> Value {
    Value::Lookup(Reference { table: table.to_owned(), row, name: None })
}

fn key(parts: &[(&str, KeyPart)]) -> RowRef {
    RowRef::Key(parts.iter().map(|(name, part)| ((*name).to_owned(), part.clone())).collect())
}

fn event(operation: Operation, row: RowRef, changed: &[(&str, Value)], image: &[(&str, Value)]) -> ChangeEvent {
    ChangeEvent {
        id: EventId::new(None, "e").unwrap(),
        origin: Origin::default(),
        table: "contact".to_owned(),
        row,
        operation,
        columns: columns(changed),
        image: columns(image),
        stamp: Stamp::default(),
        completeness: Completeness::Full,
        synchronous: false,
    }
}

fn schema() -> TableSchema {
    use ColumnKind as Kind;
    let column = |kind, creatable, updatable| ColumnSchema { kind, creatable, updatable };
    let free = |kind| column(kind, true, true);
    let list = [
        ("personid", free(Kind::Guid)),
        ("name", free(Kind::Text)),
        ("cr_tier", free(Kind::Choice)),
        ("cr_tags", free(Kind::Choices)),
        ("cr_parent", free(Kind::Lookup)),
        ("limit", free(Kind::Money)),
        ("limit_base", column(Kind::Money, false, false)),
        ("notes_base", free(Kind::Text)),
        ("fullname", column(Kind::Text, false, false)),
        ("born", column(Kind::DateTime(DateBehavior::DateOnly), true, false)),
        ("photo", free(Kind::Unsupported)),
        ("createdon", free(Kind::DateTime(DateBehavior::UserLocal))),
        ("overriddencreatedon", column(Kind::DateTime(DateBehavior::UserLocal), true, false)),
        ("to", free(Kind::PartyList)),
        ("cr_key", free(Kind::Text)),
        ("cr_no", free(Kind::Integer)),
        ("cr_on", free(Kind::DateTime(DateBehavior::UserLocal))),
    ];
    TableSchema {
        name: "cr_person".to_owned(),
        entity_set: "cr_persons".to_owned(),
        primary_id: "personid".to_owned(),
        primary_name: Some("name".to_owned()),
        columns: list.into_iter().map(|(name, column)| (name.to_owned(), column)).collect(),
        lookups: Vec::new(),
        keys: Vec::new(),
        links: Vec::new(),
        optimistic_concurrency: true,
        elastic: false,
        external: false,
        files: std::collections::BTreeSet::new(),
        secured: std::collections::BTreeSet::new(),
    }
}

/// What a case changes in the mapping of `contact`.
type Change<'a> = &'a dyn Fn(&mut TableMap);

fn plain(_: &mut TableMap) {}

fn rename(pairs: &'static [(&str, &str)]) -> impl Fn(&mut TableMap) {
    move |table| {
        table.columns.rename = pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    }
}

fn identity(columns: &[&str]) -> Identity {
    Identity::Key(columns.iter().map(|column| (*column).to_owned()).collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn value_map(table: &mut TableMap, column: &str, pairs: &[(&str, Value)]) {
    let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), to.clone())).collect();
    table.columns.values.insert(column.to_owned(), pairs);
}

/// Maps with a table `contact` -> `cr_person`; `account` -> `company` beside it.
fn map(change: Change<'_>, event: &ChangeEvent) -> Mapped {
    let mut account = TableMap { target: "company".to_owned(), ..TableMap::new("account") };
    rename(&[("number", "cr_number")])(&mut account);
    let mut contact = TableMap { target: "cr_person".to_owned(), ..TableMap::new("contact") };
    change(&mut contact);
    let tables = [account, contact].map(|table| (table.source.clone(), table));
    let mapping = Mapping { tables: tables.into(), limits: Limits::default() };
    map_columns(&mapping, &mapping.tables["contact"], &schema(), event)
}

fn create(changed: &[(&str, Value)]) -> ChangeEvent {
    event(Operation::Create, RowRef::Id(ROW), changed, &[])
}

#[test]
fn every_column_is_sent_or_dropped_with_its_reason() {
    let excluded: Change<'_> = &|table| table.columns.exclude = set(&["name"]);
    let not_included: Change<'_> = &|table| table.columns.include = Some(set(&["limit"]));
    let taken: Change<'_> = &rename(&[("nick", "name")]);
    for (change, column, expected) in [
        (&plain as Change<'_>, "name", None),
        (&plain, "unknown", Some(Why::NotInTarget)),
        (&plain, "personid", Some(Why::System)),
        (&plain, "createdon", Some(Why::System)),
        (&plain, "limit_base", Some(Why::System)),
        (&plain, "notes_base", None),
        (&plain, "versionnumber", Some(Why::System)),
        (&plain, "fullname", Some(Why::NotWritable)),
        (&plain, "photo", Some(Why::Unsupported)),
        (excluded, "name", Some(Why::Excluded)),
        (not_included, "name", Some(Why::Excluded)),
        (taken, "name", Some(Why::Excluded)),
    ] {
        let mapped = map(change, &create(&[(column, text("x"))]));
        let dropped = expected.map(|why| Dropped { column: column.to_owned(), why });
        assert_eq!(mapped.dropped, dropped.into_iter().collect::<Vec<_>>(), "{column}");
        assert_eq!(mapped.columns.contains_key(column), expected.is_none(), "{column}");
    }
}

#[test]
fn an_update_writes_only_what_updates_may_write() {
    let at = Value::DateTime("2026-01-02T00:00:00Z".parse().unwrap());
    let dropped = |operation| {
        let event = event(operation, RowRef::Id(ROW), &[("born", at.clone())], &[("born", at.clone())]);
        let mapped = map(&plain, &event);
        assert_eq!(mapped.image.len(), 1);
        mapped.dropped.len()
    };
    assert_eq!((dropped(Operation::Create), dropped(Operation::Upsert), dropped(Operation::Update)), (0, 0, 1));
}

#[test]
fn renamed_columns_arrive_under_their_new_name() {
    let renamed = rename(&[("tier", "cr_tier"), ("createdon", "overriddencreatedon")]);
    let mapped = map(&renamed, &create(&[("tier", Value::Choice(1)), ("createdon", text("x"))]));
    assert_eq!(mapped.columns, columns(&[("cr_tier", Value::Choice(1)), ("overriddencreatedon", text("x"))]));
}

#[test]
fn a_named_column_that_the_target_lacks_is_reported_and_not_dropped_silently() {
    let changes: [(Change<'_>, &str); 6] = [
        (&|table| table.columns.include = Some(set(&["gone"])), "gone"),
        (&rename(&[("a", "gone")]), "a"),
        (&|table| value_map(table, "gone", &[("1", Value::Null)]), "gone"),
        (&|table| table.lookups = [("gone".to_owned(), LookupRule::Skip)].into(), "gone"),
        (&|table| table.groups = vec![set(&["gone", "name"])], "gone"),
        (&|table| table.identity = identity(&["gone"]), "gone"),
    ];
    for (n, (change, column)) in changes.into_iter().enumerate() {
        let mapped = map(change, &create(&[(column, Value::Null)]));
        assert_eq!(mapped.unknown_named, ["gone"], "{n}");
        assert_eq!((mapped.dropped.len(), mapped.columns.len()), (0, 0), "{n}");
    }
}

#[test]
fn mapped_values_are_translated_and_strangers_are_reported() {
    let maps: Change<'_> = &|table| {
        value_map(table, "cr_tier", &[("1", number("100")), ("true", number("7")), ("gold", number("8"))]);
        value_map(table, "cr_tags", &[("1", number("11")), ("2", Value::Choice(12))]);
    };
    for (value, expected) in [
        (Value::Choice(1), Some(number("100"))),
        (number("1.0"), Some(number("100"))),
        (Value::Bool(true), Some(number("7"))),
        (text("gold"), Some(number("8"))),
        (Value::Null, Some(Value::Null)),
        (Value::Choice(2), None),
        (text("silver"), None),
    ] {
        let mapped = map(maps, &event(Operation::Update, RowRef::Id(ROW), &[("cr_tier", value.clone())], &[]));
        assert_eq!(mapped.columns.get("cr_tier"), expected.as_ref(), "{value:?}");
        assert_eq!(mapped.value_unmapped.len(), usize::from(expected.is_none()));
    }
    let tags = |list: &[i64]| map(maps, &create(&[("cr_tags", Value::Choices(list.to_vec()))]));
    assert_eq!(tags(&[2, 1]).columns["cr_tags"], Value::Choices(vec![12, 11]));
    assert_eq!(tags(&[1, 3]).value_unmapped, ["cr_tags"]);
    let image = event(Operation::Update, RowRef::Id(ROW), &[], &[("cr_tier", Value::Choice(2)), ("name", text("n"))]);
    let mapped = map(maps, &image);
    assert_eq!((mapped.image, mapped.value_unmapped.len()), (columns(&[("name", text("n"))]), 0));
}

#[test]
fn lookups_name_the_targets_tables_and_key_columns() {
    let by_id = RowRef::Id(Uuid::from_u128(9));
    let by_key = |name: &str| key(&[(name, KeyPart::Text("A".to_owned()))]);
    for (given, expected) in [
        (lookup("account", by_id.clone()), lookup("company", by_id.clone())),
        (lookup("account", by_key("number")), lookup("company", by_key("cr_number"))),
        (lookup("team", by_key("number")), lookup("team", by_key("number"))),
    ] {
        assert_eq!(map(&plain, &create(&[("cr_parent", given)])).columns["cr_parent"], expected);
    }
}

#[test]
fn parties_keep_what_may_be_written() {
    let contact = lookup("contact", RowRef::Id(ROW));
    let given = columns(&[
        ("activitypartyid", text("x")),
        ("partyid", contact),
        ("addressused", text("a@b")),
        ("effort", number("1")),
        ("participationtypemask", Value::Null),
    ]);
    let unresolved = columns(&[("addressused", text("c@d")), ("participationtypemask", Value::Choice(2))]);
    let mapped = map(&plain, &create(&[("to", Value::Parties(vec![given, unresolved.clone()]))]));
    let expected = columns(&[
        ("partyid", lookup("cr_person", RowRef::Id(ROW))),
        ("addressused", text("a@b")),
        ("participationtypemask", Value::Choice(2)),
    ]);
    assert_eq!(mapped.columns["to"], Value::Parties(vec![expected, unresolved]));
}

#[test]
fn a_table_known_by_id_keeps_the_guid_and_does_not_guess_from_a_key() {
    assert_eq!(map(&plain, &create(&[])).row, MappedRow::Known(RowRef::Id(ROW)));
    let by_key = event(Operation::Upsert, key(&[("k", KeyPart::Text("a".to_owned()))]), &[], &[]);
    let given = key(&[("cr_key", KeyPart::Text("a".to_owned()))]);
    let mapped = map(&rename(&[("k", "cr_key")]), &by_key);
    assert_eq!(mapped.row, MappedRow::Unresolved { given, missing: Vec::new() });
}

#[test]
fn a_key_comes_from_the_event_its_columns_or_its_image() {
    let keyed: Change<'_> = &|table| {
        rename(&[("k", "cr_key")])(table);
        table.identity = identity(&["cr_key", "cr_no"]);
    };
    let known =
        MappedRow::Known(key(&[("cr_key", KeyPart::Text("A".to_owned())), ("cr_no", KeyPart::Number(3.into()))]));
    let given = key(&[("k", KeyPart::Text("A".to_owned())), ("cr_no", KeyPart::Text("3".to_owned()))]);
    for (row, changed, image) in [
        (given, vec![], vec![]),
        (RowRef::Id(ROW), vec![("k", text("A")), ("cr_no", number("3"))], vec![]),
        (RowRef::Id(ROW), vec![("k", text("A"))], vec![("cr_no", Value::Choice(3)), ("k", text("old"))]),
        (RowRef::Id(ROW), vec![], vec![("k", text("A")), ("cr_no", text("3.0"))]),
    ] {
        assert_eq!(map(keyed, &event(Operation::Update, row, &changed, &image)).row, known);
    }
    for (changed, missing) in [
        (vec![("k", text("A"))], vec!["cr_no"]),
        (vec![("k", text(" ")), ("cr_no", Value::Null)], vec!["cr_key", "cr_no"]),
        (vec![("k", text("A")), ("cr_no", text("three"))], vec!["cr_no"]),
    ] {
        let mapped = map(keyed, &event(Operation::Update, RowRef::Id(ROW), &changed, &[]));
        let missing = missing.into_iter().map(str::to_owned).collect();
        assert_eq!(mapped.row, MappedRow::Unresolved { given: RowRef::Id(ROW), missing });
    }
}

#[test]
fn key_parts_have_the_type_of_their_column() {
    let id = Uuid::from_u128(5);
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    for (column, value, expected) in [
        ("cr_parent", lookup("account", RowRef::Id(id)), Some(KeyPart::Guid(id))),
        ("cr_parent", text(&format!("{{{id}}}")), Some(KeyPart::Guid(id))),
        ("cr_parent", text("x"), None),
        ("cr_on", text("2026-01-02T05:04:05+02:00"), Some(KeyPart::DateTime(at))),
        ("cr_on", number("1"), None),
        ("cr_key", number("12"), Some(KeyPart::Text("12".to_owned()))),
        ("cr_no", Value::Bool(true), None),
        ("to", text("x"), None),
    ] {
        let mapped = map(&|table| table.identity = identity(&[column]), &create(&[(column, value.clone())]));
        let found = match mapped.row {
            MappedRow::Known(RowRef::Key(parts)) => parts.get(column).cloned(),
            _ => None,
        };
        assert_eq!(found, expected, "{column} {value:?}");
    }
}

#[test]
fn a_key_value_without_an_entry_is_no_key() {
    let keyed: Change<'_> = &|table| {
        value_map(table, "cr_key", &[("old", text("new"))]);
        table.identity = identity(&["cr_key"]);
    };
    let row = |value: &str| key(&[("cr_key", KeyPart::Text(value.to_owned()))]);
    let of = |value: &str| map(keyed, &event(Operation::Update, row(value), &[], &[])).row;
    assert_eq!(of("old"), MappedRow::Known(row("new")));
    assert_eq!(of("other"), MappedRow::Unresolved { given: row("other"), missing: vec!["cr_key".to_owned()] });
}
