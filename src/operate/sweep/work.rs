//! Working on entries here: rows side by side, and what becomes of those that cannot be worked on.

use super::turns::Row;
use super::{Run, Sweeper, Swept};
use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Slip};
use crate::sync::Owed;
use crate::sync::back::put_off;
use futures_util::{StreamExt, stream};
use std::sync::atomic::Ordering;

impl Sweeper {
    /// Works on rows side by side, and on the events of a row one after the other; when one of them cannot be finished the
    /// others of its row wait for another round.
    pub(super) async fn work(&self, run: &Run<'_>, rows: Vec<Row>) -> Swept {
        let rows = rows.into_iter().map(|row| async move {
            let mut swept = Swept::default();
            for (slip, entry) in row.entries {
                if self.is_over(run) {
                    break;
                }
                let ended = self.one(run, slip, entry).await;
                swept += ended;
                if ended.deferred + ended.failed + ended.left > 0 {
                    break;
                }
            }
            swept
        });
        let mut swept = Swept::default();
        let mut done = stream::iter(rows).buffer_unordered(run.places.load(Ordering::Relaxed));
        while let Some(of_row) = done.next().await {
            swept += of_row;
        }
        swept
    }

    async fn one(&self, run: &Run<'_>, slip: Slip, entry: Entry) -> Swept {
        let mut swept = Swept::default();
        let engine = &self.parts.engine;
        let Ok(place) = engine.reserve(self.left(run)).await else { return Swept { left: 1, ..swept } };
        match engine.come_back_with(&Owed::Entry(slip.clone(), entry.clone()), place, run.invocation).await {
            Ok(None) => swept.settled = 1,
            Ok(Some(report)) => {
                let (outcome, event_id, table, row) = (&report.outcome, &report.event_id, &report.table, &report.row);
                tracing::info!(outcome = outcome.name(), detail = outcome.detail(), event_id, table, row, "handled");
                match outcome {
                    Outcome::Deferred { .. } => swept.deferred = 1,
                    _ => swept.ended = 1,
                }
            }
            Err(error) => {
                tracing::warn!(%error, table = entry.table, "an owed event could not be worked on");
                swept.failed = 1;
                let (why, owed) = (error.to_string(), (&slip, &entry));
                if let Err(error) = put_off(run.inbox, &self.parts.limits, self.now_ms(), owed, &why).await {
                    tracing::warn!(%error, "its entry could not be moved either");
                    swept.stuck = 1;
                }
            }
        }
        swept
    }
}
