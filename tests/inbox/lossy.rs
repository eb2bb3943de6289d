//! A store of entries that loses answers on command, after the effect or before it, and counts.

use async_trait::async_trait;
use dataverse_sync::inbox::store::{Cursor, Move, Page, Place, Range, Removed, Slip, Store, Stored};
use dataverse_sync::inbox::{Inbox, InboxError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special.
    None,
    /// It works, the answer is lost.
    AfterEffect,
    /// It never arrives, which nobody knows.
    BeforeEffect,
    /// Refused: nothing happens, and that is known.
    Refused,
}

/// Passes everything on, but for the faults still planned.
#[derive(Debug)]
pub struct Lossy {
    inner: Arc<dyn Store>,
    writes: Mutex<VecDeque<Fault>>,
    calls: Mutex<usize>,
}

impl Lossy {
    /// The n-th write meets the n-th fault.
    pub fn new(inner: &Arc<dyn Store>, writes: &[Fault]) -> Arc<Self> {
        let writes = Mutex::new(writes.iter().copied().collect());
        Arc::new(Self { inner: Arc::clone(inner), writes, calls: Mutex::default() })
    }

    pub fn inbox(self: &Arc<Self>) -> Inbox {
        let store: Arc<Self> = Arc::clone(self);
        Inbox::new(store)
    }

    /// Round trips since this was last asked.
    pub fn calls(&self) -> usize {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn next(&self) -> Fault {
        *self.calls.lock().unwrap() += 1;
        self.writes.lock().unwrap().pop_front().unwrap_or(Fault::None)
    }
}

fn unknown<T>() -> Result<T, InboxError> {
    Err(InboxError::Unknown("answer lost".to_owned()))
}

fn refused<T>() -> Result<T, InboxError> {
    Err(InboxError::Unavailable { reason: "refused".to_owned(), after: None })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Lossy {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        match self.next() {
            Fault::None => self.inner.put(place, text, payload).await,
            Fault::AfterEffect => {
                self.inner.put(place, text, payload).await?;
                unknown()
            }
            Fault::BeforeEffect => unknown(),
            Fault::Refused => refused(),
        }
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        match self.next() {
            Fault::None => self.inner.shift(moves).await,
            Fault::AfterEffect => {
                self.inner.shift(moves).await?;
                unknown()
            }
            Fault::BeforeEffect => unknown(),
            Fault::Refused => refused(),
        }
    }

    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError> {
        *self.calls.lock().unwrap() += 1;
        self.inner.get(place).await
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        *self.calls.lock().unwrap() += 1;
        self.inner.list(range, from, top).await
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        match self.next() {
            Fault::None => self.inner.remove(slip).await,
            Fault::AfterEffect => {
                self.inner.remove(slip).await?;
                unknown()
            }
            Fault::BeforeEffect => unknown(),
            Fault::Refused => refused(),
        }
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        match self.next() {
            Fault::None => self.inner.remove_all(slips).await,
            Fault::AfterEffect => {
                self.inner.remove_all(slips).await?;
                unknown()
            }
            Fault::BeforeEffect => unknown(),
            Fault::Refused => refused(),
        }
    }
}
