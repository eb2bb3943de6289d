//! The verdict as a table for people, and what there is to say about it.

use super::Verdict;
use crate::sim::dataverse::{Cell, Difference, Side};
use std::fmt::Write;

/// Differences that are listed.
const LISTED_MAX: usize = 10;
/// Where to go from here.
const NEXT: &str = "\
Next: `demo --naive` sends the same kind of traffic through a naive handler.
      README, \"How events come in\": registering it in Dataverse.
      `doctor --settings local.settings.json`: checks your own environments.
";

/// One line: what, how many, and what there is to say about it.
type Line = (&'static str, u64, String);

impl Verdict {
    /// The table, and what there is to say about it.
    pub(in crate::cli::demo) fn text(&self, colours: bool) -> String {
        let paint = Paint { colours };
        let mut text = String::new();
        let title =
            if self.naive { "this is what the naive handler does" } else { "what happened, and what came of it" };
        let _ = writeln!(text, "\n{}", paint.bold(&format!("Verdict: {title}")));
        let blocks =
            [("Sent", self.sent()), ("What went wrong, on purpose", self.trouble()), ("Handled", self.handled())];
        for (title, lines) in blocks {
            let _ = writeln!(text, "\n {}", paint.bold(title));
            for (label, value, note) in lines {
                let _ = writeln!(text, "  {label:<30}{value:>6}   {}", paint.faint(&note));
            }
        }
        let _ = writeln!(text, "\n {}", paint.bold("In the end"));
        let _ = writeln!(text, "  {:<30}{:>6}   {}", "rows compared", self.rows, paint.faint("column by column"));
        let _ = writeln!(text, "  {:<30}{:>6}", "links compared", self.links);
        for (label, value, note) in self.findings() {
            let shown = format!("{value:>6}");
            let shown = if value == 0 { paint.good(&shown) } else { paint.bad(&shown) };
            let _ = writeln!(text, "  {label:<30}{shown}   {}", paint.faint(&note));
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

    /// What there was to do.
    fn sent(&self) -> Vec<Line> {
        let links = self.linked + self.unlinked;
        vec![
            ("changes made in the source", self.changes, "accounts, contacts, orders, products".to_owned()),
            ("  of them deletes", self.deleted, "contacts and orders".to_owned()),
            ("  of them links", links, format!("{} made, {} removed", self.linked, self.unlinked)),
            (
                "deliveries",
                self.queue.delivered + self.webhooks,
                format!("{} by the queue, {} by webhook", self.queue.delivered, self.webhooks),
            ),
        ]
    }

    /// What was done to make it hard.
    fn trouble(&self) -> Vec<Line> {
        let failed = &self.refused;
        vec![
            ("events sent twice", self.sent_twice, "some at the same moment".to_owned()),
            ("events sent late", self.late, "so newer ones, and children, came first".to_owned()),
            ("races", failed.races, "412: another program made the same row".to_owned()),
            ("throttled requests", failed.throttled, "429 with Retry-After".to_owned()),
            ("requests in the outage", self.outage, "nobody was there".to_owned()),
            ("requests that failed", failed.unavailable + failed.unanswered, "503, or no answer at all".to_owned()),
            (
                "handler processes killed",
                self.kills,
                format!("{} messages waited for their locks", self.queue.locks_lost),
            ),
        ]
    }

    /// What the handlers did.
    fn handled(&self) -> Vec<Line> {
        let again = if self.naive { "the target was changed again" } else { "no answer, so repeated under the lease" };
        let mut all = vec![
            ("applied", self.applied, format!("{} times our values were there already", self.raced)),
            ("duplicates absorbed", self.duplicates, "the same event came again".to_owned()),
            ("older than what was written", self.stale, "came late, nothing in it was newer".to_owned()),
            ("placeholders for parents", self.placeholders, "made for children, filled afterwards".to_owned()),
            ("kept for later", self.deferred, format!("{} webhooks of them, answered 202", self.webhooks_kept)),
            ("redeliveries by the queue", self.queue.redelivered, format!("{} given back", self.queue.abandoned)),
            ("events written more than once", self.written_again, again.to_owned()),
        ];
        if self.ignored > 0 {
            all.push(("ignored", self.ignored, String::new()));
        }
        if self.naive {
            let not_there = ["older than what was written", "placeholders for parents", "kept for later"];
            all.retain(|(label, ..)| !not_there.contains(label));
            all.iter_mut().filter(|(label, ..)| *label == "applied").for_each(|(_, _, note)| note.clear());
        }
        all
    }

    /// What must be 0.
    fn findings(&self) -> [(&'static str, usize, String); 6] {
        let (lost, back, columns, links) = self.kinds();
        let kinds = format!("{lost} lost, {back} back; {columns} columns, {links} links");
        [
            ("differences", self.differences.len(), kinds),
            ("still owed", self.pending + self.owed, "queued, in the inbox, or half done".to_owned()),
            ("parked", self.parked.len(), "a person would have to look".to_owned()),
            ("dead-lettered", self.dead, "messages that the queue gave up".to_owned()),
            ("webhook deliveries refused", self.webhooks_refused, "those are never sent again".to_owned()),
            ("placeholders never filled", self.unfilled, "rows with nothing but a name".to_owned()),
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
            let good = "Source and target are equal, and nothing is owed.";
            let _ = writeln!(text, "{} (seed {seed})\n", paint.good(good));
            text.push_str(NEXT);
            return;
        }
        let missed = self.missed();
        if self.differences.is_empty() && self.owes_nothing() && !missed.is_empty() {
            let _ = writeln!(text, "{} (seed {seed})", paint.bad("Equal, but this run proves less than it should."));
        } else {
            let bad = "Source and target are not equal, or something is owed.";
            let _ = writeln!(text, "{} (seed {seed})", paint.bad(bad));
        }
        for what in missed {
            let _ = writeln!(text, "  there were no {what}");
        }
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
        let (lost, back, columns, links) = self.kinds();
        let said = [
            format!("The naive handler lost {lost} rows, left {columns} columns and {links} links wrong,"),
            format!("brought {back} deleted rows back, wrote {} events again that it had", self.written_again),
            format!("written before, and the queue gave up {} messages.", self.dead),
        ];
        for line in said {
            let _ = writeln!(text, "{}", if self.is_good() { paint.good(&line) } else { paint.bad(&line) });
        }
        let _ = writeln!(text, "\nThe same traffic, handled: demo --seed {}", self.seed);
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
            queue: QueueCounts { delivered: 105, redelivered: 3, locks_lost: 2, ..QueueCounts::default() },
            webhooks: 10,
            webhooks_refused: 0,
            deleted: 5,
            linked: 6,
            unlinked: 2,
            late: 30,
            sent_twice: 12,
            applied: 90,
            duplicates: 12,
            stale: 10,
            ignored: 0,
            raced: 2,
            deferred: 9,
            webhooks_kept: 4,
            placeholders: 3,
            unfinished: 1,
            reasons: vec![("row_busy".to_owned(), 1)],
            kills: 2,
            throttled: 4,
            outage: 8,
            refused: Refused { throttled: 4, unavailable: 3, unanswered: 2, races: 2 },
            written_again: 2,
            rows: 40,
            links: 4,
            unfilled: 0,
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
        check(&|verdict| verdict.unfilled = 1);
    }

    #[test]
    fn a_run_that_misses_what_the_story_promises_is_no_proof() {
        let check = |miss: &dyn Fn(&mut Verdict), told: &str| {
            let mut verdict = clean(false);
            miss(&mut verdict);
            assert!(!verdict.is_good(), "{verdict:?}");
            let text = verdict.text(false);
            assert!(text.contains("proves less") && text.contains(told), "{text}");
        };
        check(&|verdict| verdict.placeholders = 0, "no children that come before their parent");
        check(&|verdict| verdict.refused.races = 0, "no races lost (412)");
        check(&|verdict| verdict.webhooks_kept = 0, "no webhooks that are kept for later");
        check(&|verdict| verdict.kills = 1, "no processes killed");
        check(&|verdict| verdict.queue.locks_lost = 0, "no messages that a killed process held");
        check(&|verdict| verdict.outage = 0, "no requests while the target is gone");
        check(&|verdict| verdict.unlinked = 0, "no links that are removed");
        let mut naive = clean(true);
        naive.placeholders = 0;
        assert!(naive.is_good());
    }

    #[test]
    fn the_table_is_aligned_with_and_without_colours() {
        for naive in [false, true] {
            let plain = clean(naive).text(false);
            let is_number = |line: &&str| line.starts_with("  ") && !line.starts_with("     ") && line.len() >= 38;
            let numbers: Vec<_> = plain.lines().filter(is_number).collect();
            assert!(numbers.len() > 15, "{plain}");
            for line in numbers {
                assert!(line[32..38].trim().parse::<u64>().is_ok(), "{line}");
            }
            assert!(plain.lines().all(|line| line.chars().count() <= 80), "it fits into a terminal:\n{plain}");
            let coloured = clean(naive).text(true);
            assert!(coloured.contains("\u{1b}[1;32m     0\u{1b}[0m"), "{coloured}");
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
        assert!(text.contains("... and 3 more") && text.contains("0 lost, 13 back;"));
    }
}
