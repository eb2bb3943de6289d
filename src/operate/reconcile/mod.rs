//! Reconciliation: are both sides equal, and if not, make them so. For the command line and the timer.
//!
//! A run reads both environments in pages and compares row by row ([`walk`], [`rows`], [`compare`](mod@compare)). It writes
//! nothing itself: each difference becomes an event for the engine ([`feed`]), so that leases, versions, groups, parents and
//! races hold, live events may flow meanwhile, and a newer one is never undone. What an event of a comparison may do is in
//! `sync::compared`; rows that are alike and that the ledger never saw are learnt by it, without a request.
//!
//! * **Full** ([`full`]): all rows of both sides, merged by primary key, parents first. The position is kept in the ledger
//!   after every few hundred rows, so a run that was killed goes on from there.
//! * **Changes** ([`changes`]): what the source's change tracking shows since the last delta link. The link moves on only when
//!   everything before it was handed over: applied, judged, or kept by the inbox.
//! * **Dry** ([`dry`]): compares and counts; writes nothing at all, not even to the ledger.
//!
//! **Decision, November 2026: no bulk writes.** `UpsertMultiple` and `$batch` would save requests, but a claim is about one
//! row: a transaction of a hundred rows would have to hold a hundred leases for as long as the slowest of them takes, fail
//! as a whole for one bad row, and answer neither which row was created nor its ETag; service protection counts its
//! execution time all the same. So *reads* are bulk (a request for 5,000 rows, or for 400 ids) and writes are single,
//! several at a time. What would change this: claims that cover many rows at once.
//!
//! **Decision, November 2026: merging needs an order that nobody documents.** Pages are sorted by the primary key, and SQL
//! Server sorts GUIDs in its own way ([`crate::dataverse::order`]). Every row is checked to come in that order; a side that
//! sorts differently is gone through by looking up ids instead, which costs about twelve times the requests at the target.

pub mod changes;
pub mod compare;
pub mod dry;
pub mod feed;
mod find;
pub mod full;
mod hold;
mod keys;
pub mod linked;
pub mod links;
pub mod lookups;
pub mod progress;
pub mod read;
mod renamed;
pub mod report;
pub mod rows;
mod run;
pub mod saved;
pub mod stop;
pub mod table;
mod tick;
pub mod walk;

use self::stop::Stop;
use crate::dataverse::pages::PAGE_ROWS_MAX;
use crate::ledger::system::System;
use crate::sync::engine::Engine;
use std::sync::Arc;
use std::time::Duration;

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Source tables; empty: all of the mapping.
    pub tables: Vec<String>,
    /// All rows, even where change tracking could tell what has changed.
    pub full: bool,
    /// Delete rows and links that the target has and the source does not.
    pub delete_extra: bool,
    /// Most extra rows of a table that one run deletes; 0: all. `None`: the table's `deletes_max`.
    pub deletes_max: Option<u32>,
    /// Show values in the examples.
    pub values: bool,
    /// Rows of a page, 1 to 5,000; less where rows are large.
    pub page_rows: u32,
    /// Begin anew, whatever an interrupted run has done already.
    pub anew: bool,
    /// When to stop; the run goes on from there another time. `None`: at its end.
    pub budget: Option<Duration>,
    /// A table that tracks no changes is compared as a whole once a day at most.
    pub rarely: bool,
    /// How long after the first look a dry run looks at what differs a second time. Default 3 s: events that were under way
    /// have arrived by then, as a rule.
    pub second_look: Duration,
    /// Asks this run to stop before its end; it goes on from there another time.
    pub stop: Stop,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            full: false,
            delete_extra: false,
            deletes_max: None,
            values: false,
            anew: false,
            page_rows: PAGE_ROWS_MAX,
            budget: None,
            rarely: false,
            second_look: Duration::from_secs(3),
            stop: Stop::default(),
        }
    }
}

/// Why there is no run at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotReconcile {
    /// There is nothing to compare with.
    #[error("no source environment is configured: set SOURCE_URL")]
    NoSource,
    /// A table that is not in the mapping.
    #[error("table {table} is not in the mapping")]
    UnknownTable {
        /// As it was given.
        table: String,
    },
}

/// Reconciles what an engine synchronises.
#[derive(Debug)]
pub struct Reconciler {
    engine: Arc<Engine>,
    system: System,
}

impl Reconciler {
    /// A reconciler; `system` is where positions and delta links are kept.
    #[must_use]
    pub fn new(engine: Arc<Engine>, system: System) -> Self {
        Self { engine, system }
    }
}
