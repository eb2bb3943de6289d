//! A local queue with the semantics of Service Bus in peek-lock mode: locks that run out, delivery counts,
//! dead letters, duplicate detection, scheduled messages. Knows no function and no handler.

use super::message::{Message, NewMessage};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// How a queue behaves.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// How long a received message is hidden from others (the service's default is 60 s).
    pub lock_duration: Duration,
    /// Deliveries after which a message is dead-lettered (the service's default is 10).
    pub max_delivery_count: u32,
    /// From giving a message back to its next delivery: a broker's round trips. With 0 all deliveries take milliseconds.
    pub redelivery_delay: Duration,
    /// Within this time a second message with the same id is accepted and dropped; `None` = off (the default).
    pub duplicate_window: Option<Duration>,
    /// The wall-clock time at which the queue's clock starts.
    pub start: DateTime<Utc>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lock_duration: Duration::from_secs(60),
            max_delivery_count: 10,
            redelivery_delay: Duration::ZERO,
            duplicate_window: None,
            start: DateTime::UNIX_EPOCH + TimeDelta::seconds(1_768_471_200),
        }
    }
}

/// The lock is not held any more: it ran out, or the message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock supplied is invalid: it expired, or the message has already been removed from the queue")]
pub struct LockLost;

/// A received message and the lock on it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message; its delivery count includes this delivery.
    pub message: Message,
    /// The lock.
    pub token: Uuid,
    /// When the lock ends, wall clock.
    pub locked_until: DateTime<Utc>,
}

/// A message that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// `MaxDeliveryCountExceeded`, or what the receiver said.
    pub reason: String,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Accepted, duplicates included.
    pub sent: u64,
    /// Dropped by duplicate detection.
    pub dropped: u64,
    /// Deliveries, redeliveries included.
    pub delivered: u64,
    /// Deliveries with a count above 1.
    pub redelivered: u64,
    /// Completed.
    pub completed: u64,
    /// Abandoned by a receiver.
    pub abandoned: u64,
    /// Locks that ran out.
    pub locks_lost: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
    /// Dropped because their time to live was over.
    pub expired: u64,
}

#[derive(Debug)]
struct Locked {
    message: Message,
    until: Instant,
}

#[derive(Debug, Default)]
struct State {
    ready: BTreeMap<u64, Message>,
    locked: HashMap<Uuid, Locked>,
    scheduled: BTreeMap<(Instant, u64), Message>,
    seen: HashSet<String>,
    seen_order: VecDeque<(Instant, String)>,
    sequence: u64,
    counts: QueueCounts,
    /// Whether any message ever had a time to live: else nobody looks for it.
    may_expire: bool,
}

#[derive(Debug)]
struct Inner {
    settings: QueueSettings,
    started: Instant,
    state: Mutex<State>,
    /// Something became ready, or a nearer deadline exists.
    changed: Notify,
    /// Where messages go that are given up; the dead letters' own queue has none.
    dead: Option<Queue>,
}

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

