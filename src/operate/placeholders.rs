//! `placeholders`: rows of the target that were made because a lookup pointed to them, and that nobody has filled for an
//! hour. Changes nothing.

use super::time;
use crate::inbox::{Inbox, InboxError};
use crate::ledger::claim::Ledger;
use crate::sync::placeholders::{PlaceholderError, WAITS_FOR, still_waits};
use serde::Serialize;
use uuid::Uuid;

/// Most placeholders of one listing, and of one count.
pub const LISTED_MAX: usize = 1_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The target's table.
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// Since when it waits.
    pub since: String,
    /// The target's table of the row that needed it.
    pub needed_by: String,
}

/// Those that wait for longer than an hour, the oldest first, and whether there may be more. One round trip each.
///
/// # Errors
/// [`PlaceholderError`].
pub async fn placeholders(
    inbox: &Inbox,
    ledger: &Ledger,
    now_ms: i64,
) -> Result<(Vec<Waiting>, bool), PlaceholderError> {
    let listed = inbox.placeholders(None, LISTED_MAX).await?;
    let mut old: Vec<_> = listed.found.into_iter().map(|(_, placeholder)| placeholder).collect();
    old.retain(|placeholder| is_old(placeholder.since_ms, now_ms));
    old.sort_by_key(|placeholder| placeholder.since_ms);
    let mut waiting = Vec::new();
    for placeholder in old {
        if still_waits(ledger, &placeholder).await? {
            waiting.push(Waiting {
                table: placeholder.table,
                id: placeholder.id,
                since: time(placeholder.since_ms),
                needed_by: placeholder.needed_by,
            });
        }
    }
    Ok((waiting, listed.more))
}

/// How many wait, as the hourly look of the sweep knows it: what was filled within the last hour may be among them. One
/// round trip.
///
/// # Errors
/// [`InboxError`].
pub async fn count(inbox: &Inbox, now_ms: i64) -> Result<usize, InboxError> {
    let listed = inbox.placeholders(None, LISTED_MAX).await?;
    Ok(listed.found.iter().filter(|(_, placeholder)| is_old(placeholder.since_ms, now_ms)).count())
}

fn is_old(since_ms: i64, now_ms: i64) -> bool {
    i128::from(now_ms.saturating_sub(since_ms)) >= i128::try_from(WAITS_FOR.as_millis()).unwrap_or(i128::MAX)
}
