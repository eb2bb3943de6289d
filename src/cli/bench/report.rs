//! What was measured, for people and for scripts.

use serde::Serialize;

/// One scenario's numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Its name.
    pub(super) scenario: &'static str,
    /// Different events.
    pub(super) events: usize,
    /// Deliveries that were sent, duplicates included.
    pub(super) sent: usize,
    /// From the first to the last that was done.
    pub(super) seconds: f64,
    /// Events that were done in a second.
    pub(super) events_per_second: f64,
    /// What a delivery waited for its answer, in milliseconds.
    pub(super) p50_ms: f64,
    /// The same.
    pub(super) p99_ms: f64,
    /// CPU time of the handler processes, in milliseconds per event.
    pub(super) cpu_ms_per_event: Option<f64>,
    /// Storage requests per event, those of sweeps included; unknown for a storage that is not ours.
    pub(super) storage_per_event: Option<f64>,
    /// What they were.
    pub(super) storage: std::collections::BTreeMap<String, u64>,
    /// Requests to the target per event.
    pub(super) target_per_event: f64,
    /// Of those, what was refused with 429.
    pub(super) throttled: u64,
    /// Of those, what got no answer.
    pub(super) unanswered: u64,
    /// Requests that the target had at once, over time.
    pub(super) at_once: Vec<usize>,
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
        let known = |number: Option<f64>| number.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.2}"));
        let at_once: Vec<String> = self.at_once.iter().map(ToString::to_string).collect();
        let storage: Vec<String> = self.storage.iter().map(|(what, count)| format!("{what} {count}")).collect();
        [
            format!("{} ({} events, {} deliveries)", self.scenario, self.events, self.sent),
            format!("  events/s               {:.0} (in {:.1} s)", self.events_per_second, self.seconds),
            format!("  delivery, p50 / p99    {:.1} ms / {:.1} ms", self.p50_ms, self.p99_ms),
            format!("  handler CPU / event    {} ms", known(self.cpu_ms_per_event)),
            format!("  storage / event        {} ({})", known(self.storage_per_event), storage.join(", ")),
            format!(
                "  target / event         {:.2} (429: {}, unanswered: {}, repeated after that: {})",
                self.target_per_event, self.throttled, self.unanswered, self.repeated
            ),
            format!("  target, at once        {}", at_once.join(" ")),
            format!("  lost {}, doubled {}, different {}", self.lost, self.doubled, self.different),
        ]
        .join("\n")
    }
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
}
