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
            ("kept for later", self.deferred, "stored in the inbox, swept when due".to_owned()),
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
            all.retain(|(label, ..)| !["older than what was written", "kept for later"].contains(label));
        }
        all
    }

    /// What must be 0.
    fn findings(&self) -> [(&'static str, usize, String); 5] {
        let (lost, back, columns) = self.kinds();
        let kinds = format!("{lost} rows missing, {back} rows that should be gone, {columns} columns");
        [
            ("differences", self.differences.len(), kinds),
            (
                "still owed",
                self.pending + self.owed,
                "in the queue, in the inbox, or claimed and not finished".to_owned(),
            ),
            ("parked", self.parked.len(), "a person would have to look".to_owned()),
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
        for reason in self.parked.iter().take(LISTED_MAX) {
            let _ = writeln!(text, "  parked: {reason}");
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

#[cfg(test)]
mod tests {
    use super::super::Refused;
    use super::*;
    use crate::sim::host::QueueCounts;
    use uuid::Uuid;

    fn clean(naive: bool) -> Verdict {
        Verdict {
            naive,
            seed: 7,
            changes: 100,
            queue: QueueCounts { delivered: 105, redelivered: 3, ..QueueCounts::default() },
            webhooks: 10,
            webhooks_refused: 0,
            late: 30,
            sent_twice: 12,
            applied: 90,
            duplicates: 12,
            stale: 10,
            ignored: 0,
            raced: 2,
            deferred: 0,
            unfinished: 1,
            reasons: vec![("row_busy".to_owned(), 1)],
            kills: 1,
            refused: Refused { throttled: 4, unavailable: 3, unanswered: 2, races: 2 },
            written_again: 2,
            rows: 40,
            differences: Vec::new(),
            pending: 0,
            noted: 100,
            owed: 0,
            dead: 0,
            parked: Vec::new(),
        }
    }

    #[test]
    fn whatever_is_owed_or_differs_makes_the_verdict_bad() {
        let missing = Difference::Row { table: "account".to_owned(), id: Uuid::from_u128(1), missing: Side::Second };
        assert!(clean(false).is_good());
        let check = |change: &dyn Fn(&mut Verdict)| {
            let mut verdict = clean(false);
            change(&mut verdict);
            assert!(!verdict.is_good(), "{verdict:?}");
            assert!(verdict.text(false).contains("not equal, or something is owed"));
        };
        check(&|verdict| verdict.differences.push(missing.clone()));
        check(&|verdict| verdict.pending = 1);
        check(&|verdict| verdict.owed = 1);
        check(&|verdict| verdict.dead = 1);
        check(&|verdict| verdict.parked.push("column_missing: x".to_owned()));
        check(&|verdict| verdict.webhooks_refused = 1);
        check(&|verdict| verdict.noted = 0);
    }

    #[test]
    fn the_table_is_aligned_with_and_without_colours() {
        for naive in [false, true] {
            let plain = clean(naive).text(false);
            let numbers = plain.lines().filter(|line| line.starts_with("  ") && line.len() > 44);
            for line in numbers {
                assert!(line[36..44].trim().parse::<u64>().is_ok(), "{line}");
            }
            let coloured = clean(naive).text(true);
            assert!(coloured.contains("\u{1b}[1;32m       0\u{1b}[0m"), "{coloured}");
            assert!(!plain.contains('\u{1b}'));
        }
    }

    #[test]
    fn only_the_first_differences_are_listed() {
        let mut verdict = clean(false);
        let of = |number: u128| Difference::Row {
            table: "account".to_owned(),
            id: Uuid::from_u128(number),
            missing: Side::First,
        };
        verdict.differences = (0..13).map(of).collect();
        let text = verdict.text(false);
        assert_eq!(text.matches("deleted, but there in the target").count(), LISTED_MAX);
        assert!(text.contains("... and 3 more") && text.contains("0 rows missing, 13 rows that should be gone"));
    }
}
