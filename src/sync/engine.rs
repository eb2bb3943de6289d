//! The flow of one event: filter, map, claim, merge, apply, finish.

use super::HandleEvent;
use super::claiming::{Acquire, RowLocks};
use super::delete;
use super::environment::Environment;
use super::failure::Failure;
use super::filter;
use super::links::{self, End, LinkJob};
use super::lookups::Sources;
use super::parents::{Changed, KnownRows};
use super::pause;
use super::work::Work;
use super::write::{RowToWrite, write};
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use crate::domain::disposition::Disposition;
use crate::domain::event::{ChangeEvent, Link, Operation};
use crate::domain::groups::Groups;
use crate::domain::map::{Mapped, MappedRow, map_columns};
use crate::domain::mapping::{Deletes, Mapping, TableMap};
use crate::domain::merge::{Change, Done, Plan, advance, plan};
use crate::domain::outcome::{Applied, Ignored, Outcome};
use crate::domain::partition::Partition;
use crate::domain::row::RowState;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Columns, RowRef, Value};
use crate::domain::version::Version;
use crate::ledger::claim::{Finished, Ledger};
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
    parts: Parts,
    locks: RowLocks,
    known: KnownRows,
}

/// One event in the target's terms, with everything needed to work on it.
struct Job<'a> {
    event: &'a ChangeEvent,
    table: &'a TableMap,
    schema: Arc<TableSchema>,
    groups: Groups,
    mapped: Mapped,
    row: RowRef,
    partition: Partition,
    /// The event is about this link and not about a row.
    link: Option<LinkJob<'a>>,
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

    /// Each link of the event for itself; the event has the outcome of the last one that did something.
    #[expect(clippy::too_many_arguments, reason = "one event in all its surroundings")]
    async fn links(
        &self,
        event: &ChangeEvent,
        table: &TableMap,
        schema: Arc<TableSchema>,
        link: &Link,
        present: bool,
        delivery: &Delivery,
        deadline: Duration,
    ) -> Result<Outcome, Failure> {
        let RowRef::Id(own_id) = event.row else {
            return Err(Failure::never("identity_missing: a link names its rows by GUID"));
        };
        let mut outcome = Outcome::Ignored(Ignored::NothingToWrite);
        for (other, other_id) in &link.related {
            let Some(other) = self.parts.mapping.tables.get(other) else { continue };
            let other_schema = self.schema(&other.target, deadline).await?;
            let own = End { table, schema: Arc::clone(&schema), id: own_id };
            let other = End { table: other, schema: other_schema, id: *other_id };
            let link = LinkJob::new(own, other, &link.relationship, present)?;
            let (name, row) = link.identity();
            let partition = Partition::of(&name, &row);
            let mapped = Mapped {
                row: MappedRow::Known(row.clone()),
                columns: link.columns(),
                image: Columns::new(),
                dropped: Vec::new(),
                unknown_named: Vec::new(),
                value_unmapped: Vec::new(),
            };
            let (schema, groups, link) = (Arc::clone(&schema), Groups::default(), Some(link));
            let job = Job { event, table, schema, groups, mapped, row, partition, link };
            let ended = self.claimed(&job, delivery, deadline).await?;
            if !matches!(outcome, Outcome::Applied(_)) || matches!(ended, Outcome::Applied(_)) {
                outcome = ended;
            }
        }
        Ok(outcome)
    }

    /// A table's metadata. While the target asks for a pause or has a weak moment the event waits here: sent back, it
    /// would return at once and use up its deliveries (P5).
    async fn schema(&self, table: &str, deadline: Duration) -> Result<Arc<TableSchema>, Failure> {
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

    /// Maps the event to the target.
    fn job<'a>(
        &self,
        event: &'a ChangeEvent,
        table: &'a TableMap,
        schema: Arc<TableSchema>,
    ) -> Result<Result<Job<'a>, Ignored>, Failure> {
        if schema.elastic {
            return Err(Failure::never("elastic_table: a partial write would wipe the row's other columns"));
        }
        let mapped = map_columns(&self.parts.mapping, table, &schema, event);
        if let Some(column) = mapped.unknown_named.first() {
            return Err(Failure::never(format!("column_missing: the target's {} has no column {column}", schema.name)));
        }
        if let Some(column) = mapped.value_unmapped.first() {
            return Err(Failure::never(format!(
                "value_unmapped: {}.{column} has a value that is not mapped",
                schema.name
            )));
        }
        for dropped in &mapped.dropped {
            tracing::debug!(
                table = table.source,
                column = dropped.column,
                why = dropped.why.name(),
                "column not written"
            );
        }
        let row = match &mapped.row {
            MappedRow::Known(row) => row.clone(),
            MappedRow::Unresolved { missing, .. } => {
                let missing = missing.join(", ");
                return Err(Failure::never(format!(
                    "identity_missing: the event does not carry the key of {} ({missing}); register a post image with it",
                    schema.name
                )));
            }
        };
        let writes = matches!(event.operation, Operation::Update | Operation::Upsert);
        if writes && mapped.columns.is_empty() && !event.columns.is_empty() {
            return Ok(Err(Ignored::NothingToWrite));
        }
        let partition = Partition::of(&schema.name, &row);
        let groups = Groups::of(table, &schema);
        Ok(Ok(Job { event, table, schema, groups, mapped, row, partition, link: None }))
    }

    async fn claimed(&self, job: &Job<'_>, delivery: &Delivery, deadline: Duration) -> Result<Outcome, Failure> {
        let parts = &self.parts;
        let _turn = self.locks.turn(job.partition.key(), parts.clock.as_ref(), deadline).await?;
        let touches = |state: &RowState, arrival_ms: i64| {
            let version = version(state, job.event, arrival_ms);
            plan(state, &change(&version, &job.mapped), &job.groups).touches()
        };
        // a message that fails comes back at once and soon dies: until it can be stored for later, waiting costs less
        let duplicate_wait = match delivery.channel {
            Channel::Webhook => parts.mapping.limits.duplicate_wait,
            Channel::Queue => parts.mapping.limits.queue_deadline,
        };
        let (limits, clock) = (&parts.mapping.limits, parts.clock.as_ref());
        let acquire = Acquire { ledger: &parts.ledger, clock, limits, deadline, duplicate_wait };
        let mut claim = match acquire.claim(job.partition.key(), job.event, delivery.arrival_ms, &touches).await? {
            Ok(claim) => claim,
            Err(before) => return Ok(Outcome::Duplicate(words(&before))),
        };
        let mut work = Work {
            claim: &mut claim,
            ledger: &parts.ledger,
            target: &parts.target,
            clock: parts.clock.as_ref(),
            limits: &parts.mapping.limits,
            deadline,
            traces: Call {
                correlation: job.event.origin.correlation.clone(),
                traceparent: delivery.traceparent.clone(),
                ..Call::default()
            },
            sent: false,
            unsettled_until: None,
            requests: 0,
        };
        match self.apply(job, &mut work).await {
            Ok((state, outcome)) => {
                let settled = work.settled().await;
                if let Err(failure) = settled {
                    return self.leave(work, failure).await;
                }
                match parts.ledger.finish(work.claim, state, &outcome).await? {
                    Finished::Done => Ok(outcome),
                    Finished::Overtaken => Err(Failure::Overtaken),
                }
            }
            Err(failure) => self.leave(work, failure).await,
        }
    }

    /// Ends work without an outcome: the row is given back, unless an unanswered request may still land on it (R3) or it
    /// is not ours any more (R7).
    async fn leave(&self, mut work: Work<'_>, failure: Failure) -> Result<Outcome, Failure> {
        let ours = !matches!(failure, Failure::Overtaken | Failure::Unsettled { .. });
        if let (true, Err(unsettled)) = (ours, work.settled().await) {
            return Err(unsettled);
        }
        if ours && let Err(error) = self.parts.ledger.give_up(work.claim, work.sent).await {
            tracing::warn!(%error, "the row could not be given back; its lease runs out by itself");
        }
        Err(failure)
    }

    /// Does what the merge says, and says what the row is then.
    async fn apply(&self, job: &Job<'_>, work: &mut Work<'_>) -> Result<(RowState, Outcome), Failure> {
        let state = work.claim.state.clone();
        let version = version(&state, job.event, work.claim.arrival_ms);
        let sources = Sources { source: self.parts.source.as_ref(), mapping: &self.parts.mapping, known: &self.known };
        let mut row = RowToWrite {
            table: job.table,
            schema: &job.schema,
            row: &job.row,
            known_id: state.target,
            exists: state.exists,
            tag: &self.parts.tag,
            may_create: true,
            at: version.at,
        };
        let mut changed = Changed::default();
        let mut plan = plan(&state, &change(&version, &job.mapped), &job.groups);
        let (done, applied) = match &mut plan {
            Plan::Stale { ties } => (Done::Stale { ties }, None),
            Plan::Write(columns) if columns.send.is_empty() && state.exists => {
                (Done::Written(columns), Some(Applied::Unchanged))
            }
            Plan::Write(columns) if let Some(link) = &job.link => {
                match links::apply(work, link, &self.parts.tag, version.at, &sources).await? {
                    Some(applied) => (Done::Written(columns), Some(applied)),
                    None => (Done::Stale { ties: &columns.ties }, None),
                }
            }
            Plan::Write(columns) => {
                let written = write(work, &row, &columns.send, &sources).await?;
                row.known_id = written.written.id.or(row.known_id);
                work.claim.state.target_etag.clone_from(&written.written.etag);
                let applied = written.applied();
                changed = written.changed;
                for column in &changed.cleared {
                    columns.advance.entry(column.clone()).and_modify(|value| *value = Value::Null);
                }
                (Done::Written(columns), Some(applied))
            }
            Plan::LateDelete { clear } => {
                row.may_create = false;
                row.known_id = delete::clear(work, &row, clear, &sources).await?;
                (Done::Cleared(clear), Some(Applied::Cleared))
            }
            Plan::Delete => match job.table.deletes {
                Deletes::Deactivate => {
                    row.may_create = false;
                    (Done::Deleted, Some(delete::deactivate(work, &row, &sources).await?))
                }
                Deletes::Delete | Deletes::Ignore => (Done::Deleted, Some(delete::delete(work, &row).await?)),
            },
        };
        let mut next = advance(&state, &version, &done, &job.groups);
        next.scale = state.version_of(&job.event.stamp, job.event.operation.rank(), 0, "").1;
        // what was left out is not known to be in the target, so it is never taken as equal
        for column in &changed.omitted {
            if let Some(written) = next.columns.get_mut(column) {
                written.digest.clear();
            }
        }
        match (applied, &job.row) {
            (None, _) => {}
            (Some(Applied::Deleted), RowRef::Id(id)) => self.known.forget(&job.schema.name, *id),
            (Some(Applied::Deleted), RowRef::Key(_)) => {}
            (Some(_), _) => {
                next.exists = true;
                next.placeholder_ms = None;
                next.target = row.known_id.or(match &job.row {
                    RowRef::Id(id) => Some(*id),
                    RowRef::Key(_) => state.target,
                });
                next.target_etag.clone_from(&work.claim.state.target_etag);
            }
        }
        Ok((next, applied.map_or(Outcome::Stale, Outcome::Applied)))
    }
}

