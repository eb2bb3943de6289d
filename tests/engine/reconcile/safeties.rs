//! What a reconciliation must never do, and what it must not forget.

use super::twins::{PLAIN, Twins, id, options, table};
use crate::engine::world::{decoded, delivery};
use dataverse_sync::operate::reconcile::Options;
use dataverse_sync::operate::reconcile::report::Method;
use dataverse_sync::sim::dataverse::{Cell, Effect, Rule, When};
use dataverse_sync::sync::HandleEvent;
use http::Method as Verb;
use serde_json::json;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn text(twins: &Twins, n: u32) -> Option<String> {
    match twins.target.row("account", id(n))?.get("name") {
        Some(Cell::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_after_the_first_look_is_not_undone() {
    let twins = Twins::new(PLAIN);
    twins.at_source("account", id(1), json!({"name": "old", "telephone1": "1"}));
    twins.at_target("account", id(1), json!({"name": "by hand", "telephone1": "by hand"}));
    let _ = twins.collector.take();
    tokio::time::sleep(10 * SECOND).await;
    // the pages are read at once, and the events wait: a newer one overtakes them
    let instance = twins.instance();
    let slow = Effect::Slow { before: Duration::ZERO, after: 5 * SECOND };
    twins.source.faults().add(Rule::new(When::Always, slow).method(Verb::GET).table("account"));
    let newer = async {
        // the delta link is there after five seconds, and the page that is read then is answered after ten
        tokio::time::sleep(7 * SECOND).await;
        twins.at_source("account", id(1), json!({"name": "new"}));
        tokio::time::sleep(SECOND / 2).await;
        let event = decoded(&twins.collector.take()[0]);
        instance.handle(event, &delivery(1)).await.unwrap();
    };
    let options = Options { full: true, tables: vec!["account".to_owned()], ..options() };
    let (mended, ()) = futures_util::future::join(twins.mend(&options), newer).await;
    assert!(mended.is_done(), "{mended:#?}");
    assert_eq!(text(&twins, 1).as_deref(), Some("new"));
    twins.assert_equal(&["account"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_target_changed_by_itself_is_mended_although_the_ledger_holds_it_for_written() {
    let twins = Twins::new(PLAIN);
    twins.at_source("account", id(1), json!({"name": "A"}));
    let instance = twins.instance();
    for event in twins.collector.take() {
        instance.handle(decoded(&event), &delivery(1)).await.unwrap();
    }
    for round in 0..2 {
        twins.at_target("account", id(1), json!({"name": format!("by hand {round}")}));
        let mended = twins.mend_all().await;
        assert_eq!(table(&mended, "account").done["applied: updated"], 1, "{mended:#?}");
        assert_eq!(text(&twins, 1).as_deref(), Some("A"));
    }
    twins.gone(&twins.target, "account", id(1));
    let mended = twins.mend_all().await;
    assert_eq!(table(&mended, "account").done["applied: created"], 1, "{mended:#?}");
    twins.assert_equal(&["account"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_learnt_makes_older_events_stale() {
    let twins = Twins::new(PLAIN);
    twins.at_source("account", id(1), json!({"name": "first"}));
    let late = decoded(&twins.collector.take()[0]);
    tokio::time::sleep(10 * SECOND).await;
    twins.both("account", id(1), json!({"name": "second"}));
    let _ = twins.collector.take();
    let writes = twins.target.requests().count_writes();
    let mended = twins.mend_all().await;
    assert_eq!((table(&mended, "account").adopted, twins.target.requests().count_writes()), (1, writes));
    let report = twins.instance().handle(late, &delivery(1)).await.unwrap();
    assert_eq!(twins.target.requests().count_writes(), writes, "{report:?}");
    assert_eq!(text(&twins, 1).as_deref(), Some("second"));
    twins.assert_equal(&["account"]);
}

#[tokio::test(start_paused = true)]
async fn extra_rows_are_deleted_only_when_asked_and_only_if_the_source_does_not_have_them_now() {
    let twins = Twins::new(PLAIN);
    for n in [1, 2] {
        twins.at_target("account", id(n), json!({"name": "extra"}));
    }
    let kept = twins.mend_all().await;
    assert_eq!((table(&kept, "account").extra, twins.target.rows("account").len()), (2, 2));
    let without = twins.mend(&options()).await;
    assert!(without.is_done() && twins.target.rows("account").len() == 2, "{without:#?}");
    // one of them comes into being at the source between the look and the delete
    let slow = Effect::Slow { before: Duration::ZERO, after: 5 * SECOND };
    twins.source.faults().add(Rule::new(When::Always, slow).method(Verb::GET).table("account"));
    let appears = async {
        tokio::time::sleep(7 * SECOND).await;
        twins.at_source("account", id(1), json!({"name": "made"}));
    };
    let options = Options { delete_extra: true, full: true, tables: vec!["account".to_owned()], ..options() };
    let (deleted, ()) = futures_util::future::join(twins.mend(&options), appears).await;
    assert!(deleted.is_done(), "{deleted:#?}");
    assert!(twins.target.row("account", id(1)).is_some(), "{deleted:#?}");
    assert!(twins.target.row("account", id(2)).is_none(), "{deleted:#?}");
    twins.source.faults().clear();
    twins.mend_all().await;
    twins.assert_equal(&["account"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_reconcile_is_known_to_the_ledger_and_a_new_life_is_newer() {
    let twins = Twins::new(PLAIN);
    twins.both("account", id(1), json!({"name": "A"}));
    let late = decoded(&twins.collector.take()[0]);
    tokio::time::sleep(10 * SECOND).await;
    twins.gone(&twins.source, "account", id(1));
    tokio::time::sleep(10 * SECOND).await;
    twins.mend(&Options { delete_extra: true, full: true, ..options() }).await;
    assert!(twins.target.rows("account").is_empty());
    assert!(twins.known("account", id(1)).await.unwrap().tombstone.is_some());
    let instance = twins.instance();
    let report = instance.handle(late, &delivery(1)).await.unwrap();
    assert_eq!((report.outcome.name(), twins.target.rows("account").len()), ("stale", 0));
    tokio::time::sleep(2 * SECOND).await;
    let _ = twins.collector.take();
    twins.at_source("account", id(1), json!({"name": "again"}));
    let report = instance.handle(decoded(&twins.collector.take()[0]), &delivery(1)).await.unwrap();
    assert_eq!(report.outcome.name(), "applied", "{report:?}");
    twins.assert_equal(&["account"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_ledger_wrongly_holds_for_deleted_comes_back() {
    let twins = Twins::new(PLAIN);
    twins.at_source("account", id(1), json!({"name": "A"}));
    let mut delete = decoded(&twins.collector.take()[0]);
    delete.operation = dataverse_sync::domain::event::Operation::Delete;
    delete.columns.clear();
    // a delete of the same second, or from a clock that is ahead
    delete.stamp.at = delete.stamp.at.map(|at| at + 3_600_000_000);
    twins.instance().handle(delete, &delivery(1)).await.unwrap();
    let mended = twins.mend_all().await;
    assert!(mended.is_done(), "{mended:#?}");
    twins.assert_equal(&["account"]);
    let again = twins.mend_all().await;
    assert_eq!((table(&again, "account").equal, table(&again, "account").done.len()), (1, 0), "{again:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_delta_link_moves_on_only_when_everything_before_it_is_handed_over() {
    let twins = Twins::new(PLAIN);
    let accounts = Options { tables: vec!["account".to_owned()], page_rows: 15, ..options() };
    for n in 0..20 {
        twins.both("account", id(n), json!({"name": "A"}));
    }
    assert!(twins.mend(&accounts).await.is_done());
    tokio::time::sleep(10 * SECOND).await;
    for n in 0..20 {
        twins.at_source("account", id(n), json!({"name": "B"}));
    }
    // the time is over in the middle of it, again and again
    twins.target.faults().add(Rule::new(When::Always, Effect::Slow { before: 2 * SECOND, after: 2 * SECOND }).writes());
    let mut runs = 0;
    loop {
        let part = twins.mend(&Options { budget: Some(3 * SECOND), ..accounts.clone() }).await;
        runs += 1;
        assert_eq!(table(&part, "account").method, Method::Changes, "{part:#?}");
        if part.stopped.is_none() {
            break;
        }
        assert!(runs < 50, "{part:#?}");
        tokio::time::sleep(70 * SECOND).await;
    }
    assert!(runs > 2, "{runs}");
    twins.target.faults().clear();
    twins.assert_equal(&["account"]);
    // what cannot be applied is kept by the inbox, and the link moves on
    for n in 0..5 {
        twins.at_source("account", id(n), json!({"name": "C"}));
    }
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    twins.target.faults().add(Rule::new(When::Always, down).writes());
    let kept = twins.mend(&accounts).await;
    assert!(kept.is_done(), "{kept:#?}");
    assert_eq!(twins.kept().await, 5);
    twins.target.faults().clear();
    let next = twins.mend(&accounts).await;
    assert_eq!(table(&next, "account").source_rows, 0, "{next:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_delta_link_leads_to_a_full_comparison() {
    let twins = Twins::new(PLAIN);
    let accounts = Options { tables: vec!["account".to_owned()], ..options() };
    twins.both("account", id(1), json!({"name": "A"}));
    assert!(twins.mend(&accounts).await.is_done());
    tokio::time::sleep(8 * DAY).await;
    twins.at_source("account", id(1), json!({"name": "B"}));
    let mended = twins.mend(&accounts).await;
    let report = table(&mended, "account");
    assert_eq!(report.method, Method::Full);
    assert!(report.because.as_ref().unwrap().contains("delta link"), "{report:#?}");
    twins.assert_equal(&["account"]);
    assert_eq!(table(&twins.mend(&accounts).await, "account").method, Method::Changes);
}

#[tokio::test(start_paused = true)]
async fn what_a_comparison_leaves_out_stays_out_when_the_source_is_asked() {
    let shorter = |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| {
        let account = schema.tables.get_mut("account").unwrap();
        account.columns.get_mut("description").unwrap().kind = dataverse_sync::sim::dataverse::schema::Kind::Memo(3);
    };
    let twins = Twins::with(PLAIN, |_| {}, shorter);
    twins.at_source("account", id(1), json!({"name": "A"}));
    let mut ahead = decoded(&twins.collector.take()[0]);
    // written by a sender whose clock is ahead: only the source can say what is right
    ahead.stamp.at = ahead.stamp.at.map(|at| at + 3_600_000_000);
    twins.instance().handle(ahead, &delivery(1)).await.unwrap();
    twins.at_source("account", id(1), json!({"name": "B", "description": "longer than three"}));
    let mended = twins.mend_all().await;
    assert!(mended.is_done(), "{mended:#?}");
    assert_eq!(text(&twins, 1).as_deref(), Some("B"));
    assert!(twins.compare().await.is_equal());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_may_not_be_read_is_named_and_the_others_go_on() {
    let twins = Twins::new(PLAIN);
    twins.at_source("contact", id(1), json!({"lastname": "L"}));
    let forbidden = Effect::Status { status: 403, code: "0x80040220".to_owned(), retry_after: None };
    twins.source.faults().add(Rule::new(When::Always, forbidden).table("account"));
    let mended = twins.mend_all().await;
    assert!(
        table(&mended, "account").trouble.as_ref().unwrap().contains("no privilege to read account"),
        "{mended:#?}"
    );
    assert!(!mended.is_done() && !twins.compare().await.is_equal());
    twins.assert_equal(&["contact"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_deletes_no_more_extra_rows_than_it_may_and_parks_none_of_them() {
    let twins = Twins::new("version = 1\n[limits]\ndeletes_max = 20\n[tables.account]\n");
    for n in 0..50 {
        twins.at_target("account", id(n), json!({"name": "extra"}));
    }
    let asked = Options { delete_extra: true, full: true, ..options() };
    let first = twins.mend(&asked).await;
    let accounts = table(&first, "account");
    assert_eq!((accounts.extra, accounts.deletes, accounts.held), (50, 20, 30), "{accounts:#?}");
    assert_eq!(accounts.done, [("applied: deleted".to_owned(), 20)].into(), "{accounts:#?}");
    assert!(!first.is_done() && twins.kept().await == 0, "{first:#?}");
    assert_eq!(twins.target.rows("account").len(), 30);
    // whoever knows how many there are says so, and neither the limit nor the fuse is in the way
    let second = twins.mend(&Options { deletes_max: Some(30), ..asked.clone() }).await;
    assert!(second.is_done() && twins.target.rows("account").is_empty(), "{second:#?}");
    for n in 0..50 {
        twins.at_target("account", id(n), json!({"name": "extra"}));
    }
    let all = twins.mend(&Options { deletes_max: Some(0), ..asked }).await;
    assert!(all.is_done() && twins.target.rows("account").is_empty(), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_fuse_holds_deletes_that_nobody_decided() {
    let twins = Twins::new("version = 1\n[limits]\ndeletes_max = 3\n[tables.account]\n");
    for n in 0..8 {
        twins.both("account", id(n), json!({"name": "A"}));
    }
    assert!(twins.mend(&options()).await.is_done());
    tokio::time::sleep(10 * SECOND).await;
    (0..8).for_each(|n| twins.gone(&twins.source, "account", id(n)));
    let changes = twins.mend(&options()).await;
    let accounts = table(&changes, "account");
    assert_eq!((accounts.done["applied: deleted"], accounts.done["parked: mass_delete"]), (3, 5), "{accounts:#?}");
    assert!(!changes.is_done() && twins.target.rows("account").len() == 5, "{changes:#?}");
}
