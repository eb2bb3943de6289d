//! Parents that arrive late, never, or were deleted.

use super::orders::permutations;
use super::world::{PLAIN, World, account, deliver, redeliver, words};
use dataverse_sync::sim::dataverse::{Collector, Image, Sink, Step};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

fn contact_of(account: Uuid, name: &str) -> Value {
    json!({ "lastname": name, "parentcustomerid_account@odata.bind": format!("accounts({account})") })
}

fn text(world: &World, table: &str, id: Uuid, column: &str) -> String {
    world.target.row(table, id).map_or_else(|| "no row".to_owned(), |row| format!("{:?}", row.get(column)))
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_first_gets_a_placeholder_that_the_parents_own_event_hydrates() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    let child = world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: created");
    assert!(text(&world, "account", parent, "name").contains("(awaiting sync)"));
    assert!(text(&world, "contact", child, "parentcustomerid").contains(&parent.to_string()));
    assert_eq!(words(&deliver(&instance, &events[0]).await.unwrap()), "applied: updated");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn an_existing_parent_is_never_changed_by_a_placeholder() {
    let world = World::with("version = 1\n[tables.account]\n[tables.contact]\nparents = \"always\"\n", |_| {});
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    let child = world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    deliver(&instance, &events[0]).await.unwrap();
    // another instance does not know that the parent is there
    let other = world.instance();
    deliver(&other, &events[1]).await.unwrap();
    world.assert_equal();
    // and known parents cost nothing
    let before = world.target.requests().count();
    world.update("contact", child, json!({ "jobtitle": "x" }));
    deliver(&other, &world.events().await[0]).await.unwrap();
    assert_eq!(world.target.requests().count() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn many_children_and_the_parent_itself_at_once_end_fully_hydrated() {
    let world = World::with(PLAIN, |settings| {
        settings.race_window = Duration::from_millis(60);
        settings.latency = (Duration::from_millis(5), Duration::from_millis(60));
    });
    let parent = world.create("account", account("A"));
    for n in 0..8 {
        world.create("contact", contact_of(parent, &format!("C{n}")));
    }
    let events = world.events().await;
    let instances = [world.instance(), world.instance(), world.instance()];
    let all = events.iter().rev().enumerate().map(|(n, event)| redeliver(&instances[n % 3], event));
    futures_util::future::join_all(all).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_parent_known_as_deleted_is_not_brought_back() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    let child = world.create("contact", contact_of(parent, "C"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("account", parent);
    let events = world.events().await;
    for which in [0, 2, 1] {
        redeliver(&instance, &events[which]).await;
    }
    assert!(world.target.row("account", parent).is_none());
    assert_eq!(text(&world, "contact", child, "parentcustomerid"), "None");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_older_than_a_childs_reference_does_not_take_the_parent_away() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("account", parent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.create("account", json!({ "accountid": parent, "name": "again" }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    // the child first: a placeholder; then the old life's events, the second life's create last
    for which in [3, 0, 1, 2] {
        redeliver(&instance, &events[which]).await;
    }
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn rows_that_refer_to_themselves_and_to_each_other_arrive_in_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let world = World::new(PLAIN);
        let instances = [world.instance(), world.instance()];
        let a = world.create("account", account("A"));
        let c = world.create("contact", contact_of(a, "C"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.update("account", a, json!({ "primarycontactid@odata.bind": format!("contacts({c})") }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.update("account", a, json!({ "parentaccountid@odata.bind": format!("accounts({a})") }));
        let events = world.events().await;
        let all = order.iter().map(|&which| redeliver(&instances[which % 2], &events[which]));
        futures_util::future::join_all(all).await;
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_to_a_table_that_is_not_synchronised_is_left_out_or_parks_as_the_mapping_says() {
    let world = World::new("version = 1\n[tables.contact]\n");
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    let child = world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: created");
    assert_eq!(text(&world, "contact", child, "parentcustomerid"), "None");
    assert!(world.target.rows("account").is_empty(), "nothing would ever hydrate a placeholder");
    // what was left out is written as soon as it can be
    let there = json!({ "accountid": parent, "name": "by hand" });
    world.target.create(&world.target.service(), "account", &there).unwrap();
    world.update("contact", child, contact_of(parent, "C"));
    deliver(&instance, &world.events().await[0]).await.unwrap();
    assert!(text(&world, "contact", child, "parentcustomerid").contains(&parent.to_string()));

    let world = World::new("version = 1\n[tables.contact.lookups]\nparentcustomerid = \"park\"\n");
    let parent = world.create("account", account("A"));
    world.create("contact", contact_of(parent, "C"));
    let error = deliver(&world.instance(), &world.events().await[1]).await.unwrap_err();
    assert!(error.to_string().starts_with("parent_missing"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn with_parents_never_the_child_waits_for_its_parent() {
    let world = World::new("version = 1\n[tables.account]\n[tables.contact]\nparents = \"never\"\n");
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    let child = redeliver(&instance, &events[1]);
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        redeliver(&instance, &events[0]).await
    };
    futures_util::future::join(child, later).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn placeholders_carry_what_the_mapping_sets() {
    let world = World::new(
        "version = 1\n[tables.account.placeholder]\nset = { industrycode = 3 }\n[tables.account]\nplaceholder_name = \"(soon)\"\n[tables.contact]\n",
    );
    let parent = world.create("account", account("A"));
    world.create("contact", contact_of(parent, "C"));
    deliver(&world.instance(), &world.events().await[1]).await.unwrap();
    assert!(text(&world, "account", parent, "name").contains("(soon)"));
    assert!(text(&world, "account", parent, "industrycode").contains('3'));
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_parents_arrives_in_every_order_from_the_grandchild_up() {
    for parents in ["on-missing", "always"] {
        for order in permutations(3) {
            let world = World::new(&format!(
                "version = 1\n[defaults]\nparents = \"{parents}\"\n[tables.account]\n[tables.contact]\n[tables.salesorder]\n"
            ));
            let instances = [world.instance(), world.instance(), world.instance()];
            let grandparent = world.create("account", account("A"));
            let parent = world.create("contact", contact_of(grandparent, "C"));
            let bind = json!({ "name": "O", "customerid_contact@odata.bind": format!("contacts({parent})") });
            world.create("salesorder", bind);
            let events = world.events().await;
            for (n, &which) in order.iter().enumerate() {
                redeliver(&instances[n], &events[which]).await;
            }
            world.assert_equal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_parents_arriving_at_once_on_three_instances_ends_hydrated() {
    let world = World::with(PLAIN, |settings| {
        settings.race_window = Duration::from_millis(60);
        settings.latency = (Duration::from_millis(5), Duration::from_millis(60));
    });
    let grandparent = world.create("account", account("A"));
    let parent = world.create("contact", contact_of(grandparent, "C"));
    for n in 0..4 {
        let bind = json!({ "name": format!("O{n}"), "customerid_contact@odata.bind": format!("contacts({parent})") });
        world.create("salesorder", bind);
    }
    let events = world.events().await;
    let instances = [world.instance(), world.instance(), world.instance()];
    let all = events.iter().rev().enumerate().map(|(n, event)| redeliver(&instances[n % 3], event));
    futures_util::future::join_all(all).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_may_point_to_several_tables_gets_its_placeholder_in_the_one_it_points_to() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("contact", json!({ "lastname": "P" }));
    let bind = json!({ "lastname": "C", "parentcustomerid_contact@odata.bind": format!("contacts({parent})") });
    world.create("contact", bind);
    let events = world.events().await;
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: created");
    assert!(world.target.row("contact", parent).is_some() && world.target.row("account", parent).is_none());
    deliver(&instance, &events[0]).await.unwrap();
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_of_a_table_with_required_columns_needs_what_the_mapping_sets() {
    for (set, expected) in [("", "required_missing"), ("set = { productnumber = \"(soon)\" }", "created")] {
        let mut keeping = super::keeping::Keeping::new(&format!(
            "version = 1\n[tables.product.placeholder]\n{set}\n[tables.product]\n[tables.salesorderdetail]\n"
        ));
        keeping.world.has_source = false;
        let world = &keeping.world;
        let collector = Collector::default();
        for (n, table) in ["product", "salesorderdetail"].into_iter().enumerate() {
            let step = Step::new(Uuid::from_u128(910 + n as u128), table, Sink::Collect(collector.clone()));
            world.source.subscribe(step.image(Image::All));
        }
        let product = world.create("product", json!({ "name": "P", "productnumber": "P-1" }));
        let bind = json!({ "salesorderdetailname": "L", "productid@odata.bind": format!("products({product})") });
        world.create("salesorderdetail", bind);
        world.source.idle().await;
        let events = collector.take();
        let instance = world.instance();
        let outcome = super::keeping::bring(&instance, &events[1]).await.unwrap().outcome;
        assert!(outcome.detail().contains(expected), "{outcome:?}");
        // with or without: the product's own event mends it
        super::keeping::bring(&instance, &events[0]).await.unwrap();
        keeping.sweep_up().await;
        assert!(text(world, "product", product, "productnumber").contains("P-1"));
        assert_eq!(world.target.rows("salesorderdetail").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_the_target_cleared_with_its_parent_is_written_again_for_the_parents_next_life() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    let child = world.create("contact", contact_of(parent, "C"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("account", parent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.create("account", json!({ "accountid": parent, "name": "again" }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.update("contact", child, contact_of(parent, "C"));
    for event in world.events().await {
        redeliver(&instance, &event).await;
    }
    assert!(text(&world, "contact", child, "parentcustomerid").contains(&parent.to_string()));
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_was_deleted_before_a_child_referred_to_its_next_life_is_brought_back() {
    let world = World::new(PLAIN);
    let instance = world.instance();
    let parent = world.create("account", account("A"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.delete("account", parent);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.create("account", json!({ "accountid": parent, "name": "again" }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let child = world.create("contact", contact_of(parent, "C"));
    let events = world.events().await;
    // the second life is not known yet when its child comes
    for which in [0, 1, 3] {
        redeliver(&instance, &events[which]).await;
    }
    assert!(text(&world, "contact", child, "parentcustomerid").contains(&parent.to_string()));
    redeliver(&instance, &events[2]).await;
    world.assert_equal();
}
