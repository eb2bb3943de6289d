//! What a comparison finds, and that one run mends it.

use super::twins::{PLAIN, Twins, id, link, options, table};
use dataverse_sync::operate::reconcile::Options;
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn planted_differences_are_found_exactly_and_mended_by_one_run() {
    let twins = Twins::new(PLAIN);
    for n in 0..60 {
        twins.both("account", id(n), json!({"name": format!("A{n}"), "numberofemployees": n}));
    }
    for n in 100..130 {
        let parent = format!("accounts({})", id(n - 100));
        let body = json!({"lastname": format!("C{n}"), "parentcustomerid_account@odata.bind": parent});
        twins.both("contact", id(n), body);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let equal = twins.compare().await;
    assert!(equal.is_equal(), "{equal:#?}");

    // rows missing, extra, changed on either side, a link on one side only
    for n in [3, 17, 42] {
        twins.gone(&twins.target, "account", id(n));
    }
    twins.at_target("account", id(900), json!({"name": "extra"}));
    twins.at_target("account", id(5), json!({"name": "by hand"}));
    twins.at_source("account", id(6), json!({"name": "event lost", "telephone1": "1"}));
    twins.at_target("contact", id(110), json!({"parentcustomerid_account@odata.bind": null}));
    let person = twins.source.person();
    twins.source.associate(&person, "new_account_contact", "account", id(7), id(107)).unwrap();
    twins.target.associate(&twins.target.person(), "new_account_contact", "account", id(8), id(108)).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;

    let found = twins.compare().await;
    let accounts = table(&found, "account");
    assert_eq!((accounts.missing, accounts.extra, accounts.different), (3, 1, 2), "{accounts:#?}");
    assert_eq!(accounts.by_column["name"], 2);
    assert_eq!(accounts.by_column["telephone1"], 1);
    assert_eq!((accounts.source_rows, accounts.target_rows), (60, 58));
    // the contacts of the accounts that are missing have lost their lookup with them
    let contacts = table(&found, "contact");
    assert_eq!((contacts.missing, contacts.extra, contacts.different), (0, 0, 3), "{contacts:#?}");
    let links = link(&found, "new_account_contact");
    assert_eq!((links.missing, links.extra), (1, 1));
    assert!(twins.known("account", id(5)).await.is_none(), "a dry run writes nothing");

    let mended = twins.mend_all().await;
    assert!(mended.is_done(), "{mended:#?}");
    assert_eq!(table(&mended, "account").done["applied: created"], 3);
    let left = twins.compare().await;
    let accounts = table(&left, "account");
    assert_eq!((accounts.missing, accounts.extra, accounts.different), (0, 1, 0), "extra rows stay: {accounts:#?}");
    let deleted = twins.mend(&Options { delete_extra: true, ..options() }).await;
    assert!(deleted.is_done(), "{deleted:#?}");
    let equal = twins.compare().await;
    assert!(equal.is_equal(), "{equal:#?}");
    twins.assert_equal(&["account", "contact"]);
}
