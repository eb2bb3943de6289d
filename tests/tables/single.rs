//! Single operations against Azurite: types, missing tables, conditions, odd keys.

use super::{entity, key, other_etag, world};
use chrono::DateTime;
use dataverse_sync::tables::{Etag, Filter, Op, Query, TablesError, When, keys};

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let world = world("types");
    let time = DateTime::from_timestamp(1_768_471_200, 123_456_700).unwrap();
    let mut sent = entity("p", "r")
        .with("text", "a\"b\\c\n{}\u{1F3BC} http://x --batch_")
        .with("empty", "")
        .with("small", -7)
        .with("large", 9_007_199_254_740_993_i64)
        .with("yes", true)
        .with("time", time)
        .with("whole", 2.0)
        .with("tiny", -1.5e-300)
        .with("infinite", f64::INFINITY)
        .with("bytes", vec![0u8, 255, 10]);
    let etag = world.table.insert(sent.clone()).await.unwrap();
    sent.etag = Some(etag);
    assert_eq!(world.get("p", "r").await.unwrap(), sent);
    let page = world.table.query(&Query::new(Filter::partition(&key("p"))), None).await.unwrap();
    assert_eq!(page.entities, [sent.clone()]);
    let mut again = sent.clone();
    again.row = key("batch");
    let etags = world.table.transact(&key("p"), vec![Op::Insert(again.clone())]).await.unwrap();
    again.etag.clone_from(&etags[0]);
    assert_eq!(world.get("p", "batch").await.unwrap(), again);
}

#[tokio::test]
async fn a_missing_table_is_created_by_whoever_misses_it() {
    let reads = world("missingread");
    assert_eq!(reads.get("p", "r").await, None);
    assert_eq!(reads.faulty.calls(), 3);
    let queries = world("missingquery");
    assert!(queries.table.query(&Query::default(), None).await.unwrap().entities.is_empty());
    let writes = world("missingwrite");
    writes.table.merge(entity("p", "r"), When::Always).await.unwrap();
    assert_eq!(writes.faulty.calls(), 3);
    let transactions = world("missingbatch");
    transactions.table.transact(&key("p"), vec![Op::Insert(entity("p", "r"))]).await.unwrap();
    transactions.table.create_table_if_missing().await.unwrap();
    let conditional = world("missingdelete");
    let error = conditional.table.delete(&key("p"), &key("r"), When::Always).await.unwrap_err();
    assert!(matches!(error, TablesError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn an_insert_finds_the_keys_taken() {
    let world = world("inserts");
    world.table.insert(entity("p", "r").with("a", 1)).await.unwrap();
    let error = world.table.insert(entity("p", "r").with("a", 2)).await.unwrap_err();
    assert!(matches!(error, TablesError::Conflict { index: None }), "{error:?}");
    assert_eq!(world.get("p", "r").await.unwrap().integer("a"), Some(1));
}

#[tokio::test]
async fn conditions_hold_for_every_kind_of_write() {
    let world = world("conditions");
    let table = &world.table;
    let is = |etag: &Etag| When::Is(etag.clone());
    let (p, r) = (key("p"), key("r"));

    for error in [
        table.merge(entity("p", "r"), When::Exists).await.unwrap_err(),
        table.replace(entity("p", "r"), When::Exists).await.unwrap_err(),
        table.merge(entity("p", "r"), When::Is(other_etag())).await.unwrap_err(),
        table.delete(&p, &r, When::Exists).await.unwrap_err(),
    ] {
        assert!(matches!(error, TablesError::NotFound { .. }), "{error:?}");
    }

    let first = table.replace(entity("p", "r").with("a", 1).with("b", 1), When::Always).await.unwrap();
    let second = table.merge(entity("p", "r").with("a", 2), is(&first)).await.unwrap();
    assert_ne!(first, second);
    for error in [
        table.merge(entity("p", "r").with("a", 9), is(&first)).await.unwrap_err(),
        table.replace(entity("p", "r").with("a", 9), is(&first)).await.unwrap_err(),
        table.delete(&p, &r, is(&first)).await.unwrap_err(),
    ] {
        assert!(matches!(error, TablesError::Stale { index: None }), "{error:?}");
    }
    let merged = world.get("p", "r").await.unwrap();
    assert_eq!((merged.integer("a"), merged.integer("b")), (Some(2), Some(1)));
    assert_eq!(merged.etag.as_ref(), Some(&second));

    let third = table.replace(entity("p", "r").with("a", 3), is(&second)).await.unwrap();
    let replaced = world.get("p", "r").await.unwrap();
    assert_eq!((replaced.integer("a"), replaced.integer("b")), (Some(3), None));
    table.delete(&p, &r, is(&third)).await.unwrap();
    assert_eq!(world.get("p", "r").await, None);
}

#[tokio::test]
async fn odd_keys_are_neither_confused_nor_refused() {
    let world = world("oddkeys");
    // as the service stores them: quotes, percent signs, spaces, case, what looks like our own syntax
    let raw = ["a'b", "a''b", "a%27b", "a b", "a+b", "A'b", "a&b=c", "é", "e\u{301}", "\u{1F3BC}", "a:b", "~41"];
    // any text, by our encoding
    let encoded = [
        "/",
        "\\",
        "#",
        "?",
        "\u{0}\n\u{7f}",
        "..",
        "x/../y",
        "ключ",
        "''",
        "%2F",
        "{}",
        "--changeset_",
        "a',RowKey='",
    ];
    let encoded = encoded.iter().map(|text| keys::encode(text));
    let all: Vec<String> = raw.iter().map(|text| (*text).to_owned()).chain(encoded).collect();
    for (number, text) in all.iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        let (partition, row) = (format!("p{text}"), text.as_str());
        world.table.insert(entity(&partition, row).with("number", number)).await.unwrap();
        let seen = world.get(&partition, row).await.unwrap_or_else(|| panic!("{text:?} is not found"));
        assert_eq!(seen.integer("number"), Some(number), "{text:?}");
        assert_eq!((seen.partition.as_str(), seen.row.as_str()), (partition.as_str(), row));
        let merged =
            world.table.merge(entity(&partition, row).with("merged", true), When::Is(seen.etag.unwrap())).await;
        let ops = vec![Op::Replace(entity(&partition, row).with("number", number), When::Is(merged.unwrap()))];
        world.table.transact(&key(&partition), ops).await.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let query = Query::new(Filter::partition(&key(&partition)).row(&key(row)));
        assert_eq!(world.table.query(&query, None).await.unwrap().entities.len(), 1, "{text:?}");
    }
    let page = world.table.query(&Query::default(), None).await.unwrap();
    assert_eq!(page.entities.len(), all.len());
    for text in &all {
        world.table.delete(&key(&format!("p{text}")), &key(text), When::Exists).await.unwrap();
    }
    assert!(world.table.query(&Query::default(), None).await.unwrap().entities.is_empty());
}
