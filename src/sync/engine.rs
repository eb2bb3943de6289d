//! The flow of one event: filter, map, claim, merge, apply, finish.

use super::claiming::RowLocks;
use super::environment::Environment;
use super::failure::Failure;
use super::fuse::Fuse;
use super::job;
use super::keep::Track;
use super::parents::KnownRows;
use super::pause;
use super::paused::PauseWatch;
use super::placeholders::PlaceholderError;
use super::strangers::Strangers;
use super::{HandleEvent, Owed, RawEvent};
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::dataverse::metadata::cache::Refreshed;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use crate::domain::disposition::Disposition;
use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::mapping::{Mapping, TableMap};
use crate::domain::outcome::Outcome;
use crate::domain::schema::TableSchema;
use crate::inbox::{Entry, Inbox, InboxError, Raw, Slip};
use crate::ledger::claim::Ledger;
use crate::ledger::system::System;
use crate::outbound::gate::{NotNow, Permit};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use uuid::Uuid;

/// How often an event is mapped anew because the target's names changed under it.
pub(super) const REMAPS_MAX: u32 = 2;
/// Attempts of an owed event that may take as long as a webhook's; later ones get a fifth of that.
const PATIENT_ATTEMPTS: u32 = 3;

/// What the engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// Tables and limits.
    pub mapping: Arc<Mapping>,
    /// Claims.
    pub ledger: Ledger,
    /// What is owed and parked; `None`: what cannot be finished stays with its sender.
    pub inbox: Option<Inbox>,
    /// Leases with a name and small states beside the ledger; `None`: nothing is shared with other instances but claims.
    pub system: Option<System>,
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
    pub(super) paused: PauseWatch,
    pub(super) strangers: Strangers,
    pub(super) fuse: Fuse,
    /// Messages about owed events that are being worked on.
    pub(super) coming: AtomicUsize,
}

impl Engine {
    /// An engine made of these parts.
    #[must_use]
    pub fn new(mut parts: Parts) -> Self {
        if let Some(system) = &parts.system {
            for environment in [Some(&mut parts.target), parts.source.as_mut()].into_iter().flatten() {
                environment.join(system, parts.mapping.limits.clock_skew);
            }
        }
        Self {
            parts,
            locks: RowLocks::default(),
            known: KnownRows::default(),
            paused: PauseWatch::default(),
            strangers: Strangers::default(),
            fuse: Fuse::default(),
            coming: AtomicUsize::new(0),
        }
    }

