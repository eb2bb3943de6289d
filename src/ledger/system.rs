//! What is not about a row: leases with a name (shards of the inbox, timers) and small states (cursors, the governor,
//! the pinned organisation, what is paused). Each name is a partition `system:{name}` of the ledger table.
//!
//! A lease here follows the rules of a row's: a random token, taken on condition of the version that was read, free for
//! others only after its end and the clock skew, its holder counting from before the write was sent. It only saves
//! double work; correctness rests on the claims of rows.

use super::claim::{LedgerError, ROUNDS_MAX, millis};
use super::record::Lease;
use super::store::{Etag, Expect, StoreError, Stored};
use crate::clock::Clock;
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// First part of the partitions.
pub(super) const SYSTEM: &str = "system";

/// Where states are kept. Implementations: Azure Table Storage and memory. Every method is one round trip.
#[async_trait]
pub trait StateStore: Send + Sync + std::fmt::Debug {
    /// The text under a name.
    ///
    /// # Errors
    /// [`StoreError`], never `Conflict`.
    async fn state(&self, name: &str) -> Result<Option<Stored<String>>, StoreError>;

    /// Writes the text under a name, on a condition.
    ///
    /// # Errors
    /// `Conflict` and `Unavailable` mean that nothing was written; after `Unknown` it may be.
    async fn put_state(&self, name: &str, text: &str, expect: &Expect) -> Result<Etag, StoreError>;
}

/// Named leases and states.
#[derive(Clone, Debug)]
pub struct System {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    clock_skew: Duration,
}

/// A name that is ours for a while.
#[derive(Clone, Debug)]
pub struct Held {
    /// The name.
    pub name: String,
    token: Uuid,
    etag: Etag,
    until: Duration,
}

impl Held {
    /// How long it is still ours, by the monotonic clock.
    #[must_use]
    pub fn holds_for(&self, monotonic: Duration) -> Duration {
        self.until.saturating_sub(monotonic)
    }
}

/// The answer to asking for a lease.
#[derive(Clone, Debug)]
pub enum Leased {
    /// It is ours.
    Held(Held),
    /// Somebody else has it.
    Busy {
        /// When it ends, by the holder's clock, in milliseconds.
        until_ms: i64,
    },
}

impl System {
    /// On a store; `clock_skew` is how far clocks may differ.
    #[must_use]
    pub fn new(store: Arc<dyn StateStore>, clock: Arc<dyn Clock>, clock_skew: Duration) -> Self {
        Self { store, clock, clock_skew }
    }

    /// Takes the lease of a name for `hold`, from before it is sent. `token` is random, one per holder, and kept when a
    /// lost lease is asked for again. Two round trips, one if somebody else has it.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again with the same token is safe.
    pub async fn lease(&self, name: &str, token: Uuid, hold: Duration) -> Result<Leased, LedgerError> {
        let first = self.clock.monotonic();
        for _ in 0..ROUNDS_MAX {
            let found = self.store.state(name).await?;
            let current: Option<Lease> = found.as_ref().map(parse).transpose()?;
            let now_ms = self.clock.now().timestamp_millis();
            let lives = |lease: &Lease| lease.until_ms.saturating_add(millis(self.clock_skew)) > now_ms;
            if let Some(Lease { until_ms, .. }) = current.filter(|lease| lease.owner != token).filter(lives) {
                return Ok(Leased::Busy { until_ms });
            }
            let lease = Lease { owner: token, until_ms: now_ms.saturating_add(millis(hold)) };
            match self.store.put_state(name, &print(&lease)?, &Expect::unchanged(found.as_ref())).await {
                // a lost answer and its repetition: the first write may be the one that counts
                Ok(etag) => {
                    let until = first.saturating_add(hold);
                    return Ok(Leased::Held(Held { name: name.to_owned(), token, etag, until }));
                }
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }

    /// Holds a lease for another `hold` from now; `Busy` if somebody else has it meanwhile, and then nothing is written.
    /// Two round trips.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; it is held as long as before, at least.
    pub async fn renew(&self, held: &mut Held, hold: Duration) -> Result<Leased, LedgerError> {
        let leased = self.lease(&held.name, held.token, hold).await?;
        if let Leased::Held(renewed) = &leased {
            *held = renewed.clone();
        }
        Ok(leased)
    }

    /// Gives a lease back, if it is still ours. One round trip. A failure costs others the rest of the lease, nothing else.
    ///
    /// # Errors
    /// [`LedgerError`]: it may run on to its end.
    pub async fn release(&self, held: Held) -> Result<(), LedgerError> {
        let free = Lease { owner: Uuid::nil(), until_ms: 0 };
        match self.store.put_state(&held.name, &print(&free)?, &Expect::Is(held.etag)).await {
            // overtaken, or released by a write whose answer was lost
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A small state and its version. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`]; `Corrupt` in it if it is not of this type.
    pub async fn state<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Stored<T>>, LedgerError> {
        let Some(found) = self.store.state(name).await? else { return Ok(None) };
        Ok(Some(Stored { record: parse(&found)?, etag: found.etag }))
    }

    /// Writes a small state on a condition. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`]; `Conflict` in it if it is not as expected (or was written by this very call, whose answer was
    /// lost), `Unknown` if it may be written: read it and decide again.
    pub async fn put_state<T: Serialize + Sync>(
        &self,
        name: &str,
        state: &T,
        expect: &Expect,
    ) -> Result<Etag, LedgerError> {
        Ok(self.store.put_state(name, &print(state)?, expect).await?)
    }

    /// Reads, changes and writes a state until nobody came between; `change` gets what is there (or nothing) and may be
    /// called several times, after a lost answer also with its own result: it must not mind. `None` from it writes
    /// nothing. Gives back what is there then. Two round trips.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn update<T: Serialize + DeserializeOwned + Send + Sync>(
        &self,
        name: &str,
        change: impl Fn(Option<&T>) -> Option<T> + Send,
    ) -> Result<Option<T>, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let found = self.state::<T>(name).await?;
            let Some(changed) = change(found.as_ref().map(|found| &found.record)) else {
                return Ok(found.map(|found| found.record));
            };
            match self.store.put_state(name, &print(&changed)?, &Expect::unchanged(found.as_ref())).await {
                Ok(_) => return Ok(Some(changed)),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }
}

fn parse<T: DeserializeOwned>(found: &Stored<String>) -> Result<T, LedgerError> {
    let parsed = serde_json::from_str(&found.record);
    parsed.map_err(|error| StoreError::Corrupt(format!("a system state: {error}")).into())
}

fn print<T: Serialize>(state: &T) -> Result<String, LedgerError> {
    serde_json::to_string(state).map_err(|error| LedgerError::Payload(error.to_string()))
}
