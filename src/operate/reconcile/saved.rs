//! What a table's reconciliation keeps in the ledger: the delta link, and where a run that was stopped goes on. One run at a
//! time holds a table; the lease only saves double work, because the claims of rows decide about everything else.

use super::linked::LinkPosition;
use super::walk::Position;
use crate::chance;
use crate::dataverse::pages::Link;
use crate::ledger::claim::LedgerError;
use crate::ledger::system::{Held, Leased, System};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::Mutex;

/// Longest time that a table is held without being renewed: a run that died keeps others away no longer than this.
pub const HOLD_MAX: Duration = Duration::from_secs(20);
/// It is renewed whenever one of so many parts of that time has passed.
const RENEWALS: u32 = 4;

/// A table's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Where the next round of changes begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Link>,
    /// Fingerprint of what was compared then: another mapping needs all rows again.
    #[serde(default)]
    pub compared: String,
    /// The run that was begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// When all rows were last compared, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_ms: Option<i64>,
    /// For a relationship: where the comparison of its links is that was begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<LinkRound>,
}

/// A comparison of links that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRound {
    /// Its name, part of the ids of its events.
    pub run: String,
    /// Whether it removes what the source does not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_extra: bool,
    /// How far it is.
    pub position: LinkPosition,
}

/// A run that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its name, part of the ids of its events.
    pub run: String,
    /// Where it is.
    pub step: Step,
    /// Whether it deletes what the source does not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_extra: bool,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It pages through the source once, to get a delta link from before the comparison.
    Tracking {
        /// The next page; `None`: the first.
        next: Option<Link>,
        /// Rows so far.
        rows: u64,
    },
    /// It compares all rows.
    Full {
        /// The delta link from before, if the table tracks changes.
        delta: Option<Link>,
        /// How far it is.
        position: Position,
        /// Source rows there are, if that is known; and how many are done.
        #[serde(default)]
        rows: (Option<u64>, u64),
    },
    /// It goes through changes.
    Changes {
        /// The next page.
        next: Link,
    },
}

/// A full run over several tables that has not ended: which of them are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// What was asked for; another request begins anew.
    pub asked: String,
    /// When it began, in milliseconds.
    pub began_ms: i64,
    /// Tables that are done.
    pub done: Vec<String>,
}

/// The name of the state.
const RUN: &str = "reconcile:run";
/// A run that was interrupted longer ago begins anew.
const RUN_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Unfinished {
    /// The interrupted run that asked for the same, or a new one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn load(system: &System, asked: String, now_ms: i64) -> Result<Self, LedgerError> {
        let found = system.state::<Option<Self>>(RUN).await?.and_then(|stored| stored.record);
        let age_ms = i64::try_from(RUN_AGE_MAX.as_millis()).unwrap_or(i64::MAX);
        let same = found.filter(|run| run.asked == asked && now_ms.saturating_sub(run.began_ms) < age_ms);
        Ok(same.unwrap_or(Self { asked, began_ms: now_ms, done: Vec::new() }))
    }

    /// Another table is done.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn done(&mut self, system: &System, table: &str) -> Result<(), LedgerError> {
        self.done.push(table.to_owned());
        system.update::<Option<Self>>(RUN, |_| Some(Some(self.clone()))).await.map(drop)
    }

    /// All are.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn end(system: &System) -> Result<(), LedgerError> {
        system.update::<Option<Self>>(RUN, |_| Some(None)).await.map(drop)
    }
}

/// A table held by this run.
#[derive(Debug)]
pub struct Store<'a> {
    system: &'a System,
    name: String,
    hold: Duration,
    held: Mutex<Option<Held>>,
}

/// Asking for a table.
#[derive(Debug)]
pub enum Taken<'a> {
    /// It is ours.
    Ours(Store<'a>),
    /// Another run has it, until then by its clock, in milliseconds.
    Busy {
        /// When its lease ends.
        until_ms: i64,
    },
}

impl<'a> Store<'a> {
    /// Takes the table, for `hold` at a time.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn take(system: &'a System, table: &str, hold: Duration) -> Result<Taken<'a>, LedgerError> {
        let lease = format!("reconcile:{table}:lease");
        Ok(match system.lease(&lease, chance::token(), hold).await? {
            Leased::Held(held) => {
                let held = Mutex::new(Some(held));
                Taken::Ours(Self { system, name: format!("reconcile:{table}"), hold, held })
            }
            Leased::Busy { until_ms } => Taken::Busy { until_ms },
        })
    }

    /// What was kept last.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn load(&self) -> Result<Saved, LedgerError> {
        Ok(self.system.state::<Saved>(&self.name).await?.map(|stored| stored.record).unwrap_or_default())
    }

    /// Keeps this, and the table for longer. `false`: another run has taken the table, and nothing was kept.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn save(&self, saved: &Saved, monotonic: Duration) -> Result<bool, LedgerError> {
        if !self.keep(monotonic).await? {
            return Ok(false);
        }
        self.system.update::<Saved>(&self.name, |_| Some(saved.clone())).await?;
        Ok(true)
    }

    /// Keeps the table for longer, if it is time. `false`: another run has taken it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn keep(&self, monotonic: Duration) -> Result<bool, LedgerError> {
        let mut lease = self.held.lock().await;
        let Some(held) = lease.as_mut() else { return Ok(false) };
        if held.holds_for(monotonic) > self.hold.saturating_sub(self.renew_every()) {
            return Ok(true);
        }
        if let Leased::Busy { .. } = self.system.renew(held, self.hold).await? {
            *lease = None;
            return Ok(false);
        }
        Ok(true)
    }

    /// How often it has to be renewed.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.hold / RENEWALS
    }

    /// Gives the table back.
    pub async fn release(self) {
        if let Some(held) = self.held.into_inner()
            && let Err(error) = self.system.release(held).await
        {
            tracing::debug!(%error, "the lease of a table runs out by itself");
        }
    }
}
