//! Records in Azure Table Storage: entities of one partition, written in entity group transactions with `If-Match`.
//!
//! Each record is one entity: its JSON in `record` (split or deflated when long), and beside it what a person wants
//! to see in a storage browser. Keys are encoded reversibly into the alphabet that Table Storage allows, so ids that
//! differ only in case or in odd characters stay different.
//!
//! [`TableStore::read`] asks for both records in one query, `RowKey eq a or RowKey eq b` within one partition: one round
//! trip instead of two point reads. The service answers it by scanning that partition, which holds one row's events
//! of `dedup_window` (done ones are small); rows that are busy enough for this to matter are claimed from memory
//! without reading. The answer may come in pages, so the query is followed to its end.

use super::flow::{FLOW_KEY, FlowRecord, FlowStore, partition as flow_partition};
use super::purge::{Expiring, Expiry, PageEnd, ScanPage, ScanStart, Scanned};
use super::record::{EventRecord, Phase, RowRecord};
use super::store::{Commit, Committed, Etag, Expect, Found, Snapshot, Store, StoreError, Stored};
use super::system::{SYSTEM, StateStore};
use crate::tables::query::Continuation;
use crate::tables::split;
use crate::tables::{Entity, Filter, Key, Op, Query, TableClient, TablesError, When};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

const ROW_KEY: &str = "row";
const RECORD: &str = "record";
const STATE_KEY: &str = "state";
/// What a purge reads of records.
const PHASE: &str = "phase";
const UPDATED: &str = "updated_ms";
const DELETED: &str = "deleted_ms";
const IDLE: &str = "idle_ms";
const LET_GO: &str = "let_go_ms";
const DONE: &str = "done";
/// Events asked for in one query, beside the row: the service takes 15 comparisons (documented), and one is the partition's.
const READ_KEYS_MAX: usize = 13;
/// Pages of one read; a query over one partition ends long before.
const PAGES_MAX: usize = 1_000;

/// A ledger in one table.
#[derive(Clone, Debug)]
pub struct TableStore {
    table: TableClient,
}

impl TableStore {
    /// A ledger in this table, which is created when it is first missed.
    #[must_use]
    pub fn new(table: TableClient) -> Self {
        Self { table }
    }

    async fn write(&self, entity: Entity, expect: &Expect) -> Result<Etag, StoreError> {
        let written = match expect {
            Expect::Absent => self.table.insert(entity).await,
            Expect::Is(version) => self.table.replace(entity, When::Is(etag(version)?)).await,
        };
        Ok(Etag(written.map_err(write_error)?.as_str().to_owned()))
    }

    /// The table itself, for what is not about claims.
    pub(super) fn client(&self) -> &TableClient {
        &self.table
    }

    async fn entities(&self, query: &Query, entities_max: usize) -> Result<Vec<Entity>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.table.query(query, from.as_ref()).await.map_err(read_error)?;
            found.extend(page.entities);
            from = page.next;
            if from.is_none() || found.len() >= entities_max {
                found.truncate(entities_max);
                return Ok(found);
            }
        }
        Err(StoreError::Corrupt(format!("a partition of the ledger has more than {PAGES_MAX} pages")))
    }
}

#[async_trait]
impl Store for TableStore {
    async fn read(&self, partition: &str, event_key: &str) -> Result<Snapshot, StoreError> {
        let (partition, row_key, event_key) = (partition_key(partition)?, key(ROW_KEY)?, key(event_key)?);
        let filter = Filter::partition(&partition).rows(&[&row_key, &event_key]);
        let mut snapshot = Snapshot::default();
        for entity in self.entities(&Query::new(filter), 2).await? {
            if entity.row == row_key {
                snapshot.row = Some(stored(&entity)?);
            } else if entity.row == event_key {
                snapshot.event = Some(stored(&entity)?);
            }
        }
        Ok(snapshot)
    }

