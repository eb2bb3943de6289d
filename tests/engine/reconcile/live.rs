//! Live traffic beside a run: events in any order, repeated, with faults; and a run that undoes nothing.

use super::twins::{PLAIN, Twins, id, options};
use crate::engine::world::{decoded, delivery};
use dataverse_sync::domain::delivery::{Channel, Delivery};
use dataverse_sync::operate::reconcile::Options;
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use dataverse_sync::sync::HandleEvent;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::Duration;

const SEEDS: u64 = 12;
const SECOND: Duration = Duration::from_secs(1);

async fn world(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let twins = Twins::new(PLAIN);
    for n in 0..40 {
        twins.both("account", id(n), json!({"name": "A", "telephone1": "1"}));
        if random.random_bool(0.3) {
            twins.at_target("account", id(n), json!({"name": "by hand"}));
        }
        if random.random_bool(0.1) {
            twins.gone(&twins.target, "account", id(n));
        }
    }
    let _ = twins.collector.take();
    tokio::time::sleep(10 * SECOND).await;
    let slow = Effect::Slow { before: SECOND / 10, after: SECOND / 10 };
    twins.target.faults().add(Rule::new(When::Always, slow.clone()));
    twins.source.faults().add(Rule::new(When::Always, slow));
    twins.target.faults().add_seeded(Rule::new(When::Probability(0.05), Effect::HangupAfter), seed);
    let instance = twins.instance();
    let instance = &instance;
    // people change rows; most events come, late and out of order, and some are lost
    let changes = (0..60).map(|_| {
        let (at, delay) = (random.random_range(0..20_000), random.random_range(0..3_000));
        let (row, lost, kind) = (random.random_range(0..45_u32), random.random_bool(0.15), random.random_range(0..10));
        (at, delay, row, lost, kind)
    });
    let changes: Vec<_> = changes.collect();
    let twins_ref = &twins;
    let traffic = changes.into_iter().enumerate().map(|(n, (at, delay, row, lost, kind))| async move {
        tokio::time::sleep(Duration::from_millis(at)).await;
        if kind == 0 && twins_ref.source.row("account", id(row)).is_some() {
            twins_ref.gone(&twins_ref.source, "account", id(row));
        } else if kind < 5 {
            twins_ref.at_source("account", id(row), json!({"name": format!("live {n}")}));
        } else {
            twins_ref.at_source("account", id(row), json!({"telephone1": format!("{n}")}));
        }
        let events = twins_ref.collector.take();
        if lost {
            return;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        for event in events {
            let webhook = Delivery { channel: Channel::Webhook, ..delivery(1) };
            let _ = instance.handle(decoded(&event), &webhook).await;
        }
    });
    let full = Options { full: true, tables: vec!["account".to_owned()], ..options() };
    let runs = async {
        for _ in 0..3 {
            twins.mend(&full).await;
            tokio::time::sleep(3 * SECOND).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(traffic), runs).await;
    // everything that is owed is worked off; what was lost is found by one more run
    twins.target.faults().clear();
    twins.source.faults().clear();
    twins.sweep_up().await;
    twins.mend(&Options { delete_extra: true, ..full.clone() }).await;
    twins.sweep_up().await;
    twins.assert_equal(&["account"]);
    let found = twins.compare().await;
    assert!(found.is_equal(), "{found:#?}");
}

#[test]
fn live_traffic_and_runs_end_with_both_sides_equal() {
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(world(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            println!("SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
