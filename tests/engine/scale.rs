//! A hundred thousand owed events: what the sweep makes of them, worked on by itself and handed to the queue. What an
//! event needs is stood in for by time and one write; the inbox, its round trips and the leases are the real ones.

use crate::support::bus::{Bus, Trouble};
use crate::support::clock::TokioClock;
use async_trait::async_trait;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::mapping::Limits;
use dataverse_sync::domain::outcome::{Applied, Outcome};
use dataverse_sync::inbox::memory::MemoryStore as InboxMemory;
use dataverse_sync::inbox::store::{Cursor, Move, Page, Place, Range, Removed, Slip, Store, Stored};
use dataverse_sync::inbox::{Entry, Inbox, InboxError, ParkedFilter};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::system::System;
use dataverse_sync::operate::handover;
use dataverse_sync::operate::sweep::{SweepParts, Sweeper, Swept};
use dataverse_sync::sim::host::pump::{Pump, Settle};
use dataverse_sync::sim::host::{Queue, QueueSettings};
use dataverse_sync::sync::{HandleEvent, Owed, RawEvent};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALL: usize = 100_000;

/// The inbox behind a network: every call takes 5 ms and is counted.
#[derive(Debug, Default)]
struct Remote {
    inner: InboxMemory,
    lists: AtomicUsize,
    shifts: AtomicUsize,
    others: AtomicUsize,
    /// No entry can be written.
    refuses: AtomicBool,
}

impl Remote {
    async fn call(&self, count: &AtomicUsize) {
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(5 * MS).await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Remote {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        self.call(&self.others).await;
        if self.refuses.load(Ordering::SeqCst) {
            return Err(InboxError::Unavailable { reason: "refused".to_owned(), after: None });
        }
        self.inner.put(place, text, payload).await
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        self.call(&self.shifts).await;
        if self.refuses.load(Ordering::SeqCst) {
            return Err(InboxError::Unavailable { reason: "refused".to_owned(), after: None });
        }
        let moved = self.inner.shift(moves).await;
        tokio::time::sleep(5 * MS).await;
        moved
    }

    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError> {
        self.call(&self.others).await;
        self.inner.get(place).await
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        self.call(&self.lists).await;
        self.inner.list(range, from, top).await
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        self.call(&self.others).await;
        self.inner.remove(slip).await
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        self.call(&self.others).await;
        self.inner.remove_all(slips).await
    }
}

/// Instances of the handler in front of a target that works on so many events at once, each for so long.
#[derive(Debug)]
struct Handlers {
    inbox: Inbox,
    target: Semaphore,
    takes: Duration,
    /// When each event was handled, and how many were handled more than once.
    handled: Mutex<HashMap<String, Instant>>,
    twice: AtomicUsize,
    /// How often something was tried that comes to nothing.
    tries: AtomicUsize,
}

impl Handlers {
    fn count(&self) -> usize {
        self.handled.lock().unwrap().len()
    }

    fn last(&self, of: impl Fn(&str) -> bool) -> Instant {
        *self.handled.lock().unwrap().iter().filter(|(name, _)| of(name)).map(|(_, at)| at).max().unwrap()
    }
}

fn unfinished(reason: &str) -> NotHandled {
    Unfinished { reason: reason.to_owned(), retry_after: Duration::ZERO }.into()
}

#[async_trait]
impl HandleEvent for Handlers {
    async fn handle(&self, _event: ChangeEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        Err(unfinished("not here"))
    }

    async fn keep_raw(&self, raw: RawEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        Err(unfinished(&raw.problem))
    }

