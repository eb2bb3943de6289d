//! Simulated worlds: one seed is one world. Three instances with clocks that differ, events shuffled, repeated and
//! parallel, answers of target and ledger lost before and after their effect, requests that land after their time-out,
//! throttling, and instances that die in the middle of anything. The oracle is the source itself, which knows the
//! true order of commits; the engine knows only what payloads carry.
//!
//! Replay one: `SEED=17 cargo test --test all engine::worlds`. More of them: `WORLDS=5000 cargo test --release ...`.

use super::keeping::{Keeping, Shaky};
use super::world::{World, decoded, delivery};
use crate::support::lossy_store::LossyStore;
use dataverse_sync::domain::delivery::{Channel, Delivery};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::record::{Phase, event_key};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use futures_util::future::{Either, join_all, select};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Worlds in a normal run; `WORLDS` asks for another number.
const WORLDS: u64 = 150;
/// A broker's patience in these worlds: outages that dead-letter are the inbox's matter.
const DELIVERIES_MAX: u32 = 200;
/// A broker's patience where there is an inbox: the next failure is a dead letter.
const DELIVERY_COUNT_MAX: u32 = 10;

#[expect(clippy::disallowed_methods, reason = "a test's own knobs")]
fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_world_ends_with_the_target_equal_to_the_source() {
    let seeds = match knob("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..knob("WORLDS").unwrap_or(WORLDS),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let world = std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed)));
        match std::panic::catch_unwind(world) {
            Ok(of_this) => seen.add(&of_this),
            Err(panic) => {
                println!("SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    if knob("SEED").is_none() {
        seen.assert_that_everything_happened();
    }
}

/// What happened in the worlds: a sweep that never meets what it aims at proves nothing.
#[derive(Debug, Default)]
struct Seen {
    raced: u64,
    stale: u64,
    duplicates: u64,
    deleted: u64,
    unfinished: u64,
    crashes: u64,
    landed_late: u64,
    throttled: u64,
    deferred: u64,
    swept: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.raced += other.raced;
        self.stale += other.stale;
        self.duplicates += other.duplicates;
        self.deleted += other.deleted;
        self.unfinished += other.unfinished;
        self.crashes += other.crashes;
        self.landed_late += other.landed_late;
        self.throttled += other.throttled;
        self.deferred += other.deferred;
        self.swept += other.swept;
    }

    fn assert_that_everything_happened(&self) {
        let all = [
            self.stale,
            self.duplicates,
            self.deleted,
            self.unfinished,
            self.crashes,
            self.landed_late,
            self.throttled,
            self.deferred,
            self.swept,
        ];
        assert!(all.iter().all(|&count| count > 0), "{self:?}");
    }
}

fn toml(random: &mut StdRng) -> String {
    let guard = if random.random_bool(0.5) { "lease" } else { "etag" };
    let duplicate = if random.random_bool(0.5) { "same-source" } else { "multi-source" };
    format!(
        "version = 1\n[defaults]\nguard = \"{guard}\"\nduplicate_key = \"{duplicate}\"\n[tables.account]\n[tables.contact]\n"
    )
}

async fn run(seed: u64) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let ledger = Arc::new(MemoryStore::default());
    let store = LossyStore::seeded(Arc::clone(&ledger) as Arc<dyn Store>, seed, 0.03);
    let toml = toml(&mut random);
    let world = World::on(store, &toml, |settings| {
        settings.seed = seed.wrapping_mul(31).wrapping_add(7);
        settings.race_window = Duration::from_millis(80);
        settings.latency = (Duration::from_millis(5), Duration::from_millis(120));
    });
    // every second world has an inbox: there webhooks come once and messages ten times at most, and the sweep does the rest
    let keeping = Keeping::of(world, ledger, Shaky::seeded(seed, 0.03), seed % 2 == 1);
    let world = &keeping.world;
    let late = plan_faults(world, &mut random);
    let events = history(world, &mut random).await;
    let mut deliveries: Vec<&RaisedEvent> =
        events.iter().chain(events.iter().filter(|_| random.random_bool(0.3))).collect();
    deliveries.shuffle(&mut random);

    let instances = Instances::new(&keeping);
    let seen = Mutex::new(Seen::default());
    let work = deliveries.into_iter().map(|event| {
        let (starts, home) = (Duration::from_millis(random.random_range(0..4_000)), random.random_range(0..3));
        let webhook = world.inbox.is_some() && random.random_bool(0.5);
        let (instances, seen) = (&instances, &seen);
        async move {
            tokio::time::sleep(starts).await;
            instances.deliver(home, event, webhook, seen).await;
        }
    });
    let work: Vec<_> = work.collect();
    let crashes = (0..3).map(|home| {
        let at = Duration::from_millis(random.random_range(0..20_000));
        let instances = &instances;
        async move {
            tokio::time::sleep(at).await;
            instances.crash(home).await;
        }
    });
    let crashes: Vec<_> = crashes.collect();
    let delivered = futures_util::future::join(join_all(work), join_all(crashes));
    futures_util::future::join(delivered, instances.sweep(random.random(), &seen)).await;
    // whatever is still on its way lands now
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    world.assert_equal();
    for event in &events {
        let event = decoded(event);
        assert_done(world, &event).await;
    }
    assert!(keeping.owed().await.is_empty(), "{:?}", keeping.owed().await);
    assert!(keeping.parked().await.is_empty(), "{:?}", keeping.parked().await);
    let mut seen = seen.into_inner();
    seen.crashes = 3;
    seen.landed_late = world.target.faults().hits(late);
    let statuses = world.target.requests().counts();
    seen.throttled = statuses.iter().filter(|((_, _, status), _)| *status == Some(429)).map(|(_, count)| count).sum();
    seen
}

async fn assert_done(world: &World, event: &dataverse_sync::domain::event::ChangeEvent) {
    let partition = dataverse_sync::domain::partition::Partition::of(&event.table, &event.row);
    // the store may still lose answers: ask until it tells
    loop {
        if let Ok(snapshot) = world.store.read(partition.key(), &event_key(&event.id)).await {
            assert_eq!(snapshot.event.unwrap().record.phase, Phase::Done);
            assert!(snapshot.row.unwrap().record.lease.is_none(), "no lease is left");
            return;
        }
    }
}

fn plan_faults(world: &World, random: &mut StdRng) -> usize {
    let faults = world.target.faults();
    let lands_after = Duration::from_secs(random.random_range(31..140));
    let late = faults.add_seeded(
        Rule::new(When::Probability(0.02), Effect::Late { lands_after, silent_for: Duration::from_secs(300) }).writes(),
        random.random(),
    );
    for effect in [Effect::HangupBefore, Effect::HangupAfter] {
        faults.add_seeded(Rule::new(When::Probability(0.02), effect), random.random());
    }
    let throttled = Effect::Status {
        status: 429,
        code: "0x80072322".to_owned(),
        retry_after: Some(Duration::from_secs(random.random_range(1..5))),
    };
    faults.add_seeded(Rule::new(When::Probability(0.03), throttled), random.random());
    late
}

/// Some rows that live through creates, partial updates, deletes and second lives.
async fn history(world: &World, random: &mut StdRng) -> Vec<RaisedEvent> {
    let mut ids: Vec<(Uuid, bool)> = Vec::new();
    for step in 0..random.random_range(6..22) {
        if random.random_bool(0.6) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        }
        let value = format!("v{step}");
        let which = random.random_range(0..4);
        let Some((id, alive)) = ids.get(which).copied() else {
            ids.push((world.create("account", json!({ "name": value, "telephone1": value })), true));
            continue;
        };
        let columns = match random.random_range(0..4) {
            0 => json!({ "name": value }),
            1 => json!({ "telephone1": value, "description": value }),
            2 => json!({ "description": null, "name": value }),
            _ => json!({ "numberofemployees": step }),
        };
        if !alive {
            // a second life in the same second as the end of the first can't be told apart by anybody
            tokio::time::sleep(Duration::from_secs(2)).await;
            world.create("account", json!({ "accountid": id, "name": value }));
            ids[which].1 = true;
        } else if random.random_bool(0.15) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.delete("account", id);
            ids[which].1 = false;
        } else {
            world.update("account", id, columns);
        }
    }
    world.events().await
}

