//! `status`: what this instance is doing and what all of them owe, in numbers. Holds no row and no secret.
//!
//! Bounded: one round trip for what is paused, one for placeholders, one per table for its fuse, and one per thousand
//! entries of the inbox, [`SCAN_MAX`] of each kind at most.

use super::{placeholders, time};
use crate::inbox::{Counts, InboxError};
use crate::sync::engine::Engine;
use crate::sync::environment::Environment;
use crate::sync::fuse;
use crate::sync::paused::Paused;
use serde::Serialize;

/// Entries of one kind that are looked at for the numbers; more is told as `at_least`.
const SCAN_MAX: usize = 10_000;

/// The numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The gate before each environment, of this instance.
    pub gate: Sides<GateStatus>,
    /// The breaker before each environment, of this instance.
    pub breaker: Sides<BreakerStatus>,
    /// Calls under way, of this instance.
    pub concurrency: Sides<Concurrency>,
    /// Calls that may be repeated, of this instance.
    pub retries: Sides<Retries>,
    /// Events that wait in the inbox, due or not. One that was moved at this moment may be counted twice.
    pub owed: usize,
    /// Those of them that are due.
    pub due: usize,
    /// When the oldest of the waiting was first owed.
    pub oldest: Option<String>,
    /// When the one that is due the longest came due; in the future if none is due.
    pub oldest_due: Option<String>,
    /// Events that need a person.
    pub parked: usize,
    /// Rows of the target that have been placeholders for an hour or more; a thousand are looked at, at most.
    pub placeholders: usize,
    /// Entries that cannot be read: a person must look.
    pub unreadable: usize,
    /// There are more entries than were looked at: the numbers are lower bounds.
    pub at_least: bool,
    /// What people have paused; left out if the ledger does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Tables whose deletes are parked because there were too many; left out if the ledger does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuses: Option<Vec<String>>,
    /// Events of other organisations that this instance has ignored.
    pub foreign: u64,
}

/// One thing per environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sides<T> {
    /// The target's.
    pub target: T,
    /// The source's, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<T>,
}

/// How a gate stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateStatus {
    /// `open` or `closed`.
    pub state: &'static str,
    /// How long it stays closed, in seconds; 0 if it is open.
    pub closed_for_s: f64,
}

/// How a breaker stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open` or `probing`.
    pub state: &'static str,
    /// How long it lets no other call through, in seconds; 0 if it does.
    pub shut_for_s: f64,
}

/// How much is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concurrency {
    /// Calls.
    pub in_flight: u32,
    /// Calls at once that are allowed now.
    pub limit: u32,
    /// What that can grow to: `max_in_flight`, or less if the environment advises so.
    pub max: u32,
}

/// How many calls may be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// Now. Each call adds a fifth, each second one.
    pub left: u32,
    /// What can be saved up.
    pub max: u32,
}

/// Looks.
///
/// # Errors
/// The inbox cannot be read.
pub async fn status(engine: &Engine) -> Result<Status, InboxError> {
    let parts = engine.parts();
    let counts = match &parts.inbox {
        Some(inbox) => inbox.counts(parts.clock.now().timestamp_millis(), SCAN_MAX).await?,
        None => Counts::default(),
    };
    let placeholders = match &parts.inbox {
        Some(inbox) => placeholders::count(inbox, parts.clock.now().timestamp_millis()).await?,
        None => 0,
    };
    let paused = match &parts.system {
        Some(system) => Paused::read(system).await.ok(),
        None => None,
    };
    let fuses = match &parts.system {
        Some(system) => fuse::blown(system, &parts.mapping, parts.clock.now().timestamp_millis()).await.ok(),
        None => None,
    };
    Ok(Status {
        gate: sides(engine, gate),
        breaker: sides(engine, breaker),
        concurrency: sides(engine, concurrency),
        retries: sides(engine, retries),
        owed: counts.owed,
        due: counts.due,
        oldest: counts.oldest_ms.map(time),
        oldest_due: counts.oldest_due_ms.map(time),
        parked: counts.parked,
        placeholders,
        unreadable: counts.unreadable,
        at_least: counts.at_least,
        paused,
        fuses,
        foreign: engine.foreign(),
    })
}

fn sides<T>(engine: &Engine, told: impl Fn(&Environment) -> T) -> Sides<T> {
    Sides { target: told(&engine.parts().target), source: engine.parts().source.as_ref().map(told) }
}

fn gate(environment: &Environment) -> GateStatus {
    let closed = environment.gate.closed_for();
    GateStatus {
        state: if closed.is_some() { "closed" } else { "open" },
        closed_for_s: closed.unwrap_or_default().as_secs_f64(),
    }
}

fn breaker(environment: &Environment) -> BreakerStatus {
    let view = environment.gate.view();
    BreakerStatus { state: view.breaker, shut_for_s: view.breaker_for.unwrap_or_default().as_secs_f64() }
}

fn retries(environment: &Environment) -> Retries {
    let view = environment.gate.view();
    Retries { left: view.retries, max: view.retries_max }
}

fn concurrency(environment: &Environment) -> Concurrency {
    let view = environment.gate.view();
    Concurrency { in_flight: view.in_flight, limit: view.limit, max: view.limit_max }
}
