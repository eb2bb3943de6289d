//! Writing a row: addresses, preconditions, bodies, again until the target has it. What a refusal leads to: `refused`.
//!
//! **Guards (R4).** With `guard = "lease"` a row that the ledger knows carries `If-Match: *`, so that a late update can't
//! bring back a row that was deleted. With `guard = "etag"` every write carries the ETag of a row read under the
//! lease, or `If-None-Match: *`; after a mismatch the ledger is asked first, then the target.
//!
//! **Two writes.** What no row can be born with (`birth`) follows the write that may be its birth.

use super::birth;
use super::failure::Failure;
use super::keys;
use super::lookups;
use super::parents::{self, Changed};
use super::pause::before_next;
use super::refused::{refreshed, refused};
use super::work::Work;
use crate::dataverse::body::{Mode, ResolvedLookups, add_key, encode, is_writable};
use crate::dataverse::equal;
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::read::Match;
use crate::dataverse::row::TargetRow;
use crate::dataverse::url::{Address, KeyParts, needs_query};
use crate::dataverse::write::{Precondition, WriteRequest, Written};
use crate::domain::disposition::Disposition;
use crate::domain::mapping::{Guard, TableMap};
use crate::domain::outcome::Applied;
use crate::domain::row::RowState;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Columns, Reference, RowRef, Value};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// One row to write, in the target's terms.
#[derive(Debug)]
pub(super) struct RowToWrite<'a> {
    pub(super) table: &'a TableMap,
    pub(super) schema: &'a TableSchema,
    /// The row's identity.
    pub(super) row: &'a RowRef,
    /// The target's GUID, if the ledger knows it.
    pub(super) known_id: Option<Uuid>,
    /// The ledger knows that the row exists.
    pub(super) exists: bool,
    /// Our loop marker.
    pub(super) tag: &'a str,
    /// Whether a row that is missing may be created.
    pub(super) may_create: bool,
    /// The version of what is written, in microseconds: parents live at least until then.
    pub(super) at: i64,
    /// Of what several events write together: each column has a version of its own there.
    pub(super) folded: Option<&'a RowState>,
}

impl RowToWrite<'_> {
    /// The version of what is written into a column, in microseconds.
    pub(super) fn at(&self, column: &str) -> i64 {
        let folded = self.folded.and_then(|state| state.written(column));
        folded.map_or(self.at, |written| written.version.at)
    }
}

/// How a write ended.
#[derive(Debug, Default)]
pub(super) struct WriteDone {
    pub(super) written: Written,
    pub(super) raced: bool,
    /// The row was not there and may not be created.
    pub(super) missing: bool,
    /// The target had all values already.
    pub(super) unchanged: bool,
    /// Lookups that were left out or cleared.
    pub(super) changed: Changed,
}

impl WriteDone {
    pub(super) fn applied(&self) -> Applied {
        match (self.raced, self.unchanged, self.written.created) {
            (true, _, _) => Applied::Raced,
            (false, true, _) => Applied::Unchanged,
            (false, false, Some(true)) => Applied::Created,
            (false, false, Some(false)) => Applied::Updated,
            (false, false, None) => Applied::Upserted,
        }
    }
}

/// What one attempt learnt.
pub(super) struct Attempt {
    pub(super) exists: bool,
    pub(super) known_id: Option<Uuid>,
    pub(super) duplicates: u32,
    pub(super) attempts: u32,
    pub(super) once: bool,
    /// Columns that only a create may set were left out, on the guess that the row exists.
    pub(super) narrowed: bool,
    /// What the first of two writes told, and everything that was to be written.
    first: Option<(Written, Columns)>,
    /// The first of two writes met a row that takes changes only together with its state.
    whole: bool,
}

impl Attempt {
    /// How the writes ended together: the first of two is the one that knows whether the row is new.
    fn done(&mut self, written: Written, unchanged: bool, changed: Changed) -> WriteDone {
        let first = self.first.take();
        let unchanged = unchanged && first.is_none();
        let written = match first {
            None => written,
            Some((first, _)) => Written { id: written.id.or(first.id), created: first.created, etag: written.etag },
        };
        WriteDone { written, raced: self.duplicates > 0, missing: false, unchanged, changed }
    }
}

