//! What was measured, for people and for scripts. docs/performance.md describes the JSON; names stay.

use super::limit::Limit;
use super::series::Series;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything of one call, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Output<'a> {
    /// Grows when a name changes its meaning; new names alone do not count.
    pub(super) format: u32,
    /// The runs, in order.
    pub(super) runs: &'a [Report],
}

/// The format of [`Output`].
pub(super) const FORMAT: u32 = 1;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Given {
    /// Handler processes.
    pub(super) instances: usize,
    /// Messages at once for each of them.
    pub(super) concurrency: usize,
    /// Messages of one invocation.
    pub(super) batch: usize,
    /// Calls to the target at once of each.
    pub(super) max_in_flight: u32,
    /// Length of the text in each event.
    pub(super) payload_bytes: u32,
    /// `stand-in`, or the environment's address.
    pub(super) target: String,
    /// `stand-in`, or the storage's.
    pub(super) ledger: String,
}

/// One scenario's numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Its name.
    pub(super) scenario: &'static str,
    /// What was asked for.
    pub(super) given: Given,
    /// Different events.
    pub(super) events: usize,
    /// Deliveries that were sent, duplicates included.
    pub(super) sent: usize,
    /// Size of an event's message on average, in bytes.
    pub(super) event_bytes: usize,
    /// From the first to the last that was done.
    pub(super) seconds: f64,
    /// Events that were done in a second.
    pub(super) events_per_second: f64,
    /// What a delivery waited for its answer, in milliseconds.
    pub(super) p50_ms: f64,
    /// The same.
    pub(super) p99_ms: f64,
    /// CPU time of the handler processes, in milliseconds per event; null where the system does not tell.
    pub(super) cpu_ms_per_event: Option<f64>,
    /// The machine's CPU time that was used by anything, as a share; null where the system does not tell.
    pub(super) machine_cpu: Option<f64>,
    /// Of the time in which the handlers could have run, the share that they waited for a processor; likewise.
    pub(super) cpu_wait: Option<f64>,
    /// Round trips of claims per event: look, claim, finish, keep. Null for a storage that is reached directly.
    pub(super) ledger_per_event: Option<f64>,
    /// Requests per event by which sweeps look for what is due.
    pub(super) sweeps_per_event: Option<f64>,
    /// All storage requests per event.
    pub(super) storage_per_event: Option<f64>,
    /// What they were for.
    pub(super) storage: BTreeMap<&'static str, u64>,
    /// Requests to the target per event.
    pub(super) target_per_event: f64,
    /// Of those, what was refused with 429.
    pub(super) throttled: u64,
    /// Of those, what got no answer.
    pub(super) unanswered: u64,
    /// What the target advises as requests at once for each process; null if nothing.
    pub(super) advice: Option<u32>,
    /// Requests that the target had at once, over time.
    pub(super) target_at_once: Series,
    /// Requests that the storage had at once, over time.
    pub(super) storage_at_once: Option<Series>,
    /// What kept the run from being faster.
    pub(super) limit: Limit,
    /// Writes that were repeated after one of the same event had got no answer: as promised.
    pub(super) repeated: u64,
    /// Events that are neither in the target nor stored for later, or stored where only a person finds them.
    pub(super) lost: usize,
    /// Writes beyond an event's first.
    pub(super) doubled: u64,
    /// Rows and columns in which source and target differ.
    pub(super) different: usize,
}

impl Report {
    /// Nothing is lost, doubled or different.
    pub(super) fn is_good(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.different == 0
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let listed = |of_the_ledger: bool| {
            let named = ["look", "claim", "finish", "keep"];
            let fits = |(what, _): &(&&str, &u64)| named.contains(*what) == of_the_ledger;
            let listed: Vec<String> =
                self.storage.iter().filter(fits).map(|(what, count)| format!("{what} {count}")).collect();
            if listed.is_empty() { String::new() } else { format!(" ({})", listed.join(", ")) }
        };
        [
            format!(
                "{} ({} events of {} bytes, {} deliveries)",
                self.scenario, self.events, self.event_bytes, self.sent
            ),
            format!("  events/s               {:.0} (in {:.1} s)", self.events_per_second, self.seconds),
            format!("  delivery, p50 / p99    {:.1} ms / {:.1} ms", self.p50_ms, self.p99_ms),
            format!("  handler CPU / event    {} ms", known(self.cpu_ms_per_event)),
            format!("  ledger / event         {}{}", known(self.ledger_per_event), listed(true)),
            format!("  storage / event        {}, beside the ledger:{}", known(self.storage_per_event), listed(false)),
            format!(
                "  target / event         {:.2} (429: {}, unanswered: {}, repeated after that: {})",
                self.target_per_event, self.throttled, self.unanswered, self.repeated
            ),
            format!("  target, at once        {} highest {}", self.target_at_once.line(), self.target_at_once.most()),
            format!("  limit                  {}", self.limit.text()),
            format!("  lost {}, doubled {}, different {}", self.lost, self.doubled, self.different),
        ]
        .join("\n")
    }
}

/// A number with two digits.
pub(super) fn known(number: Option<f64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_lost_doubled_or_different_is_bad() {
        assert!(Report::default().is_good());
        assert!(!Report { lost: 1, ..Report::default() }.is_good());
        assert!(!Report { doubled: 1, ..Report::default() }.is_good());
        assert!(!Report { different: 1, ..Report::default() }.is_good());
    }

    #[test]
    fn the_text_tells_round_trips_of_the_ledger_from_the_rest() {
        let storage = [("claim", 10), ("finish", 10), ("sweep", 3)].into();
        let text = Report { ledger_per_event: Some(2.0), storage, ..Report::default() }.text();
        assert!(text.contains("2.00 (claim 10, finish 10)\n"), "{text}");
        assert!(text.contains("beside the ledger: (sweep 3)"), "{text}");
    }

    /// docs/performance.md names everything that `--json` prints.
    #[test]
    fn the_documents_name_every_member() {
        let page = include_str!("../../../docs/performance.md");
        let output = serde_json::to_value(Output { format: FORMAT, runs: &[Report::default()] }).unwrap();
        let mut members = vec![output.clone(), output["runs"][0].clone(), output["runs"][0]["given"].clone()];
        members.push(output["runs"][0]["target_at_once"].clone());
        for object in members {
            for name in object.as_object().unwrap().keys() {
                assert!(page.contains(&format!("`{name}`")), "docs/performance.md does not name `{name}`");
            }
        }
    }
}
