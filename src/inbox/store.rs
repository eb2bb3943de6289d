//! The seam between the rules of the inbox and where entries are kept: put, move, get, list, remove. A store knows neither
//! what an entry says nor when it is due; it keeps texts in key order.

use super::error::InboxError;
use async_trait::async_trait;

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// To be tried again: `due:{shard}`.
    Due,
    /// Needs a person: `parked:{shard}`.
    Parked,
    /// A row that waits for its event: `placeholder:{shard}`.
    Placeholder,
}

impl Shelf {
    /// The word in keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Parked => "parked",
            Self::Placeholder => "placeholder",
        }
    }
}

/// Where an entry is. Keys are ASCII letters, digits and `:`, and none is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which kind.
    pub shelf: Shelf,
    /// Which partition, below [`super::entry::SHARDS`].
    pub shard: u8,
    /// The key there.
    pub key: String,
}

/// A handle on one entry as it was written or read: good for removing exactly that. It holds no lock and never gets
/// invalid; what it names may be gone or rewritten meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// Where.
    pub place: Place,
    /// The version; equality only.
    pub etag: String,
    /// Pieces of the payload beside it.
    pub pieces: u8,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// To remove it by.
    pub slip: Slip,
    /// What it says; `None` if there is nothing readable.
    pub text: Option<String>,
}

/// An entry that gets another key in its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// As it was read; without a payload.
    pub from: Slip,
    /// Where it goes: the same shelf and shard.
    pub to: Place,
    /// What it says there.
    pub text: String,
}

/// Moves of one call: an entity group transaction has up to 100 operations, and each move is two.
pub const MOVES_MAX: usize = 50;

/// Entries that are removed in one call: an entity group transaction has up to 100 operations.
pub const REMOVED_AT_ONCE: usize = 100;

/// What became of several entries that were to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// All are gone.
    All,
    /// None was removed, because one of them is gone already or was written anew.
    None {
        /// Which one, if that is known.
        but: Option<usize>,
    },
}

/// What to list: one shelf, one shard or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which kind.
    pub shelf: Shelf,
    /// One shard, or all of them.
    pub shard: Option<u8>,
    /// Only keys after this one (only sensible within one shard).
    pub after: Option<String>,
    /// Only keys before this one.
    pub before: Option<String>,
}

/// Where the next page begins; opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The partition.
    pub partition: String,
    /// The key there.
    pub row: Option<String>,
}

/// A part of what was found. It may be empty and still have a `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Shard by shard, in key order.
    pub found: Vec<Stored>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Where entries are kept. Implementations: Azure Table Storage and memory; both pass one conformance suite.
/// Every method is one round trip.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Writes an entry and its payload, all or nothing, whether it was there or not. Durable when it returns.
    ///
    /// # Errors
    /// [`InboxError`]; after `Unknown` it may be there.
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError>;

    /// Moves entries of one shard, at most [`MOVES_MAX`], all of them or none: each is removed as its slip says and is
    /// there under its new key. `None`: one of them is gone or was written anew, and none was moved.
    ///
    /// # Errors
    /// [`InboxError`]; after `Unknown` they may be moved.
    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError>;

    /// One entry with its payload.
    ///
    /// # Errors
    /// [`InboxError`], never `Unknown`.
    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError>;

    /// One page of a range, without payloads; at most `top` entries.
    ///
    /// # Errors
    /// [`InboxError`], never `Unknown`.
    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError>;

    /// Removes an entry and its payload if it is as the slip says. One that is gone is success; so is one that was
    /// written anew, which stays.
    ///
    /// # Errors
    /// [`InboxError`]; after `Unknown` it may be gone.
    async fn remove(&self, slip: &Slip) -> Result<(), InboxError>;

    /// Removes entries of one shard, each with its own key and without a payload, at most [`REMOVED_AT_ONCE`]: all of
    /// them, each on condition that it is as its slip says, or none.
    ///
    /// # Errors
    /// [`InboxError`]; after `Unknown` they may be gone.
    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError>;
}
