//! Parked events: list them, show one, have it run again, give it up. The rules of order are those of
//! [`crate::ledger::parked`] and [`crate::inbox`]: a replay makes the event owed in the ledger, then writes its due entry,
//! then removes the parked one; each step may be repeated after a crash. What runs is decided by the claim, as ever, so a
//! redelivery of a replay does not run twice. Applies nothing itself: the next sweep does.

mod raw;
pub mod reasons;

use crate::clock::Clock;
use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Inbox, InboxError, Slip};
pub use crate::inbox::{Parked, ParkedFilter};
use crate::ledger::claim::{Ledger, LedgerError};
use crate::ledger::parked::{Discarded, Replayed};
use crate::ledger::record::EventRecord;
use crate::ledger::store::StoreError;
use serde::Serialize;

/// Most entries of one listing, and of one replay or discard of many.
pub const ENTRIES_MAX: usize = 10_000;

/// What works on parked events.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    /// Where the events are.
    pub ledger: &'a Ledger,
    /// Where the entries are.
    pub inbox: &'a Inbox,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The inbox failed.
    #[error("the inbox: {0}")]
    Inbox(#[from] InboxError),
    /// The ledger failed.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
}

/// Parked entries.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// What was found, the longest parked first.
    pub found: Vec<Parked>,
    /// There may be more.
    pub more: bool,
    /// Entries that cannot be read.
    pub unreadable: usize,
}

/// Everything about one parked event.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The entry.
    pub parked: Parked,
    /// What the ledger knows of the event; of a raw payload: of the event whose id it uses.
    pub event: Option<EventRecord>,
    /// The payload as it came, if it is kept with the entry. It holds values.
    pub raw: Option<Vec<u8>>,
}

impl Shown {
    /// The payload as text. It holds values.
    #[must_use]
    pub fn payload(&self) -> Option<String> {
        match &self.raw {
            Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            None => self.event.as_ref().and_then(|event| event.payload.clone()),
        }
    }
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Treated {
    /// The entry's id.
    pub id: String,
    /// What was done.
    pub done: Done,
    /// More words, for people.
    pub detail: String,
}

/// What was done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It runs with the next sweep.
    Replayed,
    /// Its payload is gone; it stays known as parked.
    Discarded,
    /// There was nothing left to do: the event had ended. The entry is removed.
    Settled,
    /// It stays parked; why is in the detail.
    Kept,
    /// There is no such entry.
    Missing,
}

impl Done {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Settled => "settled",
            Self::Kept => "kept",
            Self::Missing => "missing",
        }
    }

    /// Whether what was asked for is so now.
    #[must_use]
    pub fn is_well(self) -> bool {
        match self {
            Self::Replayed | Self::Discarded | Self::Settled => true,
            Self::Kept | Self::Missing => false,
        }
    }
}

/// Parked entries that the filter takes, at most `max`. One round trip per thousand entries looked at.
///
/// # Errors
/// [`DeskError`].
pub async fn list(inbox: &Inbox, filter: &ParkedFilter, max: usize) -> Result<Listing, DeskError> {
    let (mut listing, mut from) = (Listing::default(), None);
    loop {
        let left = max.saturating_sub(listing.found.len());
        let page = inbox.parked(filter, from.take(), left).await?;
        listing.found.extend(page.found.into_iter().map(|(_, parked)| parked));
        listing.unreadable += page.unreadable;
        from = page.next;
        if from.is_none() || listing.found.len() >= max {
            break;
        }
    }
    listing.more = from.is_some() || listing.found.len() > max;
    listing.found.truncate(max);
    listing.found.sort_by(|a, b| (a.parked_ms, &a.id).cmp(&(b.parked_ms, &b.id)));
    Ok(listing)
}

/// One parked event, by the entry's id. Two round trips.
///
/// # Errors
/// [`DeskError`].
pub async fn show(desk: &Desk<'_>, id: &str) -> Result<Option<Shown>, DeskError> {
    let Some((_, parked, raw)) = desk.inbox.parked_by_id(id).await? else { return Ok(None) };
    let named = !parked.partition.is_empty() && !parked.event_key.is_empty();
    let event = if named { desk.ledger.event(&parked.partition, &parked.event_key).await? } else { None };
    Ok(Some(Shown { parked, event, raw }))
}

