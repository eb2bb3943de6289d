//! Coming back to what is owed: due entries of the inbox, claims whose worker died, and the purge of what is old.
//!
//! A sweep begins with one range query over all shards and ends with two more ([`standing`]); nothing due: that is all it costs. Shards that have work are leased,
//! so that sweeps of several instances share the work instead of doing it twice; nothing depends on it, the claim alone
//! decides who works on an event. The work ends well before the next tick.
//!
//! **With a queue** entries are handed over (see [`super::handover`] and [`Inbox::hand_over`]): moved out of the way,
//! then named in a message, so that the work scales with the instances that listen. An entry whose messages came to
//! nothing twice is worked on here, and so is everything else while Service Bus cannot be reached: what is owed must not
//! depend on the queue. A row with much to do is worked on here as well, since its events go one after the other anyway.
//! No more is out at once than is worked off in a while ([`pace`]).
//!
//! **No place, no touch.** An entry is only touched by who has a place at the target: while that asks for a pause, is away or has
//! enough to do, entries stay as they are and cost nothing. Entries of events that are done go many at a time.
//!
//! **Fair.** What is worked on here is chosen among the oldest 5 000 entries of a shard: tables take turns, then rows, and
//! neither gets more than its share at once ([`turns`]). What failed is moved away, for longer each time, until it is
//! parked, and the rest of its row waits: poisoned entries do not stand before the others.

mod handing;
mod old;
mod pace;
mod standing;
mod turns;
mod work;

use crate::chance;
use crate::clock::Clock;
use crate::domain::mapping::Limits;
use crate::inbox::entry::SHARDS;
use crate::inbox::{Entry, Inbox, InboxError, Slip};
use crate::ledger::purge::Expiring;
use crate::ledger::system::{Leased, System};
use crate::servicebus::Sender;
use crate::sync::HandleEvent;
use crate::sync::engine::Engine;
use futures_util::{StreamExt, stream};
use handing::Paces;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use turns::{Choice, Row, Share};

/// Entries of the first look. If there are more, each shard looks by itself.
const LOOK_ENTRIES: usize = 256;
/// Entries of a shard that are handed over in one go.
const WINDOW_ENTRIES: usize = 256;
/// Pages of entries that are looked through for what is worked on here.
const PAGE_ENTRIES: usize = 1_000;
const PAGES_MAX: usize = 5;
/// Entries that have their turn at once: of a row, a table, a shard. All shards together, with the pages they are chosen
/// from, are some 40 MiB at most.
const SHARE: Share = Share { of_row: 32, of_table: 256, of_all: 1_024 };
/// Events worked on side by side; the gate before the target narrows it further.
const EVENTS_AT_ONCE: usize = 32;
/// Longest sweep: the timer ticks every minute.
const BUDGET: Duration = Duration::from_secs(45);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries that were handed to the queue.
    pub handed: usize,
    /// Events that ended.
    pub ended: usize,
    /// Events that were deferred again.
    pub deferred: usize,
    /// Entries whose event had ended before.
    pub settled: usize,
    /// Entries of paused tables, put off without a look at their events.
    pub paused: usize,
    /// Entries that could not be worked on: they are due again later.
    pub failed: usize,
    /// Those of them that could not even be moved.
    pub stuck: usize,
    /// Entries that were left as they are, because there was no place at the target for them.
    pub left: usize,
    /// Records purged.
    pub purged: usize,
}

impl Swept {
    /// Whether it was worth looking again.
    fn got_on(self) -> bool {
        self.handed + self.ended + self.deferred + self.settled + self.paused > 0
    }
}

impl AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.handed += other.handed;
        self.ended += other.ended;
        self.deferred += other.deferred;
        self.settled += other.settled;
        self.paused += other.paused;
        self.failed += other.failed;
        self.stuck += other.stuck;
        self.left += other.left;
        self.purged += other.purged;
    }
}

/// What a sweeper is made of.
#[derive(Debug)]
pub struct SweepParts {
    /// What comes back to an event.
    pub engine: Arc<dyn HandleEvent>,
    /// What is owed; `None`: nothing ever is.
    pub inbox: Option<Inbox>,
    /// Times and counts.
    pub limits: Limits,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Leases of shards, and the purge's cursor.
    pub system: System,
    /// What is purged.
    pub records: Arc<dyn Expiring>,
    /// Where entries are handed over; `None`: they are worked on here.
    pub queue: Option<Sender>,
}

/// Sweeps.
#[derive(Debug)]
pub struct Sweeper {
    parts: SweepParts,
    paces: Paces,
}