    /// The parts, for whoever watches (status, doctor).
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    async fn outcome(&self, event: &ChangeEvent, delivery: &Delivery, track: &mut Track) -> Result<Outcome, Failure> {
        let parts = &self.parts;
        let deadline = self.deadline(delivery);
        let table = match self.admitted(event, deadline).await? {
            Ok(table) => table,
            Err(ignored) => return Ok(Outcome::Ignored(ignored)),
        };
        track.partition = job::partition(table, event);
        if delivery.until.is_some_and(|until| parts.clock.monotonic() >= until) {
            return Err(Failure::not_begun());
        }
        if self.is_paused(&table.source, deadline).await? {
            return Err(Failure::Paused);
        }
        if event.synchronous && delivery.channel == Channel::Webhook && parts.inbox.is_some() {
            // the sender's user waits for our answer (CONTRACT)
            return Err(Failure::NotNow { reason: "synchronous_step".to_owned(), after: Duration::ZERO });
        }
        track.whole =
            matches!(&event.operation, Operation::Link(link) | Operation::Unlink(link) if link.related.len() > 1);
        if track.whole && parts.inbox.is_some() && Self::owes_from_the_start(delivery, track) {
            return Err(Failure::NotNow { reason: "several_links".to_owned(), after: Duration::ZERO });
        }
        if parts.target.schemas.peek(&table.target).is_none() {
            self.way_is_open(delivery, deadline, track).await?;
        }
        let (mut remaps, mut waits) = (0, 0);
        loop {
            let schema = self.schema(&table.target, deadline).await?;
            let ended = match &event.operation {
                Operation::Link(link) => {
                    self.links(event, table, schema, link, true, (delivery, deadline), track).await
                }
                Operation::Unlink(link) => {
                    self.links(event, table, schema, link, false, (delivery, deadline), track).await
                }
                Operation::Create | Operation::Update | Operation::Upsert | Operation::Delete => {
                    if remaps < REMAPS_MAX && self.has_new_columns(event, table, &schema, deadline).await? {
                        remaps += 1;
                        continue;
                    }
                    match self.job(event, table, schema)? {
                        Ok(job) => self.claimed(&job, delivery, deadline, track).await,
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

    /// Until when work on a delivery that begins now may take.
    pub(super) fn deadline(&self, delivery: &Delivery) -> Duration {
        let limits = &self.parts.mapping.limits;
        let allowed = match delivery.channel {
            Channel::Webhook => limits.webhook_deadline,
            Channel::Queue => limits.queue_deadline,
            // nobody waits for it, but others wait behind it; the more often it failed the less of their time it gets
            Channel::Inbox if delivery.delivery_count <= PATIENT_ATTEMPTS => limits.webhook_deadline,
            Channel::Inbox => limits.webhook_deadline / 5,
        };
        delivery.until.unwrap_or_else(|| self.parts.clock.monotonic().saturating_add(allowed))
    }

    /// Whether a delivery may wait for the target: a webhook is stored and answered instead (P5).
    pub(super) fn is_patient(&self, delivery: &Delivery) -> bool {
        delivery.channel != Channel::Webhook || self.parts.inbox.is_none()
    }

    /// Whether the target turns out to have columns of this event that its cached metadata did not know: asked at most
    /// once in ten minutes and table (CONTRACT); what is still unknown then is left out, and named in the log.
    pub(super) async fn has_new_columns(
        &self,
        event: &ChangeEvent,
        table: &TableMap,
        schema: &TableSchema,
        deadline: Duration,
    ) -> Result<bool, Failure> {
        let unknown = job::unknown_columns(&self.parts.mapping, table, schema, event);
        if unknown.is_empty() {
            return Ok(false);
        }
        let call = Call::until(deadline.saturating_add(self.parts.mapping.limits.request_timeout));
        match self.parts.target.schemas.refresh(&call, &table.target).await? {
            Refreshed::Changed => Ok(true),
            Refreshed::Same => {
                let columns = unknown.join(", ");
                tracing::warn!(table = table.target, columns, "the target has no such columns: they are left out");
                Ok(false)
            }
            Refreshed::TooSoon => Ok(false),
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
            target.tell().await;
            let after = after.or_else(|| target.gate.shut_for());
            let left = deadline.saturating_sub(clock.monotonic());
            pause::within(left, attempt, after, error).await?;
        }
    }
}

impl Engine {
    /// Works on an event to its outcome, or keeps it.
    pub(super) async fn work(
        &self,
        event: ChangeEvent,
        delivery: &Delivery,
        track: &mut Track,
    ) -> Result<Report, NotHandled> {
        let (event_id, table, row) = (event.id.id().to_owned(), event.table.clone(), event.row.to_string());
        let work = async {
            match self.outcome(&event, delivery, track).await {
                Ok(outcome) => Ok(outcome),
                Err(failure) => self.keep(&event, track, delivery, failure).await,
            }
        };
        let (ended, ()) = futures_util::future::join(work, self.clear_up()).await;
        if let (Ok(outcome), Channel::Webhook | Channel::Queue) = (&ended, delivery.channel) {
            self.settle_beside(outcome, track).await;
        }
        for environment in [Some(&self.parts.target), self.parts.source.as_ref()].into_iter().flatten() {
            environment.tell().await;
        }
        match ended {
            Ok(outcome) => Ok(Report { outcome, event_id, table, row }),
            Err(failure @ (Failure::IdReused | Failure::ImpostorKept)) => {
                let stored = matches!(failure, Failure::ImpostorKept);
                Err(NotHandled::IdReused { event_id, table, row, stored })
            }
            Err(failure) => {
                let (reason, retry_after) = failure.told();
                Err(Unfinished { reason, retry_after }.into())
            }
        }
    }
}

#[async_trait]
impl HandleEvent for Engine {
    async fn handle(&self, event: ChangeEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        self.work(event, delivery, &mut Track::default()).await
    }

    async fn handle_row(&self, mut events: Vec<(ChangeEvent, Delivery)>) -> Vec<Result<Report, NotHandled>> {
        match events.pop() {
            Some((event, delivery)) if events.is_empty() => vec![self.handle(event, &delivery).await],
            Some(last) => {
                events.push(last);
                self.row(&events).await
            }
            None => Vec::new(),
        }
    }

    async fn keep_raw(&self, raw: RawEvent, delivery: &Delivery) -> Result<Report, NotHandled> {
        let unfinished = |reason: String| Unfinished { reason, retry_after: Duration::from_secs(60) };
        let Parts { inbox: Some(inbox), clock, mapping, .. } = &self.parts else {
            return Err(unfinished(raw.problem).into());
        };
        let reason = format!("{}: {}", raw.why.name(), raw.problem);
        let kept = Raw {
            bytes: raw.body,
            headers: raw.headers,
            channel: delivery.channel,
            first_ms: delivery.arrival_ms,
            attempts: delivery.delivery_count.saturating_sub(1),
            table: String::new(),
            event: None,
        };
        let allowed = match delivery.channel {
            Channel::Webhook => Duration::ZERO,
            // given back it would return at once, and soon not any more (R11)
            Channel::Queue | Channel::Inbox => mapping.limits.queue_deadline,
        };
        let (deadline, mut attempt) = (delivery.until.unwrap_or(clock.monotonic().saturating_add(allowed)), 0);
        loop {
            let error = match inbox.park_raw(&kept, &reason, clock.now().timestamp_millis()).await {
                Ok(_) => break,
                Err(error) => error,
            };
            let left = deadline.saturating_sub(clock.monotonic());
            attempt += 1;
            let passing = matches!(error, InboxError::Unavailable { .. } | InboxError::Unknown(_));
            let again = Failure::ledger(error.to_string());
            if !passing || pause::within(left, attempt, None, again).await.is_err() {
                return Err(unfinished(error.to_string()).into());
            }
        }
        Ok(Report {
            outcome: Outcome::Parked { reason },
            event_id: String::new(),
            table: String::new(),
            row: String::new(),
        })
    }

    async fn put_off_if_paused(&self, slip: &Slip, entry: &Entry) -> Result<bool, InboxError> {
        self.put_off(slip, entry).await
    }

    async fn come_back(&self, owed: &Owed, invocation: &str) -> Result<Option<Report>, NotHandled> {
        self.come_back_with(owed, None, invocation).await
    }

    async fn reserve(&self, patience: Duration) -> Result<Option<Permit>, NotNow> {
        self.place(patience).await.map(Some)
    }

    async fn come_back_with(
        &self,
        owed: &Owed,
        place: Option<Permit>,
        invocation: &str,
    ) -> Result<Option<Report>, NotHandled> {
        match owed {
            Owed::Entry(slip, entry) => self.resume(slip, entry, place, invocation).await,
            Owed::Named(name) => self.come_back_to(name, invocation).await,
        }
    }

    async fn look_after_placeholders(&self) -> Result<usize, PlaceholderError> {
        match &self.parts.inbox {
            Some(inbox) => self.look_at_placeholders(inbox).await,
            None => Ok(0),
        }
    }

    fn batch_until(&self) -> Option<Duration> {
        let limits = &self.parts.mapping.limits;
        Some(self.parts.clock.monotonic().saturating_add(limits.batch_deadline.min(limits.queue_deadline)))
    }

    fn deliveries_max(&self) -> u32 {
        self.parts.mapping.limits.deliveries_max
    }
}
