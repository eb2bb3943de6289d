//! Rounds of change tracking.

use super::twins::{PLAIN, Twins, id, options, table};
use dataverse_sync::operate::reconcile::report::Method;
use serde_json::json;
use std::time::Duration;

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
}
