//! How it ended: both environments compared, what is still owed, and the counters. Knows nothing of how it came about.

mod table;

use super::plan::VICTIMS;
use super::trouble::Aimed;
use super::world::{Currency, INBOX, LEDGER, LINKS, TABLES, World};
use crate::sim::dataverse::{Cell, Difference, Environment, Message, Side, difference};
use crate::sim::host::QueueCounts;
use crate::sim::tables::Entity;
use crate::sim::tables::value::Value;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const CURRENCY: &str = "transactioncurrencyid";

/// The end of one run.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) naive: bool,
    pub(super) seed: u64,
    /// Changes made in the source.
    changes: u64,
    deleted: u64,
    linked: u64,
    unlinked: u64,
    queue: QueueCounts,
    webhooks: u64,
    webhooks_refused: usize,
    late: u64,
    sent_twice: u64,
    applied: u64,
    duplicates: u64,
    stale: u64,
    ignored: u64,
    raced: u64,
    deferred: u64,
    webhooks_kept: u64,
    placeholders: u64,
    unfinished: u64,
    reasons: Vec<(String, u64)>,
    kills: u64,
    refused: Refused,
    /// Requests that the throttling and the outage hit.
    throttled: u64,
    outage: u64,
    /// Writes of an event beyond its first.
    written_again: u64,
    rows: usize,
    links: usize,
    /// Placeholders that nothing has filled.
    unfilled: usize,
    differences: Vec<Difference>,
    pending: usize,
    /// Entries of events in the ledger, and how many of them are not done.
    noted: usize,
    owed: usize,
    dead: usize,
    /// Why events were parked, one text each.
    parked: Vec<String>,
}

/// What the target did not do at once.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    throttled: u64,
    unavailable: u64,
    unanswered: u64,
    races: u64,
}

impl Verdict {
    /// Looks at everything; call it when nothing moves any more.
    pub(super) fn of(world: &World, naive: bool, seed: u64, aimed: Aimed) -> Self {
        let counts = &world.counts;
        let host = world.host.counts();
        let (noted, owed) = noted(world);
        Self {
            naive,
            seed,
            changes: u64::try_from(world.deliveries.correlations().len()).unwrap_or(u64::MAX),
            deleted: world.deliveries.count(Message::Delete),
            linked: world.deliveries.count(Message::Associate),
            unlinked: world.deliveries.count(Message::Disassociate),
            queue: world.queue.counts(),
            webhooks: host.invocations.get("webhook").copied().unwrap_or_default(),
            webhooks_refused: world.source.failed_jobs().len(),
            late: world.deliveries.late(),
            sent_twice: world.deliveries.duplicates(),
            applied: counts.outcome("applied"),
            duplicates: counts.outcome("duplicate"),
            stale: counts.outcome("stale"),
            deferred: counts.outcome("deferred"),
            webhooks_kept: counts.webhooks_kept(),
            placeholders: world.placeholders(),
            ignored: counts.outcome("ignored"),
            raced: counts.detail("applied", "raced"),
            unfinished: counts.unfinished(),
            reasons: counts.reasons(),
            kills: world.host.deaths(),
            refused: refused(&world.target),
            throttled: world.target.faults().hits(aimed.throttle),
            outage: world.target.faults().hits(aimed.outage),
            written_again: written_again(world),
            rows: TABLES.iter().map(|table| rows(&world.source, &world.target, table)).sum(),
            links: world.source.links(LINKS).union(&world.target.links(LINKS)).count(),
            unfilled: unfilled(world),
            differences: differences(world),
            pending: world.queue.pending(),
            noted,
            owed,
            dead: world.queue.dead_letters().len(),
            parked: parked(world),
        }
    }

    /// Equal, nothing owed, and everything happened that the story promises.
    pub(super) fn is_good(&self) -> bool {
        self.differences.is_empty() && self.owes_nothing() && self.missed().is_empty()
    }

    fn owes_nothing(&self) -> bool {
        let owed = [self.pending, self.owed, self.dead, self.webhooks_refused, self.parked.len(), self.unfilled];
        // an empty ledger would owe nothing because nobody looked there
        let was_noted = self.naive || self.noted > 0;
        owed.iter().all(|count| *count == 0) && was_noted
    }

    /// What the story promises and what did not happen: a run that misses something proves less.
    fn missed(&self) -> Vec<&'static str> {
        if self.naive {
            return Vec::new();
        }
        let kills = u64::try_from(VICTIMS.len()).unwrap_or(u64::MAX);
        let promised = [
            ("events that come late", self.late),
            ("events that come twice", self.sent_twice.min(self.duplicates)),
            ("children that come before their parent", self.placeholders),
            ("deletes", self.deleted),
            ("links that are made", self.linked),
            ("links that are removed", self.unlinked),
            ("races lost (412)", self.refused.races),
            ("requests while the target is throttled", self.throttled),
            ("requests while the target is gone", self.outage),
            ("webhooks that are kept for later", self.webhooks_kept),
            ("processes killed", (self.kills + 1).saturating_sub(kills)),
            ("messages that a killed process held", self.queue.locks_lost),
        ];
        promised.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
    }

    /// Rows missing in the target, rows that should be gone, columns that differ, links that differ.
    fn kinds(&self) -> (usize, usize, usize, usize) {
        let count = |wanted: fn(&Difference) -> bool| self.differences.iter().filter(|found| wanted(found)).count();
        (
            count(|found| matches!(found, Difference::Row { missing: Side::Second, .. })),
            count(|found| matches!(found, Difference::Row { missing: Side::First, .. })),
            count(|found| matches!(found, Difference::Column { .. })),
            count(|found| matches!(found, Difference::Link { .. })),
        )
    }
}

