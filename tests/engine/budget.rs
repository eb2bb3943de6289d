//! What an event costs: ledger round trips and target requests, counted.

use super::world::{PLAIN, World, account, deliver};
use dataverse_sync::sync::HandleEvent;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn warm_events_cost_two_ledger_round_trips_and_one_request_cold_ones_three_and_one() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    // metadata is fetched once per instance, before the first event of a table
    world.create("account", account("first"));
    deliver(&instance, &world.events().await[0]).await.unwrap();

    let cost = || {
        let (reads, writes) = world.store.round_trips();
        (reads + writes, usize::try_from(world.target.requests().count()).unwrap())
    };
    let id = world.create("account", account("A"));
    world.update("account", id, json!({ "name": "B" }));
    let events = world.events().await;

    let before = cost();
    deliver(&instance, &events[0]).await.unwrap();
    let cold = cost();
    assert_eq!((cold.0 - before.0, cold.1 - before.1), (3, 1), "cold: ledger, target");

    deliver(&instance, &events[1]).await.unwrap();
    let warm = cost();
    assert_eq!((warm.0 - cold.0, warm.1 - cold.1), (2, 1), "warm: ledger, target");

    deliver(&instance, &events[1]).await.unwrap();
    assert_eq!(cost(), warm, "a duplicate that this instance finished costs nothing");

    let other = world.instance();
    world.create("account", account("other"));
    deliver(&other, &world.events().await[0]).await.unwrap();
    let before = cost();
    deliver(&other, &events[1]).await.unwrap();
    let duplicate = cost();
    assert_eq!((duplicate.0 - before.0, duplicate.1 - before.1), (1, 0), "a duplicate that another finished");
}

#[tokio::test(start_paused = true)]
async fn columns_that_are_known_to_be_equal_are_not_sent_again() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    deliver(&instance, &world.events().await[0]).await.unwrap();
    let writes = world.target_writes();
    world.update("account", id, json!({ "name": "A", "telephone1": "1" }));
    let report = deliver(&instance, &world.events().await[0]).await.unwrap();
    assert_eq!(super::world::words(&report), "applied: unchanged");
    assert_eq!(world.target_writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn a_column_that_the_target_lacks_is_looked_up_again_once_in_ten_minutes_and_left_out() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    deliver(&instance, &world.events().await[0]).await.unwrap();
    let metadata = || {
        let log = world.target.requests().last();
        log.iter().filter(|record| record.path.contains("EntityDefinitions(LogicalName")).count()
    };
    let mut seen = vec![metadata()];
    for (n, minutes) in [0, 1, 10, 1].into_iter().enumerate() {
        tokio::time::sleep(std::time::Duration::from_secs(minutes * 60)).await;
        let mut event = crate::support::events::update(&format!("e{n}"), id, "name", &n.to_string(), 1_800_000_000 + 9);
        event.columns.insert("new_fromtomorrow".to_owned(), dataverse_sync::domain::value::Value::Bool(true));
        event.stamp.at = event.stamp.at.map(|at| at + i64::try_from(n).unwrap() * 1_000_000);
        let report = instance.handle(event, &super::world::delivery(1)).await.unwrap();
        assert_eq!(super::world::words(&report), "applied: updated");
        seen.push(metadata());
    }
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "the answer holds for ten minutes: {seen:?}");
    assert!(seen[3] > seen[2] && seen[4] == seen[3], "then it is asked once: {seen:?}");
}
