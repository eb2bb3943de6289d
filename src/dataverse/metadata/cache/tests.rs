//! The cache on paused time: what is kept, what is asked again, and who waits.

use super::*;
use crate::dataverse::error::Kind;
use crate::dataverse::script::{Bench, answer, header, lost, refusal};
use serde_json::json;

type Scripted = Result<crate::outbound::transport::Response, crate::outbound::transport::TransportError>;

fn definition(column: &str, kind: &str) -> Scripted {
    let attribute = json!({"LogicalName": column, "AttributeType": kind, "IsValidForCreate": true});
    let definition = json!({
        "LogicalName": "account",
        "EntitySetName": "accounts",
        "PrimaryIdAttribute": "accountid",
        "Attributes": [attribute],
        "Keys": [],
        "ManyToOneRelationships": [],
        "ManyToManyRelationships": [],
    });
    answer(200, &[], &definition.to_string())
}

fn no_table() -> Scripted {
    refusal(404, "0x80060888", "Could not find an entity")
}

fn cache(answers: impl IntoIterator<Item = Scripted>) -> (Bench, SchemaCache) {
    let bench = Bench::new(answers);
    let cache = SchemaCache::new(bench.client.clone(), RECHECK);
    (bench, cache)
}

#[tokio::test]
async fn a_table_is_loaded_once_by_however_many_ask_at_once() {
    let (bench, cache) = cache([definition("name", "String")]);
    let call = bench.call();
    assert!(cache.peek("account").is_none());
    let all = futures_util::future::join_all((0..8).map(|_| cache.get(&call, "account"))).await;
    for schema in &all {
        assert_eq!(schema.as_ref().unwrap().entity_set, "accounts");
    }
    assert_eq!(bench.requests().len(), 1);
    assert!(cache.peek("account").is_some());
    assert!(bench.lines()[0].starts_with("GET EntityDefinitions(LogicalName='account')?$select=LogicalName,"));
}

#[tokio::test]
async fn nobody_waits_for_metadata_that_is_asked_for_again() {
    use futures_util::FutureExt;
    let (bench, cache) = cache([definition("name", "String")]);
    let call = bench.call();
    let schema = cache.get(&call, "account").await.unwrap();
    let slot = cache.slot("account").unwrap();
    let _refreshing = slot.lock().await;
    assert_eq!(cache.get(&call, "account").now_or_never().unwrap().unwrap(), schema);
    assert_eq!(cache.peek("account"), Some(schema));
    assert_eq!(bench.requests().len(), 1);
}

#[tokio::test]
async fn a_table_with_dates_costs_a_second_request() {
    let behaviors = json!({"value": [{"LogicalName": "day", "DateTimeBehavior": {"Value": "DateOnly"}}]});
    let (bench, cache) = cache([definition("day", "DateTime"), answer(200, &[], &behaviors.to_string())]);
    let schema = cache.get(&bench.call(), "account").await.unwrap();
    let day = crate::domain::schema::ColumnKind::DateTime(crate::domain::schema::DateBehavior::DateOnly);
    assert_eq!(schema.columns["day"].kind, day);
    assert_eq!(
        bench.lines()[1],
        "GET EntityDefinitions(LogicalName='account')/Attributes/Microsoft.Dynamics.CRM.DateTimeAttributeMetadata\
         ?$select=LogicalName,DateTimeBehavior"
    );
}

#[tokio::test]
async fn a_table_that_does_not_exist_is_asked_for_again_only_after_a_while() {
    let (bench, cache) = cache([no_table(), definition("name", "String")]);
    for _ in 0..3 {
        let error = cache.get(&bench.call(), "account").await.unwrap_err();
        assert_eq!(error.to_string(), "the environment has no table account");
    }
    assert_eq!(bench.requests().len(), 1);
    bench.clock.advance(RECHECK);
    assert!(cache.get(&bench.call(), "account").await.is_ok());
}

#[tokio::test]
async fn a_failed_load_is_not_kept() {
    let (bench, cache) = cache([lost(), definition("name", "String")]);
    let error = cache.get(&bench.call(), "account").await.unwrap_err();
    assert!(matches!(error, MetadataError::Request(error) if *error.kind() == Kind::Transient));
    assert!(cache.get(&bench.call(), "account").await.is_ok());
}

