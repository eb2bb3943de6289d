//! One tick of the timer: a bounded part of a run, which goes on with the next tick. It begins with the table after the one
//! that the last tick ended with, so that a large table does not keep the others waiting.

use super::report::{Report, TableReport};
use super::{CannotReconcile, Options, Reconciler};
use std::time::Duration;

/// Longest tick: the host ends an invocation after five minutes (host.json), and what is under way is finished first.
const BUDGET: Duration = Duration::from_secs(180);
/// Where the last tick ended.
const CURSOR: &str = "reconcile:cursor";
/// How often a table that tracks no changes is compared as a whole.
pub(super) const FULL_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Reconciler {
    /// One tick; a line for the log for each table that something was found or done in.
    ///
    /// # Errors
    /// [`CannotReconcile`].
    pub async fn tick(&self) -> Result<Vec<String>, CannotReconcile> {
        let clock = &self.engine.parts().clock;
        let until = clock.monotonic().saturating_add(BUDGET);
        let cursor = match self.system.state::<String>(CURSOR).await {
            Ok(stored) => stored.map(|stored| stored.record),
            Err(error) => return Ok(vec![format!("the ledger cannot be read: {error}")]),
        };
        let mut lines = Vec::new();
        for table in self.in_turn(cursor.as_deref()) {
            let budget = until.saturating_sub(clock.monotonic());
            if budget.is_zero() {
                break;
            }
            let options =
                Options { tables: vec![table.clone()], budget: Some(budget), rarely: true, ..Options::default() };
            let report = self.mend(&options, &|_| {}).await?;
            lines.extend(report.tables.iter().filter_map(line));
            lines.extend(stopped(&report));
            if let Err(error) = self.system.update::<String>(CURSOR, |_| Some(table.clone())).await {
                tracing::warn!(%error, "where this tick ended could not be kept");
            }
        }
        Ok(lines)
    }

    /// All tables, those after the cursor first.
    fn in_turn(&self, cursor: Option<&str>) -> Vec<String> {
        let tables: Vec<String> = self.engine.parts().mapping.tables.keys().cloned().collect();
        let (before, after): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| cursor.is_some_and(|cursor| table.as_str() <= cursor));
        after.into_iter().chain(before).collect()
    }
}

fn line(table: &TableReport) -> Option<String> {
    if table.is_equal() && table.trouble.is_none() && table.adopted == 0 {
        return None;
    }
    let done: Vec<String> = table.done.iter().map(|(words, count)| format!("{words} {count}")).collect();
    let trouble = table.trouble.as_ref().map(|why| format!("; stopped: {why}")).unwrap_or_default();
    Some(format!(
        "{}: missing {}, extra {}, different {}, learnt {}; {}{trouble}",
        table.table,
        table.missing,
        table.extra,
        table.different,
        table.adopted,
        done.join(", ")
    ))
}

fn stopped(report: &Report) -> Option<String> {
    report.stopped.clone()
}
