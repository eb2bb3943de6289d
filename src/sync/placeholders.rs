//! Placeholders that wait for their event: noted when they are made, looked at when they are an hour old, and every hour
//! from then on. Only tells; the event that makes more of a placeholder comes, or a person brings it.

use super::engine::Engine;
use super::work::Work;
use crate::inbox::{Inbox, InboxError, Placeholder};
use crate::ledger::claim::{Ledger, LedgerError};
use std::time::Duration;

/// From this age on a placeholder is told of, and looked at as often.
pub const WAITS_FOR: Duration = Duration::from_secs(60 * 60);
/// Placeholders that one sweep looks at: one round trip each, and two more if it still waits.
const LOOKS_MAX: usize = 64;

/// Why placeholders were not looked at.
#[derive(Debug, thiserror::Error)]
pub enum PlaceholderError {
    /// The inbox failed.
    #[error("the inbox: {0}")]
    Inbox(#[from] InboxError),
    /// The ledger failed.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
}

/// Notes that a placeholder was made. One round trip; if it fails, the placeholder is not listed, and that is all.
pub(super) async fn note(work: &Work<'_>, placeholder: &Placeholder) {
    let Some(inbox) = work.inbox else { return };
    if let Err(error) = inbox.note_placeholder(placeholder, later(placeholder.since_ms)).await {
        tracing::warn!(%error, table = placeholder.table, "a placeholder could not be noted: it will not be listed");
    }
}

/// Whether the ledger still knows the row as a placeholder. One round trip.
///
/// # Errors
/// [`LedgerError`].
pub async fn still_waits(ledger: &Ledger, placeholder: &Placeholder) -> Result<bool, LedgerError> {
    let row = ledger.row(&placeholder.partition).await?;
    Ok(row.is_some_and(|row| row.record.state.placeholder_ms.is_some()))
}

fn later(ms: i64) -> i64 {
    ms.saturating_add(i64::try_from(WAITS_FOR.as_millis()).unwrap_or(i64::MAX))
}

impl Engine {
    /// Looks at the placeholders whose time it is. How many wait for longer than [`WAITS_FOR`], of those looked at.
    pub(super) async fn look_at_placeholders(&self, inbox: &Inbox) -> Result<usize, PlaceholderError> {
        let now_ms = self.parts.clock.now().timestamp_millis();
        let mut waiting = 0;
        for (slip, placeholder) in inbox.placeholders(Some(now_ms), LOOKS_MAX).await?.found {
            if still_waits(&self.parts.ledger, &placeholder).await? {
                waiting += 1;
                inbox.look_again(&slip, &placeholder, later(now_ms)).await?;
            } else {
                inbox.settle(&slip).await?;
            }
        }
        Ok(waiting)
    }
}
