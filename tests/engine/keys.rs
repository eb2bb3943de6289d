//! Rows that the target knows by an alternate key: renamed, deleted without their key, and key values that change hands.

use super::keeping::{Keeping, bring};
use super::orders::permutations;
use super::world::{decoded, delivery, words};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::Outcome;
use dataverse_sync::sim::dataverse::{Environment, RaisedEvent};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const TOML: &str = "version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n[tables.contact]\n";

fn keeping(has_source: bool) -> Keeping {
    let mut keeping = Keeping::new(TOML);
    keeping.world.has_source = has_source;
    keeping
}

/// What an environment holds, by key: GUIDs differ.
fn rows(environment: &Environment) -> BTreeMap<String, String> {
    let cell = |row: &dataverse_sync::sim::dataverse::Row, name: &str| format!("{:?}", row.get(name));
    let of = |row: &dataverse_sync::sim::dataverse::Row| {
        let values = ["name", "telephone1", "description"].map(|name| cell(row, name)).join(", ");
        (cell(row, "accountnumber"), values)
    };
    environment.rows("account").values().map(of).collect()
}

fn assert_same_rows(keeping: &Keeping, told: &str) {
    let (source, target) = (rows(&keeping.world.source), rows(&keeping.world.target));
    assert_eq!(target, source, "{told}");
    assert_eq!(keeping.world.target.rows("account").len(), target.len(), "{told}: two rows with one key");
}

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The event as a step without images would send it.
fn bare(event: &RaisedEvent) -> ChangeEvent {
    let mut event = decoded(event);
    event.image.clear();
    event.stamp.row_version = None;
    event
}

/// A delete with a registered pre image.
fn with_pre_image(delete: &mut ChangeEvent, key: &str) {
    let key = dataverse_sync::domain::value::Value::Text(key.to_owned());
    delete.image.insert("accountnumber".to_owned(), key);
}

async fn give(instance: &Engine, event: &ChangeEvent) -> Outcome {
    instance.handle(event.clone(), &delivery(1)).await.unwrap().outcome
}

/// Brings events in this order, each to two of three instances, and sweeps until nothing is owed.
async fn bring_all(keeping: &Keeping, events: &[ChangeEvent], order: &[usize], told: &str) {
    let instances = [keeping.world.instance(), keeping.world.instance(), keeping.world.instance()];
    for (n, &which) in order.iter().enumerate() {
        give(&instances[n % 3], &events[which]).await;
        give(&instances[(n + 1) % 3], &events[which]).await;
    }
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert!(parked.is_empty(), "{told}: {parked:?}");
    assert_same_rows(keeping, told);
}

