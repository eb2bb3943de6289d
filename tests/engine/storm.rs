//! A storm: 83 webhooks a second for a target that takes 20 requests a second. Everything is accepted at once, at the cost of a
//! few requests to storage, and worked off as fast as the target allows: by the sweep, or handed to a queue.

mod meter;

use super::world::{PLAIN, World};
use crate::support::bus::Bus;
use crate::support::events::update;
use crate::support::lossy_store::LossyStore;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::delivery::{Channel, Delivery};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::value::{Columns, RowRef, Value};
use dataverse_sync::inbox::{Inbox, ParkedFilter};
use dataverse_sync::ledger::purge::Expiring;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::operate::handover;
use dataverse_sync::operate::sweep::{Sweeper, Swept};
use dataverse_sync::sim::dataverse::Protection;
use dataverse_sync::sim::host::pump::{Pump, Settle};
use dataverse_sync::sim::host::{Queue, QueueSettings};
use dataverse_sync::sync::engine::Engine;
use dataverse_sync::sync::{HandleEvent, Owed};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use meter::Meter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// 100,000 in 20 minutes.
const BETWEEN: Duration = Duration::from_millis(12);
/// What the target takes in a second.
const RATE: usize = 20;
/// Webhooks of a usual run; `STORM=100000` for all of them.
const USUAL: usize = 10_000;

