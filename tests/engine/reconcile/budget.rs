//! What a run costs, counted on the wire: pages of both sides, and one write for each row that differs. README's numbers per
//! 1,000 rows are these with pages of 5,000.

use super::twins::{Twins, id, options, table};
use dataverse_sync::operate::reconcile::Options;
use dataverse_sync::operate::reconcile::report::Method;
use serde_json::json;
use std::time::Duration;

const ACCOUNTS: &str = "version = 1\n[tables.account]\n";
const ROWS: u32 = 1_000;
const PAGE: u32 = 100;
/// Pages of either side.
const PAGES: u64 = 10;

/// A thousand rows on both sides; the target lacks ten of them and has other values in twenty.
fn world() -> Twins {
    let twins = Twins::new(ACCOUNTS);
    for n in 0..ROWS {
        twins.at_source("account", id(n), json!({"name": format!("A{n}")}));
        if n >= 10 {
            let name = if n < 30 { "by hand".to_owned() } else { format!("A{n}") };
            twins.at_target("account", id(n), json!({"name": name}));
        }
    }
    twins
}

/// What a run has cost: per side reads of many rows, reads of one, writes.
async fn cost(twins: &Twins, run: impl Future) -> [[u64; 3]; 2] {
    let before = twins.requests("account");
    run.await;
    let after = twins.requests("account");
    [0, 1].map(|side| [0, 1, 2].map(|what| after[side][what] - before[side][what]))
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reads_each_page_once_and_what_differs_once_more() {
    let twins = world();
    let options = Options { page_rows: PAGE, ..options() };
    let reconciler = twins.reconciler();
    let spent = cost(&twins, async {
        let found = reconciler.compare(&options, &|_| {}).await.unwrap();
        assert_eq!((table(&found, "account").missing, table(&found, "account").different), (10, 20));
    });
    // the second look: one request for the thirty ids to each side
    assert_eq!(spent.await, [[PAGES + 1, 0, 0], [PAGES + 1, 0, 0]]);
    twins.mend_all().await;
    let spent = cost(&twins, async { assert!(reconciler.compare(&options, &|_| {}).await.unwrap().is_equal()) });
    assert_eq!(spent.await, [[PAGES, 0, 0], [PAGES, 0, 0]]);
}

#[tokio::test(start_paused = true)]
async fn a_full_run_reads_the_source_twice_the_target_once_and_writes_each_difference_once() {
    let twins = world();
    let full = Options { full: true, page_rows: PAGE, ..options() };
    let spent = cost(&twins, async { assert!(twins.mend(&full).await.is_done()) }).await;
    // once more for the delta link
    assert_eq!(spent, [[2 * PAGES, 0, 0], [PAGES, 0, 30]]);
    let spent = cost(&twins, async { assert!(twins.mend(&full).await.is_done()) }).await;
    assert_eq!(spent, [[2 * PAGES, 0, 0], [PAGES, 0, 0]], "nothing differs any more");
}

#[tokio::test(start_paused = true)]
async fn a_round_of_changes_costs_one_request_to_the_source_and_two_for_each_four_hundred_rows_that_changed() {
    let twins = world();
    let changes = Options { page_rows: 5_000, ..options() };
    assert!(twins.mend(&changes).await.is_done());
    let spent = cost(&twins, async { assert!(twins.mend(&changes).await.is_done()) }).await;
    assert_eq!(spent, [[1, 0, 0], [0, 0, 0]], "nothing has changed");
    tokio::time::sleep(Duration::from_secs(60)).await;
    for n in 0..400 {
        twins.at_source("account", id(n), json!({"name": "changed"}));
    }
    let spent = cost(&twins, async {
        let mended = twins.mend(&changes).await;
        assert_eq!(table(&mended, "account").method, Method::Changes);
        assert!(mended.is_done(), "{mended:#?}");
    });
    // the ids, the rows as they are now on either side, and the writes
    assert_eq!(spent.await, [[2, 0, 0], [1, 0, 400]]);
}
