//! `history`: what happened to one target row, read from its partition of the ledger (P7). Asks no environment, holds no
//! value of a row: versions, times and words only.
//!
//! A row that is known by a key is looked for under every type that a value given as text can have, because only the target's
//! metadata knows which one it is, and the history must be readable while the target is not. For the same reason a
//! many-to-many link is looked for in both orders of its rows.

use super::{UnknownTable, table_named, time};
use crate::domain::event::EventId;
use crate::domain::mapping::{Identity, Mapping, TableMap};
use crate::domain::partition::Partition;
use crate::domain::value::{KeyPart, Number, RowRef};
use crate::domain::version::Version;
use crate::ledger::claim::{Ledger, LedgerError};
use crate::ledger::record::{EventRecord, Phase, RowRecord};
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Events shown of one row.
pub const EVENTS_MAX: usize = 10_000;
/// How far a key value is followed.
const MOVES_MAX: usize = 4;
/// Partitions looked into for a row that is known by a key.
const CANDIDATES_MAX: usize = 64;

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The table is not in the mapping.
    #[error(transparent)]
    Table(#[from] UnknownTable),
    /// The row is not named as the table's rows are.
    #[error("{0}")]
    Row(String),
    /// The ledger could not be read.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
}

/// What is known of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// Target table and identity, as the ledger names it.
    pub row: String,
    /// Its partition in the ledger's table.
    pub partition: String,
    /// What came, in the order in which it was handled.
    pub events: Vec<EventLine>,
    /// There are more events than are shown.
    pub more: bool,
    /// What the ledger knows of the row now; `None` if nothing was ever worked on.
    pub state: Option<StateView>,
}

impl History {
    /// Whether the ledger knows nothing of the row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.state.is_none()
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventLine {
    /// Its id.
    pub id: String,
    /// The sender's source, if the id has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// create, update, delete, ...
    pub operation: String,
    /// The outcome's word; `owed`, or `working` while it has none.
    pub outcome: String,
    /// The outcome's detail or reason.
    pub detail: String,
    /// When it arrived.
    pub arrived: String,
    /// When its record was first written.
    pub first: String,
    /// When it was last written: handled, if it has an outcome.
    pub updated: String,
    /// How often it was claimed.
    pub attempts: u32,
    /// How often a person had it run again.
    pub replays: u32,
    /// How many other events of the row were claimed, written and ended with it, because they came together.
    pub folded_with: u32,
    /// When it happened as its sender says, with what orders it further if something of it is still in the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Columns that it carries, by the source's names; of very many the first.
    pub columns: Vec<String>,
    /// Columns of the target row that still hold what it wrote.
    pub holds: Vec<String>,
}

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateView {
    /// Per column, what orders the value that was last written.
    pub columns: BTreeMap<String, String>,
    /// Columns of which only the next write makes sure: a write of them was not confirmed.
    pub in_doubt: Vec<String>,
    /// The version of the latest delete.
    pub deleted: Option<String>,
    /// Whether that delete is the last that happened to it.
    pub is_deleted: bool,
    /// Whether it is known to exist in the target.
    pub exists: bool,
    /// Since when it waits for the event that makes more of it than a placeholder.
    pub placeholder_since: Option<String>,
    /// Two events tied and arrival decided: compare it with the source.
    pub ambiguous: bool,
    /// Its GUID in the target, if known.
    pub target_id: Option<Uuid>,
    /// Who works on it.
    pub lease: Option<LeaseView>,
    /// How often it was claimed.
    pub claims: u64,
}

/// A lease that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseView {
    /// The holder's token.
    pub holder: Uuid,
    /// Until when, by the holder's clock.
    pub until: String,
}

/// What happened to a row. `table`: by either side's name; `row`: a GUID, or `column=value,...` for a table that is known
/// by a key. For a link `table` is the relationship and `row` both GUIDs with a comma between. One round trip per thousand
/// events, and per form that a key's value may have.
///
/// # Errors
/// [`HistoryError`].
pub async fn history(
    ledger: &Ledger,
    mapping: &Mapping,
    table: &str,
    row: &str,
    now_ms: i64,
) -> Result<History, HistoryError> {
    history_within(ledger, mapping, table, row, now_ms, EVENTS_MAX).await
}

