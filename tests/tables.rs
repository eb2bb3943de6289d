//! The table client against Azurite: every operation, odd keys, conditions, transactions, lost answers, pages, large texts.

use crate::support::azurite::Azurite;
use crate::support::faulty::{Fault, Faulty};
use bytes::Bytes;
use chrono::DateTime;
use dataverse_sync::clock::SystemClock;
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::outbound::transport::{Response, Transport};
use dataverse_sync::secret::Secret;
use dataverse_sync::tables::{
    Auth, Connection, EdmValue, Entity, Etag, Filter, Key, Op, Proof, Query, SharedKey, TableClient, TableLimits,
    TablesError, When, keys, split,
};
use http::{HeaderMap, StatusCode};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A client for a table of its own, which does not exist yet.
struct World {
    table: TableClient,
    faulty: Arc<Faulty>,
    _azurite: Arc<Azurite>,
}

fn world(table: &str) -> World {
    let azurite = Azurite::shared();
    let connection = Connection::parse(&azurite.connection()).unwrap();
    let Proof::SharedKey(key) = connection.proof else { panic!("no shared key") };
    let faulty = Faulty::new(Arc::new(ReqwestTransport::default()));
    let table = client(&connection.endpoint, table, Auth::SharedKey(key), Arc::clone(&faulty) as _);
    World { table, faulty, _azurite: azurite }
}

fn client(endpoint: &str, table: &str, auth: Auth, transport: Arc<dyn Transport>) -> TableClient {
    TableClient::new(endpoint, table, auth, transport, Arc::new(SystemClock::default()), TableLimits::default())
        .unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn entity(partition: &str, row: &str) -> Entity {
    Entity::new(key(partition), key(row))
}

fn other_etag() -> Etag {
    Etag::new("W/\"datetime'2001-01-01T00%3A00%3A00.0000000Z'\"").unwrap()
}

impl World {
    async fn get(&self, partition: &str, row: &str) -> Option<Entity> {
        self.table.get(&key(partition), &key(row)).await.unwrap()
    }
}

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
async fn a_write_whose_answer_is_lost_is_unknown_and_sent_once() {
    let world = world("lost");
    world.table.create_table_if_missing().await.unwrap();
    world.faulty.calls();

    world.faulty.plan([Fault::LoseAnswer]);
    let error = world.table.insert(entity("p", "r").with("owner", "me")).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 1);
    let seen = world.get("p", "r").await.unwrap();
    assert_eq!(seen.text("owner"), Some("me"), "reading back tells whose write it was");
    world.faulty.calls();

    world.faulty.plan([Fault::LoseAnswer]);
    let merge = Op::Merge(entity("p", "r").with("owner", "me again"), When::Is(seen.etag.unwrap()));
    let error = world.table.transact(&key("p"), vec![merge.clone(), Op::Insert(entity("p", "s"))]).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 1);
    assert_eq!(world.get("p", "r").await.unwrap().text("owner"), Some("me again"));
    let again = world.table.transact(&key("p"), vec![merge, Op::Insert(entity("p", "s"))]).await.unwrap_err();
    assert!(matches!(again, TablesError::Stale { index: Some(0) }), "{again:?}");

    world.faulty.plan([Fault::LoseAnswer]);
    assert!(world.table.delete(&key("p"), &key("s"), When::Exists).await.is_err());
    assert_eq!(world.get("p", "s").await, None);
}

#[tokio::test]
async fn a_write_that_was_not_sent_had_no_effect() {
    let world = world("notsent");
    world.table.create_table_if_missing().await.unwrap();
    world.faulty.plan([Fault::NotSent]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::NotSent { .. }), "{error:?}");
    assert_eq!(world.get("p", "r").await, None);
}

fn answered(status: StatusCode, headers: &[(&'static str, &str)]) -> Fault {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Fault::Answer(Response { status, headers, body: Bytes::new() })
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered_but_not_for_ever() {
    let world = world("reads");
    world.table.insert(entity("p", "r")).await.unwrap();
    world.faulty.calls();
    let busy = || answered(StatusCode::SERVICE_UNAVAILABLE, &[("x-ms-error-code", "ServerBusy")]);
    world.faulty.plan([Fault::LoseAnswer, busy()]);
    assert!(world.get("p", "r").await.is_some());
    assert_eq!(world.faulty.calls(), 3);
    world.faulty.plan([Fault::NotSent, Fault::NotSent, busy()]);
    let error = world.table.get(&key("p"), &key("r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Busy { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 3);
}

#[tokio::test]
async fn a_busy_service_says_how_long_and_a_broken_gateway_says_nothing() {
    let world = world("busy");
    let busy = answered(StatusCode::SERVICE_UNAVAILABLE, &[("x-ms-error-code", "ServerBusy"), ("retry-after", "7")]);
    world.faulty.plan([busy]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Busy { after: Some(after) } if after.as_secs() == 7), "{error:?}");
    world.faulty.plan([answered(StatusCode::BAD_GATEWAY, &[])]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    world.faulty.plan([answered(StatusCode::ACCEPTED, &[])]);
    let error = world.table.transact(&key("p"), vec![Op::Insert(entity("p", "r"))]).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "an empty success is none: {error:?}");
}

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
async fn a_wrong_key_is_a_rejection_and_not_a_missing_row() {
    let azurite = Azurite::shared();
    let key = SharedKey::new("devstoreaccount1", Secret::new("d3Jvbmc=")).unwrap();
    let table = client(&azurite.endpoint(), "wrongkey", Auth::SharedKey(key), Arc::new(ReqwestTransport::default()));
    let error = table.get(&self::key("p"), &self::key("r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Rejected { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = SharedKey::new("devstoreaccount1", Secret::new("d3Jvbmc=")).unwrap();
    let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
    let table = client(&endpoint, "nobody", Auth::SharedKey(key), Arc::new(ReqwestTransport::default()));
    let error = table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::NotSent { .. }), "{error:?}");
}
