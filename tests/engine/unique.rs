//! Unique values that rows of the target pass on to each other.

use super::keeping::{Keeping, bring};
use super::orders::permutations;
use super::world::PLAIN;
use serde_json::json;
use std::time::Duration;

async fn pause() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn values_that_rows_pass_on_end_where_the_source_has_them_in_every_order() {
    for source in [true, false] {
        for order in permutations(3) {
            let mut keeping = Keeping::new(PLAIN);
            keeping.world.has_source = source;
            let world = &keeping.world;
            let [x, y] = ["A", "B"].map(|key| world.create("account", json!({ "name": key, "accountnumber": key })));
            let instance = world.instance();
            for event in world.events().await {
                bring(&instance, &event).await.unwrap();
            }
            // the two swap their numbers, by way of a third
            for (row, key) in [(x, "T"), (y, "A"), (x, "B")] {
                pause().await;
                world.update("account", row, json!({ "accountnumber": key }));
            }
            let events = world.events().await;
            for n in &order {
                bring(&instance, &events[*n]).await.unwrap();
            }
            keeping.sweep_up().await;
            let parked = keeping.parked().await;
            assert!(parked.is_empty(), "{order:?}, source {source}: {parked:?}");
            world.assert_equal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_another_row_keeps_is_parked_in_the_end() {
    let keeping = Keeping::new(PLAIN);
    let service = keeping.world.target.service();
    keeping.world.target.create(&service, "account", &json!({ "name": "theirs", "accountnumber": "A-1" })).unwrap();
    keeping.world.create("account", json!({ "name": "ours", "accountnumber": "A-1" }));
    bring(&keeping.world.instance(), &keeping.world.events().await[0]).await.unwrap();
    keeping.sweep_up().await;
    let parked = keeping.parked().await;
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.starts_with("duplicate_key") && parked[0].reason.contains("accountnumber"), "{parked:?}");
}