/// The same, with at most `events_max` events: which of more is told is not said, the order of the ledger is that of their ids.
///
/// # Errors
/// [`HistoryError`].
pub async fn history_within(
    ledger: &Ledger,
    mapping: &Mapping,
    table: &str,
    row: &str,
    now_ms: i64,
    events_max: usize,
) -> Result<History, HistoryError> {
    let (name, rows) = match (table_named(mapping, table), link_named(row)) {
        (Ok(table), _) => (table.target.clone(), rows_named(table, row).map_err(HistoryError::Row)?),
        (Err(_), Some(rows)) => (format!("link.{}", table.trim().to_lowercase()), rows),
        (Err(unknown), None) => return Err(unknown.into()),
    };
    let mut first = None;
    for row in rows {
        let partition = Partition::of(&name, &row);
        let (mut state, mut events) = ledger.history(partition.key(), events_max.saturating_add(1)).await?;
        // a key value that was given to the row later leads to the row's history
        for _ in 0..MOVES_MAX {
            let Some(home) = state.as_ref().and_then(|row| row.state.moved.clone()) else { break };
            let (there, more) = ledger.history(&home, events_max.saturating_add(1)).await?;
            state = there;
            events.extend(more);
        }
        let found = told(&partition, state.as_ref(), &events, now_ms, events_max);
        if !found.is_empty() {
            return Ok(found);
        }
        first.get_or_insert(found);
    }
    first.ok_or_else(|| HistoryError::Row("the row is not named".to_owned()))
}

/// Both rows of a link, in either order: which one is the first only the target's metadata knows.
fn link_named(row: &str) -> Option<Vec<RowRef>> {
    let (one, other) = row.split_once(',')?;
    let (one, other) = (Uuid::try_parse(one.trim()).ok()?, Uuid::try_parse(other.trim()).ok()?);
    let link = |first, second| {
        let ends = [("first", first), ("second", second)];
        RowRef::Key(ends.map(|(end, id)| (end.to_owned(), KeyPart::Guid(id))).into())
    };
    Some(vec![link(one, other), link(other, one)])
}

/// What `row` may mean in this table, the likeliest first.
fn rows_named(table: &TableMap, row: &str) -> Result<Vec<RowRef>, String> {
    let row = row.trim();
    let key = match &table.identity {
        Identity::Id => {
            let id = Uuid::try_parse(row);
            let id = id.map_err(|_| format!("`{row}` is no GUID; rows of {} are known by their GUID", table.source))?;
            return Ok(vec![RowRef::Id(id)]);
        }
        Identity::Key(columns) => columns,
    };
    let usage = || {
        let form: Vec<String> = key.iter().map(|column| format!("{column}=<value>")).collect();
        format!("rows of {} are known by their key; name the row as {}", table.source, form.join(","))
    };
    let mut candidates: Vec<BTreeMap<String, KeyPart>> = vec![BTreeMap::new()];
    let mut seen = 0;
    for part in split(row) {
        let (column, value) = part.split_once('=').ok_or_else(usage)?;
        let name = column.trim().to_ascii_lowercase();
        let column = table.columns.resolved(&name);
        if !key.iter().any(|known| known == column) {
            return Err(usage());
        }
        seen += 1;
        let forms = forms(value.trim());
        let with = |parts: &BTreeMap<String, KeyPart>, form: &KeyPart| {
            let mut parts = parts.clone();
            parts.insert(column.to_owned(), form.clone());
            parts
        };
        candidates = candidates
            .iter()
            .flat_map(|parts| forms.iter().map(move |form| with(parts, form)))
            .take(CANDIDATES_MAX)
            .collect();
    }
    let whole = seen == key.len() && candidates.iter().all(|parts| parts.len() == key.len());
    if whole { Ok(candidates.into_iter().map(RowRef::Key).collect()) } else { Err(usage()) }
}

/// `a=1,b='x,y'` at its commas; those between quotes belong to a value.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '\'';
        c == ',' && !quoted
    })
    .collect()
}

/// The types that a key's value may have. What is quoted is text.
fn forms(value: &str) -> Vec<KeyPart> {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return vec![KeyPart::Text(inner.replace("''", "'"))];
    }
    let mut forms = vec![KeyPart::Text(value.to_owned())];
    forms.extend(Number::parse(value).ok().map(KeyPart::Number));
    forms.extend(Uuid::try_parse(value).ok().map(KeyPart::Guid));
    forms.extend(DateTime::parse_from_rfc3339(value).ok().map(|at| KeyPart::DateTime(at.to_utc())));
    forms
}

fn told(
    partition: &Partition,
    row: Option<&RowRecord>,
    events: &[EventRecord],
    now_ms: i64,
    events_max: usize,
) -> History {
    let mut sorted: Vec<&EventRecord> = events.iter().take(events_max).collect();
    sorted.sort_by_key(|event| (event.updated_ms, event.arrival_ms));
    History {
        row: partition.canonical().to_owned(),
        partition: partition.key().to_owned(),
        events: sorted.into_iter().map(|event| line(event, row, now_ms)).collect(),
        more: events.len() > events_max,
        state: row.map(|row| view(row, now_ms)),
    }
}

