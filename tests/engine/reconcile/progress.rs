//! What is told while a run goes on.

use super::twins::{Twins, id, options};
use dataverse_sync::operate::reconcile::progress::{Progress, WAITING};
use dataverse_sync::operate::reconcile::stop::Stop;
use dataverse_sync::operate::reconcile::{Options, Reconciler};
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use serde_json::json;
use std::sync::Mutex;
use std::time::Duration;

const ACCOUNTS: &str = "version = 1\n[tables.account]\n";
const SECOND: Duration = Duration::from_secs(1);

/// A source that takes a second for a page.
fn world() -> Twins {
    let twins = Twins::new(ACCOUNTS);
    for n in 0..200 {
        twins.both("account", id(n), json!({"name": "A"}));
    }
    let slow = Effect::Slow { before: SECOND, after: Duration::ZERO };
    twins.source.faults().add(Rule::new(When::Always, slow).table("account"));
    twins
}

/// What is told of a run, and whether it was one that compares only.
async fn told(reconciler: &Reconciler, options: &Options, dry: bool) -> Vec<Progress> {
    let told = Mutex::new(Vec::new());
    let watch = |progress: &Progress| told.lock().unwrap().push(progress.clone());
    if dry {
        reconciler.compare(options, &watch).await.unwrap();
    } else {
        assert!(reconciler.mend(options, &watch).await.unwrap().is_done());
    }
    told.into_inner().unwrap()
}

/// A step tells how many there are, how fast it is, and how long it takes still.
fn assert_told(told: &[Progress], step: &str, total: u64) {
    let of_step: Vec<&Progress> = told.iter().filter(|progress| progress.step == step).collect();
    assert!(of_step.iter().any(|progress| progress.total == Some(total)), "{step} of {total}: {told:#?}");
    let half = of_step.iter().find(|progress| progress.rows > 0 && progress.rows < total);
    let half = half.unwrap_or_else(|| panic!("{step}: nothing between beginning and end: {told:#?}"));
    assert!(half.per_second > 0.0 && half.left.is_some_and(|left| !left.is_zero()), "{half:?}");
}

#[tokio::test(start_paused = true)]
async fn rate_and_time_left_are_told_in_dry_runs_full_runs_and_rounds_of_changes() {
    let twins = world();
    let reconciler = twins.reconciler();
    let pages = Options { page_rows: 20, ..options() };
    assert_told(&told(&reconciler, &pages, true).await, "comparing", 200);
    let full = told(&reconciler, &Options { full: true, ..pages.clone() }, false).await;
    assert_told(&full, "tracking", 200);
    assert_told(&full, "comparing", 200);
    tokio::time::sleep(60 * SECOND).await;
    for n in 0..1_200 {
        twins.at_source("account", id(n), json!({"name": "B"}));
    }
    // all changes fit on one page, so their number is known
    let changes = told(&reconciler, &Options { page_rows: 5_000, ..options() }, false).await;
    assert_told(&changes, "changes", 1_200);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_table_says_so_and_not_for_long_after_a_kill() {
    let twins = world();
    let full = Options { full: true, page_rows: 20, ..options() };
    // killed in the middle of it: its table stays taken
    assert!(tokio::time::timeout(5 * SECOND, twins.mend(&full)).await.is_err());
    let began = tokio::time::Instant::now();
    let progress = told(&twins.reconciler(), &full, false).await;
    let waiting = progress.iter().filter(|progress| progress.step == WAITING).count();
    assert!(waiting > 0 && began.elapsed() < 60 * SECOND, "{:?} {progress:#?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_asked_to_stop_gives_its_table_back_and_the_next_goes_on_at_once() {
    let twins = world();
    let stop = Stop::default();
    let full = Options { full: true, page_rows: 20, stop: stop.clone(), ..options() };
    let ask = async {
        tokio::time::sleep(14 * SECOND).await;
        stop.ask();
    };
    let (stopped, ()) = futures_util::future::join(twins.mend(&full), ask).await;
    let told_so = stopped.stopped.as_deref().unwrap_or_default();
    assert!(told_so.starts_with("somebody asked for it, in the middle of account"), "{stopped:#?}");
    assert!(!stopped.is_done());
    let rest = told(&twins.reconciler(), &Options { stop: Stop::default(), ..full }, false).await;
    assert!(rest.iter().all(|progress| progress.step == "comparing"), "{rest:#?}");
    assert!(rest[0].rows > 0, "it goes on where it was: {rest:#?}");
    twins.assert_equal(&["account"]);
}
