//! The 412 race: somebody else creates the row at the same moment.

use super::world::{PLAIN, World, account, decoded, delivery, redeliver, words};
use dataverse_sync::sync::HandleEvent;
use serde_json::json;
use std::time::Duration;

const BY_KEY: &str =
    "version = 1\n[defaults]\nduplicate_key = \"POLICY\"\n[tables.account]\nkey = [\"accountnumber\"]\n";
const BY_ID: &str = "version = 1\n[defaults]\nduplicate_key = \"POLICY\"\n[tables.account]\n";

/// Runs an event against another writer that creates the row within the race window.
async fn race(toml: &str, policy: &str, rival: serde_json::Value) -> (World, String, usize) {
    let world =
        World::with(&toml.replace("POLICY", policy), |settings| settings.race_window = Duration::from_millis(200));
    let id = world.create("account", json!({ "name": "ours", "accountnumber": "A-1", "telephone1": "7" }));
    let events = world.events().await;
    let instance = world.instance();
    // warm the metadata, so that the rival can be timed
    world.create("account", json!({ "name": "warm", "accountnumber": "W" }));
    redeliver(&instance, &world.events().await[0]).await;
    let (target, service) = (world.target.clone(), world.target.service());
    let mut rival = rival;
    if rival.get("accountid").is_some() {
        rival["accountid"] = json!(id);
    }
    let rival = async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        target.create(&service, "account", &rival).unwrap();
    };
    let (report, ()) = futures_util::future::join(redeliver(&instance, &events[0]), rival).await;
    let duplicates = world.target.requests().last().iter().filter(|record| record.status == Some(412)).count();
    (world, words(&report), duplicates)
}

#[tokio::test(start_paused = true)]
async fn the_loser_by_guid_and_by_key_ends_with_our_values_under_both_policies() {
    let by_id = json!({ "accountid": "", "name": "theirs" });
    let by_key = json!({ "accountnumber": "A-1", "name": "theirs" });
    for (toml, rival) in [(BY_ID, by_id), (BY_KEY, by_key)] {
        for policy in ["same-source", "multi-source"] {
            let (world, words, duplicates) = race(toml, policy, rival.clone()).await;
            assert_eq!((words.as_str(), duplicates), ("applied: raced", 1), "{policy}");
            let names: Vec<String> =
                world.target.rows("account").values().map(|row| format!("{:?}", row.get("name").unwrap())).collect();
            assert_eq!(names.len(), 2, "{policy}: {names:?}");
            assert!(names.contains(&"Text(\"ours\")".to_owned()), "{policy}: {names:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn if_the_winner_wrote_our_values_nothing_is_sent_again() {
    let rival = json!({ "accountid": "", "name": "ours", "accountnumber": "A-1", "telephone1": "7" });
    let (world, words, _) = race(BY_ID, "same-source", rival).await;
    assert_eq!(words, "applied: raced");
    let patches = world
        .target
        .requests()
        .last()
        .iter()
        .filter(|record| record.method == http::Method::PATCH && record.table.as_deref() == Some("account"))
        .count();
    // the one of warming up, and ours: the read-back made a second one needless
    assert_eq!(patches, 2);
}

#[tokio::test(start_paused = true)]
async fn another_row_with_our_unique_key_is_a_conflict_and_not_an_endless_race() {
    let world = World::new(PLAIN);
    let service = world.target.service();
    world.target.create(&service, "account", &json!({ "name": "theirs", "accountnumber": "A-1" })).unwrap();
    world.create("account", json!({ "name": "ours", "accountnumber": "A-1" }));
    let events = world.events().await;
    let error = world.instance().handle(decoded(&events[0]), &delivery(1)).await.unwrap_err();
    assert!(error.to_string().contains("accountnumber"), "{error}");
    assert!(world.target_writes() <= 4, "{} writes", world.target_writes());
}

#[tokio::test(start_paused = true)]
async fn parallel_creates_of_many_rows_on_three_instances_lose_nothing() {
    let world = World::with(PLAIN, |settings| {
        settings.race_window = Duration::from_millis(50);
        settings.latency = (Duration::from_millis(5), Duration::from_millis(40));
    });
    for n in 0..20 {
        let id = world.create("account", account(&format!("A{n}")));
        world.update("account", id, json!({ "telephone1": n.to_string() }));
    }
    let events = world.events().await;
    let instances = [world.instance(), world.instance(), world.instance()];
    let all = events
        .iter()
        .enumerate()
        .flat_map(|(n, event)| [redeliver(&instances[n % 3], event), redeliver(&instances[(n + 1) % 3], event)]);
    futures_util::future::join_all(all).await;
    world.assert_equal();
}
