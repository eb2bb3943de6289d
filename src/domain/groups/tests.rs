//! Which columns are written together.

use super::*;
use crate::domain::schema::{ColumnSchema, DateBehavior, KeySchema};

const DATE: ColumnKind = ColumnKind::DateTime(DateBehavior::UserLocal);

fn schema(columns: &[(&str, ColumnKind)]) -> TableSchema {
    let column = |kind| ColumnSchema { kind, creatable: true, updatable: true };
    TableSchema {
        name: "t".to_owned(),
        entity_set: "ts".to_owned(),
        primary_id: "tid".to_owned(),
        primary_name: None,
        columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), column(*kind))).collect(),
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

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn plain(_: &mut TableMap) {}

/// The groups of a table with this mapping, as sorted texts.
fn groups(change: impl FnOnce(&mut TableMap), schema: &TableSchema) -> Vec<String> {
    let mut table = TableMap::new("t");
    change(&mut table);
    let groups = Groups::of(&table, schema);
    for (n, group) in groups.all().iter().enumerate() {
        assert!(group.iter().all(|name| groups.of_column(name) == groups.all().get(n)));
    }
    let mut texts: Vec<String> =
        groups.all().iter().map(|group| group.iter().cloned().collect::<Vec<_>>().join(" ")).collect();
    texts.sort();
    texts
}

#[test]
fn metadata_gives_state_money_periods_and_parties() {
    let schema = schema(&[
        ("name", ColumnKind::Text),
        ("statecode", ColumnKind::State),
        ("statuscode", ColumnKind::Status),
        ("price", ColumnKind::Money),
        ("price_base", ColumnKind::Money),
        ("tax", ColumnKind::Money),
        ("transactioncurrencyid", ColumnKind::Lookup),
        ("scheduledstart", DATE),
        ("scheduledend", DATE),
        ("new_startdate", DATE),
        ("new_enddate", DATE),
        ("startedby", ColumnKind::Text),
        ("endedby", ColumnKind::Text),
        ("from", ColumnKind::PartyList),
        ("to", ColumnKind::PartyList),
    ]);
    assert_eq!(
        groups(plain, &schema),
        [
            "from to",
            "new_enddate new_startdate",
            "price tax transactioncurrencyid",
            "scheduledend scheduledstart",
            "statecode statuscode",
        ]
    );
}

#[test]
fn keys_and_the_mapping_add_groups_and_overlapping_ones_are_one() {
    let mut schema = schema(&[
        ("a", ColumnKind::Text),
        ("b", ColumnKind::Text),
        ("c", ColumnKind::Text),
        ("d", ColumnKind::Text),
        ("e", ColumnKind::Text),
        ("f", ColumnKind::Text),
    ]);
    schema.keys.push(KeySchema { name: "k".to_owned(), columns: vec!["a".to_owned(), "b".to_owned()], active: false });
    assert_eq!(groups(plain, &schema), ["a b"]);
    assert_eq!(groups(|t| t.identity = Identity::Key(vec!["e".to_owned(), "f".to_owned()]), &schema), ["a b", "e f"]);
    assert_eq!(groups(|t| t.groups = vec![names(&["c", "d"]), names(&["b", "d"])], &schema), ["a b c d"]);
    let renamed = |t: &mut TableMap| {
        t.columns.rename.insert("x".to_owned(), "c".to_owned());
        t.groups = vec![names(&["c", "d"])];
    };
    assert_eq!(groups(renamed, &schema), ["a b", "c d"]);
}

#[test]
fn what_is_not_synchronised_or_not_writable_is_in_no_group() {
    let mut schema = schema(&[
        ("statecode", ColumnKind::State),
        ("statuscode", ColumnKind::Status),
        ("price", ColumnKind::Money),
        ("transactioncurrencyid", ColumnKind::Lookup),
    ]);
    assert_eq!(groups(|t| t.columns.exclude = names(&["statuscode"]), &schema), ["price transactioncurrencyid"]);
    let price = schema.columns.get_mut("price").unwrap();
    (price.creatable, price.updatable) = (false, false);
    assert_eq!(groups(plain, &schema), ["statecode statuscode"]);
    let groups = Groups::of(&TableMap::new("t"), &schema);
    assert_eq!((groups.of_column("price"), groups.of_column("other")), (None, None));
}
