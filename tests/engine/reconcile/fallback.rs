//! An environment that sorts ids in another way than is assumed: runs notice, look rows up instead of merging, and find and
//! mend the same.

use super::twins::{Twins, id, options, table};
use dataverse_sync::operate::reconcile::Options;
use serde_json::json;
use std::time::Duration;

const ACCOUNTS: &str = "version = 1\n[tables.account]\n";
const ROWS: u32 = 900;
const SECOND: Duration = Duration::from_secs(1);

/// Rows on both sides, of which the target lacks some, has some more, and others differ.
fn world(source_as_text: bool, target_as_text: bool) -> Twins {
    let set = |as_text| move |settings: &mut dataverse_sync::sim::dataverse::Settings| settings.sorts_as_text = as_text;
    let twins = Twins::set(ACCOUNTS, set(source_as_text), set(target_as_text));
    for n in 0..ROWS {
        twins.at_source("account", id(n), json!({"name": format!("A{n}")}));
        if n % 90 != 7 {
            let name = if n % 90 == 8 { "by hand".to_owned() } else { format!("A{n}") };
            twins.at_target("account", id(n), json!({"name": name}));
        }
    }
    for n in 0..5 {
        twins.at_target("account", id(5_000 + n), json!({"name": "extra"}));
    }
    twins
}

#[tokio::test(start_paused = true)]
async fn a_side_that_sorts_otherwise_is_looked_up_and_nothing_is_missed() {
    for (source, target) in [(true, false), (false, true), (true, true)] {
        let twins = world(source, target);
        let options = Options { page_rows: 300, ..options() };
        let found = twins.reconciler().compare(&options, &|_| {}).await.unwrap();
        let accounts = table(&found, "account");
        assert_eq!((accounts.missing, accounts.extra, accounts.different), (10, 5, 10), "{accounts:#?}");
        assert_eq!((accounts.source_rows, accounts.equal), (u64::from(ROWS), 880), "{accounts:#?}");
        let mended = twins.mend(&Options { delete_extra: true, full: true, ..options.clone() }).await;
        assert!(mended.is_done(), "{mended:#?}");
        let accounts = table(&mended, "account");
        let done = ["created", "deleted", "updated"].map(|what| accounts.done[&format!("applied: {what}")]);
        assert_eq!(done, [10, 5, 10], "{accounts:#?}");
        twins.assert_equal(&["account"]);
        let equal = twins.reconciler().compare(&options, &|_| {}).await.unwrap();
        assert!(equal.is_equal(), "{equal:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn looking_up_costs_a_request_for_each_four_hundred_rows() {
    let twins = world(false, true);
    let options = Options { page_rows: 5_000, second_look: Duration::ZERO, ..options() };
    twins.reconciler().compare(&options, &|_| {}).await.unwrap();
    let [source, target] = twins.requests("account");
    // a page of each, out of order; then a page here and its 900 ids there, and the other way round; and the second look:
    // 20 ids here and there, 5 extra ones here and there
    assert_eq!((source[0], target[0]), (1 + 1 + 3 + 2, 1 + 3 + 1 + 2), "{source:?} {target:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_looks_rows_up_goes_on_where_it_was() {
    let twins = world(true, false);
    let slow = dataverse_sync::sim::dataverse::Effect::Slow { before: SECOND / 2, after: SECOND / 2 };
    twins
        .target
        .faults()
        .add(dataverse_sync::sim::dataverse::Rule::new(dataverse_sync::sim::dataverse::When::Always, slow));
    let full = Options { full: true, delete_extra: true, page_rows: 60, ..options() };
    let mut kills = 0;
    let last = loop {
        match tokio::time::timeout(20 * SECOND, twins.mend(&full)).await {
            Ok(report) => break report,
            Err(_) => kills += 1,
        }
        assert!(kills < 20, "it begins anew each time");
        tokio::time::sleep(200 * SECOND).await;
    };
    assert!(kills > 2 && last.is_done() && table(&last, "account").resumed, "{kills} {last:#?}");
    twins.target.faults().clear();
    twins.assert_equal(&["account"]);
}
