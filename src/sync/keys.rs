//! Rows that the target knows by an alternate key: where their history is, and which row may use which key value (R10).
//!
//! **One history per row.** An event that names its row by the source's GUID belongs in the partition of that GUID, so
//! renames (a changed key value) and deletes that carry no key meet everything else about the row. An event that
//! names its row by key alone belongs in the partition of that key. The two meet because a key's partition may lead
//! elsewhere (`RowState::moved`): whoever claims it finds that under its own lease and goes on there. The other way
//! round, a row that was begun by key draws in the row of the first GUID that turns up with that key.
//!
//! **One row per key value.** Before a row is written *by* a key, or a key value is written *into* a row, the key's
//! partition is made to lead to the row's, in a write conditional on what was read. If it leads to another row's, that
//! row has to have let go first: it is deleted, or has another key by our last finished write, nobody works on it and
//! no unfinished work may have given it the key. Else the event waits. The source holds the key unique too, so what
//! takes the key away there (a delete, a rename) is an event that is on its way; with a source configured the row is
//! read there instead, and the key it has now counts. Every taking leaves a new version of the pointer behind, the
//! owner's own repeated taking included, so that of two rows that decide at the same moment one fails and decides anew.
//!
//! **Crashes.** A pointer without a finished write is harmless: its row counts as not having the key unless its claim
//! noted key columns as touched, and then the event that did that is owed and comes back. A row that lets a key
//! go marks its pointer, which the purge removes when it is as old as tombstones become (`ledger::purge`): until then an
//! event by the old key is told that the row has another one (`key_changed`), after that the key is nobody's. A worker
//! that dies before it marks leaves a pointer of about 200 bytes for ever.
//!
//! A row once found by key is written and deleted by the target's GUID from then on, so the key need not be known again.

use super::failure::Failure;
use super::job::Job;
use super::work::Work;
use crate::dataverse::url::KeyParts;
use crate::domain::event::ChangeEvent;
use crate::domain::map::key_of;
use crate::domain::mapping::{Identity, TableMap};
use crate::domain::partition::Partition;
use crate::domain::row::RowState;
use crate::domain::value::{Columns, RowRef, Value};
use crate::ledger::claim::Ledger;
use std::time::Duration;

/// Partitions that one event may be led through: from its own to its home, and once more if that moved meanwhile.
pub(super) const HOPS_MAX: u32 = 4;
/// Conflicts over one key value before the event comes back later.
const ROUNDS_MAX: u32 = 4;
/// When to look again whether a key was let go, and whether a row became known.
const LATER: Duration = Duration::from_secs(2);

/// The source's GUID of a row that the target knows by key, if the event names it: what its history is kept under.
pub(super) fn by_source_id<'a>(table: &TableMap, event: &'a ChangeEvent) -> Option<&'a RowRef> {
    let by_id = matches!((&table.identity, &event.row), (Identity::Key(_), RowRef::Id(_)));
    by_id.then_some(&event.row)
}

/// Why an event cannot be worked on that does not say which row it is about, and what to do.
pub(super) fn not_told(table: &str, missing: &[String]) -> String {
    let missing = if missing.is_empty() { "its key".to_owned() } else { missing.join(", ") };
    format!(
        "identity_missing: neither the event nor the ledger knows the key of this row of {table} ({missing}); \
         register an image with it (post image for updates, pre image for deletes), or set SOURCE_URL"
    )
}

/// Whose a key value is.
pub(super) enum Right {
    Ours(String),
    Others(String),
}

/// Makes sure that the row may have the key it will have after this write, as far as the write uses or changes it. The
/// partition of the key that it has then.
pub(super) async fn before_write(
    work: &mut Work<'_>,
    job: &Job<'_>,
    state: &RowState,
    send: &Columns,
) -> Result<Option<String>, Failure> {
    let Identity::Key(columns) = &job.table.identity else { return Ok(None) };
    if job.link.is_some() {
        return Ok(None);
    }
    check_named(job, state)?;
    let changes = columns.iter().any(|column| send.contains_key(column));
    // a comparison has seen which key the row has: its row is learnt with it
    let seen = job.was_there() && named(job).is_some();
    if state.target.is_some() && !changes && !seen {
        return Ok(state.key.clone());
    }
    if state.target.is_some() && columns.iter().any(|column| send.get(column) == Some(&Value::Null)) {
        return Ok(None);
    }
    let Some(parts) = after(job, columns, send) else { return Err(unknown(job, columns)) };
    match right(work, job, state, &parts).await? {
        Right::Ours(key) => Ok(Some(key)),
        Right::Others(key) => Err(taken(work, job, &key)),
    }
}

/// The event waits for the key.
pub(super) fn taken(work: &mut Work<'_>, job: &Job<'_>, key: &str) -> Failure {
    work.claim.waits_for(key);
    let reason = format!(
        "key_taken: another row of {} has this key; its delete or its new key must come first (are deletes \
         registered, and is the key unique in the source?)",
        job.schema.name
    );
    Failure::OutOfOrder { reason, after: LATER }
}

/// The partition of the key that a comparison's row has, in a table known by key.
pub(super) fn partition_of(job: &Job<'_>) -> Option<String> {
    let by_key = matches!(job.table.identity, Identity::Key(_)) && job.link.is_none();
    let row = named(job).filter(|_| by_key).map(|parts| RowRef::Key(parts.clone()))?;
    Some(Partition::of(&job.schema.name, &row).key().to_owned())
}

