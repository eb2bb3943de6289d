//! Unique values that rows of the target pass on to each other, and rows known by such values that refer to each other.

use super::keeping::{Keeping, bring};
use super::orders::permutations;
use super::world::{PLAIN, decoded, delivery};
use dataverse_sync::sync::HandleEvent;
use serde_json::json;
use std::time::Duration;

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn values_that_rows_pass_on_end_where_the_source_has_them_in_every_order() {
    for source in [true, false] {
        for order in permutations(3) {
            let mut keeping = Keeping::new(PLAIN);
            keeping.world.has_source = source;
            let world = &keeping.world;
            let [x, y] = ["A", "B"].map(|key| world.create("account", json!({ "name": key, "accountnumber": key })));
            let instance = world.instance();
            for event in world.events().await {
                bring(&instance, &event).await.unwrap();
            }
            // the two swap their numbers, by way of a third
            for (row, key) in [(x, "T"), (y, "A"), (x, "B")] {
                pause().await;
                world.update("account", row, json!({ "accountnumber": key }));
            }
            let events = world.events().await;
            for n in &order {
                bring(&instance, &events[*n]).await.unwrap();
            }
            keeping.sweep_up().await;
            let parked = keeping.parked().await;
            assert!(parked.is_empty(), "{order:?}, source {source}: {parked:?}");
            world.assert_equal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_another_row_keeps_is_parked_in_the_end() {
    let keeping = Keeping::new(PLAIN);
    let service = keeping.world.target.service();
    keeping.world.target.create(&service, "account", &json!({ "name": "theirs", "accountnumber": "A-1" })).unwrap();
    keeping.world.create("account", json!({ "name": "ours", "accountnumber": "A-1" }));
    bring(&keeping.world.instance(), &keeping.world.events().await[0]).await.unwrap();
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.starts_with("duplicate_key") && parked[0].reason.contains("accountnumber"), "{parked:?}");
}

const KEYED: &str = "version = 1\n[defaults]\nread = \"source\"\n[tables.account]\nkey = [\"accountnumber\"]\n\
     [tables.contact]\nkey = [\"new_externalid\"]\n";

#[tokio::test(start_paused = true)]
async fn rows_known_by_key_that_refer_to_each_other_and_to_themselves_are_made() {
    for order in permutations(2) {
        for at_once in [true, false] {
            let keeping = Keeping::new(KEYED);
            let world = &keeping.world;
            let account = world.create("account", json!({ "name": "A", "accountnumber": "K" }));
            let contact = json!({
                "lastname": "C", "new_externalid": "E", "parentcustomerid_account@odata.bind": format!("accounts({account})")
            });
            let contact = world.create("contact", contact);
            let events = world.events().await;
            // what is read now has all lookups, whichever event it is read for
            world.update(
                "account",
                account,
                json!({
                    "primarycontactid@odata.bind": format!("contacts({contact})"),
                    "parentaccountid@odata.bind": format!("accounts({account})"),
                }),
            );
            let last = world.events().await.remove(0);
            let instances = [world.instance(), world.instance()];
            let [first, second] = [order[0], order[1]].map(|n| bring(&instances[n], &events[n]));
            if at_once {
                let (one, two) = futures_util::future::join(first, second).await;
                one.unwrap();
                two.unwrap();
            } else {
                first.await.unwrap();
                second.await.unwrap();
            }
            instances[0].handle(decoded(&last), &delivery(1)).await.unwrap();
            keeping.sweep_up().await;
            let told = format!("{order:?}, at once {at_once}");
            let parked = keeping.parked().await;
            assert!(parked.is_empty(), "{told}: {parked:?}");
            let (accounts, contacts) = (world.target.rows("account"), world.target.rows("contact"));
            assert_eq!((accounts.len(), contacts.len()), (1, 1), "{told}");
            let ((a, account), (c, contact)) = (accounts.iter().next().unwrap(), contacts.iter().next().unwrap());
            let points = |row: &dataverse_sync::sim::dataverse::Row, column: &str| format!("{:?}", row.get(column));
            assert!(points(account, "primarycontactid").contains(&c.to_string()), "{told}");
            assert!(points(account, "parentaccountid").contains(&a.to_string()), "{told}");
            assert!(points(contact, "parentcustomerid").contains(&a.to_string()), "{told}");
            assert_eq!(points(account, "name"), "Some(Text(\"A\"))", "{told}");
            assert_eq!(points(contact, "lastname"), "Some(Text(\"C\"))", "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_never_takes_a_key_that_another_row_still_has() {
    let keeping = Keeping::new("version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n[tables.contact]\n");
    let world = &keeping.world;
    let old = world.create("account", json!({ "name": "old", "accountnumber": "K" }));
    let instance = world.instance();
    bring(&instance, &world.events().await[0]).await.unwrap();
    pause().await;
    world.delete("account", old);
    let gone = world.events().await.remove(0);
    pause().await;
    let new = world.create("account", json!({ "name": "new", "accountnumber": "K" }));
    let child = json!({ "lastname": "C", "parentcustomerid_account@odata.bind": format!("accounts({new})") });
    world.create("contact", child);
    let events = world.events().await;
    // the child comes before its parent, and both before the delete that frees the key
    let outcome = bring(&instance, &events[1]).await.unwrap().outcome;
    assert!(outcome.detail().starts_with("parent_missing"), "{outcome:?}");
    bring(&instance, &events[0]).await.unwrap();
    bring(&instance, &gone).await.unwrap();
    keeping.sweep_up().await;
    assert!(keeping.parked().await.is_empty());
    let accounts = world.target.rows("account");
    assert_eq!(accounts.len(), 1);
    let (id, row) = accounts.iter().next().unwrap();
    assert_eq!(format!("{:?}", row.get("name")), "Some(Text(\"new\"))");
    let contacts = world.target.rows("contact");
    let parent = format!("{:?}", contacts.values().next().unwrap().get("parentcustomerid"));
    assert!(parent.contains(&id.to_string()), "{parent}");
}
