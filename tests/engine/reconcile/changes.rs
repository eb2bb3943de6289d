//! Rounds of change tracking.

use super::twins::{PLAIN, Twins, id, link, options, table};
use dataverse_sync::operate::reconcile::Options;
use dataverse_sync::operate::reconcile::report::Method;
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn after_a_full_run_only_what_has_changed_is_looked_at() {
    let twins = Twins::new(PLAIN);
    for n in 0..40 {
        twins.at_source("account", id(n), json!({"name": format!("A{n}")}));
    }
    let first = twins.mend(&options()).await;
    assert!(first.is_done(), "{first:#?}");
    assert_eq!(table(&first, "account").method, Method::Full);
    twins.assert_equal(&["account"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    twins.at_source("account", id(3), json!({"name": "changed"}));
    twins.at_source("account", id(50), json!({"name": "new"}));
    twins.gone(&twins.source, "account", id(4));
    let second = twins.mend(&options()).await;
    assert!(second.is_done(), "{second:#?}");
    let accounts = table(&second, "account");
    assert_eq!((accounts.method, accounts.source_rows), (Method::Changes, 2));
    assert_eq!((accounts.missing, accounts.different, accounts.extra), (1, 1, 1), "{accounts:#?}");
    twins.assert_equal(&["account"]);
    let third = twins.mend(&options()).await;
    assert_eq!(table(&third, "account").source_rows, 0);
    assert!(third.is_done(), "{third:#?}");
}

#[tokio::test(start_paused = true)]
async fn ticks_go_through_all_tables_and_then_through_their_changes() {
    let twins = Twins::new(PLAIN);
    for n in 0..20 {
        twins.at_source("account", id(n), json!({"name": "A"}));
        twins.at_source("contact", id(100 + n), json!({"lastname": "L"}));
    }
    let reconciler = twins.reconciler();
    let lines = reconciler.tick().await.unwrap();
    assert!(lines.len() == 2 && lines[0].starts_with("account: missing 20"), "{lines:?}");
    twins.assert_equal(&["account", "contact"]);
    assert!(reconciler.tick().await.unwrap().is_empty());
    twins.at_source("contact", id(100), json!({"lastname": "M"}));
    let lines = reconciler.tick().await.unwrap();
    assert!(lines.len() == 1 && lines[0].contains("different 1"), "{lines:?}");
    // a slow target: the tick ends within its time, and the next ones do the rest
    let slow = Effect::Slow { before: 20 * SECOND, after: Duration::ZERO };
    twins.target.faults().add(Rule::new(When::Always, slow).writes());
    for n in 0..60 {
        twins.at_source("account", id(n), json!({"name": "B"}));
    }
    let mut ticks = 0;
    loop {
        let began = tokio::time::Instant::now();
        let lines = reconciler.tick().await.unwrap();
        assert!(began.elapsed() < 240 * SECOND, "{:?}", began.elapsed());
        ticks += 1;
        if lines.is_empty() {
            break;
        }
        assert!(ticks < 20, "{lines:?}");
    }
    // what had no place in time was kept, and the sweep does it
    twins.target.faults().clear();
    twins.sweep_up().await;
    twins.assert_equal(&["account", "contact"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_source_and_for_unknown_tables_there_is_no_run() {
    let twins = Twins::new(PLAIN);
    let unknown = Options { tables: vec!["nosuch".to_owned()], ..options() };
    let error = twins.reconciler().mend(&unknown, &|_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "table nosuch is not in the mapping");
}

#[tokio::test(start_paused = true)]
async fn links_that_a_run_does_not_look_at_are_named_with_the_reason() {
    let word = |report: &dataverse_sync::operate::reconcile::report::Report| {
        let links = link(report, "new_account_contact");
        links.not_compared.as_deref().unwrap_or("compared").split(':').next().unwrap().to_owned()
    };
    let twins = Twins::new(PLAIN);
    twins.both("account", id(1), json!({"name": "A"}));
    assert_eq!(word(&twins.mend(&options()).await), "compared", "without delta links all rows are compared");
    let changes = twins.mend(&options()).await;
    assert_eq!((word(&changes).as_str(), changes.is_done()), ("changes_only", true));
    for name in ["account", "contact"] {
        let one = Options { full: true, tables: vec![name.to_owned()], ..options() };
        assert_eq!(word(&twins.mend(&one).await), "not_in_run", "{name}");
    }
    let toml = "version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n[tables.contact]\n";
    assert_eq!(word(&Twins::new(toml).compare().await), "known_by_key");
    let toml = "version = 1\n[defaults]\noperations = [\"update\"]\n[tables.account]\n[tables.contact]\n";
    assert_eq!(word(&Twins::new(toml).compare().await), "not_configured");
    let lacks = |schema: &mut dataverse_sync::sim::dataverse::schema::Schema| schema.many_to_many.clear();
    assert_eq!(word(&Twins::with(PLAIN, |_| {}, lacks).compare().await), "not_in_target");
}
