//! Getting a row: one turn at a time within this process, one claim at a time among all of them.

use super::failure::Failure;
use super::pause;
use crate::chance::{self, jitter};
use crate::clock::Clock;
use crate::domain::event::ChangeEvent;
use crate::domain::mapping::Limits;
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use crate::ledger::claim::{Claim, ClaimRequest, Claimed, Ledger};
use crate::ledger::fold::{FoldClaimed, FoldEvent, FoldRequest, FoldTouches};
use crate::outbound::gate::Permit;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// First and longest pause between two looks at a busy row.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a row by who has a place at the target: what a usual event of the row takes (assumed).
pub(super) const PLACE_HELD_MAX: Duration = Duration::from_millis(300);

type Turn = tokio::sync::Mutex<()>;

/// Turns on rows within this process: events of one row wait for each other here, where it costs no round trip.
/// Nothing depends on it; the claim alone decides.
#[derive(Debug, Default)]
pub(super) struct RowLocks(Mutex<HashMap<String, Weak<Turn>>>);

impl RowLocks {
    /// Waits for the row's turn until the deadline.
    pub(super) async fn turn(
        &self,
        partition: &str,
        clock: &dyn Clock,
        deadline: Duration,
    ) -> Result<OwnedMutexGuard<()>, Failure> {
        let turn = self.of(partition);
        let left = deadline.saturating_sub(clock.monotonic());
        tokio::time::timeout(left, turn.lock_owned()).await.map_err(|_| Failure::Busy {
            reason: "row_busy: other events of this row are being worked on".to_owned(),
            after: Duration::from_secs(1),
        })
    }

    /// The row's turn, if nobody has it.
    pub(super) fn turn_now(&self, partition: &str) -> Option<OwnedMutexGuard<()>> {
        self.of(partition).try_lock_owned().ok()
    }

    fn of(&self, partition: &str) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(partition).and_then(Weak::upgrade) {
            return turn;
        }
        // the map holds no more than the rows that are worked on, give or take
        if turns.len() >= 1_024 {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        turns.insert(partition.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Claims with patience.
pub(super) struct Acquire<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) clock: &'a dyn Clock,
    pub(super) limits: &'a Limits,
    pub(super) deadline: Duration,
    /// How long a second delivery of an event that is being worked on waits for the first.
    pub(super) duplicate_wait: Duration,
}

impl Acquire<'_> {
    /// The row for several new events of it, or not: with the patience of [`Acquire::claim`].
    pub(super) async fn fold(
        &self,
        partition: &str,
        events: &[FoldEvent],
        touches: &FoldTouches<'_>,
    ) -> Result<Option<(Claim, Vec<usize>)>, Failure> {
        let request = FoldRequest { partition, events, token: chance::token() };
        let (mut pause, mut failures) = (LOOK_MIN, 0);
        loop {
            let until_ms = match self.ledger.claim_fold(&request, touches).await {
                Ok(FoldClaimed::Acquired { claim, taken }) => return Ok(Some((*claim, taken))),
                Ok(FoldClaimed::Apart) => return Ok(None),
                Ok(FoldClaimed::Busy { until_ms }) => until_ms,
                Err(error) if error.is_passing() => {
                    failures += 1;
                    let now = self.clock.monotonic();
                    pause::within(self.deadline.saturating_sub(now), failures, None, error).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            pause = (pause * 2).min(LOOK_MAX);
            let wait = pause.mul_f64(0.5 + jitter() / 2.0);
            if self.clock.monotonic().saturating_add(wait) > self.deadline {
                return Err(self.busy("row_busy: another worker holds this row", until_ms));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn busy(&self, reason: &str, until_ms: i64) -> Failure {
        let left = until_ms.saturating_sub(self.clock.now().timestamp_millis());
        let after = Duration::from_millis(u64::try_from(left).unwrap_or(0)) + self.limits.clock_skew;
        Failure::Busy { reason: reason.to_owned(), after }
    }

    /// [`Self::claim`] by who has a place at the target already: it is given back when the row does not come soon, so that
    /// others can use it meanwhile.
    pub(super) async fn claim_with(
        mut self,
        place: &mut Option<Permit>,
        partition: &str,
        event: &ChangeEvent,
        arrival_ms: i64,
        touches: &(dyn Fn(&RowState, i64) -> BTreeSet<String> + Sync),
    ) -> Result<Result<Claim, Outcome>, Failure> {
        let deadline = self.deadline;
        if place.is_some() {
            self.deadline = deadline.min(self.clock.monotonic().saturating_add(PLACE_HELD_MAX));
            match self.claim(partition, event, arrival_ms, touches).await {
                Err(Failure::Busy { .. } | Failure::Ledger { .. }) => *place = None,
                ended => return ended,
            }
        }
        self.deadline = deadline;
        self.claim(partition, event, arrival_ms, touches).await
    }

    /// The row, or the outcome that the event had before. While somebody else holds the row it is looked at again until
    /// the deadline; while that somebody works on this very event, no longer than `duplicate_wait`.
    pub(super) async fn claim(
        &self,
        partition: &str,
        event: &ChangeEvent,
        arrival_ms: i64,
        touches: &(dyn Fn(&RowState, i64) -> BTreeSet<String> + Sync),
    ) -> Result<Result<Claim, Outcome>, Failure> {
        let request = ClaimRequest { partition, event, arrival_ms, token: chance::token() };
        let started = self.clock.monotonic();
        let (mut pause, mut failures) = (LOOK_MIN, 0);
        loop {
            let claimed = match self.ledger.claim(&request, touches).await {
                Ok(claimed) => claimed,
                // given back to the broker it would return at once and soon die (PROTOCOL R11)
                Err(error) if error.is_passing() => {
                    failures += 1;
                    let left = self.deadline.saturating_sub(self.clock.monotonic());
                    pause::within(left, failures, None, error).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (until_ms, same_event) = match claimed {
                Claimed::Acquired(claim) => return Ok(Ok(*claim)),
                Claimed::Duplicate(outcome) => return Ok(Err(outcome)),
                Claimed::IdReused => return Err(Failure::IdReused),
                Claimed::Busy { until_ms, same_event } => (until_ms, same_event),
            };
            let patience =
                if same_event { self.deadline.min(started.saturating_add(self.duplicate_wait)) } else { self.deadline };
            pause = (pause * 2).min(LOOK_MAX);
            let wait = pause.mul_f64(0.5 + jitter() / 2.0);
            if self.clock.monotonic().saturating_add(wait) > patience {
                let reason = if same_event {
                    "event_busy: another worker has this very event"
                } else {
                    "row_busy: another worker holds this row"
                };
                return Err(self.busy(reason, until_ms));
            }
            tokio::time::sleep(wait).await;
        }
    }
}
