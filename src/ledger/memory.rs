//! Records in memory: for tests, the demo's small sibling and single processes. Keeps the stored text, so that what
//! cannot be stored or read back fails here too.

use super::flow::{FLOW_KEY, FlowRecord, FlowStore, partition as flow_partition};
use super::purge::{Expiring, Expiry, PageEnd, ScanPage, ScanStart, Scanned};
use super::record::{EventRecord, RowRecord};
use super::store::{Commit, Committed, EVENTS_MAX, Etag, Expect, Found, Snapshot, Store, StoreError, Stored};
use super::system::{SYSTEM, StateStore};
use crate::tables::split;
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records below this, in bytes of JSON, fit into an entity of Table Storage whatever they say; larger ones are tried.
const RECORD_BYTES_SURE: usize = 512 << 10;

/// Records of one transaction, in bytes of JSON: what Table Storage takes for a body.
const TRANSACTION_BYTES_MAX: usize = 4 << 20;

const ROW_KEY: &str = "row";
const STATE_KEY: &str = "state";

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entities: BTreeMap<(String, String), (String, u64)>,
    writes: u64,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Overwrites a record with any text: for tests of damaged ledgers.
    pub fn damage(&self, partition: &str, key: &str, text: &str) {
        let mut inner = self.lock();
        inner.writes += 1;
        let etag = inner.writes;
        inner.entities.insert((partition.to_owned(), key.to_owned()), (text.to_owned(), etag));
    }
}

impl Inner {
    fn get<T: DeserializeOwned>(&self, partition: &str, key: &str) -> Result<Option<Stored<T>>, StoreError> {
        let Some((text, etag)) = self.entities.get(&(partition.to_owned(), key.to_owned())) else { return Ok(None) };
        Ok(Some(Stored { record: parse(text, key)?, etag: Etag(etag.to_string()) }))
    }

    fn holds(&self, partition: &str, key: &str, expect: &Expect) -> bool {
        let found = self.entities.get(&(partition.to_owned(), key.to_owned()));
        match (expect, found) {
            (Expect::Absent, found) => found.is_none(),
            (Expect::Is(etag), Some((_, version))) => etag.0 == version.to_string(),
            (Expect::Is(_), None) => false,
        }
    }

    fn put(&mut self, partition: &str, key: &str, text: String) -> Etag {
        self.writes += 1;
        self.entities.insert((partition.to_owned(), key.to_owned()), (text, self.writes));
        Etag(self.writes.to_string())
    }
}

fn parse<T: DeserializeOwned>(text: &str, key: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{key}: {error}")))
}

fn print<T: Serialize>(record: &T, key: &str) -> Result<String, StoreError> {
    let text = serde_json::to_string(record).map_err(|error| StoreError::Corrupt(format!("{key}: {error}")))?;
    if text.len() > RECORD_BYTES_SURE {
        // as strict as the table, and no stricter
        let fits = split::put(&mut BTreeMap::new(), "record", &text);
        fits.map_err(|error| StoreError::TooLarge(format!("{key}: {error}")))?;
    }
    Ok(text)
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        let inner = self.lock();
        Ok(Snapshot { row: inner.get(partition, ROW_KEY)?, event: inner.get(partition, event_key)? })
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        let inner = self.lock();
        let events = event_keys.iter().map(|key| inner.get(partition, key)).collect::<Result<_, _>>()?;
        Ok(Found { row: inner.get(partition, ROW_KEY)?, events })
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let row = print(commit.row.0, ROW_KEY)?;
        let texts = commit.events.iter().map(|(key, record, _)| print(record, key));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let bytes = texts.iter().map(String::len).sum::<usize>();
        if texts.len() > EVENTS_MAX || (texts.len() > 1 && bytes > TRANSACTION_BYTES_MAX) {
            // as strict as the table
            return Err(StoreError::TooLarge("a transaction".to_owned()));
        }
        let mut inner = self.lock();
        let holds = |(key, _, expect): &(&str, &EventRecord, Expect)| inner.holds(commit.partition, key, expect);
        if !inner.holds(commit.partition, ROW_KEY, &commit.row.1) || !commit.events.iter().all(holds) {
            return Err(StoreError::Conflict);
        }
        let row = inner.put(commit.partition, ROW_KEY, row);
        let written = commit.events.iter().zip(texts);
        let events = written.map(|((key, ..), text)| inner.put(commit.partition, key, text)).collect();
        Ok(Committed { row, events })
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        let text = print(record, event_key)?;
        let mut inner = self.lock();
        if !inner.holds(partition, event_key, &expect) {
            return Err(StoreError::Conflict);
        }
        Ok(inner.put(partition, event_key, text))
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError> {
        let inner = self.lock();
        let row = inner.get::<RowRecord>(partition, ROW_KEY)?.map(|stored| stored.record);
        let events = inner
            .entities
            .range((partition.to_owned(), "event:".to_owned())..(partition.to_owned(), "event;".to_owned()))
            .take(events_max)
            .map(|((_, key), (text, _))| parse(text, key))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((row, events))
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        let inner = self.lock();
        let found = inner.entities.get(&(format!("{SYSTEM}:{name}"), STATE_KEY.to_owned()));
        Ok(found.map(|(text, etag)| Stored { record: text.clone(), etag: Etag(etag.to_string()) }))
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        let partition = format!("{SYSTEM}:{name}");
        let mut inner = self.lock();
        if !inner.holds(&partition, STATE_KEY, expect) {
            return Err(StoreError::Conflict);
        }
        Ok(inner.put(&partition, STATE_KEY, text.to_owned()))
    }
}

