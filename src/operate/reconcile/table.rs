//! What is compared of one table: which columns, what cannot be, and in which order the tables are gone through.

use super::read::{ReadError, Reader};
use crate::dataverse::metadata::facts::{ColumnFacts, TableFacts};
use crate::dataverse::row::TargetRow;
use crate::domain::event::{ChangeEvent, Completeness, EventId, Operation, Origin};
use crate::domain::map::{Why, map_columns};
use crate::domain::mapping::{Deletes, Identity, Mapping, TableMap};
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{Columns, RowRef, Value};
use crate::domain::version::Stamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// What orders a row at the source.
pub const MODIFIED_ON: &str = "modifiedon";
/// What changes whenever a row does.
pub const ROW_VERSION: &str = "versionnumber";

/// What a delete changes where rows are deactivated.
pub const STATE: &str = "statecode";

/// Estimated bytes of a page: an answer of more than 16 MiB is refused by the transport.
const PAGE_BYTES: usize = 12 << 20;
/// Estimated bytes of a column in JSON, name and usual value, and of one that holds long text.
const COLUMN_BYTES: usize = 64;
const LONG_BYTES: usize = 512;
/// A text column that may be longer than this is taken for long.
const LONG_UNITS: usize = 1_000;

const FILE: &str = "file: files and images are never synchronised";
const SECURED: &str =
    "secured: column security may hide it from us, so a null of it is not believed; its values are compared";

/// One table, ready to be compared.
#[derive(Debug)]
pub struct Table<'a> {
    /// Its mapping.
    pub map: &'a TableMap,
    /// Its metadata at the source.
    pub source: Arc<TableSchema>,
    /// Its metadata at the target.
    pub target: Arc<TableSchema>,
    /// More about it.
    pub source_facts: TableFacts,
    /// More about it.
    pub target_facts: TableFacts,
    /// What is compared, by target name.
    pub columns: BTreeMap<String, Compared>,
    /// What is not.
    pub not_compared: Vec<NotCompared>,
    /// What is read at the source.
    pub source_columns: BTreeSet<String>,
    /// What is read at the target.
    pub target_columns: BTreeSet<String>,
    /// The columns of the source by which its rows are known in the target, besides the primary key.
    pub source_keys: BTreeSet<String>,
    /// The same of the target, and its state where a delete only sets that.
    pub target_keys: BTreeSet<String>,
    /// Rows of a page.
    pub page_rows: u32,
    /// Most extra rows that a run deletes unless told otherwise; 0: all.
    pub deletes_max: u32,
}

/// A column that is compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its name at the source.
    pub source: String,
    /// What the target's column holds.
    pub kind: ColumnKind,
    /// Facts about both.
    pub facts: (ColumnFacts, ColumnFacts),
    /// Only a create may set it.
    pub create_only: bool,
}

/// What cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCompared {
    /// A source column, or a relationship; empty for the whole table.
    pub what: String,
    /// Why: a word, then what it means.
    pub why: String,
}

fn not_compared(what: &str, why: &str) -> NotCompared {
    NotCompared { what: what.to_owned(), why: why.to_owned() }
}

