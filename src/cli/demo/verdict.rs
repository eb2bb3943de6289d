//! How it ended: both environments compared, what is still owed, and the counters, as a table. Knows nothing of how it
//! came about.

use super::world::{Currency, TABLES, World};
use crate::sim::dataverse::{Cell, Difference, Environment, Side, difference};
use crate::sim::host::QueueCounts;
use crate::sim::tables::value::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use uuid::Uuid;

/// Differences that are listed.
const LISTED_MAX: usize = 10;
const LEDGER: &str = "syncledger";
const CURRENCY: &str = "transactioncurrencyid";

/// The end of one run.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) naive: bool,
    pub(super) seed: u64,
    /// Changes made in the source.
    changes: u64,
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
    unfinished: u64,
    reasons: Vec<(String, u64)>,
    kills: u64,
    refused: Refused,
    /// Writes of an event beyond its first.
    written_again: u64,
    rows: usize,
    differences: Vec<Difference>,
    pending: usize,
    owed: usize,
    dead: usize,
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
    pub(super) fn of(world: &World, naive: bool, seed: u64) -> Self {
        let counts = &world.counts;
        let host = world.host.counts();
        Self {
            naive,
            seed,
            changes: u64::try_from(world.deliveries.correlations().len()).unwrap_or(u64::MAX),
            queue: world.queue.counts(),
            webhooks: host.invocations.get("webhook").copied().unwrap_or_default(),
            webhooks_refused: world.source.failed_jobs().len(),
            late: world.deliveries.late(),
            sent_twice: world.deliveries.duplicates(),
            applied: counts.outcome("applied"),
            duplicates: counts.outcome("duplicate"),
            stale: counts.outcome("stale"),
            ignored: counts.outcome("ignored"),
            raced: counts.detail("applied", "raced"),
            unfinished: counts.unfinished(),
            reasons: counts.reasons(),
            kills: world.host.deaths(),
            refused: refused(&world.target),
            written_again: written_again(world),
            rows: TABLES.iter().map(|table| rows(&world.source, &world.target, table)).sum(),
            differences: differences(world),
            pending: world.queue.pending(),
            owed: owed(world),
            dead: world.queue.dead_letters().len(),
        }
    }

    /// Equal, and nothing owed.
    pub(super) fn is_good(&self) -> bool {
        self.differences.is_empty()
            && self.pending == 0
            && self.owed == 0
            && self.dead == 0
            && self.webhooks_refused == 0
    }

    /// The table, and what there is to say about it.
    pub(super) fn text(&self, colours: bool) -> String {
        let paint = Paint { colours };
        let mut text = String::new();
        let title = if self.naive { "Verdict: this is what the naive handler does" } else { "Verdict" };
        let _ = writeln!(text, "\n{}", paint.bold(title));
        let number =
            |label: &str, value: String, note: String| format!("  {label:<38}{value:>8}   {}\n", paint.faint(&note));
        let plain = |label: &str, value: u64, note: &str| number(label, value.to_string(), note.to_owned());
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        text.push_str(&plain("changes made in the source", self.changes, "accounts, contacts, orders, products"));
        let by_queue = self.queue.delivered;
        let note = format!(
            "{by_queue} by the queue, {} by webhook; {} events twice, {} late",
            self.webhooks, self.sent_twice, self.late
        );
        text.push_str(&plain("deliveries", by_queue + self.webhooks, &note));
        text.push_str(&plain("applied", self.applied, ""));
        text.push_str(&plain("duplicates absorbed", self.duplicates, "the same event came again"));
        if !self.naive {
            text.push_str(&plain("older than what was written", self.stale, "came late, nothing in it was newer"));
            let note = format!("412 from the target; {} had our values already", self.raced);
            text.push_str(&plain("races absorbed", self.refused.races, &note));
        } else {
            text.push_str(&plain("races not understood", self.refused.races, "412 from the target, answered with 500"));
        }
        let retries = self.refused.throttled + self.refused.unavailable + self.refused.unanswered;
        let note = format!(
            "target: {} throttled, {} unavailable, {} unanswered",
            self.refused.throttled, self.refused.unavailable, self.refused.unanswered
        );
        text.push_str(&plain("requests that failed", retries, &note));
        let note = format!("{} locks ran out, {} given back", self.queue.locks_lost, self.queue.abandoned);
        text.push_str(&plain("retries by the queue", self.queue.redelivered, &note));
        text.push_str(&plain("handler processes killed", self.kills, ""));
        if self.ignored > 0 {
            text.push_str(&plain("ignored", self.ignored, ""));
        }
        let note = if self.naive {
            "doubled: the target changed again"
        } else {
            "repeats of unanswered writes, under the lease"
        };
        text.push_str(&plain("events written more than once", self.written_again, note));
        text.push('\n');
        let bad = |label: &str, value: u64, note: &str| {
            let shown = format!("{value:>8}");
            let shown = if value == 0 { paint.good(&shown) } else { paint.bad(&shown) };
            format!("  {label:<38}{shown}   {}\n", paint.faint(note))
        };
        text.push_str(&plain("rows compared", count(self.rows), ""));
        let (lost, back, columns) = self.kinds();
        text.push_str(&bad(
            "differences",
            count(self.differences.len()),
            &format!("{lost} rows missing, {back} rows that should be gone, {columns} columns"),
        ));
        text.push_str(&bad("still owed", count(self.pending + self.owed), "in the queue, or claimed and not finished"));
        text.push_str(&bad("dead-lettered", count(self.dead), "messages given up by the queue"));
        text.push_str(&bad(
            "webhook deliveries refused",
            count(self.webhooks_refused),
            "the source does not send them again",
        ));
        self.words(&mut text, paint);
        text
    }

    fn words(&self, text: &mut String, paint: Paint) {
        let _ = writeln!(text);
        for difference in self.differences.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "  {}", told(difference));
        }
        if self.differences.len() > LISTED_MAX {
            let _ = writeln!(text, "  ... and {} more", self.differences.len() - LISTED_MAX);
        }
        let seed = self.seed;
        if self.naive {
            let (lost, back, columns) = self.kinds();
            let sum = format!(
                "The naive handler lost {lost} rows and left {columns} columns wrong, brought {back} deleted rows back, wrote \
                 {} times again what it had written, and gave up {} messages. Same traffic without --naive: --seed {seed}",
                self.written_again, self.dead
            );
            let _ = writeln!(text, "{}", if self.is_good() { paint.good(&sum) } else { paint.bad(&sum) });
        } else if self.is_good() {
            let _ = writeln!(text, "{} (seed {seed})", paint.good("Source and target are equal, and nothing is owed."));
        } else {
            let _ =
                writeln!(text, "{} (seed {seed})", paint.bad("Source and target are not equal, or something is owed."));
            let _ = writeln!(text, "  unfinished deliveries: {}", self.unfinished);
            for (reason, count) in &self.reasons {
                let _ = writeln!(text, "  {count:>5} x {reason}");
            }
        }
    }

    /// Rows missing in the target, rows that should be gone, columns that differ.
    fn kinds(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Difference) -> bool| self.differences.iter().filter(|found| wanted(found)).count();
        (
            count(|found| matches!(found, Difference::Row { missing: Side::Second, .. })),
            count(|found| matches!(found, Difference::Row { missing: Side::First, .. })),
            count(|found| matches!(found, Difference::Column { .. })),
        )
    }
}

/// Colours, if wanted.
#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }
}

fn told(difference: &Difference) -> String {
    let shown = |cell: &Option<Cell>| cell.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    match difference {
        Difference::Row { table, id, missing: Side::Second } => format!("{table} {id}: missing in the target"),
        Difference::Row { table, id, missing: Side::First } => {
            format!("{table} {id}: deleted, but there in the target")
        }
        Difference::Column { table, id, column, first, second } => {
            format!("{table} {id}: {column} is {} in the source, {} in the target", shown(first), shown(second))
        }
        Difference::Link { .. } => difference.to_string(),
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

/// Events in the ledger that are not done.
fn owed(world: &World) -> usize {
    let phase = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text != "done",
        _ => false,
    };
    world.tables.entities(LEDGER).iter().filter(|entity| phase(entity.properties.get("phase"))).count()
}
