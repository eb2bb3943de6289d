//! Handing entries over: moving them out of the way of the next sweep, and finding one again by the name that a message
//! carries.
//!
//! **Order.** An entry is moved *before* its message is sent, on condition that it is as it was read. So of two sweeps
//! that see the same entry one gets it, and a crash between the move and the message costs time and nothing else: the
//! entry is still there and due again at its new time. It stays until the event has ended or was deferred, as ever; a
//! message that is lost, late or doubled finds the entry where its name says or nothing, and nothing depends on it.

use super::due::Inbox;
use super::entry::{Entry, Name};
use super::error::InboxError;
use super::store::{MOVES_MAX, Move, Slip};

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// As the entries are now; only these may be handed to somebody.
    pub moved: Vec<(Slip, Entry)>,
    /// Why the rest was not looked at: it may be moved or not, and is due in either case.
    pub failed: Option<InboxError>,
}

impl Inbox {
    /// Moves entries of one shard to `until_ms`, each counted as handed over once more. Entries that somebody else moved,
    /// settled or wrote since are passed over. One round trip per fifty.
    pub async fn hand_over(&self, entries: &[(Slip, Entry)], until_ms: i64) -> HandedOver {
        let mut done = HandedOver::default();
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
                    done.failed = Some(error);
                    break;
                }
            }
        }
        done
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
