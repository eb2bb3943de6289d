//! A ledger and an inbox in rough weather: every call takes time before and after its effect, may be lost before it or
//! after it, or lands when its caller has long given up. The same seed is the same weather.

use super::trace::Trace;
use async_trait::async_trait;
use dataverse_sync::inbox::InboxError;
use dataverse_sync::inbox::memory::MemoryStore as InboxMemory;
use dataverse_sync::inbox::store::{
    Cursor, Move, Page, Place, Range, Removed, Slip, Store as InboxStore, Stored as InboxStored,
};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::purge::{Expiring, PageEnd, ScanPage, ScanStart};
use dataverse_sync::ledger::record::{EventRecord, RowRecord};
use dataverse_sync::ledger::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError, Stored};
use dataverse_sync::ledger::system::StateStore;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// How bad it is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of all calls, lost before or after their effect.
    pub lost: f64,
    /// Of all writes, landing up to a minute after their caller gave up.
    pub late: f64,
    /// Longest time of half a call.
    pub half_call: Duration,
}

impl Weather {
    /// Nothing is lost, and every call has an await point of its own before and after its effect.
    pub const CALM: Self = Self { lost: 0.0, late: 0.0, half_call: Duration::from_millis(9) };
}

/// Ledger and inbox.
#[derive(Debug)]
pub struct Rough {
    pub ledger: Arc<MemoryStore>,
    pub inbox: Arc<InboxMemory>,
    weather: Weather,
    random: Mutex<StdRng>,
    trace: Trace,
    late: Mutex<JoinSet<()>>,
}

/// How an error says that nothing is known, and that nothing was done.
trait Lost: Send + 'static {
    fn unknown() -> Self;
    fn unavailable() -> Self;
}

impl Lost for StoreError {
    fn unknown() -> Self {
        Self::Unknown("answer lost".to_owned())
    }
    fn unavailable() -> Self {
        Self::Unavailable { reason: "not reached".to_owned(), after: None }
    }
}

impl Lost for InboxError {
    fn unknown() -> Self {
        Self::Unknown("answer lost".to_owned())
    }
    fn unavailable() -> Self {
        Self::Unavailable { reason: "not reached".to_owned(), after: None }
    }
}

enum Fate {
    Fine,
    NotReached,
    LostBefore,
    LostAfter,
    Late(Duration),
}

impl Rough {
    pub fn new(weather: Weather, seed: u64, trace: Trace) -> Arc<Self> {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let (ledger, inbox) = (Arc::default(), Arc::default());
        Arc::new(Self { ledger, inbox, weather, random, trace, late: Mutex::default() })
    }

    fn fate(&self, writes: bool) -> Fate {
        let mut random = self.random.lock().unwrap();
        if self.weather.late > 0.0 && writes && random.random_bool(self.weather.late) {
            return Fate::Late(Duration::from_millis(random.random_range(1..60_000)));
        }
        if self.weather.lost == 0.0 || !random.random_bool(self.weather.lost) {
            return Fate::Fine;
        }
        match (writes, random.random_range(0..3)) {
            (false, _) | (true, 0) => Fate::NotReached,
            (true, 1) => Fate::LostBefore,
            (true, _) => Fate::LostAfter,
        }
    }

    async fn half(&self) {
        let share = self.random.lock().unwrap().random::<f64>();
        // never zero: that would be no await at all
        tokio::time::sleep(Duration::from_millis(1) + self.weather.half_call.mul_f64(share)).await;
    }

    async fn read<T, E: Lost>(&self, what: &str, effect: BoxFuture<'_, Result<T, E>>) -> Result<T, E> {
        self.half().await;
        if !matches!(self.fate(false), Fate::Fine) {
            self.trace.line(&format!("{what} not reached"));
            return Err(E::unavailable());
        }
        let answer = effect.await;
        self.trace.line(what);
        self.half().await;
        answer
    }

    async fn write<T: Send + 'static, E: Lost>(
        &self,
        what: &str,
        effect: BoxFuture<'static, Result<T, E>>,
    ) -> Result<T, E> {
        self.half().await;
        let fate = self.fate(true);
        let (word, answer) = match fate {
            Fate::NotReached => ("not reached", Err(E::unavailable())),
            Fate::LostBefore => ("lost before", Err(E::unknown())),
            Fate::LostAfter => {
                let worked = effect.await.is_ok();
                (if worked { "lost after" } else { "lost after, refused" }, Err(E::unknown()))
            }
            Fate::Late(after) => {
                let (trace, text) = (self.trace.clone(), what.to_owned());
                self.late.lock().unwrap().spawn(async move {
                    tokio::time::sleep(after).await;
                    let worked = effect.await.is_ok();
                    trace.line(&format!("{text} landed late: {worked}"));
                });
                ("late", Err(E::unknown()))
            }
            Fate::Fine => {
                let answer = effect.await;
                (if answer.is_ok() { "done" } else { "refused" }, answer)
            }
        };
        self.trace.line(&format!("{what} {word}"));
        self.half().await;
        answer
    }
}

