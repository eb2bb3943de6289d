//! Three instances with clocks that differ. Each can die and be replaced, with everything it was doing; each piece of its
//! work can be dropped at some await, or stand still past its lease and go on.

use super::super::world::{World, decoded, delivery};
use super::plan::Plan;
use super::verdict::Seen;
use crate::support::process::{Stalling, killed_after};
use crate::support::rough::Rough;
use crate::support::rough_bus::Bus;
use dataverse_sync::domain::delivery::{Channel, Delivery, NotHandled, Report};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::inbox::{Entry, Inbox};
use dataverse_sync::ledger::purge::Expiring;
use dataverse_sync::ledger::record::event_key;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::operate::sweep::Sweeper;
use dataverse_sync::sim::dataverse::RaisedEvent;
use dataverse_sync::sync::engine::Engine;
use dataverse_sync::sync::{HandleEvent, Owed};
use futures_util::StreamExt;
use futures_util::future::{Either, join, join_all, join3, select};
use futures_util::stream::{self, FuturesUnordered};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

const INSTANCES: usize = 3;
/// A broker's patience without an inbox: outages that dead-letter are the inbox's matter.
const DELIVERIES_MAX: u32 = 400;
/// A broker's patience where there is an inbox: the next failure is a dead letter.
const DELIVERY_COUNT_MAX: u32 = 10;
/// When the broker's lock on a message is lost and it comes again, although somebody may still work on it.
const LOCK: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);

/// How a delivery ended; `None`: its instance died.
type Ended = Option<Result<Report, NotHandled>>;
/// A message that waits for others to come with, and who hears how it ended.
type Waiting = (ChangeEvent, Delivery, oneshot::Sender<Ended>);
/// How long a batch gathers.
const GATHERS: Duration = Duration::from_millis(400);

pub struct Instances<'a> {
    world: &'a World,
    rough: &'a Arc<Rough>,
    plan: &'a Plan,
    skews_ms: Vec<i64>,
    crashes_at: Vec<Duration>,
    homes: Vec<Mutex<Arc<Engine>>>,
    /// Who hears of a crash, in the order in which the work began: a watch would wake them in a random one.
    crashed: Vec<Mutex<Vec<oneshot::Sender<()>>>>,
    /// What comes to each instance in its next batch.
    gathering: Vec<Mutex<Vec<Waiting>>>,
    seed: u64,
    seen: Mutex<Seen>,
    done: AtomicBool,
    bus: Option<Arc<Bus>>,
}

impl<'a> Instances<'a> {
    pub fn new(world: &'a World, rough: &'a Arc<Rough>, plan: &'a Plan, random: &mut StdRng) -> Self {
        // clocks differ by less than clock_skew
        let skews_ms: Vec<i64> = (0..INSTANCES).map(|_| random.random_range(-2_400..2_400)).collect();
        let crashes_at = (0..INSTANCES).map(|_| Duration::from_millis(random.random_range(0..30_000))).collect();
        let crashed = (0..INSTANCES).map(|_| Mutex::default()).collect();
        let mut this = Self {
            world,
            rough,
            plan,
            skews_ms,
            crashes_at,
            homes: Vec::new(),
            crashed,
            gathering: (0..INSTANCES).map(|_| Mutex::default()).collect(),
            seed: random.random(),
            seen: Mutex::default(),
            done: AtomicBool::new(false),
            bus: plan.hands_over.then(|| Bus::new(plan.weather, random.random(), world.trace.clone())),
        };
        this.homes = (0..INSTANCES).map(|home| Mutex::new(this.start(home))).collect();
        this
    }

