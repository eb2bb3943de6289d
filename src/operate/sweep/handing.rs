//! Handing entries to the queue: how many, for how long they are left alone then, and what becomes of those that have no
//! message. The order of moving and sending is that of [`Inbox::hand_over`].

use super::pace::Pace;
use super::turns::{Row, all_rows};
use super::{Run, Sweeper, Swept, millis};
use crate::domain::mapping::Limits;
use crate::inbox::{Entry, HandedOver, InboxError, Slip};
use crate::operate::handover;
use crate::servicebus::{Sender, ServiceBusError};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Entries moved and sent together: what one request to Service Bus carries.
const HANDED_AT_ONCE: usize = 100;
/// Longest time that an entry that was handed over is left alone, however long leases are.
const HANDED_FOR_MAX: Duration = Duration::from_secs(300);
/// Hand-overs of an entry that may come to nothing before the sweep works on it itself.
const HANDED_MAX: u32 = 2;
/// First and longest pause between two looks whether what is out was worked off. It doubles.
const LOOK_MIN: Duration = Duration::from_secs(2);
const LOOK_MAX: Duration = Duration::from_secs(16);

/// The paces of all shards, as this process has seen them.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<BTreeMap<u8, Pace>>);

impl Paces {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, shard: u8, act: impl FnOnce(&mut Pace) -> T) -> T {
        act(self.lock().entry(shard).or_default())
    }
}

impl Sweeper {
    /// Hands rows over, and works on those that have come to nothing so far, that have much to do, or that have no message.
    pub(super) async fn hand_over_rows(&self, run: &Run<'_>, queue: &Sender, rows: Vec<Row>) -> Swept {
        let stays = |row: &Row| row.cut || row.entries.iter().any(|(_, entry)| entry.handed >= HANDED_MAX);
        let (mut own, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(stays);
        let others: Vec<(Slip, Entry)> = others.into_iter().flat_map(|row| row.entries).collect();
        let mut swept = Swept::default();
        for some in others.chunks(HANDED_AT_ONCE) {
            if run.queue_is_away.load(Ordering::Relaxed) {
                own.extend(all_rows(some.to_vec()));
            } else if !self.is_over(run) {
                let (handed, rest) = self.hand_over(run, queue, some).await;
                swept += handed;
                own.extend(all_rows(rest));
            }
        }
        swept += self.work(run, own).await;
        swept
    }

    /// How many entries of a shard may be handed over now. While those that are out are not worked off it waits, so that it
    /// is none only at the end of the sweep.
    pub(super) async fn room(&self, run: &Run<'_>, shard: u8) -> Result<usize, InboxError> {
        let mut pause = LOOK_MIN;
        while let Some(out) = self.paces.with(shard, |pace| pace.out(self.now_ms())) {
            let most = out.count.saturating_add(1);
            let left = run.inbox.handed_out(shard, (out.from_ms, out.to_ms), most).await?;
            self.paces.with(shard, |pace| pace.counted(left));
            let time = self.left(run);
            if self.paces.with(shard, |pace| pace.room()) > 0 || time <= pause {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        Ok(self.paces.with(shard, |pace| pace.room()))
    }

    /// Moves entries out of the way and sends a message for each; gives back those that have none for sure, to be worked on here.
    async fn hand_over(&self, run: &Run<'_>, queue: &Sender, some: &[(Slip, Entry)]) -> (Swept, Vec<(Slip, Entry)>) {
        let until_ms = self.now_ms().saturating_add(millis(handed_for(&self.parts.limits)));
        let HandedOver { mut moved, failed, left } = run.inbox.hand_over(some, until_ms).await;
        let mut swept = Swept::default();
        if let Some(error) = failed {
            tracing::warn!(%error, "entries could not be moved to be handed over");
            swept.failed = some.len().saturating_sub(moved.len() + left.len());
        }
        if let Some((slip, _)) = moved.first() {
            let latest_ms = moved.iter().map(|(_, entry)| entry.due_ms).max().unwrap_or(until_ms);
            self.paces.with(slip.place.shard, |pace| {
                if moved.iter().any(|(_, entry)| entry.handed > 1) {
                    pace.came_back();
                }
                pace.handed(moved.len(), (until_ms, latest_ms));
            });
        }
        let entries: Vec<Entry> = moved.iter().map(|(_, entry)| entry.clone()).collect();
        let Err(partly) = handover::send(queue, &entries).await else {
            swept.handed = entries.len();
            return (swept, left);
        };
        run.queue_is_away.store(true, Ordering::Relaxed);
        tracing::warn!(error = %partly, "entries could not be handed over");
        swept.handed = partly.sent.min(moved.len());
        let rest = moved.split_off(swept.handed);
        if matches!(partly.error, ServiceBusError::Unknown { .. }) {
            // their messages may be on their way: they are left alone as if they were
            swept.failed += rest.len();
            return (swept, left);
        }
        (swept, rest.into_iter().chain(left).collect())
    }
}

/// How long an entry that was handed over is left alone: a lease, skew included. Whoever gets its message settles, defers or
/// puts it off, so this only matters when nobody gets it (the sweep died before it sent it, it is lost, nobody listens), when
/// there was no place for it, or when who got it died. Then the row may be claimed until the lease ends, and whoever came earlier
/// would find it busy. The work on a message takes less than a lease (`config` checks that). A message that waits longer
/// finds nothing under its name, which costs a look, and the second one that is sent meanwhile does the work, or the sweep
/// after [`HANDED_MAX`] of them.
fn handed_for(limits: &Limits) -> Duration {
    limits.lease.saturating_add(limits.clock_skew).min(HANDED_FOR_MAX)
}
