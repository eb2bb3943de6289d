//! Entries that may go because their events are done: remembered, and removed many at a time.
//!
//! An entry too many costs whoever finds it a look into the ledger, so nothing is lost when this process ends before it
//! removed what it remembers; but a removal for each event would cost a request for each. Entries of one shard are in one
//! partition, so up to [`REMOVED_AT_ONCE`] of them go with one request.
//!
//! Removed is only what is as it was written or read (PROTOCOL R9): an entry that was written anew since stays, and does
//! not keep the others.

use super::due::{Inbox, WRITES_MAX};
use super::error::InboxError;
use super::store::{REMOVED_AT_ONCE, Removed, Slip};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an entry may wait for others to be removed with: well below a lease, after which a sweep would find it.
pub const LEAVES_WITHIN: Duration = Duration::from_secs(20);

/// What may go, shard by shard, each shard with the moment that its oldest was remembered: fewer than [`REMOVED_AT_ONCE`] of
/// each, some 600 KiB in all at most.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<BTreeMap<u8, (Duration, Vec<Slip>)>>);

impl Leaving {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, (Duration, Vec<Slip>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers one; gives all of its shard back if they fill a request.
    fn add(&self, slip: Slip, now: Duration) -> Vec<Slip> {
        let (mut all, shard) = (self.lock(), slip.place.shard);
        let (_, slips) = all.entry(shard).or_insert((now, Vec::new()));
        slips.retain(|known| known.place != slip.place);
        slips.push(slip);
        if slips.len() < REMOVED_AT_ONCE {
            return Vec::new();
        }
        all.remove(&shard).map(|(_, slips)| slips).unwrap_or_default()
    }

    fn take(&self, shard: u8) -> Vec<Slip> {
        self.lock().remove(&shard).map(|(_, slips)| slips).unwrap_or_default()
    }

    /// Those of the shard that has waited longest, if that is too long.
    fn take_old(&self, now: Duration) -> Vec<Slip> {
        let mut all = self.lock();
        let oldest = all.iter().min_by_key(|(_, (since, _))| *since).map(|(shard, (since, _))| (*shard, *since));
        let old = oldest.filter(|(_, since)| now.saturating_sub(*since) >= LEAVES_WITHIN);
        old.and_then(|(shard, _)| all.remove(&shard)).map(|(_, slips)| slips).unwrap_or_default()
    }
}

impl Inbox {
    /// Remembers that an entry may go, because its event is done (only then: PROTOCOL R9); `now` is the monotonic clock's
    /// time. No round trip, or one for every [`REMOVED_AT_ONCE`] entries of a shard.
    pub async fn settle_soon(&self, slip: &Slip, now: Duration) {
        let full = self.leaving.add(slip.clone(), now);
        self.let_go(full).await;
    }

    /// Removes what may go from this shard. One round trip, none if there is nothing.
    pub async fn settle_now(&self, shard: u8) {
        let slips = self.leaving.take(shard);
        self.let_go(slips).await;
    }

    /// Removes what may go from all shards. One round trip for each that has something.
    pub async fn settle_all(&self) {
        let shards: Vec<u8> = self.leaving.lock().keys().copied().collect();
        futures_util::future::join_all(shards.into_iter().map(|shard| self.settle_now(shard))).await;
    }

    /// Removes what has waited for [`LEAVES_WITHIN`], of one shard at a time: for whoever passes by. At most one round trip.
    pub async fn settle_old(&self, now: Duration) {
        let slips = self.leaving.take_old(now);
        self.let_go(slips).await;
    }

    async fn let_go(&self, slips: Vec<Slip>) {
        if let Err(error) = self.remove_all(slips).await {
            tracing::debug!(%error, "entries of events that are done stay until a sweep finds them");
        }
    }

    /// Removes entries of one shard, those that are as their slips say.
    async fn remove_all(&self, slips: Vec<Slip>) -> Result<(), InboxError> {
        let mut open: Vec<Vec<Slip>> = slips.chunks(REMOVED_AT_ONCE).map(<[Slip]>::to_vec).collect();
        let mut tries = 1;
        while let Some(mut some) = open.pop() {
            let removed = match some.as_slice() {
                [] => continue,
                [one] => self.store.remove(one).await.map(|()| Removed::All),
                _ => self.store.remove_all(&some).await,
            };
            match removed {
                Ok(Removed::All) => {}
                Ok(Removed::None { but: Some(index) }) if index < some.len() => {
                    some.remove(index);
                    open.push(some);
                }
                // one of them is not as it was: the halves are tried, down to the one
                Ok(Removed::None { .. }) => {
                    let second = some.split_off(some.len() / 2);
                    open.extend([second, some]);
                }
                Err(InboxError::Unknown(_)) if tries < WRITES_MAX => {
                    tries += 1;
                    open.push(some);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
