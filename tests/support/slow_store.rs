//! A store whose writes take time on the test clock.

use super::clock::TestClock;
use async_trait::async_trait;
use dataverse_sync::ledger::record::{EventRecord, RowRecord};
use dataverse_sync::ledger::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Passes everything on; every write takes `commit_takes`.
#[derive(Debug)]
pub struct SlowStore {
    pub inner: Arc<dyn Store>,
    pub clock: TestClock,
    pub commit_takes: Duration,
}

#[async_trait]
impl Store for SlowStore {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        self.inner.read(partition, event_key).await
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        self.inner.read_all(partition, event_keys).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let committed = self.inner.commit(commit).await;
        self.clock.advance(self.commit_takes);
        committed
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        let written = self.inner.put_event(partition, event_key, record, expect).await;
        self.clock.advance(self.commit_takes);
        written
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError> {
        self.inner.history(partition, events_max).await
    }
}
