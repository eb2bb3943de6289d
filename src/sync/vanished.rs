//! Rows that were written and are gone from the target, though no delete of them is known.
//!
//! Somebody deleted the row there, or it went with another row: a cascade. At the source it may have left that other row before
//! it was deleted; the event that says so then comes too late to save the row, and carries one lookup of all its columns. So
//! the row is made anew with everything that the source has now. Without a source only what the event says can be written:
//! the row is ambiguous then, and nothing of the rest is taken for written, so that whatever brings it again is sent.

use super::engine::Engine;
use super::failure::Failure;
use super::job::Job;
use super::work::Work;
use crate::domain::merge::WritePlan;
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;

impl Engine {
    /// Applies the event to a row that has nothing of what the ledger knows.
    pub(super) async fn apply_anew(&self, job: &Job<'_>, work: &mut Work<'_>) -> Result<(RowState, Outcome), Failure> {
        work.vanished = true;
        tracing::warn!(table = job.schema.name, row = %job.row, "a row has vanished from the target: it is made anew");
        if self.parts.source.is_some() {
            return self.apply_from_source(job, work).await;
        }
        self.apply(job, work).await
    }
}

/// What a row that was made anew does not have.
pub(super) fn forget(state: &mut RowState, written: &WritePlan) {
    for (_, lost) in state.columns.iter_mut().filter(|(name, _)| !written.send.contains_key(*name)) {
        lost.digest.clear();
        state.ambiguous = true;
    }
}
