//! One row, one partition; two rows, two.

use super::*;
use crate::domain::value::Number;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(parts: &[(&str, KeyPart)]) -> RowRef {
    RowRef::Key(parts.iter().map(|(name, part)| ((*name).to_owned(), part.clone())).collect())
}

fn text(text: &str) -> KeyPart {
    KeyPart::Text(text.to_owned())
}

fn number(text: &str) -> KeyPart {
    KeyPart::Number(Number::parse(text).unwrap())
}

#[test]
fn identities_are_canonical() {
    let id = "0F8F13A4-0000-0000-0000-00000000ABCD".parse().unwrap();
    for (row, canonical) in [
        (RowRef::Id(id), "contact:0f8f13a4-0000-0000-0000-00000000abcd"),
        (key(&[("b", number("3.0")), ("a", text(" X'y "))]), "contact:a='x''y',b=3"),
        (key(&[("a", KeyPart::Guid(id))]), "contact:a=0f8f13a4-0000-0000-0000-00000000abcd"),
        (key(&[("a", KeyPart::DateTime("2026-01-01T00:00:00Z".parse().unwrap()))]), "contact:a=@1767225600000000"),
    ] {
        assert_eq!(Partition::of("Contact", &row).canonical(), canonical);
    }
}

#[test]
fn keys_that_the_target_calls_equal_are_one_row() {
    for (a, b) in
        [("A-1", "a-1"), ("A-1", " A-1\t"), ("ΑΣ", "ας"), ("STRASSE", "straße"), ("é", "É"), ("İ", "i\u{307}")]
    {
        let of = |t: &str| Partition::of("t", &key(&[("k", text(t))]));
        assert_eq!(of(a), of(b), "{a} {b}");
    }
    let of = |t: &str| Partition::of("t", &key(&[("k", number(t))]));
    assert_eq!(of("1.50"), of("15e-1"));
}

#[test]
fn look_alikes_are_different_rows() {
    let rows = [
        key(&[("a", text("1"))]),
        key(&[("a", number("1"))]),
        key(&[("a", text("@1"))]),
        key(&[("a", text("x',b='y"))]),
        key(&[("a", text("x")), ("b", text("y"))]),
        key(&[("a", text("a/b"))]),
        key(&[("a", text("a~2fb"))]),
        key(&[("a", text("a b"))]),
        key(&[("a", text("ab"))]),
        key(&[("a", text("11111111-2222-3333-4444-555555555555"))]),
        key(&[("a", KeyPart::Guid("11111111-2222-3333-4444-555555555555".parse().unwrap()))]),
    ];
    let keys: std::collections::BTreeSet<String> =
        rows.iter().map(|row| Partition::of("t", row).key().to_owned()).collect();
    assert_eq!(keys.len(), rows.len());
    assert_ne!(Partition::of("t", &rows[0]), Partition::of("u", &rows[0]));
}

#[test]
fn a_key_says_what_it_is_for_as_far_as_it_fits() {
    let short = Partition::of("contact", &key(&[("k", text("ü/1"))]));
    assert!(short.key().ends_with("-contact:k='~c3~bc~2f1'"), "{}", short.key());
    assert_eq!(short.key().find('-'), Some(4));
    let of = |end: &str| Partition::of("t", &key(&[("k", text(&format!("{}{end}", "ä".repeat(300))))]));
    assert!(of("1").key().len() <= KEY_CHARS_MAX && of("1").key().contains("~~"));
    assert_ne!(of("1").key(), of("2").key());
}

#[test]
fn all_forms_of_the_sharp_s_are_one() {
    let of = |given: &str| Partition::of("t", &key(&[("k", text(given))]));
    for given in ["ß", "\u{1e9e}", "SS", "ss", "sS"] {
        assert_eq!(of(given), of("ss"), "{given}");
    }
}

/// The documented folding, on the identity itself.
fn folded(row: &RowRef) -> RowRef {
    match row {
        RowRef::Id(id) => RowRef::Id(*id),
        RowRef::Key(parts) => RowRef::Key(
            parts
                .iter()
                .map(|(name, part)| match part {
                    KeyPart::Text(given) => (name.clone(), KeyPart::Text(fold(given))),
                    other => (name.clone(), other.clone()),
                })
                .collect(),
        ),
    }
}

fn any_part() -> impl Strategy<Value = KeyPart> {
    prop_oneof![
        "[aAbB ',=~/#?ß\u{e9}\u{0}-]{0,6}".prop_map(KeyPart::Text),
        any::<String>().prop_map(KeyPart::Text),
        "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,2})?(e-?[0-9])?".prop_map(|n| KeyPart::Number(Number::parse(&n).unwrap())),
        (0_u128..4).prop_map(|n| KeyPart::Guid(uuid::Uuid::from_u128(n))),
        (0_i64..4).prop_map(|n| KeyPart::DateTime(chrono::DateTime::from_timestamp(n, 0).unwrap())),
    ]
}

fn any_row() -> impl Strategy<Value = RowRef> {
    prop_oneof![
        (0_u128..4).prop_map(|n| RowRef::Id(uuid::Uuid::from_u128(n))),
        proptest::collection::btree_map("[a-c]{1,2}", any_part(), 1..3).prop_map(RowRef::Key),
    ]
}

proptest! {
    #[test]
    fn two_rows_share_a_partition_exactly_if_they_are_equal_after_folding(a in any_row(), b in any_row()) {
        let (pa, pb) = (Partition::of("t", &a), Partition::of("t", &b));
        prop_assert_eq!(pa.key() == pb.key(), folded(&a) == folded(&b));
        prop_assert_eq!(pa.key() == pb.key(), pa.canonical() == pb.canonical());
    }

    #[test]
    fn folding_changes_no_partition(row in any_row()) {
        prop_assert_eq!(Partition::of("t", &row), Partition::of("T", &folded(&row)));
    }

    #[test]
    fn every_key_is_one_that_table_storage_takes(part in any::<String>(), times in 1_usize..20) {
        let row = RowRef::Key(BTreeMap::from([("k".to_owned(), KeyPart::Text(part.repeat(times)))]));
        let partition = Partition::of("t", &row);
        prop_assert!(partition.key().len() <= KEY_CHARS_MAX);
        prop_assert!(partition.key().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:,=~@'".contains(&b)));
    }
}
