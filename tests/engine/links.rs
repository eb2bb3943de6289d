//! Many-to-many links in any order, from either side, to rows that are not there yet.

use super::orders::permutations;
use super::world::{World, account, redeliver, words};
use dataverse_sync::sim::dataverse::{Collector, Effect, RaisedEvent, Rule, Sink, Step, When};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const RELATIONSHIP: &str = "new_account_contact";
const TOML: &str = "version = 1\n[tables.account]\n[tables.contact]\n";

/// A world in which links raise events, with an account and a contact whose own events are not delivered yet.
async fn linked_world() -> (World, Collector, Uuid, Uuid, Vec<RaisedEvent>) {
    let world = World::new(TOML);
    let account = world.create("account", account("A"));
    let contact = world.create("contact", json!({ "lastname": "C" }));
    let events = world.events().await;
    let collector = Collector::default();
    let links =
        [dataverse_sync::sim::dataverse::Message::Associate, dataverse_sync::sim::dataverse::Message::Disassociate];
    world
        .source
        .subscribe(Step::new(Uuid::from_u128(900), "account", Sink::Collect(collector.clone())).messages(&links));
    (world, collector, account, contact, events)
}

async fn taken(world: &World, collector: &Collector) -> Vec<RaisedEvent> {
    world.source.idle().await;
    collector.take()
}

#[tokio::test(start_paused = true)]
async fn a_link_is_made_and_removed_and_repeats_are_harmless() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instance = world.instance();
    for event in &rows {
        redeliver(&instance, event).await;
    }
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    let events = taken(&world, &collector).await;
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "applied: linked");
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "duplicate: applied: linked");
    assert_eq!(world.target.links(RELATIONSHIP).len(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    let events = taken(&world, &collector).await;
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "applied: unlinked");
    assert!(world.target.links(RELATIONSHIP).is_empty());
}