fn webhooks() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the size of a run is its caller's")]
    std::env::var("STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

/// Of twenty events 17 are about rows of their own, two about a table with little to do, and one about a single row.
fn event(n: usize) -> ChangeEvent {
    let (table, column, row) = match n % 20 {
        0 => ("account", "name", 1),
        1 | 11 => ("contact", "lastname", 1_000_000 + n % 400),
        _ => ("account", "name", 2_000_000 + n),
    };
    let mut event = update(&format!("e{n}"), Uuid::from_u128(0xabc0_0000 + row as u128), column, "", 1_790_000_000);
    event.table = table.to_owned();
    event.columns = Columns::from([(column.to_owned(), Value::Text(n.to_string()))]);
    event.stamp.at = event.stamp.at.map(|at| at + i64::try_from(n).unwrap());
    event
}

struct Storm {
    world: World,
    meter: Arc<Meter>,
    count: usize,
    start: Instant,
}

/// What it came to. Times are those of the simulation; requests are counted over everything, sweeps included.
#[derive(Debug)]
struct Came {
    accepted_p99: Duration,
    answered_last: Duration,
    deferred: usize,
    per_event: f64,
    target_per_event: f64,
    done_after: Duration,
    swept: Swept,
}

impl Storm {
    fn new(count: usize, window: Duration) -> Self {
        let meter = Arc::new(Meter::default());
        let mut world = World::on(LossyStore::new(meter.clone(), &[]), PLAIN, |settings| {
            settings.latency = (Duration::from_millis(30), Duration::from_millis(90));
            settings.log_entries_max = 1;
            settings.protection =
                Some(Protection { requests_max: RATE as u64 * window.as_secs(), window, ..Protection::default() });
        });
        world.inbox = Some(meter.clone());
        world.states = Some(meter.clone());
        world.has_source = false;
        Self { world, meter, count, start: Instant::now() }
    }

    fn instance(&self) -> Arc<Engine> {
        Arc::new(self.world.instance_on(self.meter.clone(), 0))
    }

    fn sweeper(&self, bus: Option<&Arc<Bus>>) -> Sweeper {
        let states = Arc::clone(&self.meter) as Arc<dyn StateStore>;
        let clock = Arc::new(self.world.clock.clone());
        let system = System::new(states, clock.clone(), self.world.mapping.limits.clock_skew);
        let sweeper = Sweeper::new(self.instance(), system, Arc::clone(&self.meter.ledger) as Arc<dyn Expiring>);
        match bus {
            Some(bus) => sweeper.handing_over(bus.sender(clock)),
            None => sweeper,
        }
    }

    /// Posts everything to these instances as it comes; how long answers took, and whether each event was only stored.
    async fn post(&self, instances: &[Arc<Engine>]) -> Vec<(Duration, bool)> {
        let took = Mutex::new(Vec::with_capacity(self.count));
        let arrivals = stream::unfold(0, |n| async move {
            tokio::time::sleep_until(self.start + BETWEEN * u32::try_from(n).unwrap()).await;
            (n < self.count).then_some((n, n + 1))
        });
        arrivals
            .for_each_concurrent(None, |n| {
                let (instance, took) = (&instances[n % instances.len()], &took);
                async move {
                    let arrival_ms = self.world.clock.now().timestamp_millis();
                    let delivery = Delivery {
                        channel: Channel::Webhook,
                        arrival_ms,
                        delivery_count: 1,
                        invocation: "storm".to_owned(),
                        traceparent: None,
                        until: None,
                    };
                    let begun = Instant::now();
                    let report = instance.handle(event(n), &delivery).await.unwrap();
                    let name = report.outcome.name();
                    assert!(["applied", "deferred", "stale"].contains(&name), "{report:?}");
                    took.lock().unwrap().push((begun.elapsed(), name == "deferred"));
                }
            })
            .await;
        took.into_inner().unwrap()
    }

    /// The timer, until nothing is owed after the last webhook.
    async fn sweep(&self, sweeper: &Sweeper) -> Swept {
        let (mut total, owed) = (Swept::default(), Inbox::new(self.meter.inbox.clone()));
        loop {
            let tick = Instant::now() + MINUTE;
            total += sweeper.sweep("sweep").await.unwrap();
            assert!(Instant::now() < tick, "a sweep lasts longer than a minute");
            let is_over = self.start.elapsed() > BETWEEN * u32::try_from(self.count).unwrap();
            if is_over && owed.due(i64::MAX - 1, 1).await.unwrap().is_empty() {
                return total;
            }
            assert!(self.start.elapsed() < 5 * SECOND * u32::try_from(self.count / RATE).unwrap(), "{total:?}");
            tokio::time::sleep_until(tick).await;
        }
    }

    /// Everything posted to three instances while others work it off.
    async fn run(&self, bus: Option<&Arc<Bus>>) -> Came {
        let instances = [self.instance(), self.instance(), self.instance()];
        let sweeper = self.sweeper(bus);
        let story = futures_util::future::join(self.post(&instances), self.sweep(&sweeper));
        let (took, swept) = match bus {
            None => story.await,
            Some(bus) => self.listening(&bus.queue, story).await,
        };
        assert_eq!(took.len(), self.count, "not all were answered");
        let done_after = self.start.elapsed();
        let mut accepted: Vec<Duration> =
            took.iter().filter(|(_, deferred)| *deferred).map(|(took, _)| *took).collect();
        accepted.sort();
        assert!(accepted.len() > self.count / 2, "no storm: {} were only stored", accepted.len());
        Came {
            accepted_p99: accepted[accepted.len() * 99 / 100],
            answered_last: took.iter().map(|(took, _)| *took).max().unwrap(),
            deferred: accepted.len(),
            per_event: per(self.meter.total(), self.count),
            target_per_event: per(usize::try_from(self.world.target.requests().count()).unwrap(), self.count),
            done_after,
            swept,
        }
    }

    /// Two instances that listen to the queue, with 16 places each.
    async fn listening<T>(&self, queue: &Queue, story: impl Future<Output = T>) -> T {
        let (_stop, draining) = watch::channel(false);
        let listeners = [self.instance(), self.instance()].map(|instance| {
            let pump = Pump { queue: queue.clone(), calls_max: 16, renewal_max: 6 * MINUTE };
            let draining = draining.clone();
            async move {
                pump.run(draining, |received| {
                    let instance = Arc::clone(&instance);
                    Box::pin(async move {
                        let message = received.message;
                        let name = handover::read(&message.properties, &message.body).unwrap().unwrap();
                        match instance.come_back(&Owed::Named(name), "queue").await {
                            Ok(_) => Settle::Complete,
                            Err(_) => Settle::Abandon,
                        }
                    })
                })
                .await;
            }
        });
        tokio::select! {
            _ = join_all(listeners) => panic!("the listeners ended"),
            told = story => told,
        }
    }

    /// Every row has the last value that was sent for it, and nobody has to look at anything.
    async fn assert_all_applied(&self) {
        let mut last = BTreeMap::new();
        for n in 0..self.count {
            let event = event(n);
            let RowRef::Id(id) = event.row else { panic!("no id") };
            last.insert((event.table, id), n.to_string());
        }
        for ((table, id), expected) in last {
            let row = self.world.target.row(&table, id).unwrap_or_else(|| panic!("{table} {id} is missing"));
            let column = if table == "account" { "name" } else { "lastname" };
            assert_eq!(row.get(column).map(ToString::to_string), Some(expected), "{table} {id}");
        }
        let inbox = Inbox::new(self.meter.inbox.clone());
        assert!(inbox.parked(&ParkedFilter::default(), None, 10).await.unwrap().found.is_empty());
    }
}

fn queue(storm: &Storm) -> Queue {
    let duplicate_window = Some(10 * MINUTE);
    Queue::new(QueueSettings { duplicate_window, start: storm.world.clock.now(), ..QueueSettings::default() })
}

fn per(what: usize, count: usize) -> f64 {
    f64::from(u32::try_from(what).unwrap()) / f64::from(u32::try_from(count).unwrap())
}

/// How long it takes at the target's rate, and as long again: a sweep works for three quarters of a minute, and whoever was refused
/// a moment ago stays below what was too much.
fn in_time(count: usize) -> Duration {
    SECOND * u32::try_from(count / RATE).unwrap() * 2 + 5 * MINUTE
}

impl Came {
    fn assert_good(&self, storm: &Storm) {
        assert!(self.accepted_p99 < SECOND / 10, "{self:?}");
        // who has a place waits for the target's answer, and nobody longer than that
        assert!(self.answered_last < 10 * SECOND, "{self:?}");
        assert!(self.per_event <= 8.0, "{self:?}");
        assert!(self.target_per_event <= 1.1, "{self:?}");
        assert!(self.done_after < in_time(storm.count), "{self:?}");
        // what was tried and had to wait once more is a hundredth at most
        assert!((self.swept.deferred + self.swept.failed) * 100 <= storm.count, "{self:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_accepted_in_milliseconds_and_worked_off_as_fast_as_the_target_allows() {
    // refused for a second at a time, and for most of a minute
    for (count, window) in [(webhooks(), SECOND), ((webhooks() / 4).max(4_000), MINUTE)] {
        let storm = Storm::new(count, window);
        let came = storm.run(None).await;
        storm.assert_all_applied().await;
        came.assert_good(&storm);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_is_handed_to_a_queue_costs_little_more() {
    let storm = Storm::new(webhooks(), SECOND);
    let bus = Bus::new(queue(&storm));
    let came = storm.run(Some(&bus)).await;
    storm.assert_all_applied().await;
    came.assert_good(&storm);
    // no more is out than is worked off while it is left alone, but for the last doubling of the pace, which is too much (an eighth
    // was seen): most messages do what they were sent for
    let sent = bus.queue.counts().sent;
    assert!(sent <= u64::try_from(came.deferred).unwrap() * 5 / 4, "{sent} messages, {came:?}");
}

#[tokio::test(start_paused = true)]
async fn accepting_without_a_place_costs_two_requests_and_coming_back_three_and_a_share_of_lists_and_removals() {
    const COUNT: usize = 400;
    let storm = Storm::new(COUNT, 100 * SECOND);
    let instance = storm.instance();
    let mut cost = vec![storm.meter.total()];
    instance.parts().target.gate.close_for(MINUTE);
    let took = storm.post(&[instance]).await;
    assert!(took.iter().all(|(took, deferred)| *deferred && *took <= SECOND / 20), "{took:?}");
    cost.push(storm.meter.total());
    // beside the two: what is paused, and what other instances tell, every five seconds
    assert!((2 * COUNT..=2 * COUNT + 6).contains(&(cost[1] - cost[0])), "{:?}", storm.meter.counts());
    tokio::time::sleep(2 * MINUTE).await;
    let sweeper = storm.sweeper(None);
    let swept = sweeper.sweep("sweep").await.unwrap();
    assert_eq!((swept.ended, swept.deferred, swept.failed), (COUNT, 0, 0), "{swept:?}");
    storm.assert_all_applied().await;
    cost.push(storm.meter.total());
    // leases of 32 shards, lists and removals are the share: 0.4 here, less when there is more
    let back = cost[2] - cost[1];
    assert!((3 * COUNT..=4 * COUNT).contains(&back), "{:?}", storm.meter.counts());
}

#[tokio::test(start_paused = true)]
async fn while_the_target_asks_for_a_pause_a_sweep_touches_nothing() {
    let storm = Storm::new(100, 100 * SECOND);
    let instance = storm.instance();
    instance.parts().target.gate.close_for(MINUTE / 2);
    storm.post(&[Arc::clone(&instance)]).await;
    tokio::time::sleep(MINUTE).await;
    instance.parts().target.gate.close_for(10 * MINUTE);
    let states = Arc::clone(&storm.meter) as Arc<dyn StateStore>;
    let system = System::new(states, Arc::new(storm.world.clock.clone()), storm.world.mapping.limits.clock_skew);
    let sweeper = Sweeper::new(instance, system, Arc::clone(&storm.meter.ledger) as Arc<dyn Expiring>);
    let before = storm.meter.counts();
    let swept = sweeper.sweep("sweep").await.unwrap();
    assert_eq!((swept.left, swept.ended, swept.deferred), (100, 0, 0), "{swept:?}");
    let count = |what: &str| {
        let of = |counts: &BTreeMap<&str, usize>| counts.get(what).copied().unwrap_or_default();
        of(&storm.meter.counts()) - of(&before)
    };
    let touched = ["ledger read", "ledger commit", "ledger put", "inbox put", "inbox shift", "inbox remove"].map(count);
    assert_eq!(touched, [0; 6]);
    assert!(count("inbox list") <= 4, "{:?}", storm.meter.counts());
}

#[tokio::test(start_paused = true)]
async fn a_webhook_for_which_the_target_is_full_touches_no_row() {
    let storm = Storm::new(50, 100 * SECOND);
    let instance = storm.instance();
    // as many calls under way as there may be
    let gate = &instance.parts().target.gate;
    let places: Vec<_> = std::iter::from_fn(|| gate.try_enter().ok()).collect();
    assert!(!places.is_empty());
    let took = storm.post(&[Arc::clone(&instance)]).await;
    // the first ones wait for the metadata
    assert!(took.iter().all(|(_, deferred)| *deferred), "{took:?}");
    assert!(took.iter().filter(|(took, _)| *took <= SECOND / 50).count() > 25, "{took:?}");
    let counts = storm.meter.counts();
    assert_eq!(
        (counts.get("ledger commit"), counts.get("ledger put"), counts.get("inbox put")),
        (None, Some(&50), Some(&50))
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_runs_into_a_pause_leaves_the_rest_as_it_is() {
    let storm = Storm::new(400, 100 * SECOND);
    let instance = storm.instance();
    instance.parts().target.gate.close_for(MINUTE / 2);
    storm.post(&[Arc::clone(&instance)]).await;
    tokio::time::sleep(MINUTE).await;
    let states = Arc::clone(&storm.meter) as Arc<dyn StateStore>;
    let system = System::new(states, Arc::new(storm.world.clock.clone()), storm.world.mapping.limits.clock_skew);
    let records = Arc::clone(&storm.meter.ledger) as Arc<dyn Expiring>;
    let sweeper = Sweeper::new(Arc::clone(&instance), system, records);
    let pause = async {
        tokio::time::sleep(SECOND).await;
        instance.parts().target.gate.close_for(10 * MINUTE);
        storm.meter.counts()
    };
    let (swept, before) = futures_util::future::join(sweeper.sweep("sweep"), pause).await;
    let (swept, after) = (swept.unwrap(), storm.meter.counts());
    assert!(swept.ended > 0 && swept.left > 0 && swept.ended < 400, "{swept:?}");
    // but for those that were under way, eight at most
    let more =
        |what: &str| after.get(what).copied().unwrap_or_default() - before.get(what).copied().unwrap_or_default();
    assert!(more("ledger read") <= 8 && more("inbox shift") <= 8 && more("inbox put") == 0, "{before:?} {after:?}");
}
