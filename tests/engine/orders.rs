//! Orders, repetitions and parallel deliveries.

use super::world::{PLAIN, World, account, deliver, redeliver, words};
use dataverse_sync::sim::dataverse::{Collector, Image, RaisedEvent, Sink, Step};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_row_is_created_updated_and_deleted() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    world.update("account", id, json!({ "telephone1": "2" }));
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "applied: created");
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: updated");
    world.assert_equal();
    world.delete("account", id);
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "applied: deleted");
    assert!(world.target.row("account", id).is_none());
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "duplicate: applied: deleted");
}

#[tokio::test(start_paused = true)]
async fn all_orders_of_four_partial_updates_on_three_instances_with_duplicates_end_alike() {
    for order in permutations(5) {
        let world = World::new(PLAIN);
        let id = world.create("account", account("A"));
        world.update("account", id, json!({ "telephone1": "2", "name": "B" }));
        world.update("account", id, json!({ "description": "e", "telephone1": "3" }));
        world.update("account", id, json!({ "name": "C", "description": null }));
        world.update("account", id, json!({ "telephone1": "4" }));
        let events = world.events().await;
        let instances = [world.instance(), world.instance(), world.instance()];
        for (n, &which) in order.iter().enumerate() {
            redeliver(&instances[n % 3], &events[which]).await;
            redeliver(&instances[(n + 1) % 3], &events[which]).await;
        }
        world.assert_equal();
    }
}

pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, n - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..n).map(move |at| insert(order, at))).collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_event_at_the_same_moment_on_three_instances_is_one_patch() {
    let world = World::with(PLAIN, |settings| {
        settings.latency = (std::time::Duration::from_millis(20), std::time::Duration::from_millis(80));
    });
    world.create("account", account("A"));
    let events = world.events().await;
    let instances = [world.instance(), world.instance(), world.instance()];
    let reports =
        futures_util::future::join_all(instances.iter().map(|instance| redeliver(instance, &events[0]))).await;
    let mut words: Vec<String> = reports.iter().map(words).collect();
    words.sort();
    assert_eq!(words, ["applied: created", "duplicate: applied: created", "duplicate: applied: created"]);
    assert_eq!(world.target_writes(), 1, "one PATCH");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_late_update_does_not_bring_a_deleted_row_back() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    world.update("account", id, json!({ "name": "B" }));
    world.delete("account", id);
    let events = world.events().await;
    for which in [0, 2, 1] {
        redeliver(&instance, &events[which]).await;
    }
    assert!(world.target.row("account", id).is_none());
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "duplicate: stale");
}

#[tokio::test(start_paused = true)]
async fn a_recreated_row_keeps_nothing_of_its_former_life() {
    let wait = || tokio::time::sleep(std::time::Duration::from_secs(2));
    let mut deliveries: Vec<Vec<usize>> = permutations(3);
    deliveries.push(vec![1, 0, 2, 1, 0]);
    for order in deliveries {
        let world = World::new(PLAIN);
        let id = world.create("account", json!({ "name": "A", "telephone1": "1", "description": "old" }));
        wait().await;
        world.delete("account", id);
        wait().await;
        world.create("account", json!({ "accountid": id, "name": "again" }));
        let events: Vec<RaisedEvent> = world.events().await;
        let instance = world.instance();
        for &which in &order {
            redeliver(&instance, &events[which]).await;
        }
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn what_we_wrote_ourselves_does_not_come_back() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let echo = Collector::default();
    let step = Step::new(uuid::Uuid::from_u128(900), "account", Sink::Collect(echo.clone()));
    world.target.subscribe(step.image(Image::All));
    world.create("account", account("A"));
    redeliver(&instance, &world.events().await[0]).await;
    world.target.idle().await;
    let raised = echo.take();
    assert_eq!(raised.len(), 1, "the target raises an event of its own");
    assert_eq!(words(&deliver(&instance, &raised[0]).await.unwrap()), "ignored: own_echo");
}