#[tokio::test(start_paused = true)]
async fn create_rename_update_and_delete_end_alike_in_every_order_on_three_instances() {
    for deleted in [true, false] {
        for order in permutations(if deleted { 4 } else { 3 }) {
            for images in [true, false] {
                let keeping = keeping(false);
                let world = &keeping.world;
                let id = world.create("account", json!({ "name": "A", "accountnumber": "K1", "telephone1": "1" }));
                pause().await;
                world.update("account", id, json!({ "accountnumber": "K2" }));
                pause().await;
                world.update("account", id, json!({ "description": "d" }));
                pause().await;
                if deleted {
                    world.delete("account", id);
                }
                let mut events: Vec<ChangeEvent> =
                    world.events().await.iter().map(|e| if images { decoded(e) } else { bare(e) }).collect();
                if images && deleted {
                    with_pre_image(&mut events[3], "K2");
                }
                bring_all(&keeping, &events, &order, &format!("{order:?}, images {images}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_row_gets_after_a_delete_is_never_shared() {
    for order in permutations(3) {
        for (images, source) in [(true, false), (false, false), (false, true)] {
            let keeping = keeping(source);
            let world = &keeping.world;
            let first = world.create("account", json!({ "name": "first", "accountnumber": "K", "telephone1": "1" }));
            pause().await;
            world.delete("account", first);
            pause().await;
            world.create("account", json!({ "name": "second", "accountnumber": "K" }));
            let mut events: Vec<ChangeEvent> =
                world.events().await.iter().map(|e| if images { decoded(e) } else { bare(e) }).collect();
            if images {
                with_pre_image(&mut events[1], "K");
            }
            bring_all(&keeping, &events, &order, &format!("{order:?}, images {images}, source {source}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_row_gets_after_a_rename_is_never_shared() {
    for order in permutations(4) {
        for source in [true, false] {
            let keeping = keeping(source);
            let world = &keeping.world;
            let first = world.create("account", json!({ "name": "first", "accountnumber": "K1", "telephone1": "1" }));
            pause().await;
            world.update("account", first, json!({ "accountnumber": "K2" }));
            pause().await;
            let second = world.create("account", json!({ "name": "second", "accountnumber": "K1" }));
            pause().await;
            world.update("account", second, json!({ "description": "two" }));
            let events: Vec<ChangeEvent> = world.events().await.iter().map(decoded).collect();
            bring_all(&keeping, &events, &order, &format!("{order:?}, source {source}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_pass_keys_on_at_the_same_moment_on_three_instances_end_as_the_source_did() {
    for round in 0..6 {
        let keeping = keeping(round % 2 == 0);
        let world = &keeping.world;
        let ids = ["A", "B", "C"].map(|name| world.create("account", json!({ "name": name, "accountnumber": name })));
        // each gets the key that the next one just left
        for (id, key) in [(0, "X"), (1, "A"), (2, "B"), (0, "C"), (1, "Y"), (2, "A")] {
            pause().await;
            world.update("account", ids[id], json!({ "accountnumber": key, "telephone1": key }));
        }
        pause().await;
        world.delete("account", ids[1]);
        let events: Vec<ChangeEvent> = world.events().await.iter().map(decoded).collect();
        let instances = [world.instance(), world.instance(), world.instance()];
        let all = events.iter().enumerate().map(|(n, event)| {
            let instance = &instances[(n + round) % 3];
            async move {
                tokio::time::sleep(Duration::from_millis(((n * 7 + round * 13) % 11) as u64 * 9)).await;
                give(instance, event).await
            }
        });
        futures_util::future::join_all(all).await;
        keeping.sweep_up().await;
        assert!(keeping.parked().await.is_empty(), "{:?}", keeping.parked().await);
        assert_same_rows(&keeping, &format!("round {round}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_at_any_moment_of_a_rename_leaves_one_row_with_the_new_key() {
    for ms in (0..700).step_by(29) {
        let keeping = keeping(false);
        let world = &keeping.world;
        let id = world.create("account", json!({ "name": "A", "accountnumber": "K1", "telephone1": "1" }));
        pause().await;
        world.update("account", id, json!({ "accountnumber": "K2" }));
        let events = world.events().await;
        bring(&world.instance(), &events[0]).await.unwrap();
        let doomed = world.instance();
        let _ = tokio::time::timeout(Duration::from_millis(ms), bring(&doomed, &events[1])).await;
        // the broker brings it again, once the dead worker's lease is over
        let survivor = world.instance();
        while bring(&survivor, &events[1]).await.is_err() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        keeping.sweep_up().await;
        assert_same_rows(&keeping, &format!("{ms} ms"));
    }
}

fn by_key(id: &str, key: &str, column: &str, value: &str, at_s: i64) -> ChangeEvent {
    use dataverse_sync::domain::value::{KeyPart, RowRef, Value};
    let mut event = crate::support::events::update(id, Uuid::nil(), column, value, at_s);
    event.row = RowRef::Key([("accountnumber".to_owned(), KeyPart::Text(key.to_owned()))].into());
    event.operation = dataverse_sync::domain::event::Operation::Upsert;
    event.columns.insert(column.to_owned(), Value::Text(value.to_owned()));
    event
}

#[tokio::test(start_paused = true)]
async fn senders_that_name_a_row_by_key_and_by_guid_work_on_one_row() {
    for key_first in [true, false] {
        let keeping = keeping(false);
        let world = &keeping.world;
        let id = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
        pause().await;
        world.update("account", id, json!({ "accountnumber": "K2" }));
        let events = world.events().await;
        let instance = world.instance();
        let other = by_key("other", " k1", "telephone1", "555", 1_600_000_000);
        if key_first {
            give(&instance, &other).await;
            bring(&instance, &events[0]).await.unwrap();
        } else {
            bring(&instance, &events[0]).await.unwrap();
            give(&instance, &other).await;
        }
        assert_eq!(world.target.rows("account").len(), 1, "key first {key_first}");
        assert_eq!(words(&bring(&instance, &events[1]).await.unwrap()), "applied: updated");
        let found = rows(&world.target);
        assert!(found.contains_key("Some(Text(\"K2\"))"), "{found:?}");
        assert!(found.values().all(|values| values.contains("555")), "{found:?}");
        // the old key is not this row's any more, the new one is
        let parked = give(&instance, &by_key("late", "K1", "telephone1", "6", 1_900_000_000)).await;
        assert!(parked.detail().starts_with("key_changed"), "{parked:?}");
        give(&instance, &by_key("new", "K2", "telephone1", "7", 1_900_000_000)).await;
        assert_eq!(world.target.rows("account").len(), 1);
        assert!(rows(&world.target).values().all(|values| values.contains("\"7\"")));
        // and the delete, which knows only the GUID, takes it
        world.delete("account", id);
        let mut delete = bare(&world.events().await[0]);
        delete.stamp.at = Some(1_950_000_000_000_000);
        assert_eq!(give(&instance, &delete).await.detail(), "deleted");
        assert!(world.target.rows("account").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_the_key_of_is_deferred_and_parked_with_what_to_register() {
    let mut keeping = keeping(false);
    keeping.world.mapping.limits.attempts_max = 3;
    let world = &keeping.world;
    let id = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
    world.update("account", id, json!({ "name": "B" }));
    world.delete("account", id);
    let events = world.events().await;
    let instance = world.instance();
    for event in &events[1..] {
        let outcome = give(&instance, &bare(event)).await;
        assert!(
            matches!(&outcome, Outcome::Deferred { reason, .. } if reason.starts_with("identity_missing")),
            "{outcome:?}"
        );
    }
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert_eq!(parked.len(), 2);
    for entry in parked {
        assert!(entry.reason.contains("register an image with it"), "{}", entry.reason);
    }
}

fn contact_of(account: Uuid) -> serde_json::Value {
    json!({ "lastname": "C", "parentcustomerid_account@odata.bind": format!("accounts({account})") })
}

/// The key of the account that the only contact of the target points to.
fn parents_key(keeping: &Keeping) -> String {
    let contacts = keeping.world.target.rows("contact");
    let lookup = format!("{:?}", contacts.values().next().unwrap().get("parentcustomerid"));
    let accounts = keeping.world.target.rows("account");
    let parent = accounts.iter().find(|(id, _)| lookup.contains(&id.to_string()));
    parent.map_or(lookup, |(_, row)| format!("{:?}", row.get("accountnumber")))
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_row_known_by_key_follows_it_through_the_ledger() {
    let keeping = keeping(false);
    let world = &keeping.world;
    let id = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
    pause().await;
    world.update("account", id, json!({ "accountnumber": "K2" }));
    pause().await;
    world.create("contact", contact_of(id));
    let events = world.events().await;
    let instance = world.instance();
    // the child first: it waits for its parent, without which nobody here knows the key
    let outcome = give(&instance, &decoded(&events[2])).await;
    assert!(
        matches!(&outcome, Outcome::Deferred { reason, .. } if reason.starts_with("parent_missing")),
        "{outcome:?}"
    );
    for event in &events[..2] {
        bring(&instance, event).await.unwrap();
    }
    keeping.sweep_up().await;
    assert_eq!(parents_key(&keeping), "Some(Text(\"K2\"))");
    assert_ne!(world.target.rows("account").keys().next(), Some(&id), "the target has GUIDs of its own");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_row_known_by_key_that_nobody_synced_yet_is_found_by_the_key_that_the_source_tells() {
    let keeping = keeping(true);
    let world = &keeping.world;
    let service = world.target.service();
    world.target.create(&service, "account", &json!({ "name": "A", "accountnumber": "K1" })).unwrap();
    let id = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
    world.create("contact", contact_of(id));
    let events = world.events().await;
    assert_eq!(words(&bring(&world.instance(), &events[1]).await.unwrap()), "applied: created");
    assert_eq!(parents_key(&keeping), "Some(Text(\"K1\"))");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_row_known_by_key_that_was_deleted_since_is_cleared() {
    let keeping = keeping(false);
    let world = &keeping.world;
    let id = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
    let child = world.create("contact", contact_of(id));
    pause().await;
    world.delete("account", id);
    let events = world.events().await;
    let instance = world.instance();
    for which in [0, 2, 1] {
        bring(&instance, &events[which]).await.unwrap();
    }
    assert_eq!(format!("{:?}", world.target.row("contact", child).unwrap().get("parentcustomerid")), "None");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_row_known_by_key_that_never_comes_is_left_out_or_parked_as_the_mapping_says() {
    for (rule, expected) in
        [("skip", "created"), ("park", "parent_missing"), ("ensure", "attempts_exhausted: parent_missing")]
    {
        let mut keeping = Keeping::new(&format!("{TOML}[tables.contact.lookups]\nparentcustomerid = \"{rule}\"\n"));
        keeping.world.has_source = false;
        keeping.world.mapping.limits.attempts_max = 3;
        let id = keeping.world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
        keeping.world.create("contact", contact_of(id));
        let event = &keeping.world.events().await[1];
        let outcome = bring(&keeping.world.instance(), event).await.unwrap().outcome;
        keeping.sweep_up().await;
        let told = keeping.parked().await.first().map_or(outcome.detail().to_owned(), |parked| parked.reason.clone());
        assert!(told.starts_with(expected), "{rule}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_dead_worker_may_have_written_is_not_taken_before_its_event_is_finished() {
    let mut wrote = 0;
    for ms in (0..400).step_by(23) {
        let keeping = keeping(false);
        let world = &keeping.world;
        let first = world.create("account", json!({ "name": "first", "accountnumber": "K", "telephone1": "1" }));
        pause().await;
        world.delete("account", first);
        pause().await;
        world.create("account", json!({ "name": "second", "accountnumber": "K" }));
        let events = world.events().await;
        let _ = tokio::time::timeout(Duration::from_millis(ms), bring(&world.instance(), &events[0])).await;
        wrote += world.target_writes();
        tokio::time::sleep(Duration::from_secs(300)).await;
        let survivor = world.instance();
        for which in [2, 0, 1] {
            bring(&survivor, &events[which]).await.unwrap();
        }
        keeping.sweep_up().await;
        assert!(keeping.parked().await.is_empty(), "{ms} ms");
        assert_same_rows(&keeping, &format!("{ms} ms"));
    }
    assert!(wrote > 0, "no worker died after its write");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_row_that_was_set_inactive_goes_to_the_next_row_that_has_it() {
    for order in permutations(3) {
        let mut keeping = Keeping::new(&format!("{TOML}[defaults]\ndeletes = \"deactivate\"\n"));
        keeping.world.has_source = false;
        let world = &keeping.world;
        let first = world.create("account", json!({ "name": "first", "accountnumber": "K" }));
        pause().await;
        world.delete("account", first);
        pause().await;
        world.create("account", json!({ "name": "second", "accountnumber": "K" }));
        let events: Vec<ChangeEvent> = world.events().await.iter().map(bare).collect();
        bring_all(&keeping, &events, &order, &format!("{order:?}")).await;
        let rows = world.target.rows("account");
        let state = format!("{:?}", rows.values().next().unwrap().get("statecode"));
        assert_eq!((rows.len(), state.as_str()), (1, "Some(Choice(0))"), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_others_deleted_in_the_target_is_made_anew_by_the_key_that_the_source_tells() {
    let keeping = keeping(true);
    let world = &keeping.world;
    let id = world.create("account", json!({ "name": "A", "accountnumber": "K1", "telephone1": "1" }));
    pause().await;
    world.update("account", id, json!({ "description": "d" }));
    let events = world.events().await;
    let instance = world.instance();
    bring(&instance, &events[0]).await.unwrap();
    let made = *world.target.rows("account").keys().next().unwrap();
    world.target.delete(&world.target.service(), "account", made).unwrap();
    give(&instance, &bare(&events[1])).await;
    assert_same_rows(&keeping, "made anew");
}

const RELATIONSHIP: &str = "new_account_contact";

#[tokio::test(start_paused = true)]
async fn links_of_a_row_known_by_key_wait_for_it_and_end_as_the_source_did_in_every_order() {
    use dataverse_sync::sim::dataverse::{Collector, Message, Sink, Step};
    for linked in [true, false] {
        for order in permutations(4) {
            let keeping = keeping(false);
            let world = &keeping.world;
            let links = Collector::default();
            let step = Step::new(Uuid::from_u128(900), "contact", Sink::Collect(links.clone()));
            world.source.subscribe(step.messages(&[Message::Associate, Message::Disassociate]));
            let account = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
            let contact = world.create("contact", json!({ "lastname": "C" }));
            let person = world.source.person();
            pause().await;
            if !linked {
                world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
                pause().await;
                world.source.disassociate(&person, RELATIONSHIP, "account", account, contact).unwrap();
            } else {
                world.source.associate(&person, RELATIONSHIP, "account", account, contact).unwrap();
                pause().await;
                world.update("account", account, json!({ "accountnumber": "K2" }));
            }
            let mut events: Vec<ChangeEvent> = world.events().await.iter().map(decoded).collect();
            events.extend(links.take().iter().map(decoded));
            assert_eq!(events.len(), 4);
            bring_all(&keeping, &events, &order, &format!("{order:?}, linked {linked}")).await;
            let made = *world.target.rows("account").keys().next().unwrap();
            assert_ne!(made, account);
            let expected = if linked { vec![(made, contact)] } else { Vec::new() };
            assert_eq!(world.target.links(RELATIONSHIP).into_iter().collect::<Vec<_>>(), expected, "{order:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_of_a_row_known_by_key_that_was_deleted_since_brings_nothing_back() {
    use dataverse_sync::sim::dataverse::{Collector, Message, Sink, Step};
    let keeping = keeping(false);
    let world = &keeping.world;
    let links = Collector::default();
    let step = Step::new(Uuid::from_u128(900), "contact", Sink::Collect(links.clone()));
    world.source.subscribe(step.messages(&[Message::Associate, Message::Disassociate]));
    let account = world.create("account", json!({ "name": "A", "accountnumber": "K1" }));
    let contact = world.create("contact", json!({ "lastname": "C" }));
    world.source.associate(&world.source.person(), RELATIONSHIP, "account", account, contact).unwrap();
    pause().await;
    world.delete("account", account);
    let instance = world.instance();
    for event in world.events().await {
        bring(&instance, &event).await.unwrap();
    }
    let link = decoded(&links.take()[0]);
    assert_eq!(give(&instance, &link).await.name(), "stale");
    assert!(world.target.rows("account").is_empty() && world.target.links(RELATIONSHIP).is_empty());
}
