//! The report of `reconcile` as text and as JSON.

use crate::domain::value::Value;
use crate::operate::reconcile::report::{Example, LinkReport, Method, Report, TableReport};
use chrono::SecondsFormat;
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
    if table.missing > 0 {
        line(&mut text, "missing", numbers(table.missing, &table.missing_examples));
    }
    if table.extra > 0 {
        line(&mut text, "extra", numbers(table.extra, &table.extra_examples));
    }
    if table.key_changed > 0 {
        line(&mut text, "key changed", numbers(table.key_changed, &table.key_changed_examples));
    }
    if table.different > 0 {
        line(&mut text, "different", table.different);
    }
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
        if let Some(left) = left(table) {
            line(&mut text, "left", left);
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
    if table.is_equal() {
        return "do nothing".to_owned();
    }
    let renamed = if table.key_changed > 0 { format!("rename {}, ", table.key_changed) } else { String::new() };
    let number = match table.deletes_max {
        max if max != 0 && table.extra > u64::from(max) => format!(" --deletes-max {}", table.extra),
        _ => String::new(),
    };
    let extra = format!(", leave {} extra rows (--delete-extra{number} deletes them)", table.extra);
    let extra = if table.extra > 0 { extra } else { String::new() };
    format!("create {}, {renamed}update {}{extra}", table.missing, table.different)
}

/// Extra rows that are still there.
fn left(table: &TableReport) -> Option<String> {
    if table.held > 0 {
        return Some(format!(
            "{} extra rows, because a run deletes no more than {} of a table; if they are to go, --delete-extra \
             --deletes-max {} deletes them",
            table.held, table.deletes, table.held
        ));
    }
    let unasked = table.method == Method::Full && table.deletes == 0 && table.extra > 0;
    unasked.then(|| format!("{} extra rows (--delete-extra deletes them)", table.extra))
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
        (Some(wanted), Some(held)) => format!("{} (source {}, target {})", example.id, shown(wanted), shown(held)),
        _ => example.id.to_string(),
    }
}

/// A value for people: as in JSON, a lookup by its table and row.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.as_str().to_owned(),
        Value::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::DateTime(at) => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        Value::Choice(choice) => choice.to_string(),
        Value::Choices(choices) => format!("{choices:?}"),
        Value::Lookup(reference) => format!("{} {}", reference.table, reference.row),
        Value::Parties(parties) => format!("{} parties", parties.len()),
    }
}

fn counts(done: &BTreeMap<String, u64>) -> String {
    if done.is_empty() {
        return "none".to_owned();
    }
    let counts: Vec<String> = done.iter().map(|(words, count)| format!("{words} {count}")).collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableReport {
        TableReport {
            table: "account".to_owned(),
            target: "account".to_owned(),
            deletes_max: 1_000,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_left_says_which_command_takes_it_away() {
        let check = |table: &TableReport, dry: bool, expected: &str| {
            let text = table_text(table, dry);
            assert!(text.contains(expected), "{text}");
        };
        check(&table(), true, "would         do nothing\n");
        check(&TableReport { missing: 2, ..table() }, true, "would         create 2, update 0\n");
        let some = TableReport { extra: 3, ..table() };
        check(&some, true, "leave 3 extra rows (--delete-extra deletes them)\n");
        check(&some, false, "left          3 extra rows (--delete-extra deletes them)\n");
        let many = TableReport { extra: 1_200, ..table() };
        check(&many, true, "leave 1200 extra rows (--delete-extra --deletes-max 1200 deletes them)\n");
        let held = TableReport { deletes: 1_000, held: 200, ..many };
        check(&held, false, "left          200 extra rows, because a run deletes no more than 1000 of a table");
        check(&held, false, "--delete-extra --deletes-max 200 deletes them\n");
        let gone = TableReport { extra: 3, deletes: 3, ..table() };
        assert!(!table_text(&gone, false).contains("left"));
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let text = Value::Text("a \"b\"".to_owned());
        assert_eq!([text, Value::Null, Value::Choice(7)].map(|value| shown(&value)), ["\"a \\\"b\\\"\"", "null", "7"]);
    }
}
