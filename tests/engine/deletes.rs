//! Deletes: what they do in the target, of rows that never came, refused ones, and the fuse against too many.

use super::keeping::{Keeping, bring};
use super::world::{PLAIN, World, account, decoded, deliver, redeliver, words};
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::ledger::record::event_key;
use dataverse_sync::ledger::system::System;
use dataverse_sync::operate::pause;
use dataverse_sync::sim::dataverse::{Collector, Effect, RaisedEvent, Rule, Sink, Step, When};
use dataverse_sync::sync::engine::Engine;
use dataverse_sync::sync::fuse;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test(start_paused = true)]
async fn a_delete_deletes_deactivates_or_does_nothing_as_the_mapping_says() {
    for (deletes, expected, state) in [
        ("delete", "applied: deleted", "no row"),
        ("deactivate", "applied: deactivated", "Some(Choice(1)) Some(Choice(2))"),
        ("ignore", "ignored: operation_not_configured", "Some(Choice(0)) Some(Choice(1))"),
    ] {
        let world = World::new(&format!("version = 1\n[tables.account]\ndeletes = \"{deletes}\"\n"));
        let instance = world.instance();
        let id = world.create("account", account("A"));
        world.delete("account", id);
        let events = world.events().await;
        deliver(&instance, &events[0]).await.unwrap();
        assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), expected);
        let found = world
            .target
            .row("account", id)
            .map_or("no row".to_owned(), |row| format!("{:?} {:?}", row.get("statecode"), row.get("statuscode")));
        assert_eq!(found, state, "{deletes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deactivated_row_is_active_again_when_it_is_made_anew() {
    let world = World::new("version = 1\n[tables.account]\ndeletes = \"deactivate\"\n");
    let instance = world.instance();
    let id = world.create("account", account("A"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("account", id);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.create("account", json!({ "accountid": id, "name": "again", "telephone1": null, "description": null }));
    for event in world.events().await {
        redeliver(&instance, &event).await;
    }
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_a_row_that_never_came_ends_well_and_keeps_its_late_create_out() {
    for toml in [PLAIN, "version = 1\n[defaults]\ndeletes = \"deactivate\"\n[tables.account]\n"] {
        let world = World::new(toml);
        let instance = world.instance();
        let id = world.create("account", account("A"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.delete("account", id);
        let events = world.events().await;
        assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: deleted");
        assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "stale: ");
        assert!(world.target.row("account", id).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_comes_before_its_create_makes_the_row_and_the_create_completes_it() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let id = world.create("account", account("A"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.update("account", id, json!({ "name": "B" }));
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: created");
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "applied: updated");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_the_target_refuses_because_other_rows_need_it_waits_and_is_parked_in_the_end() {
    for mended in [true, false] {
        let keeping = Keeping::new("version = 1\n[limits]\nattempts_max = 4\n[tables.product]\n");
        let world = &keeping.world;
        let collector = Collector::default();
        world.source.subscribe(Step::new(Uuid::from_u128(901), "product", Sink::Collect(collector.clone())));
        let product = world.create("product", json!({ "name": "P", "productnumber": "1" }));
        world.delete("product", product);
        world.source.idle().await;
        let events = collector.take();
        let instance = world.instance();
        bring(&instance, &events[0]).await.unwrap();
        // a line of the target alone: nothing here knows it
        let service = world.target.service();
        let order = world.target.create(&service, "salesorder", &json!({ "name": "O" })).unwrap();
        let line = json!({
            "salesorderdetailname": "L", "salesorderid@odata.bind": format!("salesorders({order})"),
            "productid@odata.bind": format!("products({product})"),
        });
        let line = world.target.create(&service, "salesorderdetail", &line).unwrap();
        let outcome = bring(&instance, &events[1]).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Deferred { .. }), "{outcome:?}");
        assert!(outcome.detail().contains("delete_restricted"), "{outcome:?}");
        if mended {
            world.target.delete(&service, "salesorderdetail", line).unwrap();
        }
        keeping.sweep_up().await;
        let parked = keeping.parked().await;
        assert_eq!((world.target.row("product", product).is_none(), parked.is_empty()), (mended, mended));
        for entry in parked {
            assert!(entry.reason.contains("delete_restricted"), "{}", entry.reason);
            assert!(entry.reason.contains("refer to it"), "{}", entry.reason);
        }
    }
}

/// A world with a fuse, and its accounts.
fn fused(toml: &str, accounts: u32) -> (Keeping, Vec<Uuid>) {
    let keeping = Keeping::new(&format!("version = 1\n{toml}"));
    let ids = (0..accounts).map(|n| keeping.world.create("account", account(&n.to_string()))).collect();
    (keeping, ids)
}

const THREE: &str = "[limits]\ndeletes_max = 3\n[tables.account]\n[tables.contact]\n";

async fn delete_all(keeping: &Keeping, ids: &[Uuid]) -> Vec<RaisedEvent> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    ids.iter().for_each(|id| keeping.world.delete("account", *id));
    keeping.world.events().await
}

async fn all(instance: &Engine, events: &[RaisedEvent]) -> Vec<String> {
    let mut ended = Vec::new();
    for event in events {
        let told = words(&bring(instance, event).await.unwrap());
        ended.push(told.split(": more than").next().unwrap_or_default().to_owned());
    }
    ended
}

const DELETED: &str = "applied: deleted";
const STOPPED: &str = "parked: mass_delete";

#[tokio::test(start_paused = true)]
async fn more_deletes_than_the_fuse_allows_are_parked_on_every_instance_and_everything_else_goes_on() {
    let (keeping, ids) = fused(THREE, 7);
    let world = &keeping.world;
    let instance = world.instance();
    let made = world.events().await;
    all(&instance, &made).await;
    let deletes = delete_all(&keeping, &ids[..6]).await;
    assert_eq!(all(&instance, &deletes[..5]).await, [DELETED, DELETED, DELETED, STOPPED, STOPPED]);
    let other = world.instance();
    assert_eq!(all(&other, &deletes[5..]).await, [STOPPED], "another instance knows it too");
    assert_eq!(world.target.rows("account").len(), 4);
    world.update("account", ids[6], json!({ "name": "goes on" }));
    assert_eq!(all(&other, &world.events().await).await, ["applied: updated"]);
    let parked = keeping.parked().await;
    assert_eq!(parked.len(), 3);
    assert!(parked[0].reason.contains("parked replay --reason mass_delete --table account"), "{}", parked[0].reason);
    // a person lets one through
    let event = decoded(&deletes[3]);
    let partition = dataverse_sync::domain::partition::Partition::of("account", &event.row);
    other.parts().ledger.replay(partition.key(), &event_key(&event.id)).await.unwrap();
    assert_eq!(all(&other, &deletes[3..4]).await, [DELETED]);
    assert_eq!(world.target.rows("account").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_blown_fuse_closes_after_a_quiet_window_and_not_before_or_when_a_person_says_so() {
    let (keeping, ids) = fused(THREE, 12);
    let world = &keeping.world;
    let instances = [world.instance(), world.instance()];
    all(&instances[0], &world.events().await).await;
    let deletes = delete_all(&keeping, &ids).await;
    assert_eq!(all(&instances[0], &deletes[..4]).await, [DELETED, DELETED, DELETED, STOPPED]);
    // each stopped delete keeps it open, whichever instance stopped it
    for n in 4..7 {
        tokio::time::sleep(Duration::from_secs(590)).await;
        assert_eq!(all(&instances[n % 2], &deletes[n..=n]).await, [STOPPED]);
    }
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(all(&instances[1], &deletes[7..11]).await, [DELETED, DELETED, DELETED, STOPPED]);
    let states = Arc::clone(&keeping.ledger) as Arc<dyn dataverse_sync::ledger::system::StateStore>;
    let system = System::new(states, Arc::new(world.clock.skewed(0)), Duration::from_secs(5));
    let now_ms = || world.clock.skewed(0).now().timestamp_millis();
    assert_eq!(fuse::blown(&system, &world.mapping, now_ms()).await.unwrap(), ["account"]);
    pause::resume(&system, &world.mapping, Some("account")).await.unwrap();
    assert!(fuse::blown(&system, &world.mapping, now_ms()).await.unwrap().is_empty());
    tokio::time::sleep(fuse::ASKED_EVERY).await;
    assert_eq!(all(&instances[1], &deletes[11..]).await, [DELETED]);
}

#[tokio::test(start_paused = true)]
async fn duplicates_stale_deletes_and_rows_that_were_never_there_do_not_count() {
    let (keeping, ids) = fused(THREE, 9);
    let world = &keeping.world;
    let instance = world.instance();
    let made = world.events().await;
    let deletes = delete_all(&keeping, &ids).await;
    for delete in &deletes[..4] {
        assert_eq!(all(&instance, std::slice::from_ref(delete)).await, [DELETED], "never there");
    }
    all(&instance, &made[4..]).await;
    for delete in &deletes[4..6] {
        let twice = [delete.clone(), delete.clone(), delete.clone()];
        let duplicate = "duplicate: applied: deleted";
        assert_eq!(all(&instance, &twice).await, [DELETED, duplicate, duplicate]);
    }
    assert_eq!(all(&instance, &deletes[6..8]).await, [DELETED, STOPPED]);
}

#[tokio::test(start_paused = true)]
async fn rows_set_inactive_count_and_a_table_may_have_its_own_number_or_none() {
    let toml = "[limits]\ndeletes_max = 1\n[defaults]\ndeletes = \"deactivate\"\n[tables.account]\n";
    for (own, expected) in [
        ("", ["applied: deactivated", STOPPED, STOPPED]),
        ("deletes_max = 2\n", ["applied: deactivated", "applied: deactivated", STOPPED]),
        ("deletes_max = 0\n", ["applied: deactivated"; 3]),
    ] {
        let (keeping, ids) = fused(&format!("{toml}{own}"), 3);
        let instance = keeping.world.instance();
        all(&instance, &keeping.world.events().await).await;
        let deletes = delete_all(&keeping, &ids).await;
        assert_eq!(all(&instance, &deletes).await, expected, "{own}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_failed_at_the_target_does_not_count_twice() {
    let (keeping, ids) = fused(THREE, 3);
    let world = &keeping.world;
    let instance = world.instance();
    all(&instance, &world.events().await).await;
    let deletes = delete_all(&keeping, &ids).await;
    let refuses = Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None };
    world.target.faults().add(Rule::new(When::Nth(1), refuses).method(http::Method::DELETE));
    assert!(words(&bring(&instance, &deletes[0]).await.unwrap()).starts_with("parked: "));
    assert_eq!(all(&instance, &deletes[1..]).await, [DELETED, DELETED]);
    let event = decoded(&deletes[0]);
    let partition = dataverse_sync::domain::partition::Partition::of("account", &event.row);
    instance.parts().ledger.replay(partition.key(), &event_key(&event.id)).await.unwrap();
    assert_eq!(all(&instance, &deletes[..1]).await, [DELETED]);
}