    async fn read_all(&self, partition: &str, event_keys: &[&str]) -> Result<Found, StoreError> {
        let (partition, row_key) = (partition_key(partition)?, key(ROW_KEY)?);
        let keys = event_keys.iter().map(|event_key| key(event_key)).collect::<Result<Vec<_>, _>>()?;
        let mut found = Found { row: None, events: vec![None; keys.len()] };
        for (chunk, slots) in keys.chunks(READ_KEYS_MAX).zip(found.events.chunks_mut(READ_KEYS_MAX)) {
            let asked: Vec<&Key> = std::iter::once(&row_key).chain(chunk).collect();
            let query = Query::new(Filter::partition(&partition).rows(&asked));
            for entity in self.entities(&query, asked.len()).await? {
                if entity.row == row_key {
                    // the first sight: what the events were found beside is never older
                    found.row = found.row.take().map_or_else(|| stored(&entity).map(Some), |row| Ok(Some(row)))?;
                } else if let Some((_, slot)) = chunk.iter().zip(slots.iter_mut()).find(|(key, _)| **key == entity.row)
                {
                    *slot = Some(stored(&entity)?);
                }
            }
        }
        Ok(found)
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let partition = partition_key(commit.partition)?;
        let mut ops = vec![op(row_entity(&partition, commit.row.0)?, &commit.row.1)?];
        for (event_key, record, expect) in &commit.events {
            ops.push(op(event_entity(&partition, event_key, record)?, expect)?);
        }
        let written = ops.len();
        let etags = self.table.transact(&partition, ops).await.map_err(write_error)?;
        let etags: Vec<Etag> = etags.into_iter().flatten().map(|etag| Etag(etag.as_str().to_owned())).collect();
        let named = etags.len();
        let mut etags = etags.into_iter();
        match etags.next() {
            Some(row) if named == written => Ok(Committed { row, events: etags.collect() }),
            _ => Err(StoreError::Unknown("the answer to a transaction names no versions".to_owned())),
        }
    }

    async fn put_event(
        &self,
        partition: &str,
        event_key: &str,
        record: &EventRecord,
        expect: Expect,
    ) -> Result<Etag, StoreError> {
        let entity = event_entity(&partition_key(partition)?, event_key, record)?;
        self.write(entity, &expect).await
    }

    async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), StoreError> {
        let (partition, row_key) = (partition_key(partition)?, key(ROW_KEY)?);
        let query = Query::new(Filter::partition(&partition));
        let (mut row, mut events) = (None, Vec::new());
        for entity in self.entities(&query, events_max.saturating_add(1)).await? {
            if entity.row == row_key {
                row = Some(stored(&entity)?.record);
            } else {
                events.push(stored(&entity)?.record);
            }
        }
        if row.is_none() {
            // it comes after all events, so it was cut off
            let entity = self.table.get(&partition, &row_key).await.map_err(read_error)?;
            row = entity.map(|entity| stored(&entity)).transpose()?.map(|stored| stored.record);
        }
        events.truncate(events_max);
        Ok((row, events))
    }
}

#[async_trait]
impl StateStore for TableStore {
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError> {
        let entity = self.table.get(&system_key(name)?, &key(STATE_KEY)?).await.map_err(read_error)?;
        entity.map(|entity| Ok(Stored { record: text(&entity)?, etag: version(&entity)? })).transpose()
    }

    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError> {
        self.write(text_entity(system_key(name)?, STATE_KEY, text)?, expect).await
    }
}

#[async_trait]
impl FlowStore for TableStore {
    async fn flow(&self, id: &str) -> Result<Option<Stored<FlowRecord>>, StoreError> {
        let entity = self.table.get(&flow_key(id)?, &key(FLOW_KEY)?).await.map_err(read_error)?;
        entity.map(|entity| stored(&entity)).transpose()
    }

    async fn put_flow(&self, id: &str, record: &FlowRecord, expect: &Expect) -> Result<Etag, StoreError> {
        let entity = entity(&flow_key(id)?, FLOW_KEY, record)?.with(IDLE, record.idle_ms());
        self.write(entity, expect).await
    }
}

