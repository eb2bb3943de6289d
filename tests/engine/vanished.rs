//! Rows that go from the target without a delete of theirs: with another row, or by somebody's hand.

use super::keeping::{Keeping, bring};
use super::world::{PLAIN, World, account, deliver, words};
use dataverse_sync::domain::partition::Partition;
use dataverse_sync::domain::value::RowRef;
use dataverse_sync::ledger::record::RowRecord;
use dataverse_sync::sim::dataverse::{Collector, RaisedEvent, Sink, Step, difference};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const ORDERS: &str =
    "version = 1\n[defaults]\nguard = \"GUARD\"\n[tables.salesorder]\n[tables.salesorderdetail]\n[tables.account]\n";

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// A line that left an order before that was deleted, and everything raised by it, in commit order.
async fn line_that_left(world: &World) -> (Uuid, Vec<RaisedEvent>) {
    let collector = Collector::default();
    for (n, table) in ["salesorder", "salesorderdetail"].into_iter().enumerate() {
        let step = Step::new(Uuid::from_u128(910 + n as u128), table, Sink::Collect(collector.clone()));
        world.source.subscribe(step);
    }
    let orders = ["old", "new"].map(|name| world.create("salesorder", json!({ "name": name })));
    let line = world.create(
        "salesorderdetail",
        json!({ "salesorderdetailname": "L", "quantity": 3, "salesorderid@odata.bind": format!("salesorders({})", orders[0]) }),
    );
    pause().await;
    let moved = json!({ "salesorderid@odata.bind": format!("salesorders({})", orders[1]) });
    world.update("salesorderdetail", line, moved);
    pause().await;
    world.delete("salesorder", orders[0]);
    world.source.idle().await;
    (line, collector.take())
}

#[tokio::test(start_paused = true)]
async fn a_row_that_went_with_the_one_it_had_left_is_made_anew_as_the_source_has_it() {
    for guard in ["lease", "etag"] {
        let keeping = Keeping::new(&ORDERS.replace("GUARD", guard));
        let (_, events) = line_that_left(&keeping.world).await;
        let instance = keeping.world.instance();
        assert_eq!(events.len(), 5);
        // the delete comes before what makes it harmless to the line
        for n in [0, 1, 2, 4, 3] {
            bring(&instance, &events[n]).await.unwrap();
        }
        keeping.sweep_up().await;
        let (source, target) = (&keeping.world.source, &keeping.world.target);
        let found = difference(source, target, &["salesorder", "salesorderdetail"], &["ownerid"]);
        assert!(found.is_empty(), "{guard}: {found:#?}");
        assert!(keeping.parked().await.is_empty());
    }
}

async fn row_of(world: &World, table: &str, id: Uuid) -> RowRecord {
    use dataverse_sync::ledger::store::Store;
    let partition = Partition::of(table, &RowRef::Id(id));
    world.store.read(partition.key(), "event:").await.unwrap().row.unwrap().record
}

#[tokio::test(start_paused = true)]
async fn without_a_source_what_is_lost_is_marked_and_never_taken_for_written() {
    let mut world = World::new(PLAIN);
    world.has_source = false;
    let instance = world.instance();
    let id = world.create("account", account("A"));
    pause().await;
    world.update("account", id, json!({ "telephone1": "2" }));
    pause().await;
    // says again what it said before
    world.update("account", id, json!({ "name": "A", "description": "d" }));
    let events = world.events().await;
    deliver(&instance, &events[0]).await.unwrap();
    world.target.delete(&world.target.service(), "account", id).unwrap();
    assert_eq!(words(&deliver(&instance, &events[1]).await.unwrap()), "applied: created");
    assert!(row_of(&world, "account", id).await.state.ambiguous);
    deliver(&instance, &events[2]).await.unwrap();
    let row = world.target.row("account", id).unwrap();
    let found = ["name", "telephone1", "description"].map(|name| format!("{:?}", row.get(name)));
    assert_eq!(found, ["A", "2", "d"].map(|text| format!("Some(Text({text:?}))")));
}
