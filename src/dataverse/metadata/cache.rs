//! Metadata kept for all workers of a process: one load at a time per table, refreshed at most so often.

use super::{MetadataError, check_name};
use crate::dataverse::client::{Call, Dataverse};
use crate::dataverse::error::{DataverseError, Kind, Verb};
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

/// An entity set, or when the environment said that there is no such table.
#[derive(Debug)]
enum KnownSet {
    Named(String),
    NoTable { asked_at: Duration },
}

type Slots = HashMap<String, Arc<tokio::sync::Mutex<Slot>>>;

/// The metadata of one environment, shared by all workers of a process.
#[derive(Debug)]
pub struct SchemaCache {
    client: Dataverse,
    recheck: Duration,
    slots: Mutex<Slots>,
    /// The last answers, for everybody who need not wait for a newer one.
    known: Mutex<HashMap<String, Arc<TableSchema>>>,
    entity_sets: Mutex<BTreeMap<String, KnownSet>>,
}

impl SchemaCache {
    /// An empty cache. `recheck`: how long an answer holds before it is asked again (default [`RECHECK`]).
    #[must_use]
    pub fn new(client: Dataverse, recheck: Duration) -> Self {
        Self { client, recheck, slots: Mutex::default(), known: Mutex::default(), entity_sets: Mutex::default() }
    }

    /// The client that loads.
    #[must_use]
    pub fn client(&self) -> &Dataverse {
        &self.client
    }

    /// A table's metadata, loaded once. While somebody asks again what was known is given out at once. That a table does not
    /// exist is believed for `recheck`.
    ///
    /// # Errors
    /// [`MetadataError`]; failed requests are not kept.
    pub async fn get(&self, call: &Call, table: &str) -> Result<Arc<TableSchema>, MetadataError> {
        if let Some(schema) = self.peek(table) {
            return Ok(schema);
        }
        let slot = self.slot(table)?;
        let mut slot = self.wait(call, table, &slot).await?;
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
        lock(&self.known).get(table).map(Arc::clone)
    }

    /// Asks again, at most once per `recheck` and table: after the target said that names are wrong, or for a column that
    /// is not known.
    ///
    /// # Errors
    /// [`MetadataError`]; the old metadata is kept then, unless the table is gone.
    pub async fn refresh(&self, call: &Call, table: &str) -> Result<Refreshed, MetadataError> {
        let slot = self.slot(table)?;
        let mut slot = self.wait(call, table, &slot).await?;
        if self.is_recent(&slot) {
            return Ok(Refreshed::TooSoon);
        }
        let before = slot.schema.clone();
        let now = self.load(call, table, &mut slot, true).await?;
        Ok(if before.is_some_and(|before| before == now) { Refreshed::Same } else { Refreshed::Changed })
    }

    /// Entity set names of tables, as bindings need them. Tables that do not exist are absent from the result,
    /// which is believed for `recheck`.
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
                    Some(KnownSet::Named(set)) => drop(found.insert(table.clone(), set.clone())),
                    Some(KnownSet::NoTable { asked_at }) if self.is_fresh(*asked_at) => {}
                    Some(KnownSet::NoTable { .. }) | None => missing.push(table.as_str()),
                }
            }
        }
        for table in &missing {
            check_name(table)?;
        }
        for names in missing.chunks(NAMES_PER_REQUEST) {
            let sets = self.client.entity_sets(call, names).await?;
            let asked_at = self.client.clock().monotonic();
            let mut known = lock(&self.entity_sets);
            for table in names {
                let set = sets.get(*table).cloned();
                if known.len() < TABLES_MAX || known.contains_key(*table) {
                    let entry = set.clone().map_or(KnownSet::NoTable { asked_at }, KnownSet::Named);
                    known.insert((*table).to_owned(), entry);
                }
                found.extend(set.map(|set| ((*table).to_owned(), set)));
            }
        }
        Ok(found)
    }

    /// Waits for whoever is loading this table, no longer than the call may take.
    async fn wait<'a>(
        &self,
        call: &Call,
        table: &str,
        slot: &'a tokio::sync::Mutex<Slot>,
    ) -> Result<tokio::sync::MutexGuard<'a, Slot>, MetadataError> {
        let remaining = call.latest_end.saturating_sub(self.client.clock().monotonic());
        tokio::time::timeout(remaining, slot.lock()).await.map_err(|_| {
            let reason = "somebody else was loading the metadata".to_owned();
            DataverseError::unanswered(Kind::OutOfTime, Verb::Metadata, table, reason).into()
        })
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
                lock(&self.entity_sets).insert(table.to_owned(), KnownSet::Named(schema.entity_set.clone()));
                lock(&self.known).insert(table.to_owned(), Arc::clone(&schema));
                *slot = Slot { schema: Some(Arc::clone(&schema)), asked_at };
                Ok(schema)
            }
            Err(error @ MetadataError::TableUnknown { .. }) => {
                lock(&self.entity_sets).remove(table);
                lock(&self.known).remove(table);
                *slot = Slot { schema: None, asked_at };
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn is_recent(&self, slot: &Slot) -> bool {
        slot.asked_at.is_some_and(|at| self.is_fresh(at))
    }

    fn is_fresh(&self, asked_at: Duration) -> bool {
        self.client.clock().monotonic().saturating_sub(asked_at) < self.recheck
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

#[cfg(test)]
mod tests;