fn line(event: &EventRecord, row: Option<&RowRecord>, now_ms: i64) -> EventLine {
    let lease = row.and_then(|row| row.lease).filter(|lease| lease.until_ms > now_ms);
    let (outcome, detail) = match (event.phase, &event.outcome) {
        (Phase::Claimed(owner), _) if lease.is_some_and(|lease| lease.owner == owner) => ("working", String::new()),
        (Phase::Claimed(_), _) => ("owed", "its worker is gone".to_owned()),
        (Phase::Owed, _) => ("owed", String::new()),
        (Phase::Done | Phase::Parked, Some(outcome)) => (outcome.name(), outcome.detail().to_owned()),
        (Phase::Done | Phase::Parked, None) => ("unknown", "the record has no outcome".to_owned()),
    };
    let mark = event.id.fingerprint();
    let written =
        row.into_iter().flat_map(|row| &row.state.columns).filter(|(_, written)| written.version.event == mark);
    let holds: Vec<_> = written.clone().map(|(column, _)| column.clone()).collect();
    let version = written.map(|(_, written)| &written.version).next().or_else(|| {
        let tombstone = row.and_then(|row| row.state.tombstone.as_ref());
        tombstone.filter(|tombstone| tombstone.event == mark)
    });
    EventLine {
        id: EventId::id(&event.id).to_owned(),
        source: event.id.source().map(str::to_owned),
        operation: event.operation.clone(),
        outcome: outcome.to_owned(),
        detail,
        arrived: time(event.arrival_ms),
        first: time(event.first_ms),
        updated: time(event.updated_ms),
        attempts: event.attempts,
        replays: event.replays,
        folded_with: event.folded.saturating_sub(1),
        version: version.map(version_text).or_else(|| event.at.map(at_text)),
        columns: event.columns.clone(),
        holds,
    }
}

fn view(row: &RowRecord, now_ms: i64) -> StateView {
    let state = &row.state;
    let lease = row.lease.filter(|lease| lease.until_ms > now_ms);
    StateView {
        columns: state.columns.iter().map(|(name, written)| (name.clone(), version_text(&written.version))).collect(),
        in_doubt: state.touched.iter().cloned().collect(),
        deleted: state.tombstone.as_ref().map(version_text),
        is_deleted: state.is_deleted(),
        exists: state.exists,
        placeholder_since: state.placeholder_ms.map(time),
        ambiguous: state.ambiguous,
        target_id: state.target,
        lease: lease.map(|lease| LeaseView { holder: lease.owner, until: time(lease.until_ms) }),
        claims: row.epoch,
    }
}

/// Below this many microseconds (March 1973) a version is a number of the sender's own and no time.
const TIMES_FROM: i64 = 100_000_000_000_000;

fn at_text(at: i64) -> String {
    let time = DateTime::from_timestamp_micros(at).filter(|_| at >= TIMES_FROM);
    time.map_or_else(|| at.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// The time of a version, with its refinement: `2026-01-05T08:00:00Z #1234`.
fn version_text(version: &Version) -> String {
    let at = at_text(version.at);
    version.refinement.map_or(at.clone(), |refinement| format!("{at} #{refinement}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed() -> TableMap {
        let mut table = TableMap::new("contact");
        table.identity = Identity::Key(vec!["cr_no".to_owned(), "cr_scope".to_owned()]);
        table.columns.rename.insert("new_no".to_owned(), "cr_no".to_owned());
        table
    }

    #[test]
    fn a_key_is_looked_for_under_every_type_it_may_have() {
        let found = rows_named(&keyed(), "new_no=7, cr_scope='a, ''b'").unwrap();
        let expected: Vec<_> = [KeyPart::Text("7".to_owned()), KeyPart::Number(7.into())]
            .into_iter()
            .map(|no| {
                let scope = KeyPart::Text("a, 'b".to_owned());
                RowRef::Key([("cr_no".to_owned(), no), ("cr_scope".to_owned(), scope)].into())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_link_is_two_guids_in_either_order() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let found = link_named(&format!("{one}, {two}")).unwrap();
        assert_eq!(found[0].to_string(), format!("first={one},second={two}"));
        assert_eq!(found[1].to_string(), format!("first={two},second={one}"));
        assert!(link_named(&one.to_string()).is_none() && link_named("name=a,city=b").is_none());
    }

    #[test]
    fn a_row_named_in_another_way_is_told_how() {
        for given in ["", "x", "cr_no=1", "cr_no=1,cr_no=2", "other=1,cr_no=2", "cr_no=1,cr_scope=2,cr_no=3"] {
            let error = rows_named(&keyed(), given).unwrap_err();
            assert!(error.contains("cr_no=<value>,cr_scope=<value>"), "{given}: {error}");
        }
        assert!(rows_named(&TableMap::new("account"), "cr_no=1").unwrap_err().contains("is no GUID"));
    }
}
