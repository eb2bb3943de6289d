//! Events of a comparison of both environments (reconcile): how far what was seen then still counts under the lease.
//!
//! A comparison reads pages, so its event may be minutes old when its turn comes. Its values are ordered by the row's
//! `modifiedon` like those of any event, and what the versions seem to speak against is read from the source again, under
//! the lease. A delete is never believed: the source must not have the row *now*.

use super::apply::version;
use super::engine::Engine;
use super::failure::Failure;
use super::filter;
use super::job::Job;
use super::keys;
use super::paired::{self, KeyLed};
use super::work::Work;
use crate::domain::delivery::Unfinished;
use crate::domain::digest;
use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::merge::{Done, WritePlan, advance};
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use crate::domain::value::{RowRef, Value};
use crate::domain::version::{Scale, Stamp};
use crate::ledger::adopt::Adopted;
use crate::ledger::claim::LedgerError;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Whether a comparison saw a row in the target that the source does not have.
pub(super) fn is_absence(event: &ChangeEvent) -> bool {
    event.origin.comparison.is_some() && event.operation == Operation::Delete
}

/// Whether a person asked for this delete, knowing how many there are.
pub(super) fn is_decided(event: &ChangeEvent) -> bool {
    event.origin.comparison.as_ref().is_some_and(|comparison| comparison.decided)
}

impl Job<'_> {
    /// Whether a comparison saw the row in the target.
    pub(super) fn was_there(&self) -> bool {
        self.link.is_none() && self.event.origin.comparison.as_ref().is_some_and(|comparison| !comparison.missing)
    }

    /// The row that a comparison saw there, in a table known by key.
    pub(super) fn seen(&self) -> Option<Uuid> {
        self.event.origin.comparison.as_ref().filter(|_| self.was_there()).and_then(|comparison| comparison.target)
    }
}

/// The row as the source has it now, in the columns that were compared: what the comparison left out (a text that does not
/// fit, a secured column) stays out. It is there, whatever the ledger says of a delete; and a comparison does not choose
/// the row's scale: the events of the table may have another one.
pub(super) fn presence(mut event: ChangeEvent, compared: &ChangeEvent, state: &RowState) -> ChangeEvent {
    event.columns.retain(|column, _| compared.columns.contains_key(column));
    if state.scale != Some(Scale::RowVersion) {
        event.stamp.row_version = None;
    }
    let deleted_at = state.tombstone.as_ref().map(|tombstone| tombstone.at);
    if let (Some(at), Some(deleted_at)) = (event.stamp.at, deleted_at) {
        event.stamp.at = Some(at.max(deleted_at.saturating_add(1)));
    }
    event
}

/// The columns in which the target differs from what the source has now: those that were seen to differ, and those that have
/// changed at the source since.
pub(super) fn differs_now(before: &Job<'_>, now: &Job<'_>) -> Option<BTreeSet<String>> {
    let mut differs = before.differs.clone()?;
    let changed = now.mapped.columns.iter().filter(|(name, value)| before.mapped.columns.get(*name) != Some(value));
    differs.extend(changed.map(|(name, _)| name.clone()));
    Some(differs)
}

/// What became of a row that was seen to be equal on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The ledger had never seen it, and has learnt its versions.
    Learnt,
    /// The ledger knows it like this.
    Known,
    /// The ledger holds something else for written: the event must be handled, so that it learns.
    Behind,
    /// It is not for us.
    Ignored,
}

impl Engine {
    /// Makes the ledger know a row that a comparison saw to be equal on both sides: nothing is sent to the target. Then an
    /// event that is older than what was seen is stale, however late it comes. `target`: the row's GUID there.
    ///
    /// # Errors
    /// [`Unfinished`]: nothing is known; doing it again is safe.
    pub async fn adopt(&self, event: &ChangeEvent, target: Uuid) -> Result<Adoption, Unfinished> {
        let unfinished = |failure: Failure| {
            let (reason, retry_after) = failure.told();
            Unfinished { reason, retry_after }
        };
        let parts = &self.parts;
        let Ok(table) = filter::judge(&parts.mapping, event, &parts.tag, None) else { return Ok(Adoption::Ignored) };
        let deadline = parts.clock.monotonic().saturating_add(parts.mapping.limits.queue_deadline);
        let schema = self.schema(&table.target, deadline).await.map_err(unfinished)?;
        let Ok(job) = self.job(event, table, schema).map_err(unfinished)? else { return Ok(Adoption::Ignored) };
        let arrival_ms = parts.clock.now().timestamp_millis();
        let version = version(&RowState::default(), event, arrival_ms);
        let seen = WritePlan { advance: job.mapped.columns.clone(), ..WritePlan::default() };
        let mut state = advance(&RowState::default(), &version, &Done::Written(&seen), &job.groups);
        state.exists = true;
        state.target = Some(target);
        let failed = |error: LedgerError| unfinished(error.into());
        let known = match (keys::partition_of(&job), &event.row) {
            (Some(key), RowRef::Id(id)) => match paired::lead(&parts.ledger, &job, *id, &key).await.map_err(failed)? {
                // what was learnt without its key is learnt again
                KeyLed::Known(known) if known.key.is_none() || known.target != Some(target) => {
                    return Ok(Adoption::Behind);
                }
                KeyLed::Known(known) => Some(known),
                KeyLed::Elsewhere => return Ok(Adoption::Behind),
                KeyLed::There => {
                    state.key = Some(key);
                    None
                }
            },
            _ => None,
        };
        let known = match known {
            Some(known) => known,
            None => match parts.ledger.adopt(job.partition.key(), &state).await.map_err(failed)? {
                Adopted::Learnt => return Ok(Adoption::Learnt),
                Adopted::Known(known) => known,
            },
        };
        let behind = |(name, value): (&String, &Value)| match known.written(name) {
            Some(written) => written.digest != digest::value(value) && version.at >= written.version.at,
            None => false,
        };
        Ok(if known.is_deleted() || seen.advance.iter().any(behind) { Adoption::Behind } else { Adoption::Known })
    }

    /// The source does not have the row, and the row is ours: the delete is later than everything that was written.
    pub(super) async fn apply_absence(
        &self,
        job: &Job<'_>,
        state: &RowState,
        work: &mut Work<'_>,
    ) -> Result<(RowState, Outcome), Failure> {
        let written = state.columns.values().map(|written| written.version.at);
        let others =
            [state.born.as_ref().map(|born| born.at), state.tombstone.as_ref().map(|gone| gone.at), state.alive_at];
        let latest = written.chain(others.into_iter().flatten()).max();
        let at = job.event.stamp.at.max(latest.map(|at| at.saturating_add(1)));
        let event = ChangeEvent { stamp: Stamp { at, ..Stamp::default() }, ..job.event.clone() };
        match self.job(&event, job.table, Arc::clone(&job.schema))? {
            Ok(gone) => self.apply(&Job { witness: true, ..gone }, work).await,
            Err(ignored) => Ok((work.claim.state_before(), Outcome::Ignored(ignored))),
        }
    }
}
