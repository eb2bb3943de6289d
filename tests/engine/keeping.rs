//! A world with an inbox that can be made to fail, and the sweep over it.

use super::world::{World, decoded, delivery};
use crate::support::lossy_store::LossyStore;
use async_trait::async_trait;
use dataverse_sync::domain::delivery::{Channel, Delivery, NotHandled, Report};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::partition::Partition;
use dataverse_sync::inbox::memory::MemoryStore as InboxMemory;
use dataverse_sync::inbox::store::{Cursor, Move, Page, Place, Range, Removed, Slip, Store as InboxStore, Stored};
use dataverse_sync::inbox::{Entry, Inbox, InboxError, Parked, ParkedFilter};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::purge::Expiring;
use dataverse_sync::ledger::record::{EventRecord, event_key};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::operate::sweep::{Sweeper, Swept};
use dataverse_sync::sim::dataverse::RaisedEvent;
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the timer ticks.
pub const MINUTE: Duration = Duration::from_secs(60);

/// An inbox whose every call is an await point, and whose chosen write fails without effect.
#[derive(Debug, Default)]
pub struct Shaky {
    inner: InboxMemory,
    writes: AtomicUsize,
    fails: Mutex<Option<std::ops::Range<usize>>>,
}

impl Shaky {
    /// The writes with these numbers, counted from now on, fail.
    pub fn fail(&self, writes: std::ops::Range<usize>) {
        self.writes.store(0, Ordering::SeqCst);
        *self.fails.lock().unwrap() = Some(writes);
    }

    fn write(&self) -> Result<(), InboxError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        if self.fails.lock().unwrap().as_ref().is_some_and(|fails| fails.contains(&number)) {
            return Err(InboxError::Unavailable { reason: "refused".to_owned(), after: None });
        }
        Ok(())
    }
}

#[async_trait]
impl InboxStore for Shaky {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        tokio::task::yield_now().await;
        self.write()?;
        let slip = self.inner.put(place, text, payload).await?;
        tokio::task::yield_now().await;
        Ok(slip)
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        tokio::task::yield_now().await;
        self.write()?;
        let slips = self.inner.shift(moves).await?;
        tokio::task::yield_now().await;
        Ok(slips)
    }

    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError> {
        self.inner.get(place).await
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        self.inner.list(range, from, top).await
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        tokio::task::yield_now().await;
        self.write()?;
        self.inner.remove(slip).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        tokio::task::yield_now().await;
        self.write()?;
        let removed = self.inner.remove_all(slips).await?;
        tokio::task::yield_now().await;
        Ok(removed)
    }
}

/// A world that keeps.
pub struct Keeping {
    pub world: World,
    pub ledger: Arc<MemoryStore>,
    pub shaky: Arc<Shaky>,
}

impl Keeping {
    pub fn new(toml: &str) -> Self {
        let (ledger, shaky) = (Arc::new(MemoryStore::default()), Arc::new(Shaky::default()));
        let mut world = World::on(LossyStore::new(ledger.clone(), &[]), toml, |settings| {
            settings.latency = (Duration::from_millis(20), Duration::from_millis(60));
        });
        world.inbox = Some(shaky.clone());
        world.states = Some(ledger.clone());
        Self { world, ledger, shaky }
    }

    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.shaky.clone())
    }

    pub fn sweeper(&self) -> Sweeper {
        self.sweeper_of(Arc::new(self.world.instance()))
    }

    /// The sweep of an instance.
    pub fn sweeper_of(&self, engine: Arc<Engine>) -> Sweeper {
        Sweeper::new(engine, self.system(), Arc::clone(&self.ledger) as Arc<dyn Expiring>)
    }

    /// Named leases and states.
    pub fn system(&self) -> System {
        let states = Arc::clone(&self.ledger) as Arc<dyn StateStore>;
        System::new(states, Arc::new(self.world.clock.skewed(0)), self.world.mapping.limits.clock_skew)
    }

    /// All entries, due or not.
    pub async fn owed(&self) -> Vec<Entry> {
        self.inbox().due(i64::MAX - 1, 1_000).await.unwrap().into_iter().map(|(_, entry)| entry).collect()
    }

    pub async fn parked(&self) -> Vec<Parked> {
        let page = self.inbox().parked(&ParkedFilter::default(), None, 100).await.unwrap();
        page.found.into_iter().map(|(_, parked)| parked).collect()
    }

    pub async fn record(&self, event: &ChangeEvent) -> Option<EventRecord> {
        let partition = Partition::of(&event.table, &event.row);
        let snapshot = self.ledger.read(partition.key(), &event_key(&event.id)).await.unwrap();
        snapshot.event.map(|stored| stored.record)
    }

    /// Sweeps every minute until nothing is owed.
    pub async fn sweep_up(&self) -> Swept {
        let sweeper = self.sweeper();
        let mut total = Swept::default();
        for _ in 0..600 {
            tokio::time::sleep(MINUTE).await;
            let swept = sweeper.sweep("sweep").await.unwrap();
            total.ended += swept.ended;
            total.deferred += swept.deferred;
            total.settled += swept.settled;
            total.failed += swept.failed;
            if self.owed().await.is_empty() {
                return total;
            }
        }
        panic!("still owed: {:?}", self.owed().await);
    }
}

pub fn webhook() -> Delivery {
    Delivery { channel: Channel::Webhook, ..delivery(1) }
}

pub async fn post(instance: &Engine, event: &RaisedEvent) -> Result<Report, NotHandled> {
    instance.handle(decoded(event), &webhook()).await
}

pub async fn bring(instance: &Engine, event: &RaisedEvent) -> Result<Report, NotHandled> {
    instance.handle(decoded(event), &delivery(1)).await
}
