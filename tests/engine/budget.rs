//! What an event costs: ledger round trips and target requests, counted.

use super::world::{PLAIN, World, account, deliver};
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
