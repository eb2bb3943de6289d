//! A good neighbour: pauses and outages of the target, obeyed by every instance and got over without help.

use super::keeping::{Keeping, bring, post};
use super::world::{PLAIN, World, account, deliver, redeliver, words};
use async_trait::async_trait;
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::store::{Etag, Expect, StoreError, Stored};
use dataverse_sync::ledger::system::StateStore;
use dataverse_sync::outbound::governor::breaker::IN_A_ROW;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sync::engine::Engine;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Shared states that count how often the governor's are asked for, and that can be out of reach.
#[derive(Debug, Default)]
struct Board {
    inner: MemoryStore,
    reads: AtomicUsize,
    writes: AtomicUsize,
    away: AtomicBool,
}

impl Board {
    fn cost(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl StateStore for Board {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        self.reads.fetch_add(usize::from(name.starts_with("governor:")), Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) && name.starts_with("governor:") {
            std::future::pending::<()>().await;
        }
        self.inner.state(name).await
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        self.writes.fetch_add(usize::from(name.starts_with("governor:")), Ordering::SeqCst);
        self.inner.put_state(name, text, expect).await
    }
}

/// A world whose instances know the target's metadata.
async fn warm(world: &mut World, skews: &[i64]) -> (Arc<Board>, Vec<Engine>) {
    let board = Arc::new(Board::default());
    world.states = Some(board.clone());
    let start = |skew: &i64| world.instance_on(world.store.clone(), *skew);
    let instances: Vec<Engine> = skews.iter().map(start).collect();
    for instance in &instances {
        world.create("account", account("first"));
        deliver(instance, &world.events().await[0]).await.unwrap();
    }
    (board, instances)
}

#[tokio::test(start_paused = true)]
async fn a_pause_asked_of_one_instance_is_kept_by_it_at_once_and_by_all_others_after_five_seconds() {
    const PAUSE: Duration = Duration::from_secs(30);
    let mut world = World::new(PLAIN);
    let (board, instances) = warm(&mut world, &[0, -2_000, 2_000]).await;
    let mut work = Vec::new();
    for n in 0..150_usize {
        let id = world.create("account", account(&format!("A{n}")));
        work.push((n, id, world.events().await.remove(0)));
    }
    let throttled = Effect::Status { status: 429, code: "0x80072322".to_owned(), retry_after: Some(PAUSE) };
    // the first request there is, which is the first instance's
    world.target.faults().add(Rule::new(When::Nth(1), throttled));
    let instances = &instances;
    let deliveries = work.iter().map(|(n, _, event)| async move {
        tokio::time::sleep(Duration::from_millis(200) * u32::try_from(*n).unwrap()).await;
        redeliver(&instances[n % 3], event).await
    });
    join_all(deliveries).await;
    world.assert_equal();

    let log = world.target.requests().last();
    let refused = log.iter().find(|record| record.status == Some(429)).unwrap().at;
    let during = |instance: usize, from: Duration| {
        let of_instance =
            |path: &str| work.iter().any(|(n, id, _)| n % 3 == instance && path.contains(&id.to_string()));
        let within = |at: Duration| at > refused + from && at < refused + PAUSE;
        log.iter().filter(|record| within(record.at) && of_instance(&record.path)).count()
    };
    assert_eq!(during(0, Duration::ZERO), 0, "the one that was asked");
    assert!(during(1, Duration::ZERO) > 0 && during(2, Duration::ZERO) > 0, "others can't know at once");
    assert_eq!((during(1, 5 * SECOND), during(2, 5 * SECOND)), (0, 0), "but soon they do");
    assert_eq!(board.cost().1, 1, "one change, one write");
}

#[tokio::test(start_paused = true)]
async fn hearing_of_others_costs_one_round_trip_in_five_seconds_and_nothing_is_written_without_news() {
    let mut world = World::new(PLAIN);
    let (board, instances) = warm(&mut world, &[0]).await;
    let before = board.cost();
    let start = tokio::time::Instant::now();
    for n in 0..200 {
        world.create("account", account(&format!("A{n}")));
        deliver(&instances[0], &world.events().await[0]).await.unwrap();
        tokio::time::sleep(SECOND / 10).await;
    }
    let most = usize::try_from(start.elapsed().as_secs() / 5).unwrap() + 1;
    let (reads, writes) = (board.cost().0 - before.0, board.cost().1);
    assert!(reads >= 3 && reads <= most, "{reads} of {most}");
    assert_eq!(writes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_does_not_answer_about_others_stops_nothing() {
    let mut world = World::new(PLAIN);
    let (board, instances) = warm(&mut world, &[0]).await;
    board.away.store(true, Ordering::SeqCst);
    world.target.faults().throttle(SECOND, SECOND);
    let start = tokio::time::Instant::now();
    for n in 0..20 {
        world.create("account", account(&format!("A{n}")));
        let report = deliver(&instances[0], &world.events().await[0]).await.unwrap();
        assert_eq!(words(&report), "applied: created");
    }
    assert!(start.elapsed() < 20 * SECOND, "{:?}", start.elapsed());
    world.assert_equal();
}

/// Calls to a dead target that a minute may cost, at most: of each instance what opens its breaker, what was under way by
/// then, and the probes of a minute (after 5, 15 and 35 s).
const DEAD_CALLS_MAX: u64 = INSTANCES * (IN_A_ROW as u64 + 8 + 3);
const INSTANCES: u64 = 3;

/// A minute without the target under load: how long after it everything was applied, how many calls there were, and how many
/// webhooks were answered at once because no call could be made.
async fn a_dead_minute(effect: Effect) -> (Duration, u64, usize) {
    let mut keeping = Keeping::new("version = 1\n[limits]\nattempts_max = 3\n[tables.account]\n");
    let (_, instances) = warm(&mut keeping.world, &[0, -2_000, 2_000]).await;
    let mut events: Vec<RaisedEvent> = Vec::new();
    for n in 0..600 {
        keeping.world.create("account", account(&format!("A{n}")));
        events.append(&mut keeping.world.events().await);
    }
    let minute = Rule::new(When::Always, effect).during(Duration::ZERO, 60 * SECOND);
    keeping.world.target.faults().add(minute);
    let (calls, start) = (keeping.world.target.requests().count(), tokio::time::Instant::now());
    let (instances, counted) = (&instances, AtomicUsize::new(0));
    let deliveries = events.iter().enumerate().map(|(n, event)| {
        let counted = &counted;
        async move {
            tokio::time::sleep(SECOND / 10 * u32::try_from(n).unwrap()).await;
            let (begun, webhook) = (tokio::time::Instant::now(), n % 4 == 0);
            let shut = instances[n % 3].parts().target.gate.opens_in().is_some();
            let answer =
                if webhook { post(&instances[n % 3], event).await } else { bring(&instances[n % 3], event).await };
            let outcome = answer.unwrap().outcome;
            assert!(matches!(outcome.name(), "deferred" | "applied"), "{outcome:?}");
            if webhook && shut {
                assert!(begun.elapsed() < SECOND, "a webhook waited {:?}", begun.elapsed());
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let watch = async {
        tokio::time::sleep(60 * SECOND).await;
        let limits: Vec<u32> = instances.iter().map(|instance| instance.parts().target.gate.view().limit).collect();
        (keeping.world.target.requests().count() - calls, limits)
    };
    let (_, (dead_calls, limits)) = futures_util::future::join(join_all(deliveries), watch).await;
    assert!(limits.iter().any(|limit| *limit <= 2), "the target was met gently again: {limits:?}");
    keeping.sweep_up().await;
    assert!(keeping.parked().await.is_empty(), "{:?}", keeping.parked().await);
    keeping.world.assert_equal();
    let view = |instance: &Engine| instance.parts().target.gate.view();
    let recovered = start.elapsed() - 60 * SECOND;
    // what comes next meets a target that takes as much as ever
    for round in 0..3 {
        for n in 0..60 {
            keeping.world.create("account", account(&format!("B{round}-{n}")));
        }
        let events = keeping.world.events().await;
        join_all(events.iter().enumerate().map(|(n, event)| bring(&instances[n % 3], event))).await;
    }
    assert!(
        instances.iter().all(|instance| view(instance).limit == 8),
        "{:?}",
        instances.iter().map(view).collect::<Vec<_>>()
    );
    (recovered, dead_calls, counted.into_inner())
}

#[tokio::test(start_paused = true)]
async fn a_dead_minute_costs_few_calls_and_everything_is_applied_minutes_later() {
    for effect in [
        Effect::Down,
        Effect::Status { status: 503, code: String::new(), retry_after: None },
        Effect::Late { lands_after: 40 * SECOND, silent_for: 600 * SECOND },
    ] {
        let (recovered, calls, at_once) = a_dead_minute(effect.clone()).await;
        assert!(calls <= DEAD_CALLS_MAX, "{effect:?}: {calls} calls, at most {DEAD_CALLS_MAX}");
        assert!(recovered < 360 * SECOND, "{effect:?}: {recovered:?}");
        // where nothing is answered for 30 s it is the number of calls at once that keeps them few
        let silent = matches!(effect, Effect::Late { .. });
        assert!(silent || at_once > 100, "{effect:?}: {at_once} webhooks");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_parks_nothing_however_few_attempts_are_allowed() {
    let keeping = Keeping::new("version = 1\n[limits]\nattempts_max = 3\n[tables.account]\n");
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let events = keeping.world.events().await;
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    keeping.world.target.faults().add(Rule::new(When::Always, down).during(Duration::ZERO, 3 * 3_600 * SECOND));
    assert_eq!(bring(&instance, &events[0]).await.unwrap().outcome.name(), "deferred");
    let sweeper = keeping.sweeper();
    for _ in 0..(4 * 60) {
        tokio::time::sleep(60 * SECOND).await;
        sweeper.sweep("sweep").await.unwrap();
    }
    assert!(keeping.parked().await.is_empty(), "{:?}", keeping.parked().await);
    assert!(keeping.owed().await.is_empty(), "{:?}", keeping.owed().await);
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn while_a_quarter_of_the_calls_fail_repetitions_stay_a_share_of_them() {
    let mut world = World::new(PLAIN);
    let (_, instances) = warm(&mut world, &[0]).await;
    let mut events = Vec::new();
    for n in 0..400 {
        world.create("account", account(&format!("A{n}")));
        events.append(&mut world.events().await);
    }
    let before = world.target.requests().count();
    let start = tokio::time::Instant::now();
    let weak = Effect::Status { status: 503, code: String::new(), retry_after: None };
    world.target.faults().add_seeded(Rule::new(When::Probability(0.25), weak), 5);
    join_all(events.iter().map(|event| redeliver(&instances[0], event))).await;
    let (calls, seconds) = (world.target.requests().count() - before, start.elapsed().as_secs());
    // a fifth of all calls, what was saved, and one a second
    let most = 400 * 5 / 4 + 10 + seconds + 1;
    assert!(calls > 450 && calls <= most, "{calls} calls in {seconds} s, at most {most}");
    world.assert_equal();
}
