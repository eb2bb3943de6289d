//! The queue function between a queue with the broker's rules (locks, deliveries that are counted, dead letters, a message
//! that is given back returns at once) and the engine: outages of the target and of the ledger, the last deliveries, and
//! what the sweep hands over.

use super::keeping::{Keeping, MINUTE, post};
use super::world::{PLAIN, account};
use crate::support::bus::Bus;
use async_trait::async_trait;
use dataverse_sync::clock::Clock;
use dataverse_sync::domain::decode::DecodeLimits;
use dataverse_sync::functions::queue::Queue as QueueFunction;
use dataverse_sync::host::{Arrived, Envelope, Function, Invocation, Kind};
use dataverse_sync::inbox::Inbox;
use dataverse_sync::ledger::record::EventRecord;
use dataverse_sync::ledger::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError};
use dataverse_sync::operate::sweep::Swept;
use dataverse_sync::sim::dataverse::{Effect, RaisedEvent, Rule, When};
use dataverse_sync::sim::host::envelope::{Call, message, messages};
use dataverse_sync::sim::host::pump::{Batch, Pump, Settle};
use dataverse_sync::sim::host::queue::Received;
use dataverse_sync::sim::host::{NewMessage, Queue, QueueSettings};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use futures_util::future::join_all;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn down() -> Effect {
    Effect::Status { status: 503, code: String::new(), retry_after: None }
}

/// A ledger that is away for a while, or that finds everything too large.
#[derive(Debug)]
struct Away {
    inner: Arc<dyn Store>,
    until: Mutex<Option<Instant>>,
    too_large: bool,
}

impl Away {
    fn new(inner: Arc<dyn Store>, too_large: bool) -> Arc<Self> {
        Arc::new(Self { inner, until: Mutex::new(None), too_large })
    }

    fn leaves_for(&self, time: Duration) {
        *self.until.lock().unwrap() = Some(Instant::now() + time);
    }

    fn is_there(&self) -> Result<(), StoreError> {
        match *self.until.lock().unwrap() {
            Some(until) if Instant::now() < until => {
                Err(StoreError::Unavailable { reason: "no such host".to_owned(), after: None })
            }
            _ => Ok(()),
        }
    }

