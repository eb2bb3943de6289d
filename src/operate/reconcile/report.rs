//! What a run found and did, in numbers and examples. Plain data; printing is the command line's.

use super::table::NotCompared;
use crate::domain::outcome::Outcome;
use crate::domain::value::Value;
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Examples kept per kind of difference.
pub const EXAMPLES: usize = 5;

/// A run over all its tables.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// By table, in the order in which they were gone through.
    pub tables: Vec<TableReport>,
    /// By many-to-many relationship.
    pub links: Vec<LinkReport>,
    /// Why the run stopped before its end; it goes on from there another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl Report {
    /// Whether nothing differs, nothing is left to do, and everything that was asked for was compared.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let tables = self.tables.iter().all(|table| table.is_equal() && table.trouble.is_none());
        tables
            && self.links.iter().all(|link| link.missing == 0 && link.extra == 0 && link.trouble.is_none())
            && self.stopped.is_none()
    }

    /// Whether everything was done that was to be done: applied, or kept for later without a person.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mended = |done: &BTreeMap<String, u64>| !done.contains_key("parked");
        self.stopped.is_none()
            && self.tables.iter().all(|table| table.trouble.is_none() && table.held == 0 && mended(&table.done))
            && self.links.iter().all(|link| link.trouble.is_none() && mended(&link.done))
    }
}

/// How a table was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All rows of both sides.
    #[default]
    Full,
    /// What has changed at the source since the last time.
    Changes,
}

/// One table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableReport {
    /// At the source.
    pub table: String,
    /// At the target.
    pub target: String,
    /// How it was gone through.
    pub method: Method,
    /// Why all rows were compared although changes were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// It went on where an earlier run had stopped: the numbers are those of this part.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Rows looked at there.
    pub source_rows: u64,
    /// Rows looked at there.
    pub target_rows: u64,
    /// Rows that are alike.
    pub equal: u64,
    /// Rows that the target lacks.
    pub missing: u64,
    /// Rows that the source lacks.
    pub extra: u64,
    /// Rows that the target has under another key.
    pub key_changed: u64,
    /// Rows that are on both sides and differ.
    pub different: u64,
    /// Rows that differed at first sight and not at second: events were on their way.
    pub in_motion: u64,
    /// Rows per differing column (target names).
    pub by_column: BTreeMap<String, u64>,
    /// Ids of missing rows, some.
    pub missing_examples: Vec<Uuid>,
    /// Ids of extra rows, some.
    pub extra_examples: Vec<Uuid>,
    /// Ids (the source's) of rows with another key, some.
    pub key_changed_examples: Vec<Uuid>,
    /// Per differing column some rows.
    pub column_examples: BTreeMap<String, Vec<Example>>,
    /// Columns that are not compared at all, and why.
    pub not_compared: Vec<NotCompared>,
    /// What cannot be mended or compared in some rows: per word and column how many, and one of them.
    pub cannot: BTreeMap<String, Cannot>,
    /// Rows that the ledger has learnt without anything being sent.
    pub adopted: u64,
    /// Most extra rows that a run deletes unless told otherwise; 0: all.
    pub deletes_max: u32,
    /// Extra rows that were handed over to be deleted.
    #[serde(skip_serializing_if = "is_zero")]
    pub deletes: u64,
    /// Extra rows that were to be deleted and were left: more than one run may delete.
    #[serde(skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Rows that were gone from the source and from the target.
    #[serde(skip_serializing_if = "is_zero")]
    pub gone: u64,
    /// How the events ended, by outcome and detail.
    pub done: BTreeMap<String, u64>,
    /// Why this table was not gone through to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Requests of the comparison itself; what mending costs comes on top.
    pub requests: Requests,
}

/// Requests of the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// To the source.
    pub source: u64,
    /// To the target.
    pub target: u64,
}

/// A row as an example.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// The source's row.
    pub id: Uuid,
    /// What the source has, in the target's terms; only on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Value>,
    /// What the target has; only on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Value>,
}

/// Rows in which something cannot be compared or mended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cannot {
    /// How many.
    pub rows: u64,
    /// One of them.
    pub example: Uuid,
}

/// One many-to-many relationship.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinkReport {
    /// Its schema name.
    pub relationship: String,
    /// Why it was not looked at: a word, then what it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// It went on where an earlier run had stopped: the numbers are those of this part.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Links there.
    pub source_links: u64,
    /// Links there.
    pub target_links: u64,
    /// Links that the target lacks.
    pub missing: u64,
    /// Links that the source lacks.
    pub extra: u64,
    /// Missing links, some: first row, second row.
    pub missing_examples: Vec<(Uuid, Uuid)>,
    /// Extra links, some.
    pub extra_examples: Vec<(Uuid, Uuid)>,
    /// How the events ended.
    pub done: BTreeMap<String, u64>,
    /// Why it was not gone through to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Requests of the comparison itself.
    pub requests: Requests,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TableReport {
    /// Whether nothing was found to mend.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.different == 0 && self.key_changed == 0
    }

    /// Counts what cannot be done in a row.
    pub fn count_cannot(&mut self, what: &str, why: &str, id: Uuid) {
        let cannot = self.cannot.entry(format!("{why}: {what}")).or_insert(Cannot { rows: 0, example: id });
        cannot.rows += 1;
    }
}

/// Counts an outcome by its words.
pub fn count(done: &mut BTreeMap<String, u64>, outcome: &Outcome) {
    // the details of what is kept are reasons, each with its own numbers in it: the first word tells the kind
    let detail = match outcome {
        Outcome::Deferred { .. } => "",
        _ => outcome.detail().split([':', ' ']).next().unwrap_or_default(),
    };
    let words = if detail.is_empty() { outcome.name().to_owned() } else { format!("{}: {detail}", outcome.name()) };
    *done.entry(words).or_default() += 1;
    if matches!(outcome, Outcome::Parked { .. }) {
        *done.entry("parked".to_owned()).or_default() += 1;
    }
}

/// Keeps an example while there is room.
pub fn example<T>(examples: &mut Vec<T>, one: T) {
    if examples.len() < EXAMPLES {
        examples.push(one);
    }
}
