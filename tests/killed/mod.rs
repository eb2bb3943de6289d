//! Killed for real: three processes of the built binary between Azurite and the Dataverse stand-in, over sockets, driven
//! by the stand-in of the Functions host (queue with locks and redelivery, HTTP front, timer), under load, while they
//! are killed, crashed and stopped at random. At the end the target equals the source, and nothing is owed, parked,
//! dead-lettered or leased.
//!
//! Two storms, because two things are promised (PROTOCOL, "What `guard = "lease"` cannot promise"):
//!
//! * **Still.** Processes stand still for longer than the lease, and others are killed. Whoever stands still between its
//!   check and the socket sends an old request when it goes on. `guard = "etag"` makes that harmless where there is an
//!   ETag. Absence has none, and links have none, so even then a create may bring back what was deleted meanwhile, and a
//!   link undo a newer unlink (README says so). In this storm all tables have that guard, rows are deleted that were
//!   there before it began and are known to the target, and each link changes once: what a process that stood still can
//!   send late is refused, or true.
//! * **Falling.** Processes are killed, crashed, and stopped for less than `settle`: everything goes, rows that are made
//!   and deleted in a moment, links to and fro, and a table with `guard = "lease"`.
//!
//! What happens is decided by a seed, when it happens by the machine. `SEED=17 cargo test --test all killed::` takes
//! another one. The test waits for conditions; only the storms themselves take time.

mod delivery;
mod load;
mod trouble;
mod world;

use load::{Load, Storm};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::sync::watch;
use world::World;

/// Longest time until nothing is owed any more, after a storm. Seconds are usual; an entry that could not be worked on
/// waits longer each time.
const PATIENCE: Duration = Duration::from_secs(180);

#[expect(clippy::disallowed_methods, reason = "a test's own knob")]
fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_and_stopped_at_random_leave_both_environments_equal() {
    let seed = seed();
    println!("SEED={seed}");
    let world = World::start(seed).await;
    let mut load = Load::new(&world, seed);
    load.opening().await;
    world.at_rest(PATIENCE).await;
    load.settle();
    for storm in [Storm::Still, Storm::Falling] {
        let random = StdRng::seed_from_u64(seed ^ if storm == Storm::Still { 0x57 } else { 0xfa });
        let (over, watched) = watch::channel(false);
        let work = async {
            load.storm(storm).await;
            over.send_replace(true);
        };
        tokio::join!(work, trouble::make(storm, &world, random, watched));
        world.at_rest(PATIENCE).await;
        load.settle();
        world.assert_equal();
    }
    world.assert_that_everything_happened();
}

/// A random time between two bounds.
fn between(random: &mut StdRng, least: Duration, longest: Duration) -> Duration {
    least + (longest - least).mul_f64(random.random())
}