    fn takes(&self) -> Result<(), StoreError> {
        self.is_there()?;
        if self.too_large { Err(StoreError::TooLarge("record".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Away {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        self.is_there()?;
        self.inner.read(partition, event_key).await
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        self.is_there()?;
        self.inner.read_all(partition, event_keys).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.takes()?;
        self.inner.commit(commit).await
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        self.takes()?;
        self.inner.put_event(partition, event_key, record, expect).await
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<dataverse_sync::ledger::record::RowRecord>, Vec<EventRecord>), StoreError> {
        self.inner.history(partition, events_max).await
    }
}

/// A world with a queue in front of its instances.
struct Queued {
    keeping: Keeping,
    queue: Queue,
    bus: Arc<Bus>,
    away: Arc<Away>,
    logs: Arc<Mutex<Vec<String>>>,
}

/// The function, invoked as the host does: by an envelope, and settled by its answer.
async fn invoke(
    function: Arc<Function>,
    logs: Arc<Mutex<Vec<String>>>,
    queue: Queue,
    received: Vec<Received>,
    many: bool,
) -> Settle {
    let call = Call { function: "queue", binding: "message", now: queue.now() };
    let envelope = if many { messages(&call, &received, true) } else { message(&call, &received[0], true) };
    let envelope = Envelope::parse(envelope.to_string().as_bytes()).unwrap();
    let at_ms = queue.now().timestamp_millis();
    let arrived = Arrived { invocation: received[0].token.to_string(), traceparent: None, at_ms };
    let Kind::Invoked { function, .. } = &function.kind else { panic!("not invoked") };
    match function.run(Invocation { envelope, arrived }).await {
        Ok(done) => {
            logs.lock().unwrap().extend(done.logs);
            Settle::Complete
        }
        Err(_) => Settle::Abandon,
    }
}

impl Queued {
    fn new(toml: &str, too_large: bool) -> Self {
        let keeping = Keeping::new(toml);
        let duplicate_window = Some(10 * MINUTE);
        let start = keeping.world.clock.now();
        let queue = Queue::new(QueueSettings { duplicate_window, start, ..QueueSettings::default() });
        let away = Away::new(Arc::clone(&keeping.world.store) as Arc<dyn Store>, too_large);
        Self { bus: Bus::new(queue.clone()), keeping, queue, away, logs: Arc::default() }
    }

    fn instance(&self) -> Arc<Engine> {
        Arc::new(self.keeping.world.instance_on(self.away.clone(), 0))
    }

    fn send(&self, event: &RaisedEvent) {
        let message = event.queue().unwrap();
        let mut new = NewMessage::new(message.body.clone());
        new.content_type = Some(message.content_type.to_owned());
        new.properties = message.properties.into_iter().map(|(name, value)| (name, value.into())).collect();
        assert!(self.queue.send(new).is_some());
    }

    /// Listeners of these instances, each with 16 places, while the story lasts.
    async fn listening<T>(&self, instances: &[Arc<Engine>], story: impl Future<Output = T>) -> T {
        self.listening_for(None, instances, story).await
    }

    /// The same for batches.
    async fn listening_for<T>(
        &self,
        many: Option<Batch>,
        instances: &[Arc<Engine>],
        story: impl Future<Output = T>,
    ) -> T {
        let (_stop, draining) = watch::channel(false);
        let listeners = instances.iter().map(|instance| {
            let engine: Arc<dyn HandleEvent> = instance.clone();
            let function = Arc::new(QueueFunction::function(engine, DecodeLimits::default()));
            let pump = Pump { queue: self.queue.clone(), calls_max: 16, renewal_max: 6 * MINUTE };
            let (queue, logs, draining) = (self.queue.clone(), Arc::clone(&self.logs), draining.clone());
            async move {
                let each = |received| -> futures_util::future::BoxFuture<'static, Settle> {
                    Box::pin(invoke(Arc::clone(&function), Arc::clone(&logs), queue.clone(), vec![received], false))
                };
                let all = |received| -> futures_util::future::BoxFuture<'static, Settle> {
                    Box::pin(invoke(Arc::clone(&function), Arc::clone(&logs), queue.clone(), received, true))
                };
                match many {
                    Some(batch) => pump.run_batches(batch, draining, all).await,
                    None => pump.run(draining, each).await,
                }
            }
        });
        tokio::select! {
            _ = join_all(listeners) => panic!("the listeners ended"),
            told = story => told,
        }
    }

    /// The timer of an instance, handing over to the queue, until nothing is owed and nothing is in the queue.
    async fn sweep_up(&self, instance: &Arc<Engine>) -> Swept {
        let clock = Arc::new(self.keeping.world.clock.clone());
        let sweeper = self.keeping.sweeper_of(Arc::clone(instance)).handing_over(self.bus.sender(clock));
        let mut total = Swept::default();
        for _ in 0..600 {
            tokio::time::sleep(MINUTE).await;
            total += sweeper.sweep("sweep").await.unwrap();
            if self.queue.pending() == 0 && self.keeping.owed().await.is_empty() {
                return total;
            }
        }
        panic!("still owed: {:?}", self.keeping.owed().await);
    }

    /// Every message is completed, none dead, nothing parked, source and target alike.
    async fn assert_all_good(&self) {
        let counts = self.queue.counts();
        assert_eq!((counts.dead_lettered, self.queue.pending()), (0, 0), "{counts:?}");
        assert_eq!(self.keeping.parked().await, []);
        self.keeping.world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_target_costs_no_message_a_delivery() {
    // refused at once, and silent until our own time-out
    let silent = Effect::Late { lands_after: 2 * 60 * MINUTE, silent_for: MINUTE };
    for outage in [down(), silent] {
        let queued = Queued::new(PLAIN, false);
        let instances = [queued.instance(), queued.instance()];
        let world = &queued.keeping.world;
        let story = async {
            let id = world.create("account", account("warm"));
            for event in world.events().await {
                queued.send(&event);
            }
            queued.queue.idle().await;
            world.target.faults().add(Rule::new(When::Always, outage).during(Duration::ZERO, 60 * MINUTE));
            for n in 0..10 {
                world.create("account", account(&format!("A{n}")));
                world.update("account", id, json!({ "name": format!("B{n}") }));
                for event in world.events().await {
                    queued.send(&event);
                }
                tokio::time::sleep(5 * MINUTE).await;
            }
            queued.sweep_up(&instances[0]).await
        };
        let total = queued.listening(&instances, story).await;
        assert!(total.handed > 20, "{total:?}");
        let counts = queued.queue.counts();
        assert_eq!((counts.redelivered, counts.abandoned, counts.locks_lost), (0, 0, 0), "{counts:?}");
        queued.assert_all_good().await;
    }
}

/// A burst on few rows, with batches of 64 and locks of two minutes that nobody renews, while the target behaves like this.
async fn burst_in_batches(outage: Option<Effect>) -> Queued {
    let mut queued = Queued::new(PLAIN, false);
    let (start, lock_duration) = (queued.keeping.world.clock.now(), 2 * MINUTE);
    queued.queue = Queue::new(QueueSettings { start, lock_duration, ..QueueSettings::default() });
    queued.bus = Bus::new(queued.queue.clone());
    let instances = [queued.instance(), queued.instance()];
    let world = &queued.keeping.world;
    let story = async {
        if let Some(effect) = outage {
            world.target.faults().add(Rule::new(When::Always, effect).during(Duration::ZERO, 10 * MINUTE));
        }
        let ids: Vec<_> = (0..6).map(|n| world.create("account", account(&format!("A{n}")))).collect();
        for n in 0..40 {
            for id in &ids {
                world.update("account", *id, json!({ "name": format!("B{n}"), "telephone1": format!("{n}") }));
            }
        }
        for event in world.events().await {
            queued.send(&event);
        }
        queued.queue.send(NewMessage::new("{ this is nothing"));
        queued.sweep_up(&instances[0]).await
    };
    let batch = Batch { most: 64, least: 1, wait: 5 * SECOND };
    queued.listening_for(Some(batch), &instances, story).await;
    let counts = queued.queue.counts();
    assert_eq!((counts.redelivered, counts.abandoned, counts.locks_lost), (0, 0, 0), "{counts:?}");
    assert_eq!((counts.dead_lettered, queued.queue.pending()), (0, 0), "{counts:?}");
    assert_eq!(queued.keeping.parked().await.len(), 1, "what was not understood, and nothing else");
    queued.keeping.world.assert_equal();
    queued
}

#[tokio::test(start_paused = true)]
async fn a_burst_in_batches_is_folded_and_one_bad_message_is_parked_alone() {
    let queued = burst_in_batches(None).await;
    let writes = queued.keeping.world.target_writes();
    assert!(writes < 100, "246 changes of six rows took {writes} writes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_target_costs_no_batch_a_delivery_nor_its_locks() {
    burst_in_batches(Some(down())).await;
    burst_in_batches(Some(Effect::Late { lands_after: 2 * 60 * MINUTE, silent_for: MINUTE })).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_sweep_hands_over_is_finished_by_the_queue_function() {
    let queued = Queued::new(PLAIN, false);
    let instances = [queued.instance(), queued.instance()];
    let world = &queued.keeping.world;
    for n in 0..40 {
        world.create("account", account(&format!("A{n}")));
    }
    let events = world.events().await;
    world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 3 * MINUTE));
    for answer in join_all(events.iter().map(|event| post(&instances[0], event))).await {
        assert_eq!(answer.unwrap().outcome.name(), "deferred");
    }
    let total = queued.listening(&instances, queued.sweep_up(&instances[0])).await;
    assert!(total.handed >= 40 && total.ended == 0, "{total:?}");
    assert!(queued.logs.lock().unwrap().iter().filter(|line| line.starts_with("applied")).count() == 40);
    queued.assert_all_good().await;
}

/// One event that the target was down for, handed over at this moment; the ledger is away from now on.
async fn handed_over(queued: &Queued, instance: &Arc<Engine>, away_for: Duration) {
    let world = &queued.keeping.world;
    world.create("account", account("A"));
    let events = world.events().await;
    world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, MINUTE));
    post(instance, &events[0]).await.unwrap();
    tokio::time::sleep(2 * MINUTE).await;
    let clock = Arc::new(world.clock.clone());
    let sweeper = queued.keeping.sweeper_of(Arc::clone(instance)).handing_over(queued.bus.sender(clock));
    assert_eq!(sweeper.sweep("sweep").await.unwrap().handed, 1);
    queued.away.leaves_for(away_for);
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_and_could_not_be_worked_on_is_due_again_in_a_moment() {
    let queued = Queued::new(PLAIN, false);
    let instances = [queued.instance()];
    handed_over(&queued, &instances[0], 40 * SECOND).await;
    queued.listening(&instances, queued.queue.idle()).await;
    let counts = queued.queue.counts();
    assert_eq!((counts.completed, counts.abandoned), (1, 0), "{counts:?}");
    let owed = queued.keeping.owed().await;
    let left_ms = owed[0].due_ms - queued.keeping.world.clock.now().timestamp_millis();
    assert!(owed.len() == 1 && left_ms <= 4_000 && owed[0].handed == 0, "{owed:?}, due in {left_ms} ms");
    assert!(queued.logs.lock().unwrap()[0].starts_with("deferred"), "{:?}", queued.logs);
    queued.listening(&instances, queued.sweep_up(&instances[0])).await;
    queued.assert_all_good().await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_can_be_neither_worked_on_nor_put_off_comes_again_and_never_dies() {
    for outage in [2 * MINUTE, 60 * MINUTE] {
        let queued = Queued::new(PLAIN, false);
        let instances = [queued.instance()];
        handed_over(&queued, &instances[0], outage).await;
        queued.keeping.shaky.fail(0..1_000_000);
        let began = Instant::now();
        let story = async {
            tokio::time::sleep(outage).await;
            queued.keeping.shaky.fail(0..0);
            queued.queue.idle().await;
            began.elapsed()
        };
        let took = queued.listening(&instances, story).await;
        let counts = queued.queue.counts();
        assert!(counts.abandoned > 0 && counts.completed == 1 && counts.dead_lettered == 0, "{counts:?}");
        // the message waited with its entry: it ended with the outage, or is due a moment later
        let soon_ms = queued.keeping.world.clock.now().timestamp_millis() + 4_000;
        let owed = queued.keeping.owed().await;
        let soon = took < outage + MINUTE && owed.iter().all(|entry| entry.due_ms <= soon_ms);
        assert!(outage > 2 * MINUTE || soon, "{took:?} {owed:?}");
        queued.listening(&instances, queued.sweep_up(&instances[0])).await;
        queued.assert_all_good().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_kills_its_handler_is_completed_at_its_last_delivery_and_left_to_the_sweep() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    handed_over(&queued, &instance, Duration::ZERO).await;
    for _ in 1..instance.deliveries_max() {
        let received = queued.queue.receive().await;
        assert!(queued.queue.abandon(received.token).is_ok());
    }
    queued.listening(&[Arc::clone(&instance)], queued.queue.idle()).await;
    let counts = queued.queue.counts();
    assert_eq!((counts.completed, counts.dead_lettered), (1, 0), "{counts:?}");
    assert!(queued.logs.lock().unwrap()[0].starts_with("still owed"), "{:?}", queued.logs);
    assert_eq!(queued.keeping.world.target.rows("account").len(), 0, "it was not tried");
    queued.listening(&[Arc::clone(&instance)], queued.sweep_up(&instance)).await;
    queued.assert_all_good().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_for_what_has_ended_asks_nobody_but_the_inbox() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    let world = &queued.keeping.world;
    world.create("account", account("A"));
    let events = world.events().await;
    world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, MINUTE));
    post(&instance, &events[0]).await.unwrap();
    tokio::time::sleep(2 * MINUTE).await;
    // handed over, and then worked on by somebody else
    let clock = Arc::new(world.clock.clone());
    let sweeper = queued.keeping.sweeper_of(Arc::clone(&instance)).handing_over(queued.bus.sender(clock));
    assert_eq!(sweeper.sweep("sweep").await.unwrap().handed, 1);
    queued.keeping.sweep_up().await;
    let (requests, reads) = (world.target.requests().count(), world.store.round_trips());
    queued.listening(&[instance], queued.queue.idle()).await;
    assert_eq!((world.target.requests().count(), world.store.round_trips()), (requests, reads));
    assert!(queued.logs.lock().unwrap()[0].starts_with("nothing is owed"), "{:?}", queued.logs);
    queued.assert_all_good().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_ledger_of_minutes_is_waited_out() {
    for minutes in [1, 4, 8] {
        let queued = Queued::new(PLAIN, false);
        let instances = [queued.instance(), queued.instance()];
        let world = &queued.keeping.world;
        for n in 0..12 {
            world.create("account", account(&format!("A{n}")));
        }
        for event in world.events().await {
            queued.send(&event);
        }
        // both are in one storage account
        queued.away.leaves_for(minutes * MINUTE);
        queued.keeping.shaky.fail(0..usize::MAX);
        let story = async {
            tokio::time::sleep(minutes * MINUTE).await;
            queued.keeping.shaky.fail(0..0);
            queued.queue.idle().await;
            queued.sweep_up(&instances[0]).await;
        };
        queued.listening(&instances, story).await;
        queued.assert_all_good().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_outage_of_the_ledger_leaves_its_messages_with_the_broker() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    let world = &queued.keeping.world;
    world.create("account", account("A"));
    for event in world.events().await {
        queued.send(&event);
    }
    queued.away.leaves_for(30 * MINUTE);
    queued.keeping.shaky.fail(0..usize::MAX);
    let began = Instant::now();
    queued.listening(&[instance], queued.queue.idle()).await;
    // nothing could be kept, so nothing was acknowledged; and no delivery was wasted in a hurry
    assert_eq!((queued.queue.counts().dead_lettered, queued.queue.counts().completed), (1, 0));
    assert!(began.elapsed() > 9 * MINUTE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_no_delivery_could_keep_is_parked_as_it_came_one_delivery_before_the_last() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    let world = &queued.keeping.world;
    world.create("account", account("A"));
    let event = &world.events().await[0];
    queued.send(event);
    // the ledger's table is away, the inbox is there
    queued.away.leaves_for(24 * 60 * MINUTE);
    queued.listening(&[instance], queued.queue.idle()).await;
    let counts = queued.queue.counts();
    assert_eq!((counts.dead_lettered, counts.completed, counts.delivered), (0, 1, 9), "{counts:?}");
    let parked = queued.keeping.parked().await;
    assert_eq!((parked.len(), parked[0].word()), (1, "deliveries_exhausted"), "{parked:?}");
    let raw = parked[0].raw.as_ref().unwrap();
    assert_eq!(raw.bytes, event.queue().unwrap().body.len());
    for name in ["content-type", "message-id"] {
        assert!(raw.headers.iter().any(|(header, value)| header == name && !value.is_empty()), "{:?}", raw.headers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_its_handler_is_parked_at_its_last_delivery_without_being_tried() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    queued.keeping.world.create("account", account("A"));
    queued.send(&queued.keeping.world.events().await[0]);
    // nine handlers died of it
    for _ in 0..9 {
        let received = queued.queue.try_receive().unwrap();
        queued.queue.abandon(received.token).unwrap();
    }
    queued.listening(&[instance], queued.queue.idle()).await;
    let parked = queued.keeping.parked().await;
    assert_eq!((parked.len(), parked[0].word()), (1, "deliveries_exhausted"), "{parked:?}");
    assert_eq!((queued.queue.counts().dead_lettered, queued.keeping.world.target.requests().count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn parking_at_the_last_delivery_waits_for_the_inbox() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    queued.keeping.world.create("account", account("A"));
    queued.send(&queued.keeping.world.events().await[0]);
    for _ in 0..9 {
        let received = queued.queue.try_receive().unwrap();
        queued.queue.abandon(received.token).unwrap();
    }
    queued.keeping.shaky.fail(0..usize::MAX);
    let story = async {
        tokio::time::sleep(40 * SECOND).await;
        queued.keeping.shaky.fail(0..0);
        queued.queue.idle().await;
    };
    queued.listening(&[instance], story).await;
    assert_eq!((queued.queue.counts().dead_lettered, queued.keeping.parked().await.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_the_ledger_is_parked_and_acknowledged() {
    let queued = Queued::new(PLAIN, true);
    let instance = queued.instance();
    let world = &queued.keeping.world;
    world.create("account", account("A"));
    world.create("account", account("B"));
    let events = world.events().await;
    queued.send(&events[0]);
    queued.listening(&[Arc::clone(&instance)], queued.queue.idle()).await;
    let report = post(&instance, &events[1]).await.unwrap();
    assert_eq!(report.outcome.name(), "parked");
    let parked = queued.keeping.parked().await;
    assert!(parked.len() == 2 && parked.iter().all(|parked| parked.word() == "too_large"), "{parked:?}");
    let inbox: Inbox = queued.keeping.inbox();
    for parked in parked {
        let (_, _, bytes) = inbox.parked_by_id(&parked.id).await.unwrap().unwrap();
        assert!(!bytes.unwrap().is_empty());
    }
    assert_eq!((queued.queue.counts().dead_lettered, queued.queue.counts().redelivered), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_of_almost_a_mebibyte_is_owed_and_applied() {
    let queued = Queued::new(PLAIN, false);
    let instance = queued.instance();
    let world = &queued.keeping.world;
    let id = world.create("account", account("A"));
    let mut event = super::world::decoded(&world.events().await[0]);
    let mut state = 1u64;
    for n in 0..31 {
        let mut text = String::new();
        while text.len() < 32 << 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:016x}", state ^ (state >> 29)));
        }
        let value = dataverse_sync::domain::value::Value::Text(text);
        event.columns.insert(format!("only_the_source_has_it_{n}"), value);
    }
    assert!(serde_json::to_string(&event).unwrap().len() > 1_000_000);
    world.target.faults().add(Rule::new(When::Always, down()).during(Duration::ZERO, 3 * MINUTE));
    let report = instance.handle(event, &super::keeping::webhook()).await.unwrap();
    assert_eq!(report.outcome.name(), "deferred");
    queued.listening(&[Arc::clone(&instance)], queued.sweep_up(&instance)).await;
    assert!(world.target.row("account", id).is_some());
    queued.assert_all_good().await;
}
