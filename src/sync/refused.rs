//! What a refusal of a write leads to: the 412 race, a row that is not there, names that changed, another try, or the end.
//!
//! **The race.** Two upserts of a missing row: the loser gets 412 with a duplicate-key code. It is never judged by the
//! status and never a failure of the event. `same-source`: the row is read back by our own identity; if it
//! holds what we wanted to write we are done (`raced`), else the write is repeated, which now updates.
//! `multi-source`: it is repeated at once. A third duplicate is a real conflict: another row holds a unique key. Rows pass keys on,
//! and events overtake each other, so that is waited for a while before it is parked.

use super::failure::Failure;
use super::pause::{before_next, race_pause};
use super::work::Work;
use super::write::{Attempt, RowToWrite, WriteDone, differing, read};
use crate::chance::jitter;
use crate::dataverse::body::{Mode, is_writable};
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::metadata::cache::Refreshed;
use crate::dataverse::url::Address;
use crate::dataverse::write::{Precondition, Written};
use crate::domain::mapping::DuplicateKey;
use crate::domain::value::{Columns, RowRef};

/// Duplicate-key answers before it is a real conflict: the race's own, and one more after the repeated write.
const DUPLICATES_MAX: u32 = 2;
/// Claims of an event that may end with a conflict over a unique key before a person has to look: with their pauses about five
/// minutes, longer than events overtake each other. Keys that rows pass on (A to B, B to A) end well in every order so.
const CONFLICTS_MAX: u32 = 8;

/// Judges a refusal: `Some` ends the write, `None` tries again.
pub(super) async fn refused(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &Columns,
    address: &Address,
    precondition: &Precondition,
    error: DataverseError,
    state: &mut Attempt,
) -> Result<Option<WriteDone>, Failure> {
    state.attempts += 1;
    if error.wants_refresh() {
        return Err(refreshed(work, row, error.into()).await);
    }
    match error.kind() {
        Kind::DuplicateKey { .. } => return raced(work, row, columns, address, error, state).await,
        Kind::AlreadyExists => Ok(()),
        // a create that is repeated meets its own row, which takes no column that only a create may set
        Kind::Invalid if !state.narrowed && *precondition == Precondition::None && has_create_only(row, columns) => {
            (state.narrowed, state.exists) = (true, true);
            Ok(())
        }
        // ledger first, then the target, then the lease again (R4)
        Kind::VersionMismatch => work.renew().await,
        Kind::RowMissing if matches!(precondition, Precondition::Exists | Precondition::Etag(_)) => {
            if !row.may_create {
                return Ok(Some(WriteDone { missing: true, ..WriteDone::default() }));
            }
            // more was written to it than this event says
            if row.exists {
                return Err(Failure::Vanished);
            }
            // deleted behind our back: the event is newer than any delete we know of, so it makes the row anew
            (state.exists, state.known_id) = (false, state.known_id.filter(|_| matches!(row.row, RowRef::Id(_))));
            Ok(())
        }
        Kind::Unknown => {
            work.unanswered();
            before_next(work, state.attempts, None, error).await.map_err(|_| Failure::Unsettled {
                reason: "a request without an answer may still take effect".to_owned(),
                after: work.limits.settle + work.limits.clock_skew,
            })
        }
        Kind::Once if !std::mem::replace(&mut state.once, true) => before_next(work, 1, None, error).await,
        Kind::Throttled | Kind::Transient | Kind::NotSent => {
            before_next(work, state.attempts, error.retry_after(), error).await
        }
        Kind::RowMissing
        | Kind::ParentMissing { .. }
        | Kind::NamesWrong
        | Kind::Once
        | Kind::SlowTransient
        | Kind::PluginRefused
        | Kind::StatePair
        | Kind::ReadOnlyRow
        | Kind::DeleteRestricted
        | Kind::RequiredMissing
        | Kind::OwnerInvalid
        | Kind::Invalid
        | Kind::Misconfigured
        | Kind::Privilege
        | Kind::Unauthorized
        | Kind::Disabled
        | Kind::Address(_)
        | Kind::OutOfTime
        | Kind::Protocol => Err(error.into()),
    }
    .map(|()| None)
}

/// The 412 race.
async fn raced(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &Columns,
    address: &Address,
    error: DataverseError,
    state: &mut Attempt,
) -> Result<Option<WriteDone>, Failure> {
    state.duplicates += 1;
    if state.duplicates > DUPLICATES_MAX {
        let Kind::DuplicateKey { attributes, .. } = error.kind() else { return Err(error.into()) };
        let names: Vec<&str> = attributes.0.iter().map(|(column, _)| column.as_str()).collect();
        let names = if names.is_empty() { "not told".to_owned() } else { names.join(", ") };
        let reason = format!("duplicate_key: another row of the target holds a unique key ({names}); {error}");
        // what makes that row give it up in the source (a delete, another value) may be an event on its way
        let waits = work.claim.attempts < CONFLICTS_MAX;
        return Err(if waits { Failure::not_now(reason) } else { Failure::never(reason) });
    }
    tokio::time::sleep(race_pause(jitter())).await;
    if row.table.duplicate_key == DuplicateKey::SameSource && *address != Address::New {
        let existing = read(work, row, address, columns).await?;
        if let Some(existing) = existing {
            state.exists = true;
            if differing(row, columns, &existing).is_empty() {
                let written = Written { id: Some(existing.id), created: Some(false), etag: existing.etag };
                return Ok(Some(WriteDone { written, raced: true, ..WriteDone::default() }));
            }
        }
    }
    Ok(None)
}

fn has_create_only(row: &RowToWrite<'_>, columns: &Columns) -> bool {
    let create_only =
        |name: &String| row.schema.columns.get(name).is_some_and(|column| !is_writable(column, Mode::Update));
    columns.keys().any(create_only)
}

/// Asks for the metadata again: if the names changed, the event is mapped anew, else `failure` stands.
pub(super) async fn refreshed(work: &mut Work<'_>, row: &RowToWrite<'_>, failure: Failure) -> Failure {
    let call = match work.ready().await {
        Ok((call, _)) => call,
        Err(other) => return other,
    };
    match work.target.schemas.refresh(&call, &row.schema.name).await {
        Ok(Refreshed::Changed) => Failure::NamesChanged,
        Ok(Refreshed::Same | Refreshed::TooSoon) => failure,
        Err(error) => error.into(),
    }
}