fn rows(source: &Environment, target: &Environment, table: &str) -> usize {
    let (left, mut right) = (source.rows(table), target.rows(table));
    right.retain(|id, _| !left.contains_key(id));
    left.len() + right.len()
}

/// Users have other ids in every environment, and so have currencies, which are compared by what they mean.
fn differences(world: &World) -> Vec<Difference> {
    let (source, target) = (&world.source, &world.target);
    let mut found = difference(source, target, &TABLES, &["ownerid", CURRENCY]);
    let same: BTreeMap<Uuid, Uuid> =
        world.currencies.iter().map(|Currency { source, target }| (*source, *target)).collect();
    let meant = |cell: Option<&Cell>| match cell {
        Some(Cell::Lookup { id, .. }) => same.get(id).copied(),
        _ => None,
    };
    let there = |cell: Option<&Cell>| match cell {
        Some(Cell::Lookup { id, .. }) => Some(*id),
        _ => None,
    };
    for table in TABLES {
        let other = target.rows(table);
        for (id, row) in source.rows(table) {
            let Some(second) = other.get(&id) else { continue };
            if meant(row.get(CURRENCY)) != there(second.get(CURRENCY)) {
                found.push(Difference::Column {
                    table: table.to_owned(),
                    id,
                    column: CURRENCY.to_owned(),
                    first: row.get(CURRENCY).cloned(),
                    second: second.get(CURRENCY).cloned(),
                });
            }
        }
    }
    found
}

fn refused(target: &Environment) -> Refused {
    let mut refused = Refused::default();
    for ((method, _, status), count) in target.requests().counts() {
        match status {
            Some(429) => refused.throttled += count,
            Some(503) => refused.unavailable += count,
            Some(412) if method != "GET" => refused.races += count,
            None => refused.unanswered += count,
            Some(_) => {}
        }
    }
    refused
}

/// The target's changes carry the correlation of the event that they are for.
fn written_again(world: &World) -> u64 {
    let known = world.deliveries.correlations();
    let mut seen: BTreeMap<Uuid, u64> = BTreeMap::new();
    for event in world.written.take() {
        if known.contains(&event.correlation) {
            *seen.entry(event.correlation).or_default() += 1;
        }
    }
    seen.values().map(|count| count - 1).sum()
}

/// Events that are neither done nor parked: in the ledger, or in the inbox alone.
pub(super) fn owed(world: &World) -> usize {
    noted(world).1
}

/// Events in the ledger, and those, there or in the inbox alone, that are neither done nor parked.
fn noted(world: &World) -> (usize, usize) {
    let mut known = BTreeSet::new();
    let mut owed = 0;
    for entity in world.tables.entities(LEDGER) {
        let Some(Value::String(phase)) = entity.properties.get("phase") else { continue };
        owed += usize::from(!["done", "parked"].contains(&phase.as_str()));
        known.insert((entity.key.partition, entity.key.row));
    }
    // the entry of an event that is done goes when it is due; until then it owes nothing
    let alone = entries(world, "due:").into_iter().filter(|entry| {
        let text = |name: &str| entry.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        !known.contains(&(text("partition"), text("event_key")))
    });
    (known.len(), owed + alone.count())
}

/// Placeholders that the ledger still knows as such.
fn unfilled(world: &World) -> usize {
    let entities = world.tables.entities(LEDGER);
    let state = |entity: &Entity| match entity.properties.get("record") {
        Some(Value::String(text)) => serde_json::from_str::<Json>(text).ok()?.get("state").cloned(),
        _ => None,
    };
    let is_one = |state: &Json| state.get("exists") == Some(&Json::Bool(true)) && state.get("placeholder_ms").is_some();
    entities.iter().filter_map(state).filter(is_one).count()
}

/// The reasons of what is parked.
fn parked(world: &World) -> Vec<String> {
    let reason = |entry: &Json| entry.get("reason").and_then(Json::as_str).unwrap_or("no reason").to_owned();
    entries(world, "parked:").iter().map(reason).collect()
}

/// What the inbox holds in the partitions of one kind; `null` for what cannot be read, which is owed, too.
fn entries(world: &World, kind: &str) -> Vec<Json> {
    let entities = world.tables.entities(INBOX);
    // pieces of payloads lie beside their entries
    let entities = entities.iter().filter(|e| e.key.partition.starts_with(kind) && !e.key.row.contains('~'));
    let text = |entity: &Entity| match entity.properties.get("record") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Json::Null,
    };
    entities.map(text).collect()
}