/// Writes `columns` to the row until the target has them.
pub(super) async fn write(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &Columns,
    sources: &lookups::Sources<'_>,
) -> Result<WriteDone, Failure> {
    let mut changed = Changed::default();
    let mut columns = lookups::resolve(work, row, columns, sources, &mut changed).await?;
    parents::before_write(work, row, &mut columns, sources, &mut changed).await?;
    if columns.is_empty() && !changed.omitted.is_empty() && row.exists {
        // nothing is left of it but lookups that mean nothing here
        let known = Written { created: Some(false), ..Written::default() };
        return Ok(WriteDone { written: known, unchanged: true, changed, ..WriteDone::default() });
    }
    let mut state = Attempt {
        exists: row.exists,
        known_id: row.known_id,
        duplicates: 0,
        attempts: 0,
        once: false,
        narrowed: false,
        first: None,
        whole: false,
    };
    loop {
        if let Some((_, all)) = state.first.take_if(|_| !state.exists) {
            // the row went between the two writes
            columns = all;
        }
        let (address, found) = locate(work, row, &columns, &mut state).await?;
        let precondition = match (row.table.guard, &found, &address) {
            (_, _, Address::New) => Precondition::None,
            (Guard::Etag, Found::Row(existing), _) => {
                existing.etag.clone().map_or(Precondition::Exists, Precondition::Etag)
            }
            (Guard::Etag, Found::Missing, _) => Precondition::Absent,
            (_, _, _) if state.exists || !row.may_create => Precondition::Exists,
            _ => Precondition::None,
        };
        if matches!(found, Found::Missing) && !row.may_create {
            return Ok(WriteDone { missing: true, changed, ..WriteDone::default() });
        }
        if matches!(found, Found::Missing) && row.exists {
            return Err(Failure::Vanished);
        }
        let send = match &found {
            Found::Row(existing) => differing(row, &columns, existing),
            Found::Missing | Found::NotAsked => columns.clone(),
        };
        let is_birth = matches!(precondition, Precondition::None | Precondition::Absent) && !state.whole;
        let later = if is_birth { birth::follows(row.schema, &send) } else { BTreeSet::new() };
        let send: Columns = send.into_iter().filter(|(name, _)| !later.contains(name)).collect();
        if later.is_empty() && send.is_empty() && !columns.is_empty() {
            let id = if let Found::Row(existing) = &found { Some(existing.id) } else { None };
            let known = Written { id, created: Some(false), ..Written::default() };
            return Ok(state.done(known, true, changed));
        }
        let mode = mode_of(&precondition, &address);
        let writable = writable(row, &send, mode);
        if writable.is_empty() && !send.is_empty() && mode == Mode::Update {
            // all that is left may only be set when a row is created
            let known = Written { created: Some(false), ..Written::default() };
            return Ok(state.done(known, true, changed));
        }
        let request = request(work, row, &writable, &address, precondition.clone(), &state).await?;
        let (call, permit) = work.ready().await?;
        work.sending();
        let answer = work.target.client.write(&call, request).await;
        drop(permit);
        match answer {
            Ok(written) if !later.is_empty() => {
                learn(&columns, sources);
                (state.exists, state.known_id) = (true, written.id.or(state.known_id));
                let rest = columns.iter().filter(|(name, _)| later.contains(*name));
                let rest = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
                state.first = Some((written, std::mem::replace(&mut columns, rest)));
            }
            Ok(written) => {
                learn(&columns, sources);
                return Ok(state.done(written, false, changed));
            }
            Err(error) if !later.is_empty() && *error.kind() == Kind::ReadOnlyRow => {
                (state.exists, state.whole) = (true, true);
            }
            Err(error) => {
                if let Kind::ParentMissing { table, id, .. } = error.kind() {
                    state.attempts += 1;
                    let told = (table.as_deref(), *id);
                    if !parents::missing(work, row, &mut columns, sources, &mut changed, told).await? {
                        before_next(work, state.attempts.min(4), None, error).await?;
                    }
                } else if let Some(done) =
                    refused(work, row, &columns, &address, &precondition, error, &mut state).await?
                {
                    return Ok(WriteDone { changed, ..done });
                }
            }
        }
    }
}

/// What a write refers to exists.
fn learn(columns: &Columns, sources: &lookups::Sources<'_>) {
    for value in columns.values() {
        if let Value::Lookup(Reference { table, row: RowRef::Id(id), .. }) = value {
            sources.known.learn(table, *id);
        }
    }
}

/// What is known of the row before a write.
enum Found {
    NotAsked,
    Missing,
    Row(TargetRow),
}

