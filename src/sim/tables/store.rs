//! The tables themselves, in memory: writes with preconditions, groups of writes that happen or do not, pages.
//! Knows no HTTP.

use super::answer::Refusal;
use super::entity::{Entity, Key, Properties};
use super::filter::Filter;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use std::collections::BTreeMap;

/// What `If-Match` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `*`: it must exist.
    Any,
    /// This version.
    Exactly(String),
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Fails if it exists.
    Insert(Key, Properties),
    /// Adds and changes properties. Without a condition a missing entity is inserted.
    Merge(Key, Properties, Option<Match>),
    /// Changes everything. Without a condition a missing entity is inserted.
    Replace(Key, Properties, Option<Match>),
    /// Fails if it is missing.
    Delete(Key, Match),
}

impl Write {
    /// Which entity it concerns.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Insert(key, _) | Self::Merge(key, ..) | Self::Replace(key, ..) | Self::Delete(key, _) => key,
        }
    }
}

#[derive(Debug)]
struct Table {
    name: String,
    entities: BTreeMap<Key, Entity>,
}

/// All tables of the account.
#[derive(Debug, Default)]
pub struct Store {
    tables: BTreeMap<String, Table>,
    last: DateTime<Utc>,
}

/// A page of a query, and where the next one begins.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The entities of this page.
    pub entities: Vec<Entity>,
    /// The first key that was not looked at.
    pub next: Option<Key>,
}

impl Store {
    /// Creates a table. Names are compared without case.
    ///
    /// # Errors
    /// 409 `TableAlreadyExists`.
    pub fn create(&mut self, name: &str) -> Result<(), Refusal> {
        let slot = self.tables.entry(name.to_ascii_lowercase());
        if matches!(slot, std::collections::btree_map::Entry::Occupied(_)) {
            let message = "The table specified already exists.";
            return Err(Refusal::new(StatusCode::CONFLICT, "TableAlreadyExists", message));
        }
        slot.or_insert_with(|| Table { name: name.to_owned(), entities: BTreeMap::new() });
        Ok(())
    }

    /// Deletes a table with everything in it.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub fn drop_table(&mut self, name: &str) -> Result<(), Refusal> {
        self.tables.remove(&name.to_ascii_lowercase()).map(|_| ()).ok_or_else(Refusal::not_found)
    }

    /// The tables' names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tables.values().map(|t| t.name.clone()).collect()
    }

    /// All entities of a table in key order; empty if there is none.
    #[must_use]
    pub fn all(&self, table: &str) -> Vec<Entity> {
        self.tables.get(&table.to_ascii_lowercase()).map(|t| t.entities.values().cloned().collect()).unwrap_or_default()
    }

    /// One entity.
    ///
    /// # Errors
    /// 404 `TableNotFound` or `ResourceNotFound`.
    pub fn get(&self, table: &str, key: &Key) -> Result<&Entity, Refusal> {
        self.table(table)?.entities.get(key).ok_or_else(Refusal::not_found)
    }

    /// The next page: from `from` on, at most `count` that the filter takes.
    ///
    /// # Errors
    /// 404 `TableNotFound`.
    pub fn page(
        &self,
        table: &str,
        filter: Option<&Filter>,
        from: Option<&Key>,
        count: usize,
    ) -> Result<Page, Refusal> {
        let mut page = Page::default();
        let partition = filter.and_then(Filter::partition);
        let first = partition.map(|p| Key { partition: p.to_owned(), row: String::new() });
        let first = first.max(from.cloned()).unwrap_or(Key { partition: String::new(), row: String::new() });
        for (key, entity) in self.table(table)?.entities.range(first..) {
            if partition.is_some_and(|p| key.partition != p) {
                break;
            }
            if filter.is_some_and(|f| !f.accepts(entity)) {
                continue;
            }
            if page.entities.len() == count {
                page.next = Some(key.clone());
                break;
            }
            page.entities.push(entity.clone());
        }
        Ok(page)
    }

    /// Does all writes, or none. Returns the written entities (`None` for a deletion).
    ///
    /// # Errors
    /// The index of the write that failed, and why.
    pub fn write(
        &mut self,
        table: &str,
        writes: Vec<Write>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<Entity>>, (usize, Refusal)> {
        let stamp = now.max(self.last + TimeDelta::nanoseconds(100));
        let mut stamp = stamp - TimeDelta::nanoseconds(i64::from(stamp.timestamp_subsec_nanos() % 100));
        let Some(table) = self.tables.get_mut(&table.to_ascii_lowercase()) else {
            return Err((0, Refusal::no_table()));
        };
        let mut undo: Vec<(Key, Option<Entity>)> = Vec::new();
        let mut written = Vec::new();
        for (index, write) in writes.into_iter().enumerate() {
            let key = write.key().clone();
            match next(table.entities.get(&key), write, stamp) {
                Ok(entity) => {
                    let before = match entity.clone() {
                        Some(entity) => table.entities.insert(key.clone(), entity),
                        None => table.entities.remove(&key),
                    };
                    undo.push((key, before));
                    written.push(entity);
                    self.last = stamp;
                    stamp += TimeDelta::nanoseconds(100);
                }
                Err(refusal) => {
                    for (key, before) in undo.into_iter().rev() {
                        match before {
                            Some(entity) => table.entities.insert(key, entity),
                            None => table.entities.remove(&key),
                        };
                    }
                    return Err((index, refusal));
                }
            }
        }
        Ok(written)
    }

    fn table(&self, name: &str) -> Result<&Table, Refusal> {
        self.tables.get(&name.to_ascii_lowercase()).ok_or_else(Refusal::no_table)
    }
}

/// What one write makes of what is there. Pure.
fn next(there: Option<&Entity>, write: Write, timestamp: DateTime<Utc>) -> Result<Option<Entity>, Refusal> {
    let condition = match &write {
        Write::Insert(..) if there.is_some() => return Err(Refusal::exists()),
        Write::Insert(..) => None,
        Write::Merge(_, _, condition) | Write::Replace(_, _, condition) => condition.as_ref(),
        Write::Delete(_, condition) => Some(condition),
    };
    match (condition, there) {
        (Some(_), None) => return Err(Refusal::not_found()),
        (Some(Match::Exactly(etag)), Some(entity)) if *etag != entity.etag() => return Err(Refusal::stale()),
        _ => {}
    }
    let entity = match write {
        Write::Delete(..) => return Ok(None),
        Write::Insert(key, properties) | Write::Replace(key, properties, _) => Entity { key, timestamp, properties },
        Write::Merge(key, changes, _) => {
            let mut properties = there.map(|e| e.properties.clone()).unwrap_or_default();
            properties.extend(changes);
            Entity { key, timestamp, properties }
        }
    };
    entity.check()?;
    Ok(Some(entity))
}