impl Queue {
    /// An empty queue, and an empty one for its dead letters.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        let endless = QueueSettings { max_delivery_count: u32::MAX, duplicate_window: None, ..settings.clone() };
        Self::with_dead(settings, Some(Self::with_dead(endless, None)))
    }

    fn with_dead(settings: QueueSettings, dead: Option<Self>) -> Self {
        let (started, state) = (Instant::now(), Mutex::new(State::default()));
        Self(Arc::new(Inner { settings, started, state, changed: Notify::new(), dead }))
    }

    /// Sends a message. Returns its sequence number, or `None` if duplicate detection dropped it.
    pub fn send(&self, new: NewMessage) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.lock();
        state.counts.sent += 1;
        let id = new.message_id.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        if let Some(window) = self.0.settings.duplicate_window {
            while state.seen_order.front().is_some_and(|(at, _)| *at + window <= now) {
                if let Some((_, old)) = state.seen_order.pop_front() {
                    state.seen.remove(&old);
                }
            }
            if !state.seen.insert(id.clone()) {
                state.counts.dropped += 1;
                return None;
            }
            state.seen_order.push_back((now, id.clone()));
        }
        state.sequence += 1;
        let sequence = state.sequence;
        let delay = new.delay;
        let due = delay.map(|d| now + d);
        let expires = new.time_to_live.and_then(|time| due.unwrap_or(now).checked_add(time));
        state.may_expire |= expires.is_some();
        let mut message = Message::new(new, id, sequence, self.wall(due.unwrap_or(now)));
        message.expires = expires;
        match due {
            Some(due) => state.scheduled.insert((due, sequence), message),
            None => state.ready.insert(sequence, message),
        };
        drop(state);
        self.0.changed.notify_waiters();
        Some(sequence)
    }

    /// Waits for the next message and locks it. Dropping the future loses nothing.
    pub async fn receive(&self) -> Received {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(received) = self.try_receive() {
                return received;
            }
            let deadline = Self::next_deadline(&self.lock());
            wait(changed, deadline).await;
        }
    }

    /// Locks the next message if one is ready.
    #[must_use]
    pub fn try_receive(&self) -> Option<Received> {
        let mut state = self.lock();
        self.advance(&mut state);
        let (_, mut message) = state.ready.pop_first()?;
        message.delivery_count = message.delivery_count.saturating_add(1);
        state.counts.delivered += 1;
        state.counts.redelivered += u64::from(message.delivery_count > 1);
        let until = Instant::now() + self.0.settings.lock_duration;
        let token = Uuid::new_v4();
        state.locked.insert(token, Locked { message: message.clone(), until });
        drop(state);
        self.0.changed.notify_waiters();
        Some(Received { message, token, locked_until: self.wall(until) })
    }

    /// Removes a message for good.
    ///
    /// # Errors
    /// When the lock is lost; then it is delivered again.
    pub fn complete(&self, token: Uuid) -> Result<(), LockLost> {
        self.settle(token, |state, _| state.counts.completed += 1)
    }

    /// Gives a message back: after `redelivery_delay` it is delivered again, or dead-lettered if it was the last time.
    ///
    /// # Errors
    /// When the lock is lost.
    pub fn abandon(&self, token: Uuid) -> Result<(), LockLost> {
        self.settle(token, |state, message| {
            state.counts.abandoned += 1;
            self.give_back(state, message, self.0.settings.redelivery_delay);
        })
    }

    /// Moves a message to the dead letters.
    ///
    /// # Errors
    /// When the lock is lost.
    pub fn dead_letter(&self, token: Uuid, reason: &str) -> Result<(), LockLost> {
        self.settle(token, |state, message| self.bury(state, message, reason))
    }

    /// Starts the lock's duration again.
    ///
    /// # Errors
    /// When the lock is lost.
    pub fn renew(&self, token: Uuid) -> Result<(), LockLost> {
        let mut state = self.lock();
        self.advance(&mut state);
        let locked = state.locked.get_mut(&token).ok_or(LockLost)?;
        locked.until = Instant::now() + self.0.settings.lock_duration;
        Ok(())
    }

    /// How long a lock lasts.
    #[must_use]
    pub fn lock_duration(&self) -> Duration {
        self.0.settings.lock_duration
    }

    /// Messages not settled yet: ready, locked, scheduled.
    #[must_use]
    pub fn pending(&self) -> usize {
        let mut state = self.lock();
        self.advance(&mut state);
        state.ready.len() + state.locked.len() + state.scheduled.len()
    }

    /// Waits until nothing is ready, locked or scheduled.
    pub async fn idle(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let deadline = {
                let mut state = self.lock();
                self.advance(&mut state);
                if state.ready.is_empty() && state.locked.is_empty() && state.scheduled.is_empty() {
                    return;
                }
                Self::next_deadline(&state)
            };
            wait(changed, deadline).await;
        }
    }

    /// How many messages are ready or locked, and how many are not due yet.
    #[must_use]
    pub fn present(&self) -> (usize, usize) {
        let mut state = self.lock();
        self.advance(&mut state);
        (state.ready.len() + state.locked.len(), state.scheduled.len())
    }

    /// The dead letters that nobody took yet, in order.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.advance(&mut self.lock());
        let Some(dead) = &self.0.dead else { return Vec::new() };
        let mut state = dead.lock();
        dead.advance(&mut state);
        let locked = state.locked.values().map(|l| &l.message);
        let mut all: Vec<&Message> = state.ready.values().chain(locked).collect();
        all.sort_by_key(|m| m.sequence_number);
        let letter =
            |m: &Message| DeadLetter { message: m.clone(), reason: m.dead_letter_reason.clone().unwrap_or_default() };
        all.into_iter().map(letter).collect()
    }

    /// The queue of the dead letters (`<queue>/$deadletterqueue`); it has none itself.
    #[must_use]
    pub fn dead_letter_queue(&self) -> Option<Self> {
        self.0.dead.clone()
    }

    /// The wall clock of this queue.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.wall(Instant::now())
    }

    /// How this queue behaves.
    #[must_use]
    pub fn settings(&self) -> &QueueSettings {
        &self.0.settings
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        self.lock().counts
    }

    fn settle(&self, token: Uuid, how: impl FnOnce(&mut State, Message)) -> Result<(), LockLost> {
        let mut state = self.lock();
        self.advance(&mut state);
        let locked = state.locked.remove(&token).ok_or(LockLost)?;
        how(&mut state, locked.message);
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Makes due what is due: scheduled messages, and locks that ran out.
    fn advance(&self, state: &mut State) {
        let now = Instant::now();
        while let Some(entry) = state.scheduled.first_entry().filter(|e| e.key().0 <= now) {
            let ((_, sequence), message) = entry.remove_entry();
            state.ready.insert(sequence, message);
        }
        let lost: Vec<Uuid> = state.locked.iter().filter(|(_, l)| l.until <= now).map(|(t, _)| *t).collect();
        for token in lost {
            if let Some(locked) = state.locked.remove(&token) {
                state.counts.locks_lost += 1;
                self.give_back(state, locked.message, Duration::ZERO);
            }
        }
        if state.may_expire {
            let before = state.ready.len();
            state.ready.retain(|_, message| message.expires.is_none_or(|at| now < at));
            state.counts.expired += u64::try_from(before - state.ready.len()).unwrap_or(u64::MAX);
        }
    }

    /// A message keeps its place in the queue when it comes back; when its deliveries are used up, it is buried.
    fn give_back(&self, state: &mut State, message: Message, delay: Duration) {
        if message.delivery_count >= self.0.settings.max_delivery_count {
            self.bury(state, message, "MaxDeliveryCountExceeded");
        } else if delay.is_zero() {
            state.ready.insert(message.sequence_number, message);
        } else {
            state.scheduled.insert((Instant::now() + delay, message.sequence_number), message);
        }
    }

    /// Moves a message to the dead letters. The own state is locked before theirs, never the other way round.
    fn bury(&self, state: &mut State, mut message: Message, reason: &str) {
        let Some(dead) = &self.0.dead else {
            state.ready.insert(message.sequence_number, message);
            return;
        };
        state.counts.dead_lettered += 1;
        message.dead_letter_reason = Some(reason.to_owned());
        message.delivery_count = 0;
        message.expires = None; // dead letters stay until somebody takes them
        dead.lock().ready.insert(message.sequence_number, message);
        dead.0.changed.notify_waiters();
    }

    fn next_deadline(state: &State) -> Option<Instant> {
        let lock = state.locked.values().map(|l| l.until).min();
        let scheduled = state.scheduled.keys().next().map(|(due, _)| *due);
        let expires = state.ready.values().filter(|_| state.may_expire).filter_map(|m| m.expires).min();
        lock.into_iter().chain(scheduled).chain(expires).min()
    }

    fn wall(&self, at: Instant) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(at.saturating_duration_since(self.0.started)).unwrap_or(TimeDelta::MAX);
        self.0.settings.start.checked_add_signed(elapsed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait(changed: impl Future<Output = ()>, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
        None => changed.await,
    }
}
