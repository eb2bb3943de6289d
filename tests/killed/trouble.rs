//! What is done to the processes: killed with their whole instance (messages stay locked until the locks run out),
//! crashed behind the host's back (messages come back at once), stopped and continued. Only the host's own processes.

use super::between;
use super::load::Storm;
use super::world::{CLOCK_SKEW, LEASE, SETTLE, World};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Crashes of one handler that the host puts up with; at the third within half an hour it gives the instance up.
const CRASHES_MAX: u64 = 2;

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    pub kills: AtomicU64,
    pub crashes: [AtomicU64; 3],
    pub stops: AtomicU64,
    pub long_stops: AtomicU64,
}

/// Makes trouble until the storm is over; afterwards every process runs.
pub async fn make(storm: Storm, world: &World, mut random: StdRng, over: watch::Receiver<bool>) {
    match storm {
        Storm::Still => still(world, &mut random).await,
        Storm::Falling => falling(world, &mut random, over).await,
    }
    for instance in 0..3 {
        let _ = world.host.resume(instance).await;
        world.host.ready(instance).await.unwrap();
    }
}

/// Each instance stands still once for longer than its leases last, two of them at the same time for a while; and all
/// but the first are killed once, at any moment: while they work, while they stand still, or when they have just gone on.
async fn still(world: &World, random: &mut StdRng) {
    let mut order = [0, 1, 2];
    order.shuffle(random);
    let too_long = LEASE + CLOCK_SKEW;
    let stops = order.iter().enumerate().map(|(number, &instance)| {
        let begins = between(random, MS(500), MS(1_500)) + MS(3_500) * u32::try_from(number).unwrap();
        let lasts = too_long + between(random, MS(300), MS(1_500));
        async move {
            tokio::time::sleep(begins).await;
            if stop(world, instance, lasts).await {
                world.trouble.long_stops.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let stops: Vec<_> = stops.collect();
    let kills: Vec<_> = order
        .iter()
        .skip(1)
        .map(|&instance| {
            let at = between(random, MS(1_000), MS(14_000));
            async move {
                tokio::time::sleep(at).await;
                kill(world, instance).await;
            }
        })
        .collect();
    futures_util::join!(futures_util::future::join_all(stops), futures_util::future::join_all(kills));
}

/// One after the other, until the storm is over: kills, crashes, and stops that are shorter than `settle`.
async fn falling(world: &World, random: &mut StdRng, mut over: watch::Receiver<bool>) {
    loop {
        let pause = between(random, MS(400), MS(1_500));
        if tokio::time::timeout(pause, over.wait_for(|over| *over)).await.is_ok() {
            return;
        }
        let instance = random.random_range(0..3);
        match random.random_range(0..10) {
            0..4 => kill(world, instance).await,
            4..6 => crash(world, instance).await,
            _ => {
                let lasts = between(random, MS(100), SETTLE / 2);
                stop(world, instance, lasts).await;
            }
        }
    }
}

async fn kill(world: &World, instance: usize) {
    world.host.kill(instance).await.unwrap();
    world.trouble.kills.fetch_add(1, Ordering::Relaxed);
}

async fn crash(world: &World, instance: usize) {
    if world.trouble.crashes[instance].load(Ordering::Relaxed) < CRASHES_MAX
        && world.host.ready(instance).await.is_ok()
        && world.host.crash(instance).await.is_ok()
    {
        world.trouble.crashes[instance].fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether it was the same process all the time: one that is killed while it stands still does not go on.
async fn stop(world: &World, instance: usize, lasts: Duration) -> bool {
    let before = loop {
        world.host.ready(instance).await.unwrap();
        let pid = world.host.pid(instance);
        // it may be killed between the two
        if world.host.pause(instance).await.is_ok() {
            break pid;
        }
    };
    world.trouble.stops.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(lasts).await;
    let _ = world.host.resume(instance).await;
    before == world.host.pid(instance)
}
