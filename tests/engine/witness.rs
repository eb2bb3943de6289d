//! The source as witness: read under the lease where the event cannot tell enough.

use super::keeping::Keeping;
use super::world::{PLAIN, World, account, decoded, delivery, redeliver, words};
use dataverse_sync::domain::event::{ChangeEvent, Completeness};
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::sim::dataverse::RaisedEvent;
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

/// The event with these columns of its own and no image, as a step without images sends it.
fn only(event: &RaisedEvent, columns: &[&str]) -> ChangeEvent {
    let mut event = decoded(event);
    event.columns.retain(|name, _| columns.contains(&name.as_str()));
    event.image.clear();
    event.stamp.row_version = None;
    event
}

#[tokio::test(start_paused = true)]
async fn a_stripped_event_without_a_source_is_parked_with_what_to_set() {
    let mut keeping = Keeping::new(PLAIN);
    keeping.world.has_source = false;
    keeping.world.create("account", account("A"));
    let mut stripped = only(&keeping.world.events().await[0], &[]);
    stripped.completeness = Completeness::Stripped;
    let outcome = keeping.world.instance().handle(stripped, &delivery(1)).await.unwrap().outcome;
    assert!(outcome.detail().starts_with("payload_stripped") && outcome.detail().contains("SOURCE_URL"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_completed_from_the_image_else_from_the_ledger_else_from_the_source() {
    // first name and mail are the parts of one key, so they are written together
    for (how, has_source) in [("image", false), ("ledger", false), ("source", true)] {
        let mut world = World::new(PLAIN);
        world.has_source = has_source;
        let instance = world.instance();
        let body = json!({ "firstname": "A", "lastname": "L", "emailaddress1": "a@b.example" });
        let id = world.create("contact", body.clone());
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.update("contact", id, json!({ "firstname": "B" }));
        let events = world.events().await;
        if how == "source" {
            // the row was in the target before, and the ledger has never heard of it
            let mut known = body;
            known["contactid"] = json!(id);
            world.target.create(&world.target.service(), "contact", &known).unwrap();
        } else {
            redeliver(&instance, &events[0]).await;
        }
        // somebody changed the other half of the group in the target: only writing the whole group mends it
        let service = world.target.service();
        world.target.update(&service, "contact", id, &json!({ "emailaddress1": "other@b.example" })).unwrap();
        let mut event = only(&events[1], &["firstname", "modifiedon"]);
        if how == "image" {
            event.image = decoded(&events[1]).image;
        }
        let report = instance.handle(event, &delivery(1)).await.unwrap();
        assert_eq!(words(&report), "applied: updated", "{how}");
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_order_can_cause_is_tried_with_the_sources_values_else_it_waits() {
    for has_source in [true, false] {
        let mut keeping = Keeping::new(PLAIN);
        keeping.world.has_source = has_source;
        let world = &keeping.world;
        let instance = world.instance();
        let id = world.create("account", account("A"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.update("account", id, json!({ "statecode": 1, "statuscode": 2 }));
        let events = world.events().await;
        redeliver(&instance, &events[0]).await;
        // half a pair: with the other half that the ledger knows it is none that the target takes
        let half = only(&events[1], &["statuscode", "modifiedon"]);
        let outcome = instance.handle(half, &delivery(1)).await.unwrap().outcome;
        if has_source {
            assert_eq!(outcome.detail(), "updated");
            world.assert_equal();
        } else {
            assert!(
                matches!(&outcome, Outcome::Deferred { reason, .. } if reason.contains("state_status")),
                "{outcome:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_cannot_be_written_row_by_row_are_parked_with_what_to_do() {
    for (external, reason) in [(false, "elastic_table"), (true, "virtual_table")] {
        let world = World::with(PLAIN, |settings| {
            let account = settings.schema.tables.get_mut("account").unwrap();
            (account.external, account.elastic) = (external, !external);
        });
        world.create("account", account("A"));
        let error = super::world::deliver(&world.instance(), &world.events().await[0]).await.unwrap_err().to_string();
        assert!(error.starts_with(reason) && error.contains("remove [tables.account]"), "{error}");
        assert_eq!(world.target_writes(), 0);
    }
}

/// Two environments in which column security hides phone numbers from us.
fn secured(toml: &str) -> World {
    World::with(toml, |settings| {
        let account = settings.schema.tables.get_mut("account").unwrap();
        let phone = account.columns["telephone1"].clone().secured();
        *account = account.clone().with(phone);
    })
}

fn phone(world: &World, id: uuid::Uuid) -> String {
    format!("{:?}", world.target.row("account", id).unwrap().get("telephone1"))
}

#[tokio::test(start_paused = true)]
async fn what_column_security_hides_is_left_to_the_events_in_their_own_order() {
    for toml in [SIGNAL, PLAIN] {
        for order in super::orders::permutations(3) {
            for cleared in [true, false] {
                let world = secured(toml);
                let instances = [world.instance(), world.instance()];
                let id = world.create("account", json!({ "name": "A", "telephone1": "1" }));
                tokio::time::sleep(Duration::from_secs(2)).await;
                world.update("account", id, json!({ "name": "B", "telephone1": "2" }));
                tokio::time::sleep(Duration::from_secs(2)).await;
                let last = if cleared { json!(null) } else { json!("3") };
                world.update("account", id, json!({ "telephone1": last }));
                let events = world.events().await;
                for (n, &which) in order.iter().enumerate() {
                    redeliver(&instances[n % 2], &events[which]).await;
                }
                world.assert_equal();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hidden_value_that_no_event_tells_stays_as_it_is() {
    let world = secured(PLAIN);
    let instance = world.instance();
    let id = world.create("account", json!({ "name": "A", "telephone1": "1" }));
    redeliver(&instance, &world.events().await[0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.update("account", id, json!({ "name": "B", "description": "d" }));
    let events = world.events().await;
    // oversized
    let mut stripped = decoded(events.last().unwrap());
    stripped.columns.clear();
    stripped.image.clear();
    stripped.completeness = Completeness::Stripped;
    instance.handle(stripped, &delivery(1)).await.unwrap();
    assert_eq!(phone(&world, id), "Some(Text(\"1\"))");
    world.assert_equal();
    // two changes of one second: one of them, marked, and nothing else
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.update("account", id, json!({ "telephone1": "2" }));
    world.update("account", id, json!({ "telephone1": "3" }));
    let events = world.events().await;
    for event in &events[events.len() - 2..] {
        instance.handle(only(event, &["telephone1", "modifiedon"]), &delivery(1)).await.unwrap();
    }
    assert_eq!(phone(&world, id), "Some(Text(\"3\"))");
}
