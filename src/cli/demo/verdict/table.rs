//! The verdict as a table for people, and what there is to say about it.

use super::Verdict;
use crate::sim::dataverse::{Cell, Difference, Side};
use std::fmt::Write;

/// Differences that are listed.
const LISTED_MAX: usize = 10;

impl Verdict {
    /// The table, and what there is to say about it.
    pub(in crate::cli::demo) fn text(&self, colours: bool) -> String {
        let paint = Paint { colours };
        let title = if self.naive { "Verdict: this is what the naive handler does" } else { "Verdict" };
        let mut text = format!("\n{}\n", paint.bold(title));
        for (label, value, note) in self.traffic() {
            let _ = writeln!(text, "  {label:<34}{value:>8}   {}", paint.faint(&note));
        }
        text.push('\n');
        let _ = writeln!(text, "  {:<34}{:>8}", "rows compared", self.rows);
        for (label, value, note) in self.findings() {
            let shown = format!("{value:>8}");
            let shown = if value == 0 { paint.good(&shown) } else { paint.bad(&shown) };
            let _ = writeln!(text, "  {label:<34}{shown}   {}", paint.faint(&note));
        }
        text.push('\n');
        self.listed(&mut text);
        if self.naive {
            self.naive_words(&mut text, paint)
        } else {
            self.words(&mut text, paint)
        }
        text
    }

    /// What happened, whether good or bad.
    fn traffic(&self) -> Vec<(&'static str, u64, String)> {
        let failed = &self.refused;
        let deliveries = self.queue.delivered + self.webhooks;
        let (races, of_races) = if self.naive {
            ("races not understood", "412 from the target, answered with 500".to_owned())
        } else {
            ("races absorbed", format!("412 from the target; {} rows had our values already", self.raced))
        };
        let again = if self.naive {
            "doubled: the target was changed again"
        } else {
            "unanswered writes, repeated under the lease"
        };
        let mut all = vec![
            ("changes made in the source", self.changes, "accounts, contacts, orders, products".to_owned()),
            (
                "deliveries",
                deliveries,
                format!(
                    "{} by the queue, {} by webhook; {} events twice, {} late",
                    self.queue.delivered, self.webhooks, self.sent_twice, self.late
                ),
            ),
            ("applied", self.applied, String::new()),
            ("duplicates absorbed", self.duplicates, "the same event came again".to_owned()),
            ("older than what was written", self.stale, "came late, nothing in it was newer".to_owned()),
            (races, failed.races, of_races),
            (
                "requests that failed",
                failed.throttled + failed.unavailable + failed.unanswered,
                format!(
                    "target: {} throttled, {} unavailable, {} unanswered",
                    failed.throttled, failed.unavailable, failed.unanswered
                ),
            ),
            (
                "retries by the queue",
                self.queue.redelivered,
                format!("{} given back, {} locks of killed processes", self.queue.abandoned, self.queue.locks_lost),
            ),
            ("handler processes killed", self.kills, String::new()),
            ("events written more than once", self.written_again, again.to_owned()),
        ];
        if self.ignored > 0 {
            all.push(("ignored", self.ignored, String::new()));
        }
        if self.naive {
            all.retain(|(label, ..)| *label != "older than what was written");
        }
        all
    }

    /// What must be 0.
    fn findings(&self) -> [(&'static str, usize, String); 4] {
        let (lost, back, columns) = self.kinds();
        let kinds = format!("{lost} rows missing, {back} rows that should be gone, {columns} columns");
        [
            ("differences", self.differences.len(), kinds),
            ("still owed", self.pending + self.owed, "in the queue, or claimed and not finished".to_owned()),
            ("dead-lettered", self.dead, "messages that the queue gave up".to_owned()),
            ("webhook deliveries refused", self.webhooks_refused, "all were made before the faults began".to_owned()),
        ]
    }

    fn listed(&self, text: &mut String) {
        for difference in self.differences.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "  {}", told(difference));
        }
        if let Some(more) = self.differences.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
            let _ = writeln!(text, "  ... and {more} more");
        }
    }

    fn words(&self, text: &mut String, paint: Paint) {
        let seed = self.seed;
        if self.is_good() {
            let _ = writeln!(text, "{} (seed {seed})", paint.good("Source and target are equal, and nothing is owed."));
            return;
        }
        let bad = "Source and target are not equal, or something is owed.";
        let _ = writeln!(text, "{} (seed {seed})", paint.bad(bad));
        if self.noted == 0 {
            let _ = writeln!(text, "  the ledger is empty: nothing can be said about what is owed");
        }
        let _ = writeln!(text, "  deliveries that ended without an outcome: {}", self.unfinished);
        for (reason, count) in &self.reasons {
            let _ = writeln!(text, "  {count:>5} x {reason}");
        }
    }

    fn naive_words(&self, text: &mut String, paint: Paint) {
        let (lost, back, columns) = self.kinds();
        let losses = format!(
            "The naive handler lost {lost} rows, left {columns} columns wrong, brought {back} deleted rows back, wrote {} \
             times what it had written before, and the queue gave up {} messages.",
            self.written_again, self.dead
        );
        let _ = writeln!(text, "{}", if self.is_good() { paint.good(&losses) } else { paint.bad(&losses) });
        let _ = writeln!(text, "The same traffic without --naive: --seed {}", self.seed);
    }
}

/// Colours, if wanted.
#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }
}

fn told(difference: &Difference) -> String {
    let shown = |cell: &Option<Cell>| cell.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    match difference {
        Difference::Row { table, id, missing: Side::Second } => format!("{table} {id}: missing in the target"),
        Difference::Row { table, id, missing: Side::First } => {
            format!("{table} {id}: deleted, but there in the target")
        }
        Difference::Column { table, id, column, first, second } => {
            format!("{table} {id}: {column} is {} in the source, {} in the target", shown(first), shown(second))
        }
        Difference::Link { .. } => difference.to_string(),
    }
}
