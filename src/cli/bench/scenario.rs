//! What is sent, and how the target behaves meanwhile. Plain data: knows nobody who acts on it.

use crate::sim::dataverse::{Effect, Protection, Rule, When};
use std::time::Duration;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scenario {
    /// Each event creates a row
    NewRows,
    /// Updates of four rows
    HotRows,
    /// Each event comes twice
    Duplicates,
    /// Create and update of a new row come at the same moment
    Races,
    /// The target takes 100 requests in 2 s and four at once, and says so (429)
    Throttled,
    /// One request of twenty fails: connections closed before and after the effect, 503, 429
    Faulty,
    /// Webhooks, all at once, to a target that takes 20 requests in a second
    Storm,
}

impl Scenario {
    /// All, in the order in which they run.
    pub(super) const ALL: [Self; 7] =
        [Self::NewRows, Self::HotRows, Self::Duplicates, Self::Races, Self::Throttled, Self::Faulty, Self::Storm];

    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NewRows => "new-rows",
            Self::HotRows => "hot-rows",
            Self::Duplicates => "duplicates",
            Self::Races => "races",
            Self::Throttled => "throttled",
            Self::Faulty => "faulty",
            Self::Storm => "storm",
        }
    }

    /// Whether it needs a target whose limits and faults can be chosen.
    pub(super) fn needs_the_stand_in(self) -> bool {
        match self {
            Self::Throttled | Self::Faulty => true,
            Self::NewRows | Self::HotRows | Self::Duplicates | Self::Races | Self::Storm => false,
        }
    }

    /// Rows that the events are about.
    pub(super) fn rows(self, events: usize) -> usize {
        match self {
            Self::HotRows => 4.min(events),
            Self::Races | Self::Duplicates => events.div_ceil(2),
            Self::NewRows | Self::Throttled | Self::Faulty | Self::Storm => events,
        }
    }

    /// How often each message is sent.
    pub(super) fn copies(self) -> usize {
        if self == Self::Duplicates { 2 } else { 1 }
    }

    /// Whether events come as webhooks instead of messages.
    pub(super) fn posts(self) -> bool {
        self == Self::Storm
    }

    /// The target's limits.
    pub(super) fn protection(self) -> Option<Protection> {
        let limits = |requests_max, window: u64, concurrent_max| Protection {
            concurrent_max,
            requests_max,
            window: Duration::from_secs(window),
            retry_after: Duration::from_secs(1),
        };
        match self {
            Self::Throttled => Some(limits(100, 2, 4)),
            Self::Storm => Some(limits(20, 1, 52)),
            Self::NewRows | Self::HotRows | Self::Duplicates | Self::Races | Self::Faulty => None,
        }
    }

    /// The target's faults.
    pub(super) fn faults(self) -> Vec<Rule> {
        let status = |status, code: &str, retry_after| Effect::Status { status, code: code.to_owned(), retry_after };
        let rule = |share, effect| Rule::new(When::Probability(share), effect);
        match self {
            Self::Faulty => vec![
                rule(0.01, Effect::HangupBefore),
                rule(0.01, Effect::HangupAfter),
                rule(0.02, status(503, "", None)),
                rule(0.01, status(429, "0x80072322", Some(Duration::from_secs(1)))),
            ],
            Self::NewRows | Self::HotRows | Self::Duplicates | Self::Races | Self::Throttled | Self::Storm => {
                Vec::new()
            }
        }
    }
}