impl<'a> Table<'a> {
    /// Asks both sides what there is to compare. At most eight requests for a table whose metadata nobody has asked for.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn load(
        mapping: &Mapping,
        map: &'a TableMap,
        source: &Reader<'_>,
        target: &Reader<'_>,
        page_rows: u32,
    ) -> Result<Self, ReadError> {
        let (source_schema, target_schema) = (schema(source, &map.source).await?, schema(target, &map.target).await?);
        let source_facts = facts(source, &source_schema, false).await?;
        let target_facts = facts(target, &target_schema, true).await?;
        let mut table = Self {
            map,
            source: source_schema,
            target: target_schema,
            source_facts,
            target_facts,
            columns: BTreeMap::new(),
            not_compared: Vec::new(),
            source_columns: BTreeSet::new(),
            target_columns: BTreeSet::new(),
            source_keys: BTreeSet::new(),
            target_keys: BTreeSet::new(),
            page_rows,
            deletes_max: map.deletes_max.unwrap_or(mapping.limits.deletes_max),
        };
        table.choose(mapping);
        Ok(table)
    }

    /// Chooses the columns, and says which are left out and why.
    fn choose(&mut self, mapping: &Mapping) {
        if self.target.elastic {
            self.not_compared
                .push(not_compared("", "elastic_table: a partial write would wipe the row's other columns"));
        }
        if self.target.external {
            let why = "virtual_table: the target keeps its rows elsewhere, under rules that nobody here knows";
            self.not_compared.push(not_compared("", why));
        }
        if self.source.external {
            let why = "virtual_table: its rows change without events, so only comparisons find what has changed";
            self.not_compared.push(not_compared("(events)", why));
        }
        if !self.source_facts.change_tracking {
            let why = "no_change_tracking: the source does not track changes of the table, so only whole comparisons find them";
            self.not_compared.push(not_compared("(changes)", why));
        }
        let files = self.source.files.iter().filter(|name| !self.source.is_system(name));
        let files = files.filter(|name| self.map.columns.target_name(name).is_some());
        self.not_compared.extend(files.map(|name| not_compared(name, FILE)));
        let synchronised = |name: &String| self.map.columns.target_name(name).is_some();
        let readable =
            self.source.columns.iter().filter(|(name, _)| synchronised(name) && !self.source.files.contains(*name));
        let mut probe = Columns::new();
        let mut left_out = Vec::new();
        for (name, column) in readable {
            let facts = self.source_facts.columns.get(name).cloned().unwrap_or_default();
            let target = self.map.columns.target_name(name).unwrap_or(name);
            let why = match column.kind {
                ColumnKind::PartyList => Some("parties: activity parties are not read in pages; events bring them"),
                ColumnKind::Unsupported => Some("unsupported: a virtual column"),
                _ if facts.unreadable => Some("unreadable: the source does not let anybody read it"),
                _ => None,
            };
            match why {
                // columns derived from others, and those of the system, are nobody's concern
                Some(_) if self.target.is_system(target) || !self.target.columns.contains_key(target) => {}
                Some(why) => {
                    if self.target.columns.get(target).is_some_and(|column| column.writable()) {
                        left_out.push(not_compared(name, why));
                    }
                }
                None => {
                    probe.insert(name.clone(), Value::Null);
                }
            }
        }
        let event = row_event(&self.map.source, Uuid::nil(), probe);
        let mapped = map_columns(mapping, self.map, &self.target, &event);
        for target in mapped.columns.keys() {
            let (Some(source), Some(column)) = (self.map.columns.source_name(target), self.target.columns.get(target))
            else {
                continue;
            };
            let facts = |facts: &TableFacts, name: &str| facts.columns.get(name).cloned().unwrap_or_default();
            let both = (facts(&self.source_facts, source), facts(&self.target_facts, target));
            if both.1.unreadable {
                left_out.push(not_compared(source, "unreadable: the target does not let anybody read it"));
                continue;
            }
            if both.0.computed {
                left_out.push(not_compared(
                    source,
                    "computed: the source computes it, so change tracking does not see it change; a full comparison does",
                ));
            }
            if both.0.secured || both.1.secured {
                left_out.push(not_compared(source, SECURED));
            }
            let compared =
                Compared { source: source.to_owned(), kind: column.kind, facts: both, create_only: !column.updatable };
            self.columns.insert(target.clone(), compared);
        }
        left_out.extend(mapped.dropped.iter().filter_map(|dropped| {
            let why = match dropped.why {
                Why::NotInTarget => "not_in_target: the target has no such column",
                Why::NotWritable => "not_writable: the target computes it, or lets nobody write it",
                Why::Unsupported => "unsupported: the target's column holds something else",
                Why::System | Why::Excluded => return None,
            };
            Some(not_compared(&dropped.column, why))
        }));
        for column in &mapped.unknown_named {
            left_out.push(not_compared(column, "column_missing: sync.toml names it, and the target does not have it"));
        }
        self.not_compared.append(&mut left_out);
        self.read_what_is_needed();
    }

    fn read_what_is_needed(&mut self) {
        self.source_columns = self.columns.values().map(|column| column.source.clone()).collect();
        let order = [MODIFIED_ON, ROW_VERSION].map(str::to_owned);
        self.source_columns.extend(order.into_iter().filter(|name| self.source.columns.contains_key(name)));
        if self.map.deletes == Deletes::Deactivate && self.target.columns.contains_key(STATE) {
            self.target_keys.insert(STATE.to_owned());
        }
        if let Identity::Key(columns) = &self.map.identity {
            self.target_keys.extend(columns.iter().cloned());
            let sources = columns.iter().filter_map(|column| self.map.columns.source_name(column));
            self.source_keys =
                sources.filter(|name| self.source.columns.contains_key(*name)).map(str::to_owned).collect();
        }
        self.source_columns.extend(self.source_keys.iter().cloned());
        self.target_columns = self.columns.keys().chain(&self.target_keys).cloned().collect();
        let is_long = |facts: &ColumnFacts| facts.length_max.is_some_and(|units| units > LONG_UNITS);
        let bytes = |column: &Compared| if is_long(&column.facts.1) { LONG_BYTES } else { COLUMN_BYTES };
        let row: usize = self.columns.values().map(bytes).sum::<usize>().saturating_add(4 * COLUMN_BYTES);
        let rows = u32::try_from(PAGE_BYTES / row).unwrap_or(u32::MAX).max(100);
        self.page_rows = self.page_rows.min(rows);
    }

    /// Whether a row of the target is as a delete leaves it, where `deletes` only deactivates.
    #[must_use]
    pub fn is_inactive(&self, row: &TargetRow) -> bool {
        self.map.deletes == Deletes::Deactivate && row.columns.get(STATE) == Some(&Value::Choice(1))
    }

    /// The whole table, if nothing of it can be compared.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.not_compared.iter().any(|not| not.what.is_empty())
    }
}

