//! `parked show`: one entry with everything that is needed to decide about it.

use super::{ShowArguments, desk, time};
use crate::app::desk::Stores;
use crate::cli::Trouble;
use crate::cli::place::{one_line, print};
use crate::operate::parked::reasons;
use crate::operate::parked::{self, Shown};
use anyhow::anyhow;
use serde_json::{Value, json};

pub(super) async fn show(arguments: &ShowArguments, stores: &Stores) -> Result<(), Trouble> {
    let shown = parked::show(&desk(stores), &arguments.id).await?;
    let shown = shown.ok_or_else(|| Trouble::Failed(anyhow!("no parked event has the id {}", arguments.id)))?;
    let payload = if arguments.payload { shown.payload() } else { None };
    print(&if arguments.json { as_json(&shown, payload.as_deref()) } else { as_lines(&shown, payload.as_deref()) });
    Ok(())
}

fn as_json(shown: &Shown, payload: Option<&str>) -> String {
    let event = shown.event.as_ref().map(|event| {
        json!({
            "id": event.id.id(), "source": event.id.source(), "operation": event.operation, "phase": event.phase,
            "outcome": event.outcome, "attempts": event.attempts, "replays": event.replays,
            "arrived": time(event.arrival_ms), "updated": time(event.updated_ms),
        })
    });
    let known = reasons::known(shown.parked.word());
    let (meaning, remedy) = (known.map(|known| known.meaning), known.map(|known| known.remedy));
    let mut found = json!({"parked": shown.parked, "meaning": meaning, "remedy": remedy, "event": event});
    if let (Some(payload), Some(members)) = (payload, found.as_object_mut()) {
        let payload = serde_json::from_str(payload).unwrap_or_else(|_| Value::from(payload));
        members.insert("payload".to_owned(), payload);
    }
    format!("{found:#}\n")
}

fn as_lines(shown: &Shown, payload: Option<&str>) -> String {
    let parked = &shown.parked;
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:10}  {}\n", one_line(&value)));
    line("id", parked.id.clone());
    line("reason", parked.reason.clone());
    if let Some(known) = reasons::known(parked.word()) {
        line("meaning", known.meaning.to_owned());
        line("what to do", known.remedy.to_owned());
    }
    line("table", if parked.table.is_empty() { "not known".to_owned() } else { parked.table.clone() });
    line("first seen", time(parked.first_ms));
    line("parked", time(parked.parked_ms));
    if !parked.partition.is_empty() {
        line("partition", parked.partition.clone());
    }
    if let Some(event) = &shown.event {
        let outcome = event.outcome.as_ref().map_or("none yet", |outcome| outcome.name());
        let source = event.id.source().map(|source| format!(" of {source}")).unwrap_or_default();
        line("event", format!("{}{source}", event.id.id()));
        line("operation", event.operation.clone());
        line("outcome", format!("{outcome}, {} attempts, replayed {} times", event.attempts, event.replays));
    }
    if let Some(raw) = &parked.raw {
        line("payload", format!("{} bytes, as it came", raw.bytes));
        for (name, value) in &raw.headers {
            line("header", format!("{name}: {value}"));
        }
    }
    if let Some(payload) = payload {
        lines.push(format!("\n{payload}\n"));
    }
    lines.concat()
}
