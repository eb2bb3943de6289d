//! The source as witness: read under the lease where the event cannot tell enough.

use super::world::{PLAIN, World, account, decoded, delivery, redeliver, words};
use dataverse_sync::domain::event::Completeness;
use dataverse_sync::sync::HandleEvent;
use serde_json::json;
use std::time::Duration;

const SIGNAL: &str =
    "version = 1\n[defaults]\nread = \"source\"\n[tables.account]\n[tables.contact]\n[tables.salesorder]\n";

#[tokio::test(start_paused = true)]
async fn with_read_source_any_order_ends_as_the_source_is_and_old_events_write_nothing() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let world = World::new(SIGNAL);
        let instances = [world.instance(), world.instance()];
        let id = world.create("account", account("A"));
        for name in ["B", "C", "D"] {
            world.update("account", id, json!({ "name": name, "description": name }));
        }
        let events = world.events().await;
        for (n, &which) in order.iter().enumerate() {
            redeliver(&instances[n % 2], &events[which]).await;
        }
        world.assert_equal();
        assert_eq!(world.target_writes(), 1, "{order:?}: the first event brought everything");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stripped_event_is_completed_from_the_source() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    world.update("account", id, json!({ "name": "B", "telephone1": "2" }));
    let events = world.events().await;
    redeliver(&instance, &events[0]).await;
    let mut stripped = decoded(&events[1]);
    stripped.columns.clear();
    stripped.image.clear();
    stripped.completeness = Completeness::Stripped;
    let report = instance.handle(stripped, &delivery(1)).await.unwrap();
    assert_eq!(words(&report), "applied: updated");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_tie_is_decided_by_the_source_and_not_by_arrival() {
    for order in [[1, 2], [2, 1]] {
        let world = World::new(PLAIN);
        let instance = world.instance();
        let id = world.create("account", account("A"));
        redeliver(&instance, &world.events().await[0]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.update("account", id, json!({ "name": "first" }));
        world.update("account", id, json!({ "name": "last" }));
        let events = world.events().await;
        for which in order {
            // without an image nothing tells two changes of one second apart
            let mut event = decoded(&events[which - 1]);
            event.image.clear();
            event.stamp.row_version = None;
            instance.handle(event, &delivery(1)).await.unwrap();
        }
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_whose_row_is_gone_writes_nothing_and_its_delete_still_counts() {
    let world = World::new(SIGNAL);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    world.delete("account", id);
    let events = world.events().await;
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "stale: ");
    redeliver(&instance, &events[1]).await;
    assert!(world.target.row("account", id).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_while_it_reads_the_source_loses_nothing() {
    for ms in (0..600).step_by(23) {
        let world = World::with(SIGNAL, |settings| {
            settings.latency = (Duration::from_millis(20), Duration::from_millis(100));
        });
        let id = world.create("account", account("A"));
        world.update("account", id, json!({ "name": "B" }));
        let events = world.events().await;
        let doomed = world.instance();
        let _ = tokio::time::timeout(Duration::from_millis(ms), redeliver(&doomed, &events[0])).await;
        let survivor = world.instance();
        for event in &events {
            redeliver(&survivor, event).await;
        }
        world.assert_equal();
    }
}
