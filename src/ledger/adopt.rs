//! Learning a row that was never seen, without a claim: nothing is sent to the target, so there is nothing to fence. One
//! conditional insert; whoever knows the row already knows it better.

use super::claim::{Ledger, LedgerError};
use super::record::RowRecord;
use super::store::{Commit, Expect, StoreError};
use crate::domain::row::RowState;

/// Not the key of any event: the row alone is read.
const NO_EVENT: &str = "event:";

/// The answer to [`Ledger::adopt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The ledger has learnt the row.
    Learnt,
    /// It knew the row before; nothing was changed.
    Known(Box<RowState>),
}

impl Ledger {
    /// Learns a row unless it is known. One round trip for rows that are known, two for others.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; doing it again is safe.
    pub async fn adopt(&self, partition: &str, state: &RowState) -> Result<Adopted, LedgerError> {
        let record = RowRecord { state: state.clone(), ..RowRecord::default() };
        // a conflict or a lost answer is judged by what is there then
        for _ in 0..2 {
            if let Some(found) = self.store.read(partition, NO_EVENT).await?.row {
                return Ok(Adopted::Known(Box::new(found.record.state)));
            }
            match self.store.commit(Commit { partition, row: (&record, Expect::Absent), events: Vec::new() }).await {
                Ok(_) => return Ok(Adopted::Learnt),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.store.read(partition, NO_EVENT).await?.row {
            Some(found) => Ok(Adopted::Known(Box::new(found.record.state))),
            None => Err(LedgerError::Contended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::claim::LedgerLimits;
    use crate::ledger::memory::MemoryStore;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_row_is_learnt_once_and_never_overwritten() {
        let limits = LedgerLimits { lease: Duration::from_secs(180), clock_skew: Duration::from_secs(5) };
        let ledger = Ledger::new(Arc::new(MemoryStore::default()), Arc::new(SystemClock::default()), limits);
        let state = |exists| RowState { exists, ..RowState::default() };
        assert_eq!(ledger.adopt("p", &state(true)).await, Ok(Adopted::Learnt));
        assert_eq!(ledger.adopt("p", &state(false)).await, Ok(Adopted::Known(Box::new(state(true)))));
        assert_eq!(ledger.adopt("q", &state(false)).await, Ok(Adopted::Learnt));
    }
}