    fn start(&self, home: usize) -> Arc<Engine> {
        Arc::new(self.world.instance_on(Arc::clone(self.rough) as Arc<dyn Store>, self.skews_ms[home]))
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn note(&self, what: &'static str, count: u64) {
        self.seen.lock().unwrap().note(what, count);
    }

    /// Delivers everything that comes, while instances crash and sweeps run.
    pub async fn work(&self, mut events: UnboundedReceiver<Arc<RaisedEvent>>) {
        let arriving = stream::poll_fn(|context| events.poll_recv(context));
        let deliveries = async {
            arriving.for_each_concurrent(None, |event| self.copies(event)).await;
            self.done.store(true, Ordering::SeqCst);
        };
        let crashes = join_all((0..INSTANCES).map(|home| async move {
            tokio::time::sleep(self.crashes_at[home]).await;
            *self.homes[home].lock().unwrap() = self.start(home);
            let working = std::mem::take(&mut *self.crashed[home].lock().unwrap());
            for work in working {
                let _ = work.send(());
            }
            self.world.trace.line(&format!("instance {home} crashed"));
            self.note("crashes", 1);
        }));
        // two timers: sweeps meet each other
        let sweeps = join3(self.sweeps(1), self.sweeps(2), self.listens());
        join(join(deliveries, crashes), sweeps).await;
    }

    /// All deliveries of one event: it may come several times, each at some moment after its commit.
    async fn copies(&self, event: Arc<RaisedEvent>) {
        let mut random = StdRng::seed_from_u64(self.seed ^ event.sequence.wrapping_mul(0x9e37_79b9));
        let copies = 1 + usize::from(random.random_bool(0.3)) + usize::from(random.random_bool(0.1));
        let all = (0..copies).map(|_| {
            let waits = Duration::from_millis(random.random_range(0..self.plan.late_ms));
            let webhook = self.plan.inbox && random.random_bool(0.5);
            let mut random = StdRng::seed_from_u64(random.random());
            let event = &event;
            async move {
                tokio::time::sleep(waits).await;
                self.deliver(event, webhook, &mut random).await;
            }
        });
        join_all(all.collect::<Vec<_>>()).await;
    }

    /// Runs work of one instance: `None` if it died on the way.
    async fn run<T>(
        &self,
        home: usize,
        random: &mut StdRng,
        work: impl FnOnce(Arc<Engine>) -> Pin<Box<dyn Future<Output = T> + 'a>>,
    ) -> Option<T> {
        let engine = Arc::clone(&self.homes[home].lock().unwrap());
        let (crashes, crashed) = oneshot::channel();
        self.crashed[home].lock().unwrap().push(crashes);
        let polls = if random.random_bool(self.plan.deaths) { random.random_range(0..60) } else { usize::MAX };
        let stalling = Stalling::new(work(engine), StdRng::seed_from_u64(random.random()), self.plan.stalls);
        let work = Box::pin(killed_after(polls, stalling));
        match select(work, crashed).await {
            Either::Left((Some((ended, stalls)), _)) => {
                self.note("stalls", stalls);
                Some(ended)
            }
            Either::Left((None, _)) => {
                self.note("deaths", 1);
                None
            }
            Either::Right(_) => None,
        }
    }

    /// Delivers until the event is finished, as a broker does. A webhook that was kept or answered is never sent again.
    async fn deliver(&self, event: &Arc<RaisedEvent>, webhook: bool, random: &mut StdRng) {
        let most = if self.plan.inbox && !webhook { DELIVERY_COUNT_MAX } else { DELIVERIES_MAX };
        let change = decoded(event);
        let (mut errors, mut running) = (Vec::new(), FuturesUnordered::new());
        let mut over = false;
        while !over {
            let count = u32::try_from(errors.len()).unwrap() + 1;
            assert!(count <= most, "dead-lettered: {errors:?}");
            running.push(self.delivered(change.clone(), webhook, count, random));
            // one whose lock was lost may still be at it when the message comes again
            let lock = Box::pin(tokio::time::sleep(if webhook { LOCK * 1_000 } else { LOCK }));
            if let Either::Left((Some(ended), _)) = select(running.next(), lock).await {
                over = self.judge(ended, &change, webhook, &mut errors).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while let Some(ended) = running.next().await {
            self.judge(ended, &change, webhook, &mut errors).await;
        }
    }

    /// One delivery, to any instance. Dying on the way is not the message's fault: it takes nothing from its count.
    fn delivered(
        &self,
        change: ChangeEvent,
        webhook: bool,
        count: u32,
        random: &mut StdRng,
    ) -> Pin<Box<dyn Future<Output = Ended> + '_>> {
        let delivery = Delivery {
            channel: if webhook { Channel::Webhook } else { Channel::Queue },
            ..delivery(if webhook { 1 } else { count })
        };
        let home = random.random_range(0..INSTANCES);
        let mut own = StdRng::seed_from_u64(random.random());
        if !webhook && random.random_bool(self.plan.batches) {
            return Box::pin(async move { self.gathered(home, own, change, delivery).await });
        }
        Box::pin(async move {
            self.run(home, &mut own, |engine| Box::pin(async move { engine.handle(change, &delivery).await })).await
        })
    }

    /// A delivery in a batch: whoever is first waits for others and runs them all, rows side by side, as one invocation.
    async fn gathered(&self, home: usize, mut random: StdRng, change: ChangeEvent, delivery: Delivery) -> Ended {
        let (ends, ended) = oneshot::channel();
        let first = {
            let mut waiting = self.gathering[home].lock().unwrap();
            waiting.push((change, delivery, ends));
            waiting.len() == 1
        };
        if first {
            tokio::time::sleep(GATHERS).await;
            let together = std::mem::take(&mut *self.gathering[home].lock().unwrap());
            let (mut rows, mut who) = (Vec::<Vec<(ChangeEvent, Delivery)>>::new(), Vec::<Vec<_>>::new());
            for (change, delivery, ends) in together {
                let same = |row: &Vec<(ChangeEvent, Delivery)>| {
                    row.first().is_some_and(|(other, _)| other.table == change.table && other.row == change.row)
                };
                match rows.iter().position(same) {
                    Some(place) => {
                        rows[place].push((change, delivery));
                        who[place].push(ends);
                    }
                    None => {
                        rows.push(vec![(change, delivery)]);
                        who.push(vec![ends]);
                    }
                }
            }
            let work = self.run(home, &mut random, |engine| {
                Box::pin(async move {
                    let until = engine.batch_until();
                    let rows = rows.into_iter().map(|mut row| {
                        row.iter_mut().for_each(|(_, delivery)| delivery.until = until);
                        engine.handle_row(row)
                    });
                    join_all(rows.collect::<Vec<_>>()).await
                })
            });
            match work.await {
                None => who.into_iter().flatten().for_each(|ends| drop(ends.send(None))),
                Some(rows) => {
                    for row in rows.iter().filter(|row| row.len() > 1) {
                        let deferred = |ended: &Result<Report, NotHandled>| {
                            ended.as_ref().is_ok_and(|report| report.outcome.name() == "deferred")
                        };
                        self.note("unfolded", u64::from(row.iter().any(deferred)));
                    }
                    for (ends, report) in who.into_iter().flatten().zip(rows.into_iter().flatten()) {
                        let _ = ends.send(Some(report));
                    }
                }
            }
        }
        ended.await.unwrap_or(None)
    }

    /// Whether a delivery needs no other after it.
    async fn judge(
        &self,
        ended: Option<Result<Report, NotHandled>>,
        event: &ChangeEvent,
        webhook: bool,
        errors: &mut Vec<String>,
    ) -> bool {
        match ended {
            Some(Ok(report)) => {
                self.world.trace.line(&format!("answered {} {:?}", event.id.id(), report.outcome));
                match (report.outcome.name(), report.outcome.detail()) {
                    ("applied", "raced") => self.note("raced", 1),
                    ("applied", "deleted") => self.note("deleted", 1),
                    ("applied", _) => self.note("applied", 1),
                    ("stale", _) => self.note("stale", 1),
                    ("duplicate", _) => self.note("duplicate", 1),
                    ("deferred", _) => self.note("deferred", 1),
                    (other, detail) => panic!("{other}: {detail}"),
                }
                true
            }
            Some(Err(error)) => {
                self.world.trace.line(&format!("not answered {} {error}", event.id.id()));
                self.note("unfinished", 1);
                errors.push(error.to_string());
                false
            }
            None => webhook && self.keeps(event).await,
        }
    }

    /// Whether somebody will come back to an event: it is in the ledger, and an entry names it.
    async fn keeps(&self, event: &ChangeEvent) -> bool {
        let key = event_key(&event.id);
        for entry in self.owed().await.into_iter().filter(|entry| entry.event_key == key) {
            if self.rough.ledger.read(&entry.partition, &key).await.unwrap().event.is_some() {
                return true;
            }
        }
        false
    }

    /// All entries, due or not.
    async fn owed(&self) -> Vec<Entry> {
        let inbox = Inbox::new(Arc::clone(&self.rough.inbox) as Arc<dyn dataverse_sync::inbox::store::Store>);
        inbox.due(i64::MAX - 1, 1_000).await.unwrap().into_iter().map(|(_, entry)| entry).collect()
    }

    /// A sweep every minute, by any instance, until everything was delivered and nothing is owed.
    async fn sweeps(&self, timer: u64) {
        let mut random = StdRng::seed_from_u64(self.seed ^ timer);
        for _ in 0..3_000 {
            tokio::time::sleep(MINUTE).await;
            let over = self.done.load(Ordering::SeqCst) && self.owed().await.is_empty();
            if over || !self.plan.inbox {
                return;
            }
            self.sweep(&mut random).await;
        }
        panic!("still owed: {:?}", self.owed().await);
    }

    /// What landed after everything else is swept up too.
    pub async fn sweep_up(&self) {
        let mut random = StdRng::seed_from_u64(self.seed ^ 3);
        for _ in 0..3_000 {
            if self.owed().await.is_empty() {
                return;
            }
            tokio::time::sleep(MINUTE).await;
            self.sweep(&mut random).await;
            self.listen(&mut random).await;
        }
        panic!("still owed: {:?}", self.owed().await);
    }

    /// What sweeps handed over is brought to the instances, as long as anything may come.
    async fn listens(&self) {
        let mut random = StdRng::seed_from_u64(self.seed ^ 4);
        let goes_on = async || !self.done.load(Ordering::SeqCst) || !self.owed().await.is_empty();
        while self.bus.is_some() && self.plan.inbox && goes_on().await {
            tokio::time::sleep(Duration::from_secs(7)).await;
            self.listen(&mut random).await;
        }
    }

    async fn listen(&self, random: &mut StdRng) {
        let Some(bus) = &self.bus else { return };
        let all = bus.take().into_iter().map(|name| {
            let (home, mut own) = (random.random_range(0..INSTANCES), StdRng::seed_from_u64(random.random()));
            async move {
                let owed = Owed::Named(name.clone());
                let work = self.run(home, &mut own, |engine| {
                    Box::pin(async move { engine.come_back(&owed, "queue").await.map(|report| report.is_some()) })
                });
                match work.await {
                    None => bus.put_back(name),
                    Some(Ok(came_back)) => self.note("handed over", u64::from(came_back)),
                    Some(Err(_)) => {}
                }
            }
        });
        join_all(all.collect::<Vec<_>>()).await;
    }

    async fn sweep(&self, random: &mut StdRng) {
        let home = random.random_range(0..INSTANCES);
        let clock = self.world.clock.skewed(self.skews_ms[home]);
        let system = System::new(
            Arc::clone(self.rough) as Arc<dyn StateStore>,
            Arc::new(clock),
            self.world.mapping.limits.clock_skew,
        );
        let records = Arc::clone(self.rough) as Arc<dyn Expiring>;
        let queue = self.bus.as_ref().map(|bus| bus.sender(Arc::new(self.world.clock.clone())));
        let ended = self.run(home, random, |engine| {
            Box::pin(async move {
                let sweeper = Sweeper::new(engine, system, records);
                match queue {
                    Some(queue) => sweeper.handing_over(queue).sweep("sweep").await,
                    None => sweeper.sweep("sweep").await,
                }
            })
        });
        if let Some(Ok(swept)) = ended.await {
            self.note("swept", u64::try_from(swept.ended).unwrap());
            self.note("deferred again", u64::try_from(swept.deferred).unwrap());
        }
    }
}