#[tokio::test]
async fn a_refresh_asks_at_most_once_in_a_while() {
    let (bench, cache) =
        cache([definition("name", "String"), definition("name", "String"), definition("other", "String"), no_table()]);
    cache.get(&bench.call(), "account").await.unwrap();
    assert_eq!(cache.refresh(&bench.call(), "account").await.unwrap(), Refreshed::TooSoon);
    for expected in [Refreshed::Same, Refreshed::Changed] {
        bench.clock.advance(RECHECK);
        assert_eq!(cache.refresh(&bench.call(), "account").await.unwrap(), expected);
        assert_eq!(cache.refresh(&bench.call(), "account").await.unwrap(), Refreshed::TooSoon);
    }
    assert_eq!(header(&bench.requests()[0], "consistency"), None);
    assert_eq!(header(&bench.requests()[1], "consistency"), Some("Strong"));
    assert!(cache.get(&bench.call(), "account").await.unwrap().columns.contains_key("other"));
    bench.clock.advance(RECHECK);
    assert!(cache.refresh(&bench.call(), "account").await.is_err());
    assert!(cache.get(&bench.call(), "account").await.is_err(), "a table that is gone is not kept");
}

#[tokio::test]
async fn entity_sets_are_asked_for_together_and_kept() {
    let sets = json!({"value": [
        {"LogicalName": "contact", "EntitySetName": "contacts"},
        {"LogicalName": "stranger", "EntitySetName": "strangers"},
    ]});
    let (bench, cache) = cache([definition("name", "String"), answer(200, &[], &sets.to_string())]);
    let names = |tables: &[&str]| tables.iter().map(|table| (*table).to_owned()).collect::<BTreeSet<_>>();
    cache.get(&bench.call(), "account").await.unwrap();
    let found = cache.entity_sets(&bench.call(), &names(&["account", "contact", "gone"])).await.unwrap();
    assert_eq!(found, [("account".into(), "accounts".into()), ("contact".into(), "contacts".into())].into());
    assert!(bench.lines()[1].ends_with("$filter=LogicalName eq 'contact' or LogicalName eq 'gone'"));
    cache.entity_sets(&bench.call(), &names(&["account", "contact"])).await.unwrap();
    assert_eq!(bench.requests().len(), 2);
}

#[tokio::test]
async fn what_is_no_logical_name_is_not_asked_for() {
    let (bench, cache) = cache([]);
    for bad in ["", "a'b", "Account", "a b", "../x", &"x".repeat(129)] {
        assert!(matches!(cache.get(&bench.call(), bad).await, Err(MetadataError::BadName { .. })), "{bad}");
        let tables = BTreeSet::from([bad.to_owned()]);
        assert!(matches!(cache.entity_sets(&bench.call(), &tables).await, Err(MetadataError::BadName { .. })));
    }
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn nobody_waits_for_a_load_longer_than_allowed() {
    let (bench, cache) = cache([definition("name", "String")]);
    let slot = cache.slot("account").unwrap();
    let guard = slot.lock().await;
    let error = cache.get(&Call::until(Duration::from_millis(1)), "account").await.unwrap_err();
    assert!(matches!(error, MetadataError::Request(error) if *error.kind() == Kind::OutOfTime));
    drop(guard);
    assert!(cache.get(&bench.call(), "account").await.is_ok());
}

#[tokio::test]
async fn a_missing_table_costs_one_request_for_its_entity_set_in_a_while() {
    let none = || answer(200, &[], r#"{"value":[]}"#);
    let (bench, cache) = cache([none(), none()]);
    let tables = BTreeSet::from(["gone".to_owned()]);
    for _ in 0..3 {
        assert!(cache.entity_sets(&bench.call(), &tables).await.unwrap().is_empty());
    }
    assert_eq!(bench.requests().len(), 1);
    bench.clock.advance(RECHECK);
    cache.entity_sets(&bench.call(), &tables).await.unwrap();
    assert_eq!(bench.requests().len(), 2);
}
