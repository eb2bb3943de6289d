//! The flow of one event: filter, map, claim, merge, apply, finish.

use super::HandleEvent;
use super::claiming::RowLocks;
use super::environment::Environment;
use super::failure::Failure;
use super::filter;
use super::parents::KnownRows;
use super::pause;
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use crate::domain::disposition::Disposition;
use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::mapping::Mapping;
use crate::domain::outcome::Outcome;
use crate::domain::schema::TableSchema;
use crate::ledger::claim::Ledger;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How often an event is mapped anew because the target's names changed under it.
const REMAPS_MAX: u32 = 2;

/// What the engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// Tables and limits.
    pub mapping: Arc<Mapping>,
    /// Claims.
    pub ledger: Ledger,
    /// Where rows go.
    pub target: Environment,
    /// Where they come from, if it may be asked.
    pub source: Option<Environment>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The loop marker: `?tag=` of our writes, and events that carry it are our own echo.
    pub tag: String,
    /// Organisations whose events are taken; `None`: all.
    pub organizations: Option<BTreeSet<Uuid>>,
}

/// The engine: handles events one at a time or many at once.
#[derive(Debug)]
pub struct Engine {
    pub(super) parts: Parts,
    pub(super) locks: RowLocks,
    pub(super) known: KnownRows,
}

impl Engine {
    /// An engine made of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, locks: RowLocks::default(), known: KnownRows::default() }
    }

    /// The parts, for whoever watches (status, doctor).
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    async fn outcome(&self, event: &ChangeEvent, delivery: &Delivery) -> Result<Outcome, Failure> {
        let parts = &self.parts;
        let table = match filter::judge(&parts.mapping, event, &parts.tag, parts.organizations.as_ref()) {
            Ok(table) => table,
            Err(ignored) => return Ok(Outcome::Ignored(ignored)),
        };
        filter::supported(event)?;
        filter::readable(table)?;
        let limits = &parts.mapping.limits;
        let allowed = match delivery.channel {
            Channel::Webhook => limits.webhook_deadline,
            Channel::Queue => limits.queue_deadline,
        };
        let deadline = parts.clock.monotonic().saturating_add(allowed);
        let (mut remaps, mut waits) = (0, 0);
        loop {
            let schema = self.schema(&table.target, deadline).await?;
            let ended = match &event.operation {
                Operation::Link(link) => self.links(event, table, schema, link, true, delivery, deadline).await,
                Operation::Unlink(link) => self.links(event, table, schema, link, false, delivery, deadline).await,
                Operation::Create | Operation::Update | Operation::Upsert | Operation::Delete => {
                    match self.job(event, table, schema)? {
                        Ok(job) => self.claimed(&job, delivery, deadline).await,
                        Err(ignored) => return Ok(Outcome::Ignored(ignored)),
                    }
                }
            };
            match ended {
                Err(Failure::NamesChanged) if remaps < REMAPS_MAX => remaps += 1,
                // our own row is free meanwhile: rows that refer to each other do not wait for each other while they hold
                Err(Failure::ParentBusy) => {
                    waits += 1;
                    let left = deadline.saturating_sub(parts.clock.monotonic());
                    pause::within(left, waits, None, Failure::ParentBusy).await?;
                }
                ended => return ended,
            }
        }
    }

    /// A table's metadata. While the target asks for a pause or has a weak moment the event waits here: sent back, it
    /// would return at once and use up its deliveries (P5).
    pub(super) async fn schema(&self, table: &str, deadline: Duration) -> Result<Arc<TableSchema>, Failure> {
        let Parts { target, clock, mapping, .. } = &self.parts;
        let call = Call::until(deadline.saturating_add(mapping.limits.request_timeout));
        let mut attempt = 0;
        loop {
            let error = match target.schemas.get(&call, table).await {
                Ok(schema) => return Ok(schema),
                Err(error) => error,
            };
            let Disposition::Retry { after } = error.disposition() else { return Err(error.into()) };
            attempt += 1;
            let after = after.or_else(|| target.gate.closed_for());
            let left = deadline.saturating_sub(clock.monotonic());
            pause::within(left, attempt, after, error).await?;
        }
    }
}

#[async_trait]
impl HandleEvent for Engine {
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        let (event_id, table, row) = (event.id.id().to_owned(), event.table.clone(), event.row.to_string());
        match self.outcome(&event, delivery).await {
            Ok(outcome) => Ok(Report { outcome, event_id, table, row }),
            Err(Failure::IdReused) => Err(NotHandled::IdReused { event_id, table, row, stored: false }),
            Err(failure) => {
                let (reason, retry_after) = failure.told();
                Err(Unfinished { reason, retry_after }.into())
            }
        }
    }
}
