//! A store that loses answers on command: after the effect, or before it.

use async_trait::async_trait;
use dataverse_sync::ledger::record::{EventRecord, RowRecord};
use dataverse_sync::ledger::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special.
    None,
    /// It works, the answer is lost.
    AfterEffect,
    /// It never arrives, which nobody knows.
    BeforeEffect,
}

/// Passes everything on, but for the faults still planned; counts round trips.
#[derive(Debug)]
pub struct LossyStore {
    inner: Arc<dyn Store>,
    commits: Mutex<VecDeque<Fault>>,
    reads: AtomicUsize,
    writes: AtomicUsize,
    leases: Mutex<Vec<(Instant, Option<i64>)>>,
}

impl LossyStore {
    /// The n-th commit meets the n-th fault.
    pub fn new(inner: Arc<dyn Store>, commits: &[Fault]) -> Arc<Self> {
        let commits = Mutex::new(commits.iter().copied().collect());
        Arc::new(Self {
            inner,
            commits,
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            leases: Mutex::default(),
        })
    }

    /// When each row record was written, and until when (milliseconds of the holder's clock) it was leased from then on.
    pub fn leases(&self) -> Vec<(Instant, Option<i64>)> {
        self.leases.lock().unwrap().clone()
    }

    async fn inner_commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let until_ms = commit.row.0.lease.map(|lease| lease.until_ms);
        let committed = self.inner.commit(commit).await?;
        self.leases.lock().unwrap().push((Instant::now(), until_ms));
        Ok(committed)
    }

    /// Reads and commits so far.
    pub fn round_trips(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Store for LossyStore {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        // others get their turn between a decision and what it was based on
        tokio::task::yield_now().await;
        self.inner.read(partition, event_key).await
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        self.reads.fetch_add(event_keys.len().div_ceil(13), Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.inner.read_all(partition, event_keys).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fault = self.commits.lock().unwrap().pop_front().unwrap_or(Fault::None);
        tokio::task::yield_now().await;
        match fault {
            Fault::None => self.inner_commit(commit).await,
            Fault::AfterEffect => {
                let _ = self.inner_commit(commit).await;
                Err(StoreError::Unknown("answer lost".to_owned()))
            }
            Fault::BeforeEffect => Err(StoreError::Unknown("request lost".to_owned())),
        }
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fault = self.commits.lock().unwrap().pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::None => self.inner.put_event(partition, event_key, record, expect).await,
            Fault::AfterEffect => {
                let _ = self.inner.put_event(partition, event_key, record, expect).await;
                Err(StoreError::Unknown("answer lost".to_owned()))
            }
            Fault::BeforeEffect => Err(StoreError::Unknown("request lost".to_owned())),
        }
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError> {
        self.inner.history(partition, events_max).await
    }
}