/// One sweep, as all its shards see it.
struct Run<'a> {
    inbox: &'a Inbox,
    invocation: &'a str,
    deadline: Duration,
    /// Rows of one shard that are worked on side by side.
    places: AtomicUsize,
    /// Service Bus was not there when it was asked.
    queue_is_away: AtomicBool,
}

impl Sweeper {
    /// A sweeper for what this engine owes, that works it off itself.
    #[must_use]
    pub fn new(engine: Arc<Engine>, system: System, records: Arc<dyn Expiring>) -> Self {
        let parts = engine.parts();
        Self::of(SweepParts {
            inbox: parts.inbox.clone(),
            limits: parts.mapping.limits.clone(),
            clock: Arc::clone(&parts.clock),
            engine,
            system,
            records,
            queue: None,
        })
    }

    /// A sweeper of these parts.
    #[must_use]
    pub fn of(parts: SweepParts) -> Self {
        Self { parts, paces: Paces::default() }
    }

    /// The same sweeper, handing what is due to this queue.
    #[must_use]
    pub fn handing_over(self, queue: Sender) -> Self {
        Self::of(SweepParts { queue: Some(queue), ..self.parts })
    }

    /// One sweep, at most 45 s and what was begun by then.
    ///
    /// # Errors
    /// A text, when the inbox cannot be read at all. What fails for one entry is counted, and the entry stays due.
    pub async fn sweep(&self, invocation: &str) -> Result<Swept, String> {
        let Some(inbox) = &self.parts.inbox else { return Ok(Swept::default()) };
        let run = Run {
            inbox,
            invocation,
            deadline: self.parts.clock.monotonic().saturating_add(BUDGET),
            places: AtomicUsize::new(1),
            queue_is_away: AtomicBool::new(false),
        };
        let (mut swept, mut oldest_due_ms) = (Swept::default(), None);
        loop {
            let now_ms = self.now_ms();
            let due = match inbox.due(now_ms, LOOK_ENTRIES).await {
                Ok(due) => due,
                Err(error) if swept == Swept::default() => return Err(error.to_string()),
                Err(error) => {
                    tracing::warn!(%error, "the rest of what is due cannot be read");
                    break;
                }
            };
            oldest_due_ms = due.iter().map(|(_, entry)| entry.due_ms).min();
            if due.is_empty() {
                break;
            }
            // nothing is touched while nobody could work on it: the target asks for a pause, or is away
            if self.parts.engine.reserve(self.left(&run)).await.is_err() {
                swept.left += due.len();
                break;
            }
            let pass = self.pass(&run, now_ms, due).await;
            swept += pass;
            // no progress: the rest waits for the next tick
            if !pass.got_on() || pass.left > 0 || self.is_over(&run) {
                break;
            }
        }
        if !self.is_over(&run) {
            match self.parts.engine.look_after_placeholders().await {
                Ok(0) => {}
                Ok(waiting) => {
                    tracing::warn!(waiting, "placeholders still wait for their rows; `placeholders` lists them")
                }
                Err(error) => tracing::warn!(%error, "placeholders were not looked at"),
            }
            match self.purge(run.deadline).await {
                Ok(purged) => swept.purged = purged.events + purged.rows + purged.pointers,
                Err(error) => tracing::warn!(error, "the purge did not get on"),
            }
        }
        standing::tell(inbox, self.now_ms(), oldest_due_ms).await;
        Ok(swept)
    }

    fn now_ms(&self) -> i64 {
        self.parts.clock.now().timestamp_millis()
    }

    fn is_over(&self, run: &Run<'_>) -> bool {
        self.left(run).is_zero()
    }

    fn left(&self, run: &Run<'_>) -> Duration {
        run.deadline.saturating_sub(self.parts.clock.monotonic())
    }

    /// Goes once through every shard that has something due. `due` is the first look: all there is, or a part of each.
    async fn pass(&self, run: &Run<'_>, now_ms: i64, due: Vec<(Slip, Entry)>) -> Swept {
        let is_all = due.len() < LOOK_ENTRIES;
        let mut shards: BTreeMap<u8, Vec<(Slip, Entry)>> = BTreeMap::new();
        for (slip, entry) in due {
            shards.entry(entry.shard()).or_default().push((slip, entry));
        }
        run.places.store((EVENTS_AT_ONCE / shards.len().max(1)).max(1), Ordering::Relaxed);
        let shards =
            shards.into_iter().map(|(shard, entries)| self.shard(run, now_ms, shard, is_all.then_some(entries)));
        let mut swept = Swept::default();
        let mut done = stream::iter(shards).buffer_unordered(usize::from(SHARDS));
        while let Some(of_shard) = done.next().await {
            swept += of_shard;
        }
        swept
    }

