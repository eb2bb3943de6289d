//! What references resolve to, and how long that is believed.

use super::*;
use crate::dataverse::script::{Bench, answer, guid, lost, refusal};
use serde_json::json;

type Scripted = Result<crate::outbound::transport::Response, crate::outbound::transport::TransportError>;

fn currency_table() -> Scripted {
    let attribute = |name: &str, kind: &str| json!({"LogicalName": name, "AttributeType": kind});
    let definition = json!({
        "LogicalName": "transactioncurrency",
        "EntitySetName": "transactioncurrencies",
        "PrimaryIdAttribute": "transactioncurrencyid",
        "Attributes": [attribute("isocurrencycode", "String"), attribute("transactioncurrencyid", "Uniqueidentifier")],
        "Keys": [],
        "ManyToOneRelationships": [],
        "ManyToManyRelationships": [],
    });
    answer(200, &[], &definition.to_string())
}

fn rows(ids: &[u128]) -> Scripted {
    let rows: Vec<_> = ids.iter().map(|id| json!({"transactioncurrencyid": guid(*id)})).collect();
    answer(200, &[], &json!({"value": rows}).to_string())
}

fn row(code: &str) -> Scripted {
    answer(200, &[], &json!({"transactioncurrencyid": guid(1), "isocurrencycode": code}).to_string())
}

fn gone() -> Scripted {
    refusal(404, "0x80040217", "transactioncurrency With Id = ... Does Not Exist")
}

fn resolver(answers: impl IntoIterator<Item = Scripted>, limits: ResolveLimits) -> (Bench, Resolver) {
    let bench = Bench::new(std::iter::once(currency_table()).chain(answers));
    let cache = SchemaCache::new(bench.client.clone(), Duration::from_secs(600));
    (bench, Resolver::new(Arc::new(cache), limits))
}

#[tokio::test]
async fn a_currency_is_found_by_its_code_once() {
    let (bench, resolver) = resolver([rows(&[1])], ResolveLimits::default());
    for _ in 0..3 {
        assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Found(guid(1)));
    }
    assert_eq!(
        bench.lines()[1..],
        ["GET transactioncurrencies?$select=transactioncurrencyid&$filter=isocurrencycode eq 'EUR'&$top=2"]
    );
}

#[tokio::test]
async fn that_there_is_none_is_believed_for_a_shorter_time_than_that_there_is_one() {
    let limits = ResolveLimits::default();
    let (bench, resolver) = resolver([rows(&[]), rows(&[1]), rows(&[1, 2])], limits);
    assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Missing);
    assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Missing);
    bench.clock.advance(limits.missing_for);
    assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Found(guid(1)));
    bench.clock.advance(limits.missing_for);
    assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Found(guid(1)));
    bench.clock.advance(limits.found_for);
    assert_eq!(resolver.currency(&bench.call(), "EUR").await.unwrap(), Match::Ambiguous);
    assert_eq!(bench.answers_left(), 0);
}

#[tokio::test]
async fn a_value_and_the_existence_of_a_row_are_kept_until_they_are_forgotten() {
    let (bench, resolver) = resolver([row("EUR"), row("EUR"), gone(), gone()], ResolveLimits::default());
    let (call, table) = (bench.call(), "transactioncurrency");
    for _ in 0..2 {
        let code = resolver.value_of(&call, table, guid(1), "isocurrencycode").await.unwrap();
        assert_eq!(code, Some(Value::Text("EUR".to_owned())));
        assert!(resolver.exists(&call, table, guid(1)).await.unwrap());
    }
    assert_eq!(bench.requests().len(), 3);
    resolver.forget(guid(1));
    for _ in 0..2 {
        assert!(!resolver.exists(&call, table, guid(1)).await.unwrap());
        assert_eq!(resolver.value_of(&call, table, guid(1), "isocurrencycode").await.unwrap(), None);
    }
    assert_eq!(bench.requests().len(), 5);
}

#[tokio::test]
async fn a_failed_query_is_not_kept_and_the_memory_is_bounded() {
    let limits = ResolveLimits { entries_max: NonZeroUsize::MIN, ..ResolveLimits::default() };
    let (bench, resolver) = resolver([lost(), rows(&[1]), rows(&[2]), rows(&[1])], limits);
    assert!(resolver.currency(&bench.call(), "EUR").await.is_err());
    for (code, id) in [("EUR", 1), ("USD", 2), ("EUR", 1)] {
        assert_eq!(resolver.currency(&bench.call(), code).await.unwrap(), Match::Found(guid(id)));
    }
    assert_eq!(bench.answers_left(), 0);
}

#[tokio::test]
async fn the_tables_of_a_body_are_resolved_together_and_keys_bring_their_metadata() {
    let sets = json!({"value": [
        {"LogicalName": "contact", "EntitySetName": "contacts"},
        {"LogicalName": "transactioncurrency", "EntitySetName": "transactioncurrencies"},
    ]});
    let bench = Bench::new([answer(200, &[], &sets.to_string()), currency_table()]);
    let cache = SchemaCache::new(bench.client.clone(), Duration::from_secs(600));
    let resolver = Resolver::new(Arc::new(cache), ResolveLimits::default());
    let lookup = |table: &str, row| Value::Lookup(Reference { table: table.to_owned(), row, name: None });
    let code = KeyParts::from([("isocurrencycode".to_owned(), KeyPart::Text("EUR".to_owned()))]);
    let columns = Columns::from([
        ("a".to_owned(), lookup("contact", RowRef::Id(guid(1)))),
        ("b".to_owned(), lookup("transactioncurrency", RowRef::Key(code.clone()))),
        ("c".to_owned(), lookup("gone", RowRef::Id(guid(1)))),
    ]);
    let lookups = resolver.lookups(&bench.call(), &columns).await.unwrap();
    let found: Vec<_> = lookups.tables.iter().map(|(table, r)| (table.as_str(), r.schema.is_some())).collect();
    assert_eq!(found, [("contact", false), ("transactioncurrency", true)]);
    // that table has no alternate key
    let reference = Reference { table: "transactioncurrency".to_owned(), row: RowRef::Key(code), name: None };
    assert!(resolver.reference(&bench.call(), &reference).await.is_err());
    let reference = Reference { row: RowRef::Id(guid(4)), ..reference };
    assert_eq!(resolver.reference(&bench.call(), &reference).await.unwrap(), Match::Found(guid(4)));
}