/// Has a parked event run again, on purpose, even if its id was handled since it was parked. What could not be decoded is
/// decoded again. Five round trips, more for a batch.
///
/// # Errors
/// [`DeskError`]: it may be half done; doing it again is safe.
pub async fn replay(desk: &Desk<'_>, id: &str) -> Result<Treated, DeskError> {
    let Some((slip, parked, payload)) = desk.inbox.parked_by_id(id).await? else { return Ok(missing(id)) };
    if let Some(bytes) = payload {
        return raw::replay(desk, &slip, &parked, &bytes).await;
    }
    let treated = |done, detail: String| Treated { id: parked.id.clone(), done, detail };
    match desk.ledger.replay(&parked.partition, &parked.event_key).await? {
        Replayed::Owed(_) => {
            owe(desk, &parked, &parked.partition, &parked.event_key).await?;
            desk.inbox.unpark(&slip).await?;
            Ok(treated(Done::Replayed, "runs with the next sweep".to_owned()))
        }
        Replayed::NoPayload(outcome) => {
            desk.inbox.unpark(&slip).await?;
            Ok(treated(Done::Settled, format!("had ended: {}", words(&outcome))))
        }
        Replayed::Pending => Ok(treated(Done::Kept, "another event with this id is owed; replay it later".to_owned())),
        Replayed::Missing => Ok(treated(Done::Kept, "the ledger does not know it any more; discard it".to_owned())),
    }
}

/// Gives a parked event up: its payload is dropped, and it stays known as parked. Three round trips.
///
/// # Errors
/// [`DeskError`]: it may be half done; doing it again is safe.
pub async fn discard(desk: &Desk<'_>, id: &str) -> Result<Treated, DeskError> {
    let Some((slip, parked, payload)) = desk.inbox.parked_by_id(id).await? else { return Ok(missing(id)) };
    let treated = |done, detail: &str| Treated { id: parked.id.clone(), done, detail: detail.to_owned() };
    if payload.is_some() {
        desk.inbox.unpark(&slip).await?;
        return Ok(treated(Done::Discarded, &parked.reason));
    }
    let (done, detail) = match desk.ledger.discard(&parked.partition, &parked.event_key).await? {
        Discarded::Recorded => (Done::Discarded, parked.reason.clone()),
        Discarded::Done(outcome) => (Done::Settled, format!("had ended: {}", words(&outcome))),
        Discarded::Missing => (Done::Settled, "the ledger does not know it any more".to_owned()),
        Discarded::Pending => return Ok(treated(Done::Kept, "it is owed and will be tried by itself")),
    };
    desk.inbox.unpark(&slip).await?;
    Ok(treated(done, &detail))
}

/// Writes the due entry of a replay: due now, its attempts and its age from zero.
async fn owe(desk: &Desk<'_>, parked: &Parked, partition: &str, event_key: &str) -> Result<Slip, InboxError> {
    let now_ms = desk.clock.now().timestamp_millis();
    let entry = Entry {
        partition: partition.to_owned(),
        event_key: event_key.to_owned(),
        due_ms: now_ms,
        first_ms: now_ms,
        attempts: 0,
        reason: "replayed".to_owned(),
        table: parked.table.clone(),
        channel: parked.channel,
        handed: 0,
    };
    desk.inbox.owe(&entry).await
}

fn missing(id: &str) -> Treated {
    Treated { id: id.to_owned(), done: Done::Missing, detail: "no parked event has this id".to_owned() }
}

fn words(outcome: &Outcome) -> String {
    match outcome.detail() {
        "" => outcome.name().to_owned(),
        detail => format!("{}: {detail}", outcome.name()),
    }
}

/// Whether the error is one of what is asked for, so that the others may still work.
#[must_use]
pub fn concerns_one(error: &DeskError) -> bool {
    match error {
        DeskError::Inbox(InboxError::Corrupt(_) | InboxError::TooLarge(_)) => true,
        DeskError::Inbox(InboxError::Unknown(_) | InboxError::Unavailable { .. }) => false,
        DeskError::Ledger(error) => match error {
            LedgerError::Store(StoreError::Corrupt(_) | StoreError::TooLarge(_))
            | LedgerError::Payload(_)
            | LedgerError::Contended => true,
            LedgerError::Store(StoreError::Unknown(_) | StoreError::Unavailable { .. } | StoreError::Conflict) => false,
        },
    }
}