/// Where to write, and with `guard = "etag"` what is there now.
async fn locate(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &Columns,
    state: &mut Attempt,
) -> Result<(Address, Found), Failure> {
    let mut address = match (state.known_id, row.row) {
        (Some(id), _) => Address::Id(id),
        (None, RowRef::Id(id)) => Address::Id(*id),
        // known by the target's GUID alone, and the target has no such row any more
        (None, RowRef::Key(parts)) if parts.is_empty() => {
            let reason = keys::not_told(&row.schema.name, &[]);
            return Err(Failure::OutOfOrder { reason, after: Duration::from_secs(2) });
        }
        (None, RowRef::Key(parts)) => Address::Key(parts.clone()),
    };
    if let Address::Key(parts) = &address
        && needs_query(row.schema, parts)
    {
        // a key value that works in no address: find the row, or create it with the key in the body
        address = match by_query(work, row, parts).await? {
            Some(id) => {
                state.known_id = Some(id);
                state.exists = true;
                Address::Id(id)
            }
            None => Address::New,
        };
    }
    if row.table.guard == Guard::Lease || address == Address::New {
        return Ok((address, Found::NotAsked));
    }
    let found = read(work, row, &address, columns).await?;
    Ok((address, found.map_or(Found::Missing, Found::Row)))
}

async fn by_query(work: &mut Work<'_>, row: &RowToWrite<'_>, parts: &KeyParts) -> Result<Option<Uuid>, Failure> {
    let mut attempt = 0;
    loop {
        let (call, permit) = work.ready().await?;
        let found = work.target.client.resolve_key(&call, row.schema, parts).await;
        drop(permit);
        attempt += 1;
        match found {
            Ok(Match::Found(id)) => return Ok(Some(id)),
            Ok(Match::Missing) => return Ok(None),
            Ok(Match::Ambiguous) => {
                return Err(Failure::never("key_ambiguous: several rows of the target have this key"));
            }
            Err(error) => again(work, attempt, error).await?,
        }
    }
}

/// Reads the row's columns that are about to be written.
pub(super) async fn read(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    address: &Address,
    columns: &Columns,
) -> Result<Option<TargetRow>, Failure> {
    let names: BTreeSet<String> =
        columns.keys().filter(|name| row.schema.columns.contains_key(*name)).cloned().collect();
    let mut attempt = 0;
    loop {
        let (call, permit) = work.ready().await?;
        let found = work.target.client.read(&call, row.schema, address, &names).await;
        drop(permit);
        attempt += 1;
        match found {
            Ok(found) => return Ok(found),
            Err(error) => again(work, attempt, error).await?,
        }
    }
}

/// Waits before a read is repeated, or gives up.
async fn again(work: &Work<'_>, attempt: u32, error: DataverseError) -> Result<(), Failure> {
    match error.disposition() {
        Disposition::Retry { after } => before_next(work, attempt, after, error).await,
        Disposition::Defer { .. } | Disposition::Park | Disposition::Stop => Err(error.into()),
    }
}

/// The columns that the target does not have yet.
pub(super) fn differing(row: &RowToWrite<'_>, columns: &Columns, existing: &TargetRow) -> Columns {
    let names = equal::differing(row.schema, &existing.columns, columns);
    columns
        .iter()
        .filter(|(name, _)| names.contains(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn mode_of(precondition: &Precondition, address: &Address) -> Mode {
    match precondition {
        Precondition::None if *address == Address::New => Mode::Create,
        Precondition::None => Mode::Upsert,
        Precondition::Exists | Precondition::Etag(_) => Mode::Update,
        Precondition::Absent => Mode::Create,
    }
}

/// The columns that a write in this mode may set.
fn writable(row: &RowToWrite<'_>, columns: &Columns, mode: Mode) -> Columns {
    let allowed = |name: &String| row.schema.columns.get(name).is_none_or(|column| is_writable(column, mode));
    columns.iter().filter(|(name, _)| allowed(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

async fn request<'a>(
    work: &mut Work<'_>,
    row: &'a RowToWrite<'_>,
    columns: &Columns,
    address: &'a Address,
    precondition: Precondition,
    state: &Attempt,
) -> Result<WriteRequest<'a>, Failure> {
    let references = lookups::entity_sets(work, columns).await?;
    let mode = mode_of(&precondition, address);
    let encoded = encode(row.schema, columns, mode, address, &references).and_then(|mut body| {
        if let (Address::New, RowRef::Key(parts)) = (address, row.row) {
            add_key(row.schema, &mut body, parts, &ResolvedLookups::default())?;
        }
        Ok(body)
    });
    let body = match encoded {
        Ok(body) => body,
        Err(error) => {
            let failure = Failure::never(format!("value_not_writable: {error}"));
            return Err(if error.wants_refresh() { refreshed(work, row, failure).await } else { failure });
        }
    };
    let learn = !state.exists || state.known_id.is_none() && matches!(address, Address::Key(_));
    Ok(WriteRequest {
        schema: row.schema,
        address,
        body,
        precondition,
        tag: Some(row.tag),
        return_representation: learn,
    })
}
