//! `console`: how it stands, what needs a person and why, and what happened to one row, gathered for one page. Asks no
//! environment, changes nothing, holds no value of a row.
//!
//! Bounded: what [`super::status`] costs, one round trip per thousand parked entries until [`PARKED_MAX`] are found, and one for
//! the row (more only for one that is known by a key whose value may have several types). A part that cannot be read says so in
//! its place, because the page is for times of trouble.

use super::history::{self, History};
use super::parked::{self, reasons};
use super::status::{self, Status};
use super::time;
use crate::inbox::ParkedFilter;
use crate::sync::engine::Engine;
use futures_util::future;
use serde::Serialize;

/// Parked entries shown.
pub const PARKED_MAX: usize = 100;
/// Events of a row that are read, and those of them that are shown, the latest.
const EVENTS_READ_MAX: usize = 1_000;
const EVENTS_SHOWN_MAX: usize = 200;

/// Which row is asked for, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The table, or a many-to-many relationship.
    pub table: String,
    /// The row.
    pub row: String,
}

/// Something that was read, or why it was not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Part<T> {
    /// It.
    Known(T),
    /// Why not.
    Unknown {
        /// In words.
        error: String,
    },
}

impl<T> Part<T> {
    fn of(result: Result<T, impl std::fmt::Display>) -> Self {
        result.map_or_else(|error| Self::Unknown { error: error.to_string() }, Self::Known)
    }
}

/// Everything on the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// When it was looked at.
    pub at: String,
    /// The source's names of the tables that are synchronised.
    pub tables: Vec<String>,
    /// Numbers and states.
    pub status: Part<Status>,
    /// What needs a person.
    pub parked: Part<ParkedList>,
    /// What happened to the row that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Part<History>>,
}

/// Parked events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedList {
    /// The longest parked first.
    pub shown: Vec<ParkedLine>,
    /// There are more than are shown.
    pub more: bool,
    /// Entries that cannot be read.
    pub unreadable: usize,
}

/// One parked event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedLine {
    /// What `parked show`, `replay` and `discard` call it.
    pub id: String,
    /// Why, a word of the documented list first.
    pub reason: String,
    /// What the word means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    /// The source's table, empty if not known.
    pub table: String,
    /// The row as `history` takes it, if it can be told from the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// When it was first seen.
    pub first: String,
    /// When it was parked.
    pub parked: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Looks at everything.
pub async fn view(engine: &Engine, question: Option<&Question>) -> View {
    let parts = engine.parts();
    let now_ms = parts.clock.now().timestamp_millis();
    let asked = async {
        let Question { table, row } = question?;
        let found = history::history_within(&parts.ledger, &parts.mapping, table, row, now_ms, EVENTS_READ_MAX).await;
        Some(Part::of(found.map(latest)))
    };
    let (status, parked, history) = future::join3(status::status(engine), parked(engine), asked).await;
    let tables = parts.mapping.tables.keys().cloned().collect();
    View { at: time(now_ms), tables, status: Part::of(status), parked, history }
}

async fn parked(engine: &Engine) -> Part<ParkedList> {
    let Some(inbox) = &engine.parts().inbox else { return Part::Known(ParkedList::default()) };
    let listing = parked::list(inbox, &ParkedFilter::default(), PARKED_MAX).await;
    Part::of(listing.map(|listing| {
        let shown = listing.found.iter().map(|parked| {
            let known = reasons::known(parked.word());
            ParkedLine {
                id: parked.id.clone(),
                reason: parked.reason.clone(),
                meaning: known.map(|known| known.meaning),
                remedy: known.map(|known| known.remedy),
                table: parked.table.clone(),
                row: row_of(&parked.partition).map(str::to_owned),
                first: time(parked.first_ms),
                parked: time(parked.parked_ms),
                attempts: parked.attempts,
            }
        });
        ParkedList { shown: shown.collect(), more: listing.more, unreadable: listing.unreadable }
    }))
}

/// The row of a partition key like `72a7-account:8edb4710-...`, if nothing in it is encoded or shortened.
fn row_of(partition: &str) -> Option<&str> {
    let (_, canonical) = partition.split_once('-')?;
    let (table, row) = canonical.split_once(':')?;
    (!row.is_empty() && !row.contains('~') && !table.starts_with("link.")).then_some(row)
}

/// The last events of many.
fn latest(mut history: History) -> History {
    let over = history.events.len().saturating_sub(EVENTS_SHOWN_MAX);
    history.more |= over > 0;
    history.events.drain(..over);
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_as_history_takes_it_or_not_at_all() {
        let check = |partition: &str, expected: Option<&str>| assert_eq!(row_of(partition), expected, "{partition}");
        check("72a7-account:8edb4710-6e1a-46a8-83d5-45849b8ab81b", Some("8edb4710-6e1a-46a8-83d5-45849b8ab81b"));
        check("72a7-contact:new_no='a-1',new_scope=3", Some("new_no='a-1',new_scope=3"));
        check("72a7-contact:new_no='a~20b'", None);
        check("72a7-link.a_nn:first=1,second=2", None);
        check("", None);
    }
}
