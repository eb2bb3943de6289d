//! Ledger and inbox behind a network: every call takes 5 ms of the test's time and is counted by its kind.

use async_trait::async_trait;
use dataverse_sync::inbox::InboxError;
use dataverse_sync::inbox::memory::MemoryStore as InboxMemory;
use dataverse_sync::inbox::store::{
    Cursor, Move, Page, Place, Range, Removed, Slip, Store as InboxStore, Stored as Entry,
};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::record::{EventRecord, RowRecord};
use dataverse_sync::ledger::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError, Stored};
use dataverse_sync::ledger::system::StateStore;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CALL: Duration = Duration::from_millis(5);

/// Both stores, and what they were asked.
#[derive(Debug, Default)]
pub struct Meter {
    pub ledger: Arc<MemoryStore>,
    pub inbox: Arc<InboxMemory>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

impl Meter {
    async fn call(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
        tokio::time::sleep(CALL).await;
    }

    /// Requests so far, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.counts.lock().unwrap().clone()
    }

    pub fn total(&self) -> usize {
        self.counts.lock().unwrap().values().sum()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Meter {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        self.call("ledger read").await;
        self.ledger.read(partition, event_key).await
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        self.call("ledger read").await;
        self.ledger.read_all(partition, event_keys).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.call("ledger commit").await;
        self.ledger.commit(commit).await
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        self.call("ledger put").await;
        self.ledger.put_event(partition, event_key, record, expect).await
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
#[deny(clippy::missing_trait_methods)]
impl StateStore for Meter {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        self.call("state read").await;
        self.ledger.state(name).await
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        self.call("state write").await;
        self.ledger.put_state(name, text, expect).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl InboxStore for Meter {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        self.call("inbox put").await;
        self.inbox.put(place, text, payload).await
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        self.call("inbox shift").await;
        self.inbox.shift(moves).await
    }

    async fn get(&self, place: &Place) -> Result<Option<(Entry, Option<Vec<u8>>)>, InboxError> {
        self.call("inbox get").await;
        self.inbox.get(place).await
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        self.call("inbox list").await;
        self.inbox.list(range, from, top).await
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        self.call("inbox remove").await;
        self.inbox.remove(slip).await
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        self.call("inbox remove_all").await;
        self.inbox.remove_all(slips).await
    }
}
