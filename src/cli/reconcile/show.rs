//! The report of `reconcile` as text and as JSON.

use crate::operate::reconcile::report::{Example, LinkReport, Method, Report, TableReport};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The report as JSON, with the verdict in front.
pub fn json(report: &Report, dry: bool) -> String {
    let verdict = if dry { report.is_equal() } else { report.is_done() };
    let name = if dry { "equal" } else { "done" };
    let mut json = json!({ name: verdict });
    if let (Some(whole), Ok(serde_json::Value::Object(parts))) = (json.as_object_mut(), serde_json::to_value(report)) {
        whole.extend(parts);
    }
    format!("{json:#}\n")
}

/// The report for people.
pub fn text(report: &Report, dry: bool) -> String {
    let mut text = String::new();
    report.tables.iter().for_each(|table| text.push_str(&table_text(table, dry)));
    report.links.iter().for_each(|link| text.push_str(&link_text(link)));
    if let Some(why) = &report.stopped {
        text.push_str(&format!("stopped: {why}\n"));
    }
    text.push_str(match (dry, report.is_equal(), report.is_done()) {
        (true, true, _) => "equal\n",
        (true, false, _) => "not equal\n",
        (false, _, true) => "done\n",
        (false, _, false) => "not done\n",
    });
    text
}

fn line(text: &mut String, name: &str, value: impl Display) {
    text.push_str(&format!("    {name:12}  {value}\n"));
}

fn table_text(table: &TableReport, dry: bool) -> String {
    let renamed = if table.table == table.target { String::new() } else { format!(" -> {}", table.target) };
    let how = match (table.method, &table.because) {
        (Method::Changes, _) => "changes since the last time".to_owned(),
        (Method::Full, None) => "all rows".to_owned(),
        (Method::Full, Some(because)) => format!("all rows: {because}"),
    };
    let resumed = if table.resumed { ", the rest of an earlier run" } else { "" };
    let mut text = format!("{}{renamed} ({how}{resumed})\n", table.table);
    line(&mut text, "rows", format!("source {}, target {}", table.source_rows, table.target_rows));
    line(&mut text, "alike", table.equal);
    line(&mut text, "missing", numbers(table.missing, &table.missing_examples));
    line(&mut text, "extra", numbers(table.extra, &table.extra_examples));
    if table.key_changed > 0 {
        line(&mut text, "key changed", numbers(table.key_changed, &table.key_changed_examples));
    }
    line(&mut text, "different", table.different);
    for (column, rows) in &table.by_column {
        let examples = table.column_examples.get(column).map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<String> = examples.iter().map(example).collect();
        text.push_str(&format!("        {column:24}  {}\n", numbers(*rows, &shown)));
    }
    if table.in_motion > 0 {
        line(&mut text, "in motion", format!("{} (differed at first sight only)", table.in_motion));
    }
    for (what, cannot) in &table.cannot {
        line(&mut text, "cannot", format!("{what}: {} rows, for example {}", cannot.rows, cannot.example));
    }
    for not in &table.not_compared {
        line(&mut text, "not compared", format!("{} {}", not.what, not.why).trim());
    }
    if dry {
        line(&mut text, "would", would(table));
    } else {
        if table.adopted > 0 {
            line(&mut text, "learnt", format!("{} rows by the ledger, nothing sent", table.adopted));
        }
        line(&mut text, "events", counts(&table.done));
        if table.held > 0 {
            line(&mut text, "left", left(table));
        }
    }
    line(&mut text, "requests", format!("source {}, target {}", table.requests.source, table.requests.target));
    if let Some(why) = &table.trouble {
        line(&mut text, "stopped", why.replace(['\n', '\r'], " "));
    }
    text
}

/// What a run that mends would do.
fn would(table: &TableReport) -> String {
    let renamed = if table.key_changed > 0 { format!("rename {}, ", table.key_changed) } else { String::new() };
    let number = match table.deletes_max {
        max if max != 0 && table.extra > u64::from(max) => format!(" --deletes-max {}", table.extra),
        _ => String::new(),
    };
    format!(
        "create {}, {renamed}update {}, leave {} extra rows (--delete-extra{number} deletes them)",
        table.missing, table.different, table.extra
    )
}

/// Extra rows that were to be deleted and are still there.
fn left(table: &TableReport) -> String {
    format!(
        "{} extra rows, because a run deletes no more than {} of a table; if they are to go, --delete-extra --deletes-max {} \
         deletes them",
        table.held, table.deletes, table.held
    )
}

fn link_text(link: &LinkReport) -> String {
    let pair = |(first, second): &(uuid::Uuid, uuid::Uuid)| format!("{first} - {second}");
    let resumed = if link.resumed { ", the rest of an earlier run" } else { "" };
    let mut text = format!("{} (many-to-many{resumed})\n", link.relationship);
    if let Some(why) = &link.not_compared {
        line(&mut text, "not compared", why);
        return text;
    }
    line(&mut text, "links", format!("source {}, target {}", link.source_links, link.target_links));
    let shown: Vec<String> = link.missing_examples.iter().map(pair).collect();
    line(&mut text, "missing", numbers(link.missing, &shown));
    let shown: Vec<String> = link.extra_examples.iter().map(pair).collect();
    line(&mut text, "extra", numbers(link.extra, &shown));
    if !link.done.is_empty() {
        line(&mut text, "events", counts(&link.done));
    }
    if let Some(why) = &link.trouble {
        line(&mut text, "stopped", why.replace(['\n', '\r'], " "));
    }
    text
}

fn numbers<T: Display>(number: u64, examples: &[T]) -> String {
    if examples.is_empty() {
        return number.to_string();
    }
    let shown: Vec<String> = examples.iter().map(ToString::to_string).collect();
    format!("{number}, for example {}", shown.join(", "))
}

fn example(example: &Example) -> String {
    match (&example.wanted, &example.held) {
        (Some(wanted), Some(held)) => format!("{} (source {wanted:?}, target {held:?})", example.id),
        _ => example.id.to_string(),
    }
}

fn counts(done: &BTreeMap<String, u64>) -> String {
    if done.is_empty() {
        return "none".to_owned();
    }
    let counts: Vec<String> = done.iter().map(|(words, count)| format!("{words} {count}")).collect();
    counts.join(", ")
}