    async fn come_back(&self, owed: &Owed, _invocation: &str) -> Result<Option<Report>, NotHandled> {
        let (slip, entry) = match owed {
            Owed::Entry(slip, entry) => (slip.clone(), entry.clone()),
            Owed::Named(name) => match self.inbox.named(name).await.unwrap() {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if entry.attempts > 3 {
            // it takes as long as it may, and comes to nothing
            self.tries.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(unfinished("poison"));
        }
        let place = self.target.acquire().await.unwrap();
        tokio::time::sleep(self.takes).await;
        drop(place);
        let name = format!("{}|{}", entry.partition, entry.event_key);
        if self.handled.lock().unwrap().insert(name, Instant::now()).is_some() {
            self.twice.fetch_add(1, Ordering::SeqCst);
        }
        self.inbox.settle(&slip).await.unwrap();
        let (event_id, table, row) = (entry.event_key, entry.table, entry.partition);
        Ok(Some(Report { outcome: Outcome::Applied(Applied::Updated), event_id, table, row }))
    }

    fn deliveries_max(&self) -> u32 {
        10
    }
}

struct World {
    remote: Arc<Remote>,
    handlers: Arc<Handlers>,
    states: Arc<MemoryStore>,
    clock: TokioClock,
    start: Instant,
}

impl World {
    fn new(at_once: usize, takes: Duration) -> Self {
        let remote = Arc::new(Remote::default());
        let (target, handled, twice) = (Semaphore::new(at_once), Mutex::default(), AtomicUsize::new(0));
        let inbox = Inbox::new(remote.clone());
        let handlers = Arc::new(Handlers { inbox, target, takes, handled, twice, tries: AtomicUsize::new(0) });
        let states = Arc::new(MemoryStore::default());
        Self { remote, handlers, states, clock: TokioClock::new(0), start: Instant::now() }
    }

    /// Owes one event of each of these rows, the first ones due first; all are due now.
    async fn owe(&self, table: &str, count: usize, row: impl Fn(usize) -> usize, due_before_ms: i64) {
        self.owe_tried(3, table, count, row, due_before_ms).await;
    }

    async fn owe_tried(
        &self,
        attempts: u32,
        table: &str,
        count: usize,
        row: impl Fn(usize) -> usize,
        due_before_ms: i64,
    ) {
        let now_ms = self.clock.now().timestamp_millis();
        let direct = Owing(&self.remote.inner);
        for n in 0..count {
            direct
                .owe(&Entry {
                    partition: format!("{table}:{}", row(n)),
                    event_key: format!("event:{n}"),
                    due_ms: now_ms - due_before_ms + i64::try_from(n).unwrap() / 100,
                    first_ms: now_ms - due_before_ms,
                    attempts,
                    reason: "target down".to_owned(),
                    table: table.to_owned(),
                    channel: Channel::Webhook,
                    handed: 0,
                })
                .await;
        }
    }

    fn sweeper(&self, bus: Option<&Arc<Bus>>) -> Sweeper {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        Sweeper::of(SweepParts {
            engine: self.handlers.clone(),
            inbox: Some(self.handlers.inbox.clone()),
            limits: Limits::default(),
            system: System::new(self.states.clone(), Arc::clone(&clock), Duration::from_secs(5)),
            records: self.states.clone(),
            queue: bus.map(|bus| bus.sender(Arc::clone(&clock))),
            clock,
        })
    }

    /// Two instances whose timers fire at the same time, every minute, until so many events are handled.
    async fn sweep_until(&self, handled: usize, bus: Option<&Arc<Bus>>) -> (Swept, usize) {
        let (one, two) = (self.sweeper(bus), self.sweeper(bus));
        let mut total = Swept::default();
        for tick in 1..=60 {
            let began = Instant::now();
            let (first, second) = futures_util::future::join(one.sweep("one"), two.sweep("two")).await;
            total += first.unwrap();
            total += second.unwrap();
            assert!(began.elapsed() < MINUTE, "a sweep took {:?}", began.elapsed());
            tokio::time::sleep_until(began + MINUTE).await;
            if self.handlers.count() >= handled {
                return (total, tick);
            }
        }
        panic!("{} of {handled} were handled: {total:?}", self.handlers.count());
    }

    /// Listeners of the queue with so many places, while the story lasts.
    async fn listening<T>(&self, queue: &Queue, places: usize, story: impl Future<Output = T>) -> T {
        let (_stop, draining) = watch::channel(false);
        let pump = Pump { queue: queue.clone(), calls_max: places, renewal_max: 6 * MINUTE };
        let run = pump.run(draining, |received| {
            let handlers = Arc::clone(&self.handlers);
            Box::pin(async move {
                let message = received.message;
                let name = handover::read(&message.properties, &message.body).unwrap().unwrap();
                let _ = handlers.come_back(&Owed::Named(name), "queue").await;
                Settle::Complete
            })
        });
        tokio::select! {
            () = run => panic!("the listener ended"),
            told = story => told,
        }
    }
}

/// Owes without the network.
struct Owing<'a>(&'a InboxMemory);

impl Owing<'_> {
    async fn owe(&self, entry: &Entry) {
        let place =
            Place { shelf: dataverse_sync::inbox::store::Shelf::Due, shard: entry.shard(), key: entry.name().key() };
        self.0.put(&place, &serde_json::to_string(entry).unwrap(), None).await.unwrap();
    }
}

fn queue(clock: &TokioClock) -> Queue {
    let duplicate_window = Some(10 * MINUTE);
    Queue::new(QueueSettings { duplicate_window, start: clock.now(), ..QueueSettings::default() })
}

/// A flood of one table, one row of it with a thousand events, and a table with a hundred events that are due last.
async fn flood(world: &World) {
    world.owe("account", ALL - 1_100, |n| n, 60_000).await;
    world.owe("hot", 1_000, |_| 0, 60_000).await;
    world.owe("contact", 100, |n| n, 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_due_entries_are_worked_off_within_five_minutes_each_once_and_fairly() {
    // a target that takes 533 events a second
    let world = World::new(8, 15 * MS);
    flood(&world).await;
    let (total, _) = world.sweep_until(ALL, None).await;
    assert_eq!((total.ended, total.failed, world.handlers.twice.load(Ordering::SeqCst)), (ALL, 0, 0), "{total:?}");
    let waited = |of: &str| world.handlers.last(|name| name.starts_with(of)) - world.start;
    assert!(waited("account") < 5 * MINUTE, "{:?}", waited("account"));
    // who has little to do does not wait for who has much
    assert!(waited("contact") < MINUTE, "{:?}", waited("contact"));
    assert!(waited("hot") < 5 * MINUTE, "{:?}", waited("hot"));
    // looking costs little beside the work: one removal each, and a page of a thousand now and then
    let lists = world.remote.lists.load(Ordering::SeqCst);
    assert!(lists < 4_000, "{lists} lists");
    assert_eq!(world.remote.others.load(Ordering::SeqCst), ALL);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_due_entries_are_handed_over_within_two_ticks_and_handled_once_each() {
    // four instances in front of the same target: the sweep alone could not keep it busy
    let world = World::new(32, 15 * MS);
    flood(&world).await;
    let bus = Bus::new(queue(&world.clock));
    let story = world.sweep_until(ALL, Some(&bus));
    let (total, ticks) = world.listening(&bus.queue.clone(), 64, story).await;
    // the hot row goes one after the other and stays with the sweep
    assert_eq!((total.handed + total.ended, world.handlers.twice.load(Ordering::SeqCst)), (ALL, 0), "{total:?}");
    assert!(total.ended <= 1_000 && total.failed == 0, "{total:?}");
    assert!(ticks <= 3, "{ticks}");
    assert!(world.handlers.last(|_| true) - world.start < 5 * MINUTE);
    let (shifts, sends) = (world.remote.shifts.load(Ordering::SeqCst), bus.sends.load(Ordering::SeqCst));
    assert!(shifts < 3_000 && sends < 2_000, "{shifts} moves, {sends} sends");
    // some of them ask whether what is out was worked off
    assert!(world.remote.lists.load(Ordering::SeqCst) < 2_000, "{:?}", world.remote.lists);
    assert!(!bus.broken.load(Ordering::SeqCst), "a request was larger than the service takes");
    assert_eq!((bus.queue.counts().dropped, bus.queue.pending()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn poison_before_them_does_not_keep_others_waiting() {
    let world = World::new(8, 15 * MS);
    world.owe_tried(9, "account", 3_000, |n| n, 3_600_000).await;
    world.owe("account", 1_000, |n| 10_000 + n, 60_000).await;
    world.sweep_until(1_000, None).await;
    let waited = world.handlers.last(|_| true) - world.start;
    assert!(waited < MINUTE, "{waited:?}");
    // and in the end it waits for a person
    let sweeper = world.sweeper(None);
    for _ in 0..60 {
        tokio::time::sleep(180 * MINUTE).await;
        sweeper.sweep("sweep").await.unwrap();
    }
    let parked = world.handlers.inbox.parked(&ParkedFilter::default(), None, 5_000).await.unwrap().found;
    assert!(!parked.is_empty() && parked.iter().all(|(_, parked)| parked.attempts > 9));
    assert!(["too_old", "attempts_exhausted"].contains(&parked[0].1.word()), "{:?}", parked[0].1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_worked_on_is_tried_less_and_less_often() {
    let world = World::new(8, 15 * MS);
    world.owe_tried(4, "account", 1, |n| n, 60_000).await;
    let sweeper = world.sweeper(None);
    for _ in 0..60 {
        sweeper.sweep("sweep").await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    let tries = world.handlers.tries.load(Ordering::SeqCst);
    assert!((3..=8).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn entries_that_can_be_neither_worked_on_nor_moved_end_the_sweep() {
    let world = World::new(8, 15 * MS);
    world.owe_tried(9, "account", 400, |n| n, 60_000).await;
    world.remote.refuses.store(true, Ordering::SeqCst);
    let (sweeper, began) = (world.sweeper(None), Instant::now());
    let swept = sweeper.sweep("sweep").await.unwrap();
    assert!(swept.failed == swept.stuck && swept.stuck > 0, "{swept:?}");
    assert!(world.remote.lists.load(Ordering::SeqCst) < 200 && began.elapsed() < MINUTE);
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_message_is_lost_is_handed_over_again_and_then_worked_on_by_the_sweep() {
    let world = World::new(32, 15 * MS);
    world.owe("account", 2_000, |n| n, 60_000).await;
    let bus = Bus::new(queue(&world.clock));
    // of three messages one is lost
    bus.loses.store(3, Ordering::SeqCst);
    let (total, ticks) = world.listening(&bus.queue.clone(), 64, world.sweep_until(2_000, Some(&bus))).await;
    assert_eq!(world.handlers.twice.load(Ordering::SeqCst), 0);
    assert!(total.handed > 2_600 && total.ended > 0, "{total:?}");
    // it is left alone as long as its message may be on its way
    assert!((4..=10).contains(&ticks), "{ticks}");
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_and_the_sweep_does_the_work_after_two_hand_overs() {
    let world = World::new(8, 15 * MS);
    world.owe("account", 1_000, |n| n, 60_000).await;
    let bus = Bus::new(queue(&world.clock));
    let (total, ticks) = world.sweep_until(1_000, Some(&bus)).await;
    assert_eq!((total.handed, total.ended), (2_000, 1_000));
    // each time it is left alone for a lease, which is 185 s
    assert!((8..=10).contains(&ticks), "{ticks}");
    // the messages that nobody took find nothing any more
    world.listening(&bus.queue.clone(), 64, bus.queue.idle()).await;
    assert_eq!((world.handlers.twice.load(Ordering::SeqCst), bus.queue.counts().completed), (0, 2_000));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_worked_on_by_the_sweep() {
    let world = World::new(8, 15 * MS);
    world.owe("account", 300, |n| n, 60_000).await;
    world.remote.refuses.store(true, Ordering::SeqCst);
    let bus = Bus::new(queue(&world.clock));
    let (total, ticks) = world.sweep_until(300, Some(&bus)).await;
    assert_eq!((total.ended, total.handed, total.failed, ticks), (300, 0, 0, 1), "{total:?}");
}

#[tokio::test(start_paused = true)]
async fn while_service_bus_is_away_the_sweep_does_the_work() {
    for trouble in [Trouble::NotSent, Trouble::Refused, Trouble::AnswerLost] {
        let world = World::new(8, 15 * MS);
        world.owe("account", 1_000, |n| n, 60_000).await;
        let bus = Bus::new(queue(&world.clock));
        bus.is(trouble);
        let story = world.sweep_until(1_000, Some(&bus));
        let (total, ticks) = world.listening(&bus.queue.clone(), 64, story).await;
        assert_eq!((ticks, world.handlers.twice.load(Ordering::SeqCst)), (1, 0), "{trouble:?} {total:?}");
        if trouble == Trouble::AnswerLost {
            // sent once more under the same id, and left to whoever gets the message
            assert!(bus.queue.counts().dropped > 0 && total.failed > 0, "{total:?} {:?}", bus.queue.counts());
        } else {
            assert_eq!((total.ended, total.failed), (1_000, 0), "{trouble:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_dies_at_any_moment_of_a_hand_over_loses_nothing() {
    let mut begun = 0;
    for ms in (0..120).step_by(5) {
        let world = World::new(32, 15 * MS);
        world.owe("account", 300, |n| n, 60_000).await;
        let bus = Bus::new(queue(&world.clock));
        let doomed = world.sweeper(Some(&bus));
        let died = tokio::time::timeout(Duration::from_millis(ms), doomed.sweep("doomed")).await.is_err();
        begun += usize::from(died && world.remote.shifts.load(Ordering::SeqCst) > 0);
        world.listening(&bus.queue.clone(), 64, world.sweep_until(300, Some(&bus))).await;
        assert_eq!(world.handlers.twice.load(Ordering::SeqCst), 0);
        assert_eq!(world.handlers.inbox.due(i64::MAX - 1, 1_000).await.unwrap().len(), 0);
    }
    assert!(begun > 3, "{begun}");
}
