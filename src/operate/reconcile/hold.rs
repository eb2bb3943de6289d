//! Taking a table for a run, and keeping it for as long as the run lasts. Says when it waits.

use super::feed::FeedError;
use super::progress::WAITING;
use super::run::{Run, Stopped};
use super::saved::{HOLD_MAX, Store, Taken};
use std::convert::Infallible;
use std::time::Duration;

/// How long a table that another run has is waited for, in a run without an end of its own: that run may have died.
const BUSY_PATIENCE: Duration = Duration::from_secs(90);
const BUSY_PAUSE: Duration = Duration::from_secs(3);

impl Run<'_> {
    /// Keeps the table for as long as this is asked; whether it was lost is seen when something is saved.
    pub(super) async fn hold(&self, store: &Store<'_>) -> Infallible {
        loop {
            tokio::time::sleep(store.renew_every()).await;
            if let Err(error) = store.keep(self.monotonic()).await {
                tracing::debug!(%error, "the lease of a table was not renewed");
            }
        }
    }

    /// Takes the table or relationship of this name, and waits for another run to give it back, if nobody waits for us.
    pub(super) async fn take(&self, name: &str) -> Result<Store<'_>, Stopped> {
        let patience = if self.deadline.is_some() { Duration::ZERO } else { BUSY_PATIENCE };
        let until = self.monotonic().saturating_add(patience);
        let hold = self.mapping().limits.lease.min(HOLD_MAX);
        loop {
            match Store::take(&self.reconciler.system, name, hold).await? {
                Taken::Ours(store) => return Ok(store),
                Taken::Busy { until_ms } if self.monotonic() >= until => {
                    return Err(Stopped::Busy { until_ms: Some(until_ms) });
                }
                Taken::Busy { .. } if self.options.stop.is_asked() => return Err(FeedError::OutOfTime.into()),
                Taken::Busy { .. } => {
                    self.meter.begin(name, WAITING, 0, None);
                    tokio::time::sleep(BUSY_PAUSE.min(hold / 4)).await;
                }
            }
        }
    }
}