#[async_trait]
impl Expiring for TableStore {
    async fn scan(&self, start: &ScanStart, from: Option<&PageEnd>, top: usize) -> Result<ScanPage, StoreError> {
        let stored_key = |text: &str| Key::new(text).map_err(|error| StoreError::Corrupt(error.to_string()));
        let filter = match start {
            ScanStart::Beginning => Filter::all(),
            ScanStart::At(partition) => Filter::all().partition_from(&stored_key(partition)?),
            ScanStart::After(partition) => Filter::all().partition_after(&stored_key(partition)?),
        };
        let select = [PHASE, UPDATED, DELETED, IDLE, LET_GO].map(str::to_owned).to_vec();
        let query = Query { filter, select, top: Some(u32::try_from(top).unwrap_or(u32::MAX)) };
        let from = from.map(|(partition, row)| Continuation { partition: partition.clone(), row: row.clone() });
        let page = self.table.query(&query, from.as_ref()).await.map_err(read_error)?;
        let found = page.entities.iter().map(|entity| {
            Ok(Scanned {
                partition: entity.partition.as_str().to_owned(),
                key: entity.row.as_str().to_owned(),
                etag: version(entity)?,
                expiry: expiry(entity),
            })
        });
        let found = found.collect::<Result<_, StoreError>>()?;
        Ok(ScanPage { found, next: page.next.map(|next| (next.partition, next.row)) })
    }

    async fn remove(&self, partition: &str, records: &[(String, Etag)]) -> Result<(), StoreError> {
        let stored_key = |text: &str| Key::new(text).map_err(|error| StoreError::Corrupt(error.to_string()));
        let partition = stored_key(partition)?;
        let ops = records
            .iter()
            .map(|(key, expect)| Ok(Op::Delete(partition.clone(), stored_key(key)?, When::Is(etag(expect)?))));
        let ops = ops.collect::<Result<Vec<_>, StoreError>>()?;
        self.table.transact(&partition, ops).await.map(drop).map_err(write_error)
    }

    async fn row(&self, partition: &str) -> Result<Option<Stored<RowRecord>>, StoreError> {
        let partition = Key::new(partition).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let entity = self.table.get(&partition, &key(ROW_KEY)?).await.map_err(read_error)?;
        entity.as_ref().map(stored).transpose()
    }

    fn stored_name(&self, partition: &str) -> Result<String, StoreError> {
        Ok(partition_key(partition)?.as_str().to_owned())
    }
}

fn expiry(entity: &Entity) -> Expiry {
    let row = entity.row.as_str();
    if let Some(deleted_ms) = entity.integer(DELETED).filter(|_| row == ROW_KEY) {
        return Expiry::Row { deleted_ms };
    }
    if let Some(idle_ms) = entity.integer(IDLE).filter(|_| row == FLOW_KEY) {
        return Expiry::Flow { idle_ms };
    }
    if let Some(let_go_ms) = entity.integer(LET_GO).filter(|_| row == ROW_KEY) {
        return Expiry::Pointer { let_go_ms };
    }
    match (entity.text(PHASE), entity.integer(UPDATED)) {
        (Some(DONE), Some(done_ms)) if row.starts_with("event:") => Expiry::Event { done_ms },
        _ => Expiry::Never,
    }
}

/// The partition of a state that is not about a row.
fn system_key(name: &str) -> Result<Key, StoreError> {
    Key::join_hashed(&[SYSTEM, name]).map_err(|error| StoreError::TooLarge(error.to_string()))
}

/// The partition of a claim on an id.
fn flow_key(id: &str) -> Result<Key, StoreError> {
    let parts = flow_partition(id);
    Key::join_hashed(&parts.each_ref().map(String::as_str)).map_err(|error| StoreError::TooLarge(error.to_string()))
}

/// The key of a partition: hash prefix, table and identity stay apart and readable.
///
/// # Errors
/// [`StoreError::TooLarge`] when even the shortened key is too long.
pub fn partition_key(partition: &str) -> Result<Key, StoreError> {
    joined(partition, 3)
}

/// The key of a record in its partition; the id of a very long one ends in its hash.
///
/// # Errors
/// [`StoreError::TooLarge`] when even the shortened key is too long.
pub fn key(text: &str) -> Result<Key, StoreError> {
    joined(text, 2)
}

fn joined(text: &str, parts_max: usize) -> Result<Key, StoreError> {
    let parts: Vec<&str> = text.splitn(parts_max, ':').collect();
    Key::join_hashed(&parts).map_err(|error| StoreError::TooLarge(error.to_string()))
}

fn op(entity: Entity, expect: &Expect) -> Result<Op, StoreError> {
    match expect {
        Expect::Absent => Ok(Op::Insert(entity)),
        Expect::Is(version) => Ok(Op::Replace(entity, When::Is(etag(version)?))),
    }
}

