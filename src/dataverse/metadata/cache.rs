//! Metadata kept for all workers of a process: one load at a time per table, refreshed at most so often.

use super::{MetadataError, check_name};
use crate::dataverse::client::{Call, Dataverse};
use crate::domain::schema::TableSchema;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most tables of one environment that are kept: an environment has about a thousand; a mapping names a few dozen.
pub const TABLES_MAX: usize = 2_000;

/// Most names in one request for entity sets: keeps its URL below 4 KB.
const NAMES_PER_REQUEST: usize = 40;

/// How long an answer about a table's metadata (that it does not exist, that a column does not) holds before it is asked
/// again.
pub const RECHECK: Duration = Duration::from_secs(600);

/// Whether a refresh asked the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It did; the metadata differs from before.
    Changed,
    /// It did; nothing changed.
    Same,
    /// It did not: the last answer is younger than [`RECHECK`].
    TooSoon,
}

/// What is known about one table; the async lock around it makes loads happen one at a time.
#[derive(Debug, Default)]
struct Slot {
    schema: Option<Arc<TableSchema>>,
    /// On the monotonic clock: when the environment was last asked and answered.
    asked_at: Option<Duration>,
}

type Slots = HashMap<String, Arc<tokio::sync::Mutex<Slot>>>;

/// The metadata of one environment, shared by all workers of a process.
#[derive(Debug)]
pub struct SchemaCache {
    client: Dataverse,
    recheck: Duration,
    slots: Mutex<Slots>,
    entity_sets: Mutex<BTreeMap<String, String>>,
}

impl SchemaCache {
    /// An empty cache. `recheck`: how long an answer holds before it is asked again (default [`RECHECK`]).
    #[must_use]
    pub fn new(client: Dataverse, recheck: Duration) -> Self {
        Self { client, recheck, slots: Mutex::default(), entity_sets: Mutex::default() }
    }

    /// The client that loads.
    #[must_use]
    pub fn client(&self) -> &Dataverse {
        &self.client
    }

    /// A table's metadata, loaded once. That a table does not exist is believed for `recheck`.
    ///
    /// # Errors
    /// [`MetadataError`]; failed requests are not kept.
    pub async fn get(&self, call: &Call, table: &str) -> Result<Arc<TableSchema>, MetadataError> {
        let slot = self.slot(table)?;
        let mut slot = slot.lock().await;
        if let Some(schema) = &slot.schema {
            return Ok(Arc::clone(schema));
        }
        if self.is_recent(&slot) {
            return Err(MetadataError::TableUnknown { table: table.to_owned() });
        }
        self.load(call, table, &mut slot, false).await
    }

    /// What is known without asking anybody.
    #[must_use]
    pub fn peek(&self, table: &str) -> Option<Arc<TableSchema>> {
        let slot = lock(&self.slots).get(table).map(Arc::clone)?;
        slot.try_lock().ok().and_then(|slot| slot.schema.clone())
    }

    /// Asks again, at most once per `recheck` and table: after the target said that names are wrong, or for a column that
    /// is not known.
    ///
    /// # Errors
    /// [`MetadataError`]; the old metadata is kept then, unless the table is gone.
    pub async fn refresh(&self, call: &Call, table: &str) -> Result<Refreshed, MetadataError> {
        let slot = self.slot(table)?;
        let mut slot = slot.lock().await;
        if self.is_recent(&slot) {
            return Ok(Refreshed::TooSoon);
        }
        let before = slot.schema.clone();
        let now = self.load(call, table, &mut slot, true).await?;
        Ok(if before.is_some_and(|before| before == now) { Refreshed::Same } else { Refreshed::Changed })
    }

    /// Entity set names of tables, as bindings need them. Tables that do not exist are absent from the result.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn entity_sets(
        &self,
        call: &Call,
        tables: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, MetadataError> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        {
            let known = lock(&self.entity_sets);
            for table in tables {
                match known.get(table) {
                    Some(set) => drop(found.insert(table.clone(), set.clone())),
                    None => missing.push(table.as_str()),
                }
            }
        }
        for table in &missing {
            check_name(table)?;
        }
        for names in missing.chunks(NAMES_PER_REQUEST) {
            let sets = self.client.entity_sets(call, names).await?;
            let mut known = lock(&self.entity_sets);
            for (table, set) in sets {
                if known.len() < TABLES_MAX {
                    known.insert(table.clone(), set.clone());
                }
                found.insert(table, set);
            }
        }
        Ok(found)
    }

    async fn load(
        &self,
        call: &Call,
        table: &str,
        slot: &mut Slot,
        strong: bool,
    ) -> Result<Arc<TableSchema>, MetadataError> {
        let loaded = self.client.table_schema(call, table, strong).await;
        let asked_at = Some(self.client.clock().monotonic());
        match loaded {
            Ok(schema) => {
                let schema = Arc::new(schema);
                lock(&self.entity_sets).insert(table.to_owned(), schema.entity_set.clone());
                *slot = Slot { schema: Some(Arc::clone(&schema)), asked_at };
                Ok(schema)
            }
            Err(error @ MetadataError::TableUnknown { .. }) => {
                lock(&self.entity_sets).remove(table);
                *slot = Slot { schema: None, asked_at };
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn is_recent(&self, slot: &Slot) -> bool {
        let now = self.client.clock().monotonic();
        slot.asked_at.is_some_and(|at| now.saturating_sub(at) < self.recheck)
    }

    fn slot(&self, table: &str) -> Result<Arc<tokio::sync::Mutex<Slot>>, MetadataError> {
        check_name(table)?;
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(table) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= TABLES_MAX {
            return Err(MetadataError::TooManyTables);
        }
        let slot = Arc::default();
        slots.insert(table.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }
}

/// Nothing that holds these locks can leave the maps half changed, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
