//! Entity group transactions against Azurite: all or nothing, and which operation failed.

use super::{entity, key, other_etag, world};
use dataverse_sync::tables::{Filter, Op, Query, TablesError, When};

/// A transaction of five kinds of operation on rows that were prepared for it, one of them made to fail.
#[tokio::test]
async fn a_transaction_fails_as_a_whole_and_names_the_operation() {
    let world = world("transactions");
    let table = &world.table;
    for bad in 0..5_usize {
        let partition = format!("p{bad}");
        let mut etags = Vec::new();
        for row in ["merge", "replace", "delete", "taken"] {
            etags.push(table.insert(entity(&partition, row).with("a", 1)).await.unwrap());
        }
        let when = |at: usize, index: usize| When::Is(if at == bad { other_etag() } else { etags[index].clone() });
        let ops = vec![
            Op::Insert(entity(&partition, if bad == 0 { "taken" } else { "new" })),
            Op::Merge(entity(&partition, "merge").with("a", 2), when(1, 0)),
            Op::Replace(entity(&partition, "replace").with("a", 2), when(2, 1)),
            Op::Delete(key(&partition), key("delete"), when(3, 2)),
            Op::Merge(
                entity(&partition, if bad == 4 { "missing" } else { "free" }),
                if bad == 4 { When::Exists } else { When::Always },
            ),
        ];
        let error = table.transact(&key(&partition), ops).await.unwrap_err();
        assert_eq!(error.index(), Some(bad), "{error:?}");
        let expected = match bad {
            0 => matches!(error, TablesError::Conflict { .. }),
            4 => matches!(error, TablesError::NotFound { .. }),
            _ => matches!(error, TablesError::Stale { .. }),
        };
        assert!(expected, "{bad}: {error:?}");
        let page = table.query(&Query::new(Filter::partition(&key(&partition))), None).await.unwrap();
        assert_eq!(page.entities.len(), 4, "nothing was written");
        assert!(page.entities.iter().all(|entity| entity.integer("a") == Some(1)), "nothing was changed");
    }
}

#[tokio::test]
async fn a_transaction_gives_the_new_versions_in_order() {
    let world = world("versions");
    let first = world.table.insert(entity("p", "b")).await.unwrap();
    world.table.insert(entity("p", "c")).await.unwrap();
    let ops = vec![
        Op::Insert(entity("p", "a")),
        Op::Merge(entity("p", "b").with("x", 1), When::Is(first)),
        Op::Delete(key("p"), key("c"), When::Always),
        Op::Replace(entity("p", "d"), When::Always),
    ];
    let etags = world.table.transact(&key("p"), ops).await.unwrap();
    assert_eq!(etags.len(), 4);
    for (row, etag) in ["a", "b", "c", "d"].iter().zip(etags) {
        assert_eq!(world.get("p", row).await.and_then(|entity| entity.etag), etag, "{row}");
    }
}

#[tokio::test]
async fn a_hundred_operations_are_one_transaction() {
    let world = world("hundred");
    world.table.create_table_if_missing().await.unwrap();
    world.faulty.calls();
    let ops = (0..100).map(|number| Op::Insert(entity("p", &format!("{number:03}")))).collect();
    assert_eq!(world.table.transact(&key("p"), ops).await.unwrap().len(), 100);
    assert_eq!(world.faulty.calls(), 1);
}

#[tokio::test]
async fn one_of_two_who_write_the_same_version_wins() {
    let world = world("racing");
    let etag = world.table.insert(entity("p", "row")).await.unwrap();
    let claim = |owner: &'static str| {
        let row = Op::Merge(entity("p", "row").with("owner", owner), When::Is(etag.clone()));
        world.table.transact(&world.partition, vec![row, Op::Insert(entity("p", &format!("event:{owner}")))])
    };
    let results = futures_util::future::join_all(["a", "b", "c", "d"].map(claim)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(
        results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .all(|e| matches!(e, TablesError::Stale { index: Some(0) }))
    );
    let page = world.table.query(&Query::new(Filter::partition(&world.partition)), None).await.unwrap();
    assert_eq!(page.entities.len(), 2);
}
