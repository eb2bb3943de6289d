//! Placeholders that nobody hydrates are told of after an hour, and only those.

use super::keeping::{Keeping, MINUTE, bring};
use super::world::{PLAIN, account};
use dataverse_sync::clock::Clock;
use dataverse_sync::ledger::claim::{Ledger, LedgerLimits};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::operate::placeholders::{Waiting, count, placeholders};
use serde_json::json;
use std::sync::Arc;

async fn waiting(keeping: &Keeping) -> Vec<Waiting> {
    let clock: Arc<dyn Clock> = Arc::new(keeping.world.clock.skewed(0));
    let limits = &keeping.world.mapping.limits;
    let limits = LedgerLimits { lease: limits.lease, clock_skew: limits.clock_skew };
    let ledger = Ledger::new(Arc::clone(&keeping.ledger) as Arc<dyn Store>, Arc::clone(&clock), limits);
    placeholders(&keeping.inbox(), &ledger, clock.now().timestamp_millis()).await.unwrap().0
}

async fn counted(keeping: &Keeping) -> usize {
    count(&keeping.inbox(), keeping.world.clock.now().timestamp_millis()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_is_told_of_after_an_hour_until_its_event_comes() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    let mut parents = Vec::new();
    for n in 0..2 {
        let parent = keeping.world.create("account", account(&format!("A{n}")));
        let child = json!({ "lastname": "C", "parentcustomerid_account@odata.bind": format!("/accounts({parent})") });
        keeping.world.create("contact", child);
        parents.push(parent);
    }
    let events = keeping.world.events().await;
    for child in [&events[1], &events[3]] {
        bring(&instance, child).await.unwrap();
    }
    // one is hydrated at once
    bring(&instance, &events[0]).await.unwrap();
    let sweeper = keeping.sweeper();
    let hours = async |minutes: u32| {
        for _ in 0..minutes {
            tokio::time::sleep(MINUTE).await;
            sweeper.sweep("sweep").await.unwrap();
        }
    };
    hours(50).await;
    assert_eq!((waiting(&keeping).await, counted(&keeping).await), (Vec::new(), 0));
    hours(20).await;
    let found = waiting(&keeping).await;
    assert_eq!((found.len(), counted(&keeping).await), (1, 1), "{found:?}");
    assert_eq!((found[0].table.as_str(), found[0].id, found[0].needed_by.as_str()), ("account", parents[1], "contact"));
    // it stays told of, hour by hour
    hours(180).await;
    assert_eq!((waiting(&keeping).await.len(), counted(&keeping).await), (1, 1));
    bring(&instance, &events[2]).await.unwrap();
    keeping.world.assert_equal();
    assert!(waiting(&keeping).await.is_empty());
    // what is kept about it goes with the next look
    hours(62).await;
    assert_eq!(counted(&keeping).await, 0);
    assert!(keeping.inbox().placeholders(None, 10).await.unwrap().found.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_that_cannot_be_noted_stops_no_event() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    let parent = keeping.world.create("account", account("A"));
    let child = json!({ "lastname": "C", "parentcustomerid_account@odata.bind": format!("/accounts({parent})") });
    keeping.world.create("contact", child);
    let events = keeping.world.events().await;
    keeping.shaky.fail(0..100);
    assert_eq!(bring(&instance, &events[1]).await.unwrap().outcome.name(), "applied");
    assert_eq!(bring(&instance, &events[0]).await.unwrap().outcome.name(), "applied");
    keeping.world.assert_equal();
}
