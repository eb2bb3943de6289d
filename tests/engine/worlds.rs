//! Simulated worlds: one seed is one world. A source lives its life: rows that are created, partly updated, deleted, born
//! again, that refer to each other in lines and circles, that are linked and unlinked. Its events reach three instances
//! shuffled, repeated and in parallel, over webhooks and a queue; clocks differ; answers of ledger, inbox, target and source
//! are lost before and after their effect; requests land after their time-out; instances die in the middle of anything,
//! and work stands still past its lease and goes on. The oracle is the source itself, which knows the true order of
//! commits and shares no code with the engine; the engine knows only what payloads carry.
//!
//! Replay one: `SEED=17 cargo test --test all engine::worlds`, with every request: `TRACE=1`. More of them:
//! `WORLDS=20000 cargo test --release --test all engine::worlds`.

mod history;
mod instances;
mod plan;
pub mod verdict;

use instances::Instances;
use plan::Plan;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use verdict::Seen;

/// Worlds in a normal run; `WORLDS` asks for another number.
const WORLDS: u64 = 2_000;
/// Worlds run side by side, each on a thread of its own.
const THREADS: usize = 2;

#[expect(clippy::disallowed_methods, reason = "a test's own knobs")]
fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_world_ends_with_the_target_equal_to_the_source() {
    let from = knob("FROM").unwrap_or(0);
    let seeds = match knob("SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + knob("WORLDS").unwrap_or(WORLDS),
    };
    let (next, total) = (AtomicU64::new(seeds.start), std::sync::Mutex::new((Seen::default(), Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let ended = std::panic::catch_unwind(|| world(seed));
                    let mut total = total.lock().unwrap();
                    match ended {
                        Ok((of_this, _)) => total.0.add(&of_this),
                        Err(_) => {
                            println!("SEED={seed}");
                            total.1.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (seen, failed) = total.into_inner().unwrap();
    assert!(failed.is_empty(), "these worlds did not end well: SEED={failed:?}");
    if knob("SEED").is_none() {
        seen.assert_that_everything_happened();
    }
}

#[test]
fn the_same_seed_is_the_same_world_request_by_request() {
    for seed in [3, 4, 1_000_003] {
        let (first, second) = (world(seed).1, world(seed).1);
        assert_eq!(first, second, "SEED={seed}");
        assert!(first.0 > 50, "something happened: {first:?}");
    }
    assert_ne!(world(3).1, world(4).1);
}

/// One world on a runtime of its own: what was seen, and the sum of all its requests.
fn world(seed: u64) -> (Seen, (u64, u64)) {
    dataverse_sync::chance::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(seed))
}

async fn run(seed: u64) -> (Seen, (u64, u64)) {
    let mut random = StdRng::seed_from_u64(seed);
    let plan = Plan::draw(seed, &mut random);
    let (world, rough) = plan.build(&mut random);
    let faults = plan.faults(&world, &mut random);
    let instances = Instances::new(&world, &rough, &plan, &mut random);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let source = history::live(&world, &plan, &mut random, sender);
    let (events, ()) = futures_util::future::join(source, instances.work(receiver)).await;
    // whatever is still on its way lands now, and whoever died is not waited for any more
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    instances.sweep_up().await;
    let folded = verdict::check(&world, &rough, events.iter().map(AsRef::as_ref), !plan.images).await;
    let mut seen = instances.seen();
    seen.note("folded", folded);
    seen.of_the_environments(&world, &faults);
    (seen, world.trace.sum())
}