fn version(state: &RowState, event: &ChangeEvent, arrival_ms: i64) -> Version {
    state.version_of(&event.stamp, event.operation.rank(), arrival_ms, &event.id.fingerprint()).0
}

fn change<'a>(version: &'a Version, mapped: &'a Mapped) -> Change<'a> {
    Change { version, columns: &mapped.columns, image: &mapped.image }
}

/// `applied: created`, for the detail of a duplicate.
fn words(outcome: &Outcome) -> String {
    match outcome.detail() {
        "" => outcome.name().to_owned(),
        detail => format!("{}: {detail}", outcome.name()),
    }
}

#[async_trait]
impl HandleEvent for Engine {
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        let (event_id, table, row) = (event.id.id().to_owned(), event.table.clone(), event.row.to_string());
        match self.outcome(&event, delivery).await {
            Ok(outcome) => {
                tracing::info!(event_id, table, outcome = outcome.name(), detail = outcome.detail(), "handled");
                Ok(Report { outcome, event_id, table, row })
            }
            Err(Failure::IdReused) => {
                tracing::warn!(event_id, table, "refused: the id was used before with other content");
                Err(NotHandled::IdReused { event_id, table, row, stored: false })
            }
            Err(failure) => {
                let (reason, retry_after) = failure.told();
                tracing::warn!(event_id, table, reason, attempt = delivery.delivery_count, "not finished");
                Err(Unfinished { reason, retry_after }.into())
            }
        }
    }
}