/// Whether there is a row of ours to delete. A key value that another row has is none of ours.
pub(super) async fn may_delete(work: &mut Work<'_>, job: &Job<'_>, state: &RowState) -> Result<bool, Failure> {
    let Identity::Key(columns) = &job.table.identity else { return Ok(true) };
    check_named(job, state)?;
    if state.target.is_some() {
        return Ok(true);
    }
    // deleted before and never back; or created for all we know, and never written by us
    if state.tombstone.is_some() || state.born.is_some() {
        return Ok(false);
    }
    if let Some(parts) = named(job) {
        return Ok(matches!(right(work, job, state, parts).await?, Right::Ours(_)));
    }
    // an event of this row told its key, and could not be written because another row has that
    let home = work.claim.partition.as_str();
    if let Some(key) = &state.wanted
        && let Some(found) = work.ledger.row(key).await?
        && found.record.state.moved.as_deref().is_some_and(|owner| owner != home)
    {
        return Ok(false);
    }
    Err(unknown(job, columns))
}

fn unknown(job: &Job<'_>, columns: &[String]) -> Failure {
    Failure::OutOfOrder { reason: not_told(&job.schema.name, columns), after: LATER }
}

/// The key that the event names its row by, or that it has after it.
fn named<'a>(job: &'a Job<'_>) -> Option<&'a KeyParts> {
    match &job.row {
        RowRef::Key(parts) if !parts.is_empty() => Some(parts),
        RowRef::Key(_) | RowRef::Id(_) => None,
    }
}

/// The key after the write: what is sent counts, the event tells the rest.
fn after(job: &Job<'_>, columns: &[String], send: &Columns) -> Option<KeyParts> {
    let mut parts = named(job).cloned().unwrap_or_default();
    for column in columns {
        if let Some(value) = send.get(column) {
            parts.insert(column.clone(), key_of(&job.schema, column, value)?);
        }
    }
    columns.iter().all(|column| parts.contains_key(column)).then_some(parts)
}

/// A row that got another key by events that name it by GUID is not found by its old key any more.
fn check_named(job: &Job<'_>, state: &RowState) -> Result<(), Failure> {
    let (RowRef::Key(_), Some(has)) = (&job.event.row, &state.key) else { return Ok(()) };
    if Partition::of(&job.schema.name, &job.row).key() == has {
        return Ok(());
    }
    Err(Failure::never(format!(
        "key_changed: the row of {} that had this key has another one now; let this sender name rows by GUID, or by the new key",
        job.schema.name
    )))
}

/// Takes the key value for the row that is being worked on, unless it is another's.
pub(super) async fn right(
    work: &mut Work<'_>,
    job: &Job<'_>,
    state: &RowState,
    parts: &KeyParts,
) -> Result<Right, Failure> {
    let key = Partition::of(&job.schema.name, &RowRef::Key(parts.clone())).key().to_owned();
    let home = work.claim.partition.clone();
    if key == home || state.key.as_deref() == Some(&key) {
        return Ok(Right::Ours(key));
    }
    for _ in 0..ROUNDS_MAX {
        let found = work.ledger.row(&key).await?;
        if let Some(stored) = &found {
            if work.ledger.is_held(&stored.record) {
                return Err(busy());
            }
            match &stored.record.state.moved {
                Some(owner) if *owner == home => {}
                Some(owner) if has_let_go(work, job, owner, &key).await? => {}
                Some(_) => return Ok(Right::Others(key)),
                None if stored.record.state.is_blank() => {}
                // begun by events that name it by key: this row is that one
                None if state.is_blank() => {
                    work.claim.leads_to(&key);
                    return Err(Failure::Moved { to: key });
                }
                None => return Ok(Right::Others(key)),
            }
        }
        if work.ledger.point(&key, found.as_ref(), &home).await? {
            return Ok(Right::Ours(key));
        }
    }
    Err(busy())
}

/// Whether the row that took a key does not have it any more, and no unfinished work may give it back.
async fn has_let_go(work: &Work<'_>, job: &Job<'_>, owner: &str, key: &str) -> Result<bool, Failure> {
    let Identity::Key(columns) = &job.table.identity else { return Ok(false) };
    let Some(stored) = work.ledger.row(owner).await? else { return Ok(true) };
    if work.ledger.is_held(&stored.record) {
        return Err(busy());
    }
    let state = &stored.record.state;
    let unsure = columns.iter().any(|column| state.touched.contains(column));
    Ok(!unsure && state.key.as_deref() != Some(key))
}

/// Marks the pointer of a key that the row does not have any more since its work was finished. Nothing depends on it.
pub(super) async fn note_let_go(ledger: &Ledger, home: &str, before: Option<String>, after: Option<&str>) {
    let Some(before) = before.filter(|before| Some(before.as_str()) != after && before != home) else { return };
    if let Err(error) = ledger.note_let_go(&before, home).await {
        tracing::debug!(%error, "the pointer of an old key value stays for ever");
    }
}

fn busy() -> Failure {
    Failure::Busy { reason: "key_busy: another row is using this key".to_owned(), after: LATER }
}
