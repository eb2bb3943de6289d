//! Handing entries over: moving them out of the way of the next sweep, and finding one again by the name that a message
//! carries.
//!
//! **Order.** An entry is moved *before* its message is sent, on condition that it is as it was read. So of two sweeps
//! that see the same entry one gets it, and a crash between the move and the message costs time and nothing else: the
//! entry is still there and due again at its new time. It stays until the event has ended or was deferred, as ever; a
//! message that is lost, late or doubled finds the entry where its name says or nothing, and nothing depends on it.
//!
//! **Twins.** An event may have two entries: one beside its claim, one of each delivery that was deferred. Moved to one time
//! they are one entry, and a transaction that writes it twice is refused as a whole, each time anew. So one of them is moved
//! with what is known of all, and the others are removed when that one is durable.

use super::due::{Inbox, WRITES_MAX};
use super::entry::{Entry, Name, due_key};
use super::error::InboxError;
use super::store::{MOVES_MAX, Move, Range, Shelf, Slip};
use std::collections::HashMap;

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// As the entries are now; only these may be handed to somebody.
    pub moved: Vec<(Slip, Entry)>,
    /// Why not all were looked at.
    pub failed: Option<InboxError>,
    /// Those of the rest that were not moved for sure; the others may be moved or not, and are due in either case.
    pub left: Vec<(Slip, Entry)>,
}

impl Inbox {
    /// Moves entries of one shard to `until_ms`, each counted as handed over once more. Entries that somebody else moved,
    /// settled or wrote since are passed over; of several entries of one event one is moved. One round trip per fifty, and
    /// one per twin.
    pub async fn hand_over(&self, entries: &[(Slip, Entry)], until_ms: i64) -> HandedOver {
        let mut done = HandedOver::default();
        let (entries, twins) = without_twins(entries);
        let mut open: Vec<&[(Slip, Entry)]> = entries.chunks(MOVES_MAX).rev().collect();
        while let Some(some) = open.pop() {
            match self.shift(some, until_ms).await {
                Ok(Some(moved)) => done.moved.extend(moved),
                // one of them is not as it was: the halves are tried, down to the one
                Ok(None) => {
                    let (first, second) = some.split_at(some.len() / 2);
                    open.extend([second, first].into_iter().filter(|half| !half.is_empty() && half.len() < some.len()));
                }
                Err(error) => {
                    let moved = matches!(error, InboxError::Unknown(_));
                    done.left.extend(some.iter().filter(|_| !moved).cloned());
                    done.left.extend(open.drain(..).rev().flatten().cloned());
                    done.failed = Some(error);
                }
            }
        }
        for (slip, twin) in twins {
            if done.moved.iter().any(|(_, moved)| moved.is_about(&twin))
                && let Err(error) = self.settle(&slip).await
            {
                tracing::debug!(%error, "a second entry of an event stays beside the first");
            }
        }
        done
    }

    /// Moves one entry if it is as it was read. `None`: somebody else has moved, settled or rewritten it. One round trip.
    ///
    /// # Errors
    /// [`InboxError`]: it is where it was, or at its new time.
    pub async fn put_off(&self, slip: &Slip, later: &Entry) -> Result<Option<Slip>, InboxError> {
        let moves = [Move { from: slip.clone(), to: later.place(), text: later.text()? }];
        if later.place() == slip.place {
            return Ok(Some(slip.clone()));
        }
        let mut tries = 1;
        loop {
            match self.store.shift(&moves).await {
                Err(InboxError::Unknown(_)) if tries < WRITES_MAX => tries += 1,
                ended => return ended.map(|slips| slips.and_then(|slips| slips.into_iter().next())),
            }
        }
    }

    /// How many of the entries of a shard that are due between these times, both included, were handed over and are still
    /// there; no more than `max` are counted. One round trip per thousand.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn handed_out(&self, shard: u8, (from_ms, to_ms): (i64, i64), max: usize) -> Result<usize, InboxError> {
        // keys go on after the time, so they come after the time alone
        let (after, before) = (Some(due_key(from_ms)), Some(due_key(to_ms.saturating_add(1))));
        let range = Range { shelf: Shelf::Due, shard: Some(shard), after, before };
        let (entries, _) = self.entries(&range, max).await?;
        Ok(entries.iter().filter(|(_, entry)| entry.handed > 0).count())
    }

    async fn shift(&self, entries: &[(Slip, Entry)], until_ms: i64) -> Result<Option<Vec<(Slip, Entry)>>, InboxError> {
        let mut moved = Vec::with_capacity(entries.len());
        let mut moves = Vec::with_capacity(entries.len());
        for (slip, entry) in entries {
            let due_ms = until_ms.max(entry.due_ms.saturating_add(1));
            let later = Entry { due_ms, handed: entry.handed.saturating_add(1), ..entry.clone() };
            moves.push(Move { from: slip.clone(), to: later.place(), text: later.text()? });
            moved.push(later);
        }
        Ok(self.store.shift(&moves).await?.map(|slips| slips.into_iter().zip(moved).collect()))
    }

    /// The entry of this name, if it is still there: neither settled nor moved. One round trip.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn named(&self, name: &Name) -> Result<Option<(Slip, Entry)>, InboxError> {
        let Some((stored, _)) = self.store.get(&name.place()).await? else { return Ok(None) };
        let entry = stored.text.as_deref().map(serde_json::from_str::<Entry>);
        match entry {
            Some(Ok(entry)) if entry.name() == *name => Ok(Some((stored.slip, entry))),
            _ => Err(InboxError::Corrupt(format!("{}: the entry does not say what its key says", name.key()))),
        }
    }
}

type Found = Vec<(Slip, Entry)>;

/// One entry for each event, the first one, and the others. It learns from them what makes events give way to others.
fn without_twins(entries: &[(Slip, Entry)]) -> (Found, Found) {
    let (mut firsts, mut twins) = (Found::with_capacity(entries.len()), Found::new());
    let mut places: HashMap<(&str, &str), usize> = HashMap::with_capacity(entries.len());
    for (slip, entry) in entries {
        let event = (entry.partition.as_str(), entry.event_key.as_str());
        let known = places.get(&event).and_then(|place| firsts.get_mut(*place));
        if let Some((_, first)) = known {
            if entry.attempts > first.attempts {
                (first.attempts, first.reason) = (entry.attempts, entry.reason.clone());
            }
            first.first_ms = first.first_ms.min(entry.first_ms);
            first.handed = first.handed.max(entry.handed);
            twins.push((slip.clone(), entry.clone()));
        } else {
            places.insert(event, firsts.len());
            firsts.push((slip.clone(), entry.clone()));
        }
    }
    (firsts, twins)
}