async fn schema(reader: &Reader<'_>, name: &str) -> Result<Arc<TableSchema>, ReadError> {
    let schemas = &reader.environment.schemas;
    reader.ask_metadata(name, |call| async move { schemas.get(&call, name).await }).await
}

async fn facts(reader: &Reader<'_>, schema: &TableSchema, limits: bool) -> Result<TableFacts, ReadError> {
    let client = &reader.environment.client;
    reader.ask_metadata(&schema.name, |call| async move { client.table_facts(&call, schema, limits).await }).await
}

/// An event that says what a row has.
pub(super) fn row_event(table: &str, id: Uuid, columns: Columns) -> ChangeEvent {
    let name = format!("{table}:{id}");
    ChangeEvent {
        // a table's name and a GUID are neither empty nor long
        id: EventId::new(Some("reconcile"), &name).unwrap_or_else(|_| unnamed()),
        origin: Origin::default(),
        table: table.to_owned(),
        row: RowRef::Id(id),
        operation: Operation::Upsert,
        columns,
        image: Columns::new(),
        stamp: Stamp::default(),
        completeness: Completeness::Full,
        synchronous: false,
    }
}

#[expect(clippy::expect_used, reason = "a constant")]
fn unnamed() -> EventId {
    EventId::new(None, "reconcile").expect("nine bytes")
}

/// The tables in an order in which parents come before the rows that refer to them, as far as lookups allow it. Where they go
/// in a circle the one that waits for the fewest others begins, the first by name of several; placeholders do the rest.
#[must_use]
pub fn parents_first<'a>(lookups: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = lookups
        .iter()
        .map(|(&table, parents)| {
            let parents = parents.iter().copied().filter(|parent| *parent != table && lookups.contains_key(parent));
            (table, parents.collect())
        })
        .collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(next) = waiting.iter().min_by_key(|(_, parents)| parents.len()).map(|(table, _)| *table) {
        waiting.remove(next);
        for parents in waiting.values_mut() {
            parents.remove(next);
        }
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_circles_end() {
        let check = |lookups: &[(&'static str, &[&'static str])], expected: &[&str]| {
            let lookups = lookups.iter().map(|(table, parents)| (*table, parents.iter().copied().collect())).collect();
            assert_eq!(parents_first(&lookups), expected);
        };
        check(&[("a", &["c"]), ("b", &["a"]), ("c", &[])], &["c", "a", "b"]);
        check(&[("account", &["account", "contact"]), ("contact", &["account"])], &["account", "contact"]);
        check(&[("order", &["contact", "systemuser"]), ("contact", &[])], &["contact", "order"]);
        check(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])], &["a", "c", "b"]);
    }

    #[test]
    fn files_and_images_are_named_as_not_compared() {
        let column = |kind| crate::domain::schema::ColumnSchema { kind, creatable: false, updatable: false };
        let schema = Arc::new(TableSchema {
            name: "account".to_owned(),
            entity_set: "accounts".to_owned(),
            primary_id: "accountid".to_owned(),
            primary_name: None,
            columns: ["entityimage", "new_contract", "new_photo"]
                .map(|name| (name.to_owned(), column(ColumnKind::Unsupported)))
                .into(),
            lookups: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            optimistic_concurrency: true,
            elastic: false,
            external: false,
            files: ["entityimage", "new_contract", "new_photo"].map(str::to_owned).into(),
            secured: BTreeSet::new(),
        });
        let mut map = TableMap::new("account");
        map.columns.exclude.insert("new_photo".to_owned());
        let facts = TableFacts { change_tracking: true, ..TableFacts::default() };
        let mut table = Table {
            map: &map,
            source: Arc::clone(&schema),
            target: schema,
            source_facts: facts.clone(),
            target_facts: facts,
            columns: BTreeMap::new(),
            not_compared: Vec::new(),
            source_columns: BTreeSet::new(),
            target_columns: BTreeSet::new(),
            source_keys: BTreeSet::new(),
            target_keys: BTreeSet::new(),
            page_rows: 10,
            deletes_max: 0,
        };
        table.choose(&Mapping::default());
        assert_eq!(table.not_compared, [not_compared("new_contract", FILE)]);
    }
}