#[async_trait]
impl FlowStore for MemoryStore {
    async fn flow(&self, id: &str) -> Result<Option<Stored<FlowRecord>>, StoreError> {
        self.lock().get(&flow_partition(id).join(":"), FLOW_KEY)
    }

    async fn put_flow(&self, id: &str, record: &FlowRecord, expect: &Expect) -> Result<Etag, StoreError> {
        let (partition, text) = (flow_partition(id).join(":"), print(record, FLOW_KEY)?);
        let mut inner = self.lock();
        if !inner.holds(&partition, FLOW_KEY, expect) {
            return Err(StoreError::Conflict);
        }
        Ok(inner.put(&partition, FLOW_KEY, text))
    }
}

#[async_trait]
impl Expiring for MemoryStore {
    async fn scan(&self, start: &ScanStart, from: Option<&PageEnd>, top: usize) -> Result<ScanPage, StoreError> {
        let inner = self.lock();
        let begin = match (from, start) {
            (Some((partition, key)), _) => Bound::Included((partition.clone(), key.clone().unwrap_or_default())),
            (None, ScanStart::Beginning) => Bound::Unbounded,
            (None, ScanStart::At(at) | ScanStart::After(at)) => Bound::Included((at.clone(), String::new())),
        };
        let passed_over = |partition: &String| matches!(start, ScanStart::After(at) if partition == at);
        let mut found =
            inner.entities.range((begin, Bound::Unbounded)).skip_while(|((partition, _), _)| passed_over(partition));
        let page = found.by_ref().take(top.max(1)).map(|((partition, key), (text, etag))| Scanned {
            partition: partition.clone(),
            key: key.clone(),
            etag: Etag(etag.to_string()),
            expiry: expiry(key, text),
        });
        let page = page.collect();
        let next = found.next().map(|((partition, key), _)| (partition.clone(), Some(key.clone())));
        Ok(ScanPage { found: page, next })
    }

    async fn remove(&self, partition: &str, records: &[(String, Etag)]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if !records.iter().all(|(key, etag)| inner.holds(partition, key, &Expect::Is(etag.clone()))) {
            return Err(StoreError::Conflict);
        }
        for (key, _) in records {
            inner.entities.remove(&(partition.to_owned(), key.clone()));
        }
        Ok(())
    }

    async fn row(&self, partition: &str) -> Result<Option<Stored<RowRecord>>, StoreError> {
        self.lock().get(partition, ROW_KEY)
    }

    fn stored_name(&self, partition: &str) -> Result<String, StoreError> {
        Ok(partition.to_owned())
    }
}

fn expiry(key: &str, text: &str) -> Expiry {
    if key == ROW_KEY {
        return parse::<RowRecord>(text, key).map_or(Expiry::Never, |row| Expiry::of_row(&row));
    }
    if key == FLOW_KEY {
        return parse::<FlowRecord>(text, key).map_or(Expiry::Never, |flow| Expiry::Flow { idle_ms: flow.idle_ms() });
    }
    if key.starts_with("event:") {
        return parse::<EventRecord>(text, key).map_or(Expiry::Never, |event| Expiry::of_event(&event));
    }
    Expiry::Never
}
