//! Rows that are inactive when they come: nothing is born so, and the target must have them so all the same.

use super::keeping::{Keeping, bring};
use super::world::{World, account, deliver, words};
use dataverse_sync::domain::outcome::Outcome;
use serde_json::json;
use std::time::Duration;

const INACTIVE: (i64, i64) = (1, 2);

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

fn tomls() -> [&'static str; 4] {
    [
        "version = 1\n[tables.account]\n",
        "version = 1\n[tables.account]\nread = \"source\"\n",
        "version = 1\n[tables.account]\nguard = \"etag\"\n",
        "version = 1\n[tables.account]\nkey = [\"accountnumber\"]\n",
    ]
}

/// An account that is inactive at the source, and the events of that.
async fn set_inactive(world: &World) -> Vec<dataverse_sync::sim::dataverse::RaisedEvent> {
    let body = json!({ "name": "A", "accountnumber": "A-1", "telephone1": "1" });
    let id = world.create("account", body);
    pause().await;
    world.update("account", id, json!({ "statecode": INACTIVE.0, "statuscode": INACTIVE.1, "telephone1": "2" }));
    world.events().await
}

fn assert_inactive(world: &World, toml: &str) {
    let rows = world.target.rows("account");
    let rows: Vec<String> = rows
        .values()
        .map(|row| {
            ["name", "telephone1", "statecode", "statuscode"].map(|name| format!("{:?}", row.get(name))).join(" ")
        })
        .collect();
    let expected = r#"Some(Text("A")) Some(Text("2")) Some(Choice(1)) Some(Choice(2))"#;
    assert_eq!(rows, [expected], "{toml}");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_comes_inactive_is_made_and_then_set_inactive_in_every_order() {
    for toml in tomls() {
        for order in [[0, 1], [1, 0]] {
            let keeping = Keeping::new(toml);
            let events = set_inactive(&keeping.world).await;
            let instance = keeping.world.instance();
            let first = bring(&instance, &events[order[0]]).await.unwrap().outcome;
            assert!(matches!(first, Outcome::Applied(_)), "{toml} {order:?}: {first:?}");
            bring(&instance, &events[order[1]]).await.unwrap();
            keeping.sweep_up().await;
            assert_inactive(&keeping.world, toml);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_of_the_target_that_takes_changes_only_with_its_state_gets_both_in_one_write() {
    let world = World::new("version = 1\n[tables.salesorder]\n");
    let id = world.create("salesorder", json!({ "name": "S" }));
    pause().await;
    let service = world.target.service();
    world.target.create(&service, "salesorder", &json!({ "salesorderid": id, "name": "old" })).unwrap();
    // nothing here knows the row; in state 3 it is read-only
    let fulfilled = json!({ "statecode": 3, "statuscode": 100_001 });
    world.target.update(&service, "salesorder", id, &fulfilled).unwrap();
    world.update("salesorder", id, json!({ "statecode": 2, "statuscode": 4, "name": "T" }));
    let told = words(&deliver(&world.instance(), &world.events().await[1]).await.unwrap());
    assert_eq!(told, "applied: updated");
    let row = world.target.row("salesorder", id).unwrap();
    let found = ["name", "statecode"].map(|name| format!("{:?}", row.get(name)));
    assert_eq!(found, ["Some(Text(\"T\"))", "Some(Choice(2))"]);
}

#[tokio::test(start_paused = true)]
async fn an_active_row_costs_one_write() {
    let world = World::new("version = 1\n[tables.account]\n");
    let instance = world.instance();
    world.create("account", account("A"));
    for event in world.events().await {
        assert_eq!(words(&deliver(&instance, &event).await.unwrap()), "applied: created");
    }
    assert_eq!(world.target_writes(), 1);
}
