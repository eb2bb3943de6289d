//! Queries, pages and large texts against Azurite.

use super::{entity, key, world};
use dataverse_sync::tables::{EdmValue, Entity, Filter, Key, Op, Query, split};
use std::collections::BTreeSet;

#[tokio::test]
async fn pages_give_every_entity_once() {
    let world = world("pages");
    for hundred in 0..11 {
        let ops =
            (0..100).map(|n| Op::Insert(entity("p", &format!("{:04}", hundred * 100 + n)).with("a", n).with("b", "x")));
        world.table.transact(&key("p"), ops.collect()).await.unwrap();
    }
    world.table.insert(entity("q", "other")).await.unwrap();
    let query = |top, low: &str, high: &str| Query {
        filter: Filter::partition(&key("p")).row_from(&key(low)).row_before(&key(high)),
        select: vec!["a".to_owned()],
        top,
    };
    for (query, pages, expected) in
        [(query(None, "", "~"), 2, 1100), (query(Some(300), "0100", "1000"), 3, 900), (query(None, "2", "3"), 1, 0)]
    {
        let (mut seen, mut from, mut count) = (BTreeSet::new(), None, 0);
        loop {
            let page = world.table.query(&query, from.as_ref()).await.unwrap();
            count += 1;
            for entity in page.entities {
                assert!(entity.etag.is_some());
                assert_eq!(entity.properties.keys().collect::<Vec<_>>(), ["a"]);
                assert!(seen.insert(entity.row), "an entity came twice");
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!((seen.len(), count), (expected, pages));
    }
}

#[tokio::test]
async fn large_texts_fit_into_one_entity() {
    let world = world("large");
    for (row, length) in [("1", 10), ("2", 40_000), ("3", 100_000), ("4", 900 << 10)] {
        let text: String =
            (0..length).map(|n| char::from_u32(0x61 + (n % 9973 * (n % 9973) + n / 7) % 26).unwrap()).collect();
        let mut sent = entity("p", row);
        split::put(&mut sent.properties, "payload", &text).unwrap();
        world.table.transact(&key("p"), vec![Op::Insert(sent)]).await.unwrap();
        let seen = world.get("p", row).await.unwrap();
        assert_eq!(split::get(&seen, "payload").unwrap(), Some(text), "{length}");
    }
    let mut entity = entity("p", "binary");
    entity.properties.extend((0..15).map(|n| (format!("b{n}"), EdmValue::from(vec![7u8; 64 << 10]))));
    world.table.insert(entity.clone()).await.unwrap();
    assert_eq!(world.get("p", "binary").await.unwrap().properties, entity.properties);
}

#[tokio::test]
async fn rows_of_one_kind_are_found_and_no_others() {
    let world = world("kinds");
    let rows = [
        vec!["row"],
        vec!["event", "1"],
        vec!["event", ""],
        vec!["eventual", "1"],
        vec!["event-1"],
        vec!["link", "a", "b"],
    ];
    for parts in &rows {
        world.table.insert(Entity::new(key("p"), Key::join(parts).unwrap())).await.unwrap();
    }
    let query = Query::new(Filter::partition(&key("p")).rows_of("event").unwrap());
    let page = world.table.query(&query, None).await.unwrap();
    let found: Vec<_> = page.entities.iter().map(|entity| entity.row.parts().unwrap()).collect();
    assert_eq!(found, [vec!["event", ""], vec!["event", "1"]]);
}
