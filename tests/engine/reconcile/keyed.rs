//! Tables that the target knows by an alternate key: deletes, and which row of the target is whose.

use super::twins::{Twins, id, options, table};
use crate::engine::world::{decoded, delivery};
use dataverse_sync::operate::reconcile::Options;
use dataverse_sync::operate::reconcile::report::Method;
use dataverse_sync::sync::HandleEvent;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const KEYED: &str = "version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Name and phone by key, on both sides alike.
fn assert_same_rows(twins: &Twins) {
    let rows = |side: &dataverse_sync::sim::dataverse::Environment| -> BTreeMap<String, String> {
        let rows = side.rows("account");
        let cells = |names: [&str; 2], row: &dataverse_sync::sim::dataverse::Row| {
            names.map(|name| format!("{:?}", row.get(name))).join(" ")
        };
        let by_key: BTreeMap<_, _> = rows
            .values()
            .map(|row| (format!("{:?}", row.get("accountnumber")), cells(["name", "telephone1"], row)))
            .collect();
        assert_eq!(by_key.len(), rows.len(), "two rows with one key");
        by_key
    };
    assert_eq!(rows(&twins.target), rows(&twins.source));
}

async fn deliver(twins: &Twins) {
    let instance = twins.instance();
    for event in twins.collector.take() {
        instance.handle(decoded(&event), &delivery(1)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_in_tables_known_by_key_are_found_through_the_ledger() {
    let twins = Twins::new(KEYED);
    // one by a live event, one made by a run, one that both sides had with GUIDs of their own
    twins.at_source("account", id(1), json!({"name": "A", "accountnumber": "A"}));
    deliver(&twins).await;
    twins.at_source("account", id(2), json!({"name": "B", "accountnumber": "B"}));
    twins.at_source("account", id(3), json!({"name": "C", "accountnumber": "C"}));
    twins.at_target("account", id(103), json!({"name": "C", "accountnumber": "c"}));
    let late = twins.collector.take();
    let first = twins.mend(&options()).await;
    assert!(first.is_done() && table(&first, "account").adopted == 1, "{first:#?}");
    tokio::time::sleep(60 * SECOND).await;
    // the ledger has never seen this one
    twins.at_source("account", id(4), json!({"name": "D", "accountnumber": "D"}));
    twins.at_target("account", id(104), json!({"name": "D", "accountnumber": "D"}));
    for n in 1..=4 {
        twins.gone(&twins.source, "account", id(n));
    }
    let second = twins.mend(&options()).await;
    let accounts = table(&second, "account");
    assert_eq!((accounts.method, accounts.extra), (Method::Changes, 3), "{accounts:#?}");
    assert_eq!(accounts.done["applied: deleted"], 3, "{accounts:#?}");
    let cannot = &accounts.cannot["deleted_by_key: (row)"];
    assert_eq!((cannot.rows, cannot.example), (1, id(4)));
    assert_eq!(twins.target.rows("account").keys().collect::<Vec<_>>(), [&id(104)]);
    // what happened before the delete comes too late
    for event in &late {
        twins.instance().handle(decoded(event), &delivery(1)).await.unwrap();
    }
    assert_eq!(twins.target.rows("account").len(), 1);
    // it comes once: the ledger knows that they are gone
    for n in [1, 2, 3] {
        assert!(twins.known("account", id(n)).await.unwrap().is_deleted(), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_deleted_and_made_anew_before_the_run_looks_stays() {
    let twins = Twins::new(KEYED);
    twins.at_source("account", id(1), json!({"name": "A", "accountnumber": "A"}));
    assert!(twins.mend(&options()).await.is_done());
    tokio::time::sleep(60 * SECOND).await;
    twins.gone(&twins.source, "account", id(1));
    // another row has its key now
    twins.at_source("account", id(2), json!({"name": "B", "accountnumber": "A"}));
    twins.mend(&options()).await;
    twins.sweep_up().await;
    assert_same_rows(&twins);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_row_that_was_learnt_is_not_given_to_another() {
    let twins = Twins::new(KEYED);
    twins.at_source("account", id(1), json!({"name": "A", "accountnumber": "K"}));
    twins.at_target("account", id(101), json!({"name": "A", "accountnumber": "K"}));
    let _ = twins.collector.take();
    let learnt = twins.mend_all().await;
    assert_eq!(table(&learnt, "account").adopted, 1, "{learnt:#?}");
    tokio::time::sleep(60 * SECOND).await;
    twins.at_source("account", id(1), json!({"accountnumber": "K2"}));
    twins.at_source("account", id(2), json!({"name": "B", "accountnumber": "K"}));
    let events = twins.collector.take();
    let instance = twins.instance();
    // the new owner of the key comes first
    for event in events.iter().rev() {
        instance.handle(decoded(event), &delivery(1)).await.unwrap();
    }
    twins.sweep_up().await;
    assert_same_rows(&twins);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_that_the_ledger_knows_better_is_not_followed() {
    for name in ["A", "B"] {
        let twins = Twins::new(KEYED);
        twins.at_source("account", id(2), json!({"name": "B", "telephone1": "2", "accountnumber": "K"}));
        deliver(&twins).await;
        tokio::time::sleep(10 * SECOND).await;
        // the rename is lost; the key is another row's now, which the target seems to have
        twins.at_source("account", id(2), json!({"accountnumber": "K2"}));
        twins.at_source("account", id(1), json!({"name": name, "telephone1": "2", "accountnumber": "K"}));
        let _ = twins.collector.take();
        tokio::time::sleep(60 * SECOND).await;
        twins.mend(&Options { full: true, ..options() }).await;
        twins.sweep_up().await;
        assert_same_rows(&twins);
    }
}

#[tokio::test(start_paused = true)]
async fn the_pointer_of_a_key_is_purged_long_after_the_row_let_it_go_and_the_key_is_free() {
    let twins = Twins::new(KEYED);
    twins.at_source("account", id(1), json!({"name": "A", "accountnumber": "K1"}));
    twins.at_source("account", id(2), json!({"name": "B", "accountnumber": "L"}));
    tokio::time::sleep(10 * SECOND).await;
    twins.at_source("account", id(1), json!({"accountnumber": "K2"}));
    twins.gone(&twins.source, "account", id(2));
    deliver(&twins).await;
    let pointer = |key: &str| {
        use dataverse_sync::domain::value::{KeyPart, RowRef};
        let key = RowRef::Key([("accountnumber".to_owned(), KeyPart::Text(key.to_owned()))].into());
        dataverse_sync::domain::partition::Partition::of("account", &key).key().to_owned()
    };
    let is_there = async |key: &str| {
        use dataverse_sync::ledger::store::Store;
        twins.ledger.read(&pointer(key), "event:").await.unwrap().row.is_some()
    };
    tokio::time::sleep(DAY * 170).await;
    twins.sweep_up().await;
    assert!(is_there("K1").await && is_there("K2").await && is_there("L").await);
    tokio::time::sleep(DAY * 20).await;
    twins.sweep_up().await;
    assert!(!is_there("K1").await && is_there("K2").await && !is_there("L").await);
    twins.at_source("account", id(3), json!({"name": "C", "accountnumber": "K1"}));
    twins.at_source("account", id(1), json!({"name": "A2"}));
    deliver(&twins).await;
    assert_same_rows(&twins);
}

/// A row that the target has under its old key; `learnt`: the ledger knows it. Another one is really extra.
async fn under_old_key(learnt: bool) -> Twins {
    let twins = Twins::new(KEYED);
    twins.at_source("account", id(1), json!({"name": "A", "telephone1": "1", "accountnumber": "K1"}));
    // without a ledger that knows it, only the same GUID tells that it is the same row
    let there = if learnt { id(101) } else { id(1) };
    twins.at_target("account", there, json!({"name": "A", "telephone1": "1", "accountnumber": "K1"}));
    if learnt {
        assert!(twins.mend(&options()).await.is_done());
    }
    tokio::time::sleep(60 * SECOND).await;
    twins.at_source("account", id(1), json!({"accountnumber": "K2"}));
    twins.at_target("account", id(109), json!({"name": "A", "telephone1": "1", "accountnumber": "K9"}));
    let _ = twins.collector.take();
    tokio::time::sleep(60 * SECOND).await;
    twins
}

#[tokio::test(start_paused = true)]
async fn a_row_under_its_old_key_is_one_line_and_is_renamed_and_never_deleted() {
    for learnt in [true, false] {
        let twins = under_old_key(learnt).await;
        let there = if learnt { id(101) } else { id(1) };
        let found = twins.compare().await;
        let accounts = table(&found, "account");
        assert_eq!((accounts.missing, accounts.extra, accounts.key_changed), (0, 1, 1), "{learnt} {accounts:#?}");
        assert_eq!((&accounts.key_changed_examples, &accounts.extra_examples), (&vec![id(1)], &vec![id(109)]));
        assert!(!found.is_equal());
        // nothing can be written for a while: what waits to be renamed is not taken for extra
        let down =
            dataverse_sync::sim::dataverse::Effect::Status { status: 503, code: String::new(), retry_after: None };
        let updates = dataverse_sync::sim::dataverse::Rule::new(dataverse_sync::sim::dataverse::When::Always, down);
        twins.target.faults().add(updates.method(http::Method::PATCH));
        let mended = twins.mend(&Options { full: true, delete_extra: true, ..options() }).await;
        assert_eq!(table(&mended, "account").extra, 1, "{mended:#?}");
        twins.target.faults().clear();
        twins.sweep_up().await;
        assert_eq!(twins.target.rows("account").keys().collect::<Vec<_>>(), [&there], "{learnt}");
        assert_same_rows(&twins);
        assert!(twins.compare().await.is_equal());
        // the ledger knows it from then on
        tokio::time::sleep(10 * SECOND).await;
        twins.at_source("account", id(1), json!({"accountnumber": "K3"}));
        deliver(&twins).await;
        assert_same_rows(&twins);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_with_the_same_guid_that_is_another_rows_by_its_key_is_not_renamed() {
    let twins = Twins::new(KEYED);
    twins.at_source("account", id(2), json!({"name": "B", "accountnumber": "K1"}));
    twins.at_source("account", id(1), json!({"name": "A", "accountnumber": "K2"}));
    twins.at_target("account", id(1), json!({"name": "B", "accountnumber": "K1"}));
    let found = twins.compare().await;
    let accounts = table(&found, "account");
    assert_eq!((accounts.missing, accounts.key_changed, accounts.equal), (1, 0, 1), "{accounts:#?}");
    twins.mend_all().await;
    twins.sweep_up().await;
    assert_same_rows(&twins);
}