#[tokio::test(start_paused = true)]
async fn links_and_unlinks_in_any_order_end_as_the_source_did() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [1, 0, 2], [2, 0, 1]] {
        let (world, collector, account, contact, rows) = linked_world().await;
        let instances = [world.instance(), world.instance()];
        let person = world.source.person();
        for step in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            if step == 1 {
                world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
            } else {
                world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
            }
        }
        let events = taken(&world, &collector).await;
        // the rows themselves come last: both ends begin as placeholders
        for &which in &order {
            redeliver(&instances[which % 2], &events[which]).await;
        }
        for event in &rows {
            redeliver(&instances[0], event).await;
        }
        assert_eq!(world.target.links(RELATIONSHIP), world.source.links(RELATIONSHIP), "{order:?}");
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_to_a_row_that_was_deleted_since_brings_nothing_back() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instance = world.instance();
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    let links = taken(&world, &collector).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("contact", contact);
    for event in rows.iter().chain(&world.events().await) {
        redeliver(&instance, event).await;
    }
    assert_eq!(words(&redeliver(&instance, &links[0]).await), "stale: ");
    assert!(world.target.row("contact", contact).is_none());
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_link_seen_from_its_other_end_is_the_same_link() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instance = world.instance();
    for event in &rows {
        redeliver(&instance, event).await;
    }
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.disassociate(&person, RELATIONSHIP, "contact", contact, account).unwrap();
    let events = taken(&world, &collector).await;
    let targets: Vec<_> = events.iter().map(|event| super::world::decoded(event).table).collect();
    assert_eq!(targets, ["account", "contact"], "the two events name different rows");
    // the newer one first: only one history knows that the older one is stale
    redeliver(&instance, &events[1]).await;
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "stale: ");
    assert!(world.target.links(RELATIONSHIP).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unlink_that_lands_after_its_time_out_does_not_undo_a_newer_link() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instances = [world.instance(), world.instance()];
    for event in &rows {
        redeliver(&instances[0], event).await;
    }
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    redeliver(&instances[0], &taken(&world, &collector).await[0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    let events = taken(&world, &collector).await;
    let late = Effect::Late { lands_after: Duration::from_secs(90), silent_for: Duration::from_secs(600) };
    let rule = world.target.faults().add(Rule::new(When::Nth(1), late).method(http::Method::DELETE));
    let both = [redeliver(&instances[0], &events[0]), redeliver(&instances[1], &events[1])];
    futures_util::future::join_all(both).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.target.faults().hits(rule), 1);
    assert_eq!(world.target.links(RELATIONSHIP), world.source.links(RELATIONSHIP));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_went_with_its_row_is_made_again_for_the_rows_next_life() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instance = world.instance();
    for event in &rows {
        redeliver(&instance, event).await;
    }
    let person = world.source.person();
    let wait = || tokio::time::sleep(Duration::from_secs(2));
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    redeliver(&instance, &taken(&world, &collector).await[0]).await;
    wait().await;
    world.delete("contact", contact);
    wait().await;
    world.create("contact", json!({ "contactid": contact, "lastname": "again" }));
    for event in world.events().await {
        redeliver(&instance, &event).await;
    }
    wait().await;
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    redeliver(&instance, &taken(&world, &collector).await[0]).await;
    assert_eq!(world.target.links(RELATIONSHIP).len(), 1);
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_event_with_several_links_is_kept_whole_until_the_last_one_is_there() {
    use dataverse_sync::domain::delivery::{Channel, Delivery};
    use dataverse_sync::domain::event::Operation;
    use dataverse_sync::sync::HandleEvent;
    for ms in (0..900).step_by(37) {
        let mut world = World::with(TOML, |settings| {
            settings.latency = (Duration::from_millis(20), Duration::from_millis(60));
        });
        world.inbox = Some(std::sync::Arc::new(dataverse_sync::inbox::memory::MemoryStore::default()));
        let account = world.create("account", account("A"));
        let contacts = ["C", "D", "E"].map(|name| world.create("contact", json!({ "lastname": name })));
        let rows = world.events().await;
        let mut link = super::world::decoded(&rows[0]);
        link.id = dataverse_sync::domain::event::EventId::new(None, "links").unwrap();
        link.columns.clear();
        link.operation = Operation::Link(dataverse_sync::domain::event::Link {
            relationship: RELATIONSHIP.to_owned(),
            related: contacts.iter().map(|id| ("contact".to_owned(), *id)).collect(),
        });
        assert_eq!(link.row, dataverse_sync::domain::value::RowRef::Id(account));
        // a webhook, and whoever works on it dies at any moment: only the sweep comes back
        let doomed = world.instance();
        let webhook = Delivery { channel: Channel::Webhook, ..super::world::delivery(1) };
        let answer = doomed.handle(link.clone(), &webhook).await.unwrap();
        assert_eq!(words(&answer), "deferred: several_links");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let sweep = async |instance: &dataverse_sync::sync::engine::Engine| {
            let inbox = instance.parts().inbox.as_ref().unwrap();
            let now_ms = instance.parts().clock.now().timestamp_millis();
            for (slip, entry) in inbox.due(now_ms, 10).await.unwrap() {
                let _ = instance.resume(&slip, &entry, None, "sweep").await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(ms), sweep(&doomed)).await;
        let survivor = world.instance();
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            sweep(&survivor).await;
        }
        assert_eq!(world.target.links(RELATIONSHIP).len(), 3, "{ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn links_and_unlinks_with_duplicates_at_once_on_three_instances_end_as_the_source_did() {
    for order in permutations(3) {
        for ends_linked in [true, false] {
            let (world, collector, account, contact, rows) = linked_world().await;
            let instances = [world.instance(), world.instance(), world.instance()];
            for event in &rows {
                redeliver(&instances[0], event).await;
            }
            let person = world.source.person();
            for step in 0..3 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                if (step % 2 == 0) == ends_linked {
                    let _ = world.source.associate(&person, RELATIONSHIP, "account", account, contact);
                } else {
                    let _ = world.source.disassociate(&person, RELATIONSHIP, "account", account, contact);
                }
            }
            let events = taken(&world, &collector).await;
            let brought = order.iter().filter(|which| **which < events.len()).enumerate();
            let all = brought.flat_map(|(n, &which)| [(n, which), (n + 1, which)]).map(|(n, which)| {
                let (instance, event) = (&instances[n % 3], &events[which]);
                async move {
                    tokio::time::sleep(Duration::from_millis(n as u64 * 7)).await;
                    redeliver(instance, event).await
                }
            });
            futures_util::future::join_all(all).await;
            assert_eq!(world.target.links(RELATIONSHIP), world.source.links(RELATIONSHIP), "{order:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_linked_or_unlinked_already_at_the_target_is_success() {
    let (world, collector, account, contact, rows) = linked_world().await;
    let instance = world.instance();
    for event in &rows {
        redeliver(&instance, event).await;
    }
    let (person, service) = (world.source.person(), world.target.service());
    world.target.associate(&service, RELATIONSHIP, "account", account, contact).unwrap();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    assert_eq!(words(&redeliver(&instance, &taken(&world, &collector).await[0]).await), "applied: linked");
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.target.disassociate(&service, RELATIONSHIP, "account", account, contact).unwrap();
    world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    assert_eq!(words(&redeliver(&instance, &taken(&world, &collector).await[0]).await), "applied: unlinked");
}

#[tokio::test(start_paused = true)]
async fn an_unlink_of_rows_that_never_came_makes_none() {
    let (world, collector, account, contact, _) = linked_world().await;
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
    let events = taken(&world, &collector).await;
    let instance = world.instance();
    assert_eq!(words(&redeliver(&instance, &events[1]).await), "applied: unlinked");
    assert_eq!(words(&redeliver(&instance, &events[0]).await), "stale: ");
    assert!(world.target.rows("account").is_empty() && world.target.rows("contact").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_whose_row_is_deleted_ends_unlinked_in_every_order() {
    for order in permutations(3) {
        let (world, collector, account, contact, rows) = linked_world().await;
        let instance = world.instance();
        for event in &rows {
            redeliver(&instance, event).await;
        }
        let person = world.source.person();
        world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.delete("contact", contact);
        let mut events = taken(&world, &collector).await;
        events.extend(world.events().await);
        for which in order {
            redeliver(&instance, &events[which]).await;
        }
        assert!(world.target.links(RELATIONSHIP).is_empty());
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_of_a_table_that_is_read_from_the_source_says_all_itself() {
    let world = World::new("version = 1\n[defaults]\nread = \"source\"\n[tables.account]\n[tables.contact]\n");
    world.watch_links();
    let instance = world.instance();
    let account = world.create("account", account("A"));
    let contact = world.create("contact", json!({ "lastname": "C" }));
    let person = world.source.person();
    world.source.associate(&person, RELATIONSHIP, "contact", contact, account).unwrap();
    for event in world.events().await {
        assert_eq!(redeliver(&instance, &event).await.outcome.name(), "applied");
    }
    assert_eq!(world.target.links(RELATIONSHIP).len(), 1);
    world.assert_equal();
}