fn etag(version: &Etag) -> Result<crate::tables::Etag, StoreError> {
    crate::tables::Etag::new(version.0.as_str()).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn row_entity(partition: &Key, record: &RowRecord) -> Result<Entity, StoreError> {
    let entity = entity(partition, ROW_KEY, record)?.with("epoch", i64::try_from(record.epoch).unwrap_or(i64::MAX));
    let entity = match Expiry::of_row(record) {
        Expiry::Row { deleted_ms } => entity.with(DELETED, deleted_ms),
        Expiry::Pointer { let_go_ms } => entity.with(LET_GO, let_go_ms),
        Expiry::Event { .. } | Expiry::Flow { .. } | Expiry::Never => entity,
    };
    Ok(match record.lease {
        Some(lease) => entity.with("lease_until_ms", lease.until_ms),
        None => entity,
    })
}

fn event_entity(partition: &Key, event_key: &str, record: &EventRecord) -> Result<Entity, StoreError> {
    let phase = match record.phase {
        Phase::Owed => "owed",
        Phase::Claimed(_) => "claimed",
        Phase::Done => DONE,
        Phase::Parked => "parked",
    };
    let entity = entity(partition, event_key, record)?
        .with(PHASE, phase)
        .with(UPDATED, record.updated_ms)
        .with("operation", record.operation.as_str())
        .with("attempts", i64::from(record.attempts));
    Ok(match &record.outcome {
        Some(outcome) => entity.with("outcome", outcome.name()),
        None => entity,
    })
}

fn entity<T: Serialize>(partition: &Key, row_key: &str, record: &T) -> Result<Entity, StoreError> {
    let text = serde_json::to_string(record).map_err(|error| StoreError::Corrupt(format!("{row_key}: {error}")))?;
    text_entity(partition.clone(), row_key, &text)
}

fn text_entity(partition: Key, row_key: &str, text: &str) -> Result<Entity, StoreError> {
    let mut entity = Entity::new(partition, key(row_key)?);
    split::put(&mut entity.properties, RECORD, text).map_err(|error| StoreError::TooLarge(error.to_string()))?;
    Ok(entity)
}

fn stored<T: DeserializeOwned>(entity: &Entity) -> Result<Stored<T>, StoreError> {
    let record = serde_json::from_str(&text(entity)?).map_err(|error| corrupt(entity, &error.to_string()))?;
    Ok(Stored { record, etag: version(entity)? })
}

fn text(entity: &Entity) -> Result<String, StoreError> {
    let text = split::get(entity, RECORD).map_err(|error| corrupt(entity, &error.to_string()))?;
    text.ok_or_else(|| corrupt(entity, "has no record"))
}

fn version(entity: &Entity) -> Result<Etag, StoreError> {
    let etag = entity.etag.as_ref().ok_or_else(|| corrupt(entity, "came without an etag"))?;
    Ok(Etag(etag.as_str().to_owned()))
}

fn corrupt(entity: &Entity, what: &str) -> StoreError {
    StoreError::Corrupt(format!("{}: {what}", entity.row.as_str()))
}

pub(super) fn read_error(error: TablesError) -> StoreError {
    match write_error(error) {
        // nothing was to be changed, so not knowing is the same as not having
        StoreError::Unknown(reason) => StoreError::Unavailable { reason, after: None },
        StoreError::Conflict => StoreError::Unavailable { reason: "a read met a conflict".to_owned(), after: None },
        other => other,
    }
}

pub(super) fn write_error(error: TablesError) -> StoreError {
    match error {
        TablesError::Conflict { .. } | TablesError::NotFound { .. } | TablesError::Stale { .. } => StoreError::Conflict,
        TablesError::Busy { after } => StoreError::Unavailable { reason: "table storage is busy".to_owned(), after },
        TablesError::Unknown { reason } => StoreError::Unknown(reason),
        TablesError::Decode { .. } => StoreError::Corrupt(error.to_string()),
        TablesError::Rejected { ref code, .. } if code.ends_with("TooLarge") => StoreError::TooLarge(error.to_string()),
        TablesError::NotSent { .. } | TablesError::Rejected { .. } | TablesError::Invalid { .. } => {
            StoreError::Unavailable { reason: error.to_string(), after: None }
        }
    }
}