#[async_trait]
impl Store for Rough {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        let effect = self.ledger.read(partition, event_key).boxed();
        Rough::read(self, &format!("ledger read {partition} {event_key}"), effect).await
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        let effect = self.ledger.read_all(partition, event_keys).boxed();
        Rough::read(self, &format!("ledger read {partition} {event_keys:?}"), effect).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let partition = commit.partition.to_owned();
        let row = (commit.row.0.clone(), commit.row.1);
        let events = commit.events.into_iter().map(|(key, record, expect)| (key.to_owned(), record.clone(), expect));
        let events: Vec<_> = events.collect();
        let said: Vec<_> = events.iter().map(|(key, record, _)| (key, record.phase, record.attempts)).collect();
        let (lease, gone) = (row.0.lease, row.0.state.tombstone.is_some());
        let what = format!(
            "ledger commit {partition} epoch {} {lease:?} gone {gone} touched {:?} {said:?}",
            row.0.epoch, row.0.state.touched
        );
        let ledger = Arc::clone(&self.ledger);
        let effect = async move {
            let events = events.iter().map(|(key, record, expect)| (key.as_str(), record, expect.clone())).collect();
            ledger.commit(Commit { partition: &partition, row: (&row.0, row.1), events }).await
        };
        self.write(&what, effect.boxed()).await
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        let what = format!("ledger event {partition} {event_key} {:?} {expect:?}", record.phase);
        let (ledger, record) = (Arc::clone(&self.ledger), record.clone());
        let (partition, event_key) = (partition.to_owned(), event_key.to_owned());
        let effect = async move { ledger.put_event(&partition, &event_key, &record, expect).await };
        self.write(&what, effect.boxed()).await
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError> {
        self.ledger.history(partition, events_max).await
    }
}

#[async_trait]
impl StateStore for Rough {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        Rough::read(self, &format!("state {name}"), self.ledger.state(name).boxed()).await
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        let what = format!("state {name} = {text}");
        let (ledger, name, text) = (Arc::clone(&self.ledger), name.to_owned(), text.to_owned());
        let expect = expect.clone();
        self.write(&what, async move { ledger.put_state(&name, &text, &expect).await }.boxed()).await
    }
}

#[async_trait]
impl Expiring for Rough {
    async fn scan(&self, start: &ScanStart, from: Option<&PageEnd>, top: usize) -> Result<ScanPage, StoreError> {
        Rough::read(self, "scan", self.ledger.scan(start, from, top).boxed()).await
    }

    async fn remove(&self, partition: &str, records: &[(String, Etag)]) -> Result<(), StoreError> {
        let what = format!("ledger remove {partition} {}", records.len());
        let (ledger, partition, records) = (Arc::clone(&self.ledger), partition.to_owned(), records.to_vec());
        self.write(&what, async move { ledger.remove(&partition, &records).await }.boxed()).await
    }

    async fn row(&self, partition: &str) -> Result<Option<Stored<RowRecord>>, StoreError> {
        Rough::read(self, &format!("row {partition}"), Expiring::row(self.ledger.as_ref(), partition).boxed()).await
    }

    fn stored_name(&self, partition: &str) -> Result<String, StoreError> {
        self.ledger.stored_name(partition)
    }
}

#[async_trait]
impl InboxStore for Rough {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        let what = format!("inbox put {} {text}", place.key);
        let (inbox, place, text) = (Arc::clone(&self.inbox), place.clone(), text.to_owned());
        let payload = payload.map(<[u8]>::to_vec);
        self.write(&what, async move { inbox.put(&place, &text, payload.as_deref()).await }.boxed()).await
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        let what = format!("inbox shift {}", moves.len());
        let (inbox, moves) = (Arc::clone(&self.inbox), moves.to_vec());
        self.write(&what, async move { inbox.shift(&moves).await }.boxed()).await
    }

    async fn get(&self, place: &Place) -> Result<Option<(InboxStored, Option<Vec<u8>>)>, InboxError> {
        Rough::read(self, &format!("inbox get {}", place.key), self.inbox.get(place).boxed()).await
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        Rough::read(self, "inbox list", self.inbox.list(range, from, top).boxed()).await
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        let what = format!("inbox remove {}", slip.place.key);
        let (inbox, slip) = (Arc::clone(&self.inbox), slip.clone());
        self.write(&what, async move { InboxStore::remove(inbox.as_ref(), &slip).await }.boxed()).await
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        let what = format!("inbox remove {}", slips.len());
        let (inbox, slips) = (Arc::clone(&self.inbox), slips.to_vec());
        self.write(&what, async move { inbox.remove_all(&slips).await }.boxed()).await
    }
}