    /// One shard, if nobody else has it: all that is due, as known or window by window.
    async fn shard(&self, run: &Run<'_>, now_ms: i64, shard: u8, all: Option<Vec<(Slip, Entry)>>) -> Swept {
        let mut swept = Swept::default();
        // as long as a row's: a sweep that died keeps a shard from the others no longer than its rows
        let lease = self.parts.limits.lease;
        let held = match self.parts.system.lease(&format!("sweep:{shard}"), chance::token(), lease).await {
            Ok(Leased::Held(held)) => held,
            Ok(Leased::Busy { .. }) => return swept,
            Err(error) => {
                tracing::warn!(%error, shard, "the shard could not be leased");
                return Swept { failed: 1, ..swept };
            }
        };
        let known = all.map(|all| {
            let mut choice = Choice::new(SHARE);
            all.into_iter().for_each(|(slip, entry)| choice.offer(slip, entry));
            (choice.rows(), true)
        });
        let (mut next, mut behind) = (known, None);
        while !self.is_over(run) {
            let looked = match next.take() {
                Some(known) => Ok(known),
                None => self.look(run, now_ms, shard, &mut behind).await,
            };
            let (rows, is_all) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(%error, shard, "the rest of the shard cannot be read");
                    break;
                }
            };
            let round = self.rows(run, rows).await;
            run.inbox.settle_now(shard).await;
            swept += round;
            if is_all || round.stuck + round.left > 0 {
                break;
            }
        }
        if let Err(error) = self.parts.system.release(held).await {
            tracing::debug!(%error, shard, "the shard's lease runs out by itself");
        }
        swept
    }

    /// What has its turn next in a shard, and whether nothing is left then. What is handed over is taken window by window,
    /// behind the last one; what is worked on here is chosen anew each time, because what was worked on is gone.
    async fn look(
        &self,
        run: &Run<'_>,
        now_ms: i64,
        shard: u8,
        behind: &mut Option<Slip>,
    ) -> Result<(Vec<Row>, bool), InboxError> {
        let mut choice = Choice::new(SHARE);
        if self.parts.queue.is_some() && !run.queue_is_away.load(Ordering::Relaxed) {
            let room = self.room(run, shard).await?.min(WINDOW_ENTRIES);
            if room == 0 {
                return Ok((Vec::new(), true));
            }
            let window = run.inbox.due_in(shard, now_ms, room, behind.as_ref()).await?;
            let is_last = window.len() < room;
            *behind = window.last().map(|(slip, _)| slip.clone());
            window.into_iter().for_each(|(slip, entry)| choice.offer(slip, entry));
            return Ok((choice.rows(), is_last));
        }
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = run.inbox.due_in(shard, now_ms, PAGE_ENTRIES, after.as_ref()).await?;
            let is_last = page.len() < PAGE_ENTRIES;
            after = page.last().map(|(slip, _)| slip.clone());
            page.into_iter().for_each(|(slip, entry)| choice.offer(slip, entry));
            if is_last {
                let is_all = choice.is_all();
                return Ok((choice.rows(), is_all));
            }
        }
        Ok((choice.rows(), false))
    }

    /// Rows of one shard: handed over, or worked on.
    async fn rows(&self, run: &Run<'_>, rows: Vec<Row>) -> Swept {
        let (mut swept, rows) = self.without_paused(rows).await;
        let Some(queue) = &self.parts.queue else {
            swept += self.work(run, rows).await;
            return swept;
        };
        swept += self.hand_over_rows(run, queue, rows).await;
        swept
    }

    /// Puts off what is paused, and gives back the rest.
    async fn without_paused(&self, rows: Vec<Row>) -> (Swept, Vec<Row>) {
        let looked_at = rows.into_iter().map(|row| async move {
            let (mut swept, mut rest) = (Swept::default(), Row { cut: row.cut, ..Row::default() });
            for (slip, entry) in row.entries {
                match self.parts.engine.put_off_if_paused(&slip, &entry).await {
                    Ok(false) => rest.entries.push((slip, entry)),
                    Ok(true) => swept.paused += 1,
                    Err(error) => {
                        tracing::warn!(%error, table = entry.table, "an entry of a paused table could not be put off");
                        swept.failed += 1;
                    }
                }
            }
            (swept, rest)
        });
        let looked_at: Vec<(Swept, Row)> = stream::iter(looked_at).buffered(EVENTS_AT_ONCE).collect().await;
        let mut swept = Swept::default();
        let mut rows = Vec::with_capacity(looked_at.len());
        for (of_row, row) in looked_at {
            swept += of_row;
            rows.extend(Some(row).filter(|row| !row.entries.is_empty()));
        }
        (swept, rows)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
