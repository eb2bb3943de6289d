//! What the ways in share: handing decoded events to the engine, and saying what came of them. Knows no trigger.

use crate::domain::decode::{Item, NotForUs};
use crate::domain::delivery::{Delivery, NotHandled, Report};
use crate::domain::event::ChangeEvent;
use crate::domain::outcome::Outcome;
use crate::domain::value::RowRef;
use crate::sync::HandleEvent;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rows of one batch that are worked on at the same time: all of a usual one. The engine has its own limit per environment
/// (`max_in_flight`), and a row that has to wait keeps none of the others from its turn.
const ROWS_AT_ONCE_MAX: usize = 64;

/// Hands one event to the engine, and logs how it ended.
///
/// # Errors
/// [`NotHandled`], logged here as well.
pub async fn handle(engine: &dyn HandleEvent, item: Item, delivery: &Delivery) -> Result<Report, NotHandled> {
    let result = match item {
        Item::Change(event) => engine.handle(*event, delivery).await,
        Item::NotForUs(other) => Ok(ignored(other)),
    };
    log_result(&result);
    result
}

fn ignored(NotForUs { event_id, table, row, why }: NotForUs) -> Report {
    Report { outcome: Outcome::Ignored(why), event_id: event_id.id().to_owned(), table, row }
}

fn log_result(result: &Result<Report, NotHandled>) {
    match result {
        Ok(report) => log(report),
        Err(NotHandled::Unfinished(unfinished)) => tracing::warn!(reason = unfinished.reason, "unfinished"),
        Err(NotHandled::IdReused { event_id, table, row, stored }) => {
            tracing::warn!(event_id, table, row, stored, "id reused with other content");
        }
    }
}

/// Logs how an event ended.
pub fn log(report: &Report) {
    let Report { outcome, event_id, table, row } = report;
    tracing::info!(outcome = outcome.name(), detail = outcome.detail(), event_id, table, row, "handled");
}

/// Hands many events to the engine: events of one row together, in the order in which they came, so that they don't find the
/// row busy with themselves; rows side by side. The results are in the order of the events.
pub async fn handle_all(engine: &dyn HandleEvent, items: Vec<(Item, Delivery)>) -> Vec<Result<Report, NotHandled>> {
    let mut results: Vec<(usize, Result<Report, NotHandled>)> = Vec::with_capacity(items.len());
    let mut rows: BTreeMap<(String, RowRef), (Vec<usize>, Vec<(ChangeEvent, Delivery)>)> = BTreeMap::new();
    for (n, (item, delivery)) in items.into_iter().enumerate() {
        match item {
            Item::Change(event) => {
                let (places, events) = rows.entry((event.table.clone(), event.row.clone())).or_default();
                places.push(n);
                events.push((*event, delivery));
            }
            Item::NotForUs(other) => {
                let result = Ok(ignored(other));
                log_result(&result);
                results.push((n, result));
            }
        }
    }
    let work = rows.into_values().map(|(places, events)| async move {
        let ended = engine.handle_row(events).await;
        ended.iter().for_each(log_result);
        places.into_iter().zip(ended).collect::<Vec<_>>()
    });
    results.extend(stream::iter(work).buffer_unordered(ROWS_AT_ONCE_MAX).concat().await);
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The JSON of CONTRACT "What comes back".
#[must_use]
pub fn report_json(report: &Report) -> Value {
    let mut body = json!({
        "outcome": report.outcome.name(),
        "event_id": report.event_id,
        "table": report.table,
        "row": report.row,
        "detail": report.outcome.detail(),
    });
    if let (Outcome::Deferred { retry_at, .. }, Some(members)) = (&report.outcome, body.as_object_mut()) {
        members.insert("retry_at".to_owned(), json!(retry_at.to_rfc3339()));
    }
    body
}

/// One line for people: no values, only names and identities.
#[must_use]
pub fn report_line(report: &Report) -> String {
    let Report { outcome, event_id, table, row } = report;
    let detail = match outcome.detail() {
        "" => String::new(),
        detail => format!(" ({detail})"),
    };
    format!("{}{detail}: {table} {row}, event {event_id}", outcome.name())
}

/// Whether somebody has to come back to it: 202 rather than 200.
#[must_use]
pub fn is_stored_only(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred { .. } | Outcome::Parked { .. } => true,
        Outcome::Applied(_) | Outcome::Duplicate(_) | Outcome::Stale | Outcome::Ignored(_) => false,
    }
}