/// Three instances; each can die and be replaced, with everything it was doing.
struct Instances<'a> {
    keeping: &'a Keeping,
    homes: Vec<Mutex<(Arc<Engine>, tokio::sync::watch::Sender<u32>)>>,
}

impl<'a> Instances<'a> {
    fn new(keeping: &'a Keeping) -> Self {
        let home = |home| Mutex::new((Self::start(&keeping.world, home), tokio::sync::watch::channel(0).0));
        Self { keeping, homes: (0..3).map(home).collect() }
    }

    fn start(world: &World, home: i64) -> Arc<Engine> {
        // clocks differ by up to four seconds, less than clock_skew
        Arc::new(world.instance_on(Arc::clone(&world.store) as Arc<dyn Store>, (home - 1) * 2_000))
    }

    async fn crash(&self, home: usize) {
        let mut instance = self.homes[home].lock().await;
        instance.0 = Self::start(&self.keeping.world, i64::try_from(home).unwrap());
        instance.1.send_modify(|crashes| *crashes += 1);
    }

    /// A sweep every minute, by any instance, until nothing has been owed for an hour.
    async fn sweep(&self, seed: u64, seen: &Mutex<Seen>) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut quiet = 0;
        for _ in 0..3_000 {
            if self.keeping.world.inbox.is_none() || quiet > 60 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            let (engine, mut crashed) = {
                let instance = self.homes[random.random_range(0..3)].lock().await;
                (Arc::clone(&instance.0), instance.1.subscribe())
            };
            let sweeper = self.keeping.sweeper_of(engine);
            let work = Box::pin(sweeper.sweep("sweep"));
            if let Either::Left((Ok(swept), _)) = select(work, Box::pin(crashed.changed())).await {
                seen.lock().await.swept += u64::try_from(swept.ended).unwrap();
            }
            quiet = if self.keeping.owed().await.is_empty() { quiet + 1 } else { 0 };
        }
        panic!("still owed: {:?}", self.keeping.owed().await);
    }

    /// Delivers until the event is finished, as a broker does; a crash drops the work at whatever await it is. A webhook
    /// that was kept or answered is never sent again.
    async fn deliver(&self, home: usize, event: &RaisedEvent, webhook: bool, seen: &Mutex<Seen>) {
        let most = if self.keeping.world.inbox.is_some() && !webhook { DELIVERY_COUNT_MAX } else { DELIVERIES_MAX };
        let mut errors = Vec::new();
        for count in 1..=most {
            let (engine, mut crashed) = {
                let instance = self.homes[(home + count as usize) % 3].lock().await;
                (Arc::clone(&instance.0), instance.1.subscribe())
            };
            let delivery =
                if webhook { Delivery { channel: Channel::Webhook, ..delivery(1) } } else { delivery(count) };
            let work = engine.handle(decoded(event), &delivery);
            let ended = match select(work, Box::pin(crashed.changed())).await {
                Either::Left((ended, _)) => Some(ended),
                Either::Right(_) => None,
            };
            let mut seen = seen.lock().await;
            match ended {
                Some(Ok(report)) => {
                    match (report.outcome.name(), report.outcome.detail()) {
                        ("applied", "raced") => seen.raced += 1,
                        ("applied", "deleted") => seen.deleted += 1,
                        ("stale", _) => seen.stale += 1,
                        ("duplicate", _) => seen.duplicates += 1,
                        ("deferred", _) => seen.deferred += 1,
                        _ => {}
                    }
                    return;
                }
                Some(Err(error)) => {
                    seen.unfinished += 1;
                    errors.push(error.to_string());
                }
                None if webhook && self.keeping.keeps(&decoded(event)).await => return,
                None => {}
            }
            drop(seen);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("an event was never finished: {errors:?}");
    }
}
