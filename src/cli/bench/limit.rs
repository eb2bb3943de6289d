//! What kept a run from being faster. A pure judgement over what was measured; measures nothing itself.

use serde::Serialize;

/// Share of its places that must be taken on average before they count as full.
const FULL: f64 = 0.8;
/// The same for messages and rows, whose work is not under way anywhere for a moment between two requests.
const NEARLY: f64 = 0.6;
/// Share of refused requests from which the target's own limits decide.
const REFUSED: f64 = 0.005;
/// Share of the time in which handlers could have run but waited for a processor, from which there is too little of them.
const STARVED: f64 = 0.5;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Requests that the target had at once, on average.
    pub(super) at_target: f64,
    /// Requests that the storage had at once, on average; unknown for one that is reached directly.
    pub(super) at_storage: Option<f64>,
    /// `max_in_flight` of all instances together.
    pub(super) places: f64,
    /// What the target advised, times instances; unknown if it advised nothing.
    pub(super) advised: Option<f64>,
    /// Messages that the host hands out at once; unknown where nothing limits that.
    pub(super) messages: Option<f64>,
    /// Rows that the events are about.
    pub(super) rows: f64,
    /// Requests that were refused with 429, of all.
    pub(super) refused: f64,
    /// Share of the time in which the handlers could have run that they waited for a processor.
    pub(super) starved: Option<f64>,
}

/// What it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Limit {
    /// The target refuses more (429).
    TargetRefuses,
    /// More than the target advises is not sent (`x-ms-dop-hint`).
    TargetAdvice,
    /// `max_in_flight` is reached.
    MaxInFlight,
    /// The handlers wait for a processor.
    Cpu,
    /// Events of one row go one after the other, and there are few rows.
    Rows,
    /// All messages that the host hands out at once wait, mostly for the target.
    TargetLatency,
    /// The same, mostly for the storage.
    StorageLatency,
    /// Nothing was busy: pauses, or the end of a run in which little is left.
    #[default]
    Waiting,
}

impl Limit {
    /// Judges.
    pub(super) fn of(seen: &Measured) -> Self {
        let places = seen.advised.map_or(seen.places, |advised| advised.min(seen.places));
        let storage = seen.at_storage.unwrap_or_default();
        let busy = seen.at_target + storage;
        if seen.refused >= REFUSED {
            return Self::TargetRefuses;
        }
        if seen.at_target >= FULL * places {
            return if places < seen.places { Self::TargetAdvice } else { Self::MaxInFlight };
        }
        if seen.rows < places && busy >= NEARLY * seen.rows {
            return Self::Rows;
        }
        if seen.starved.is_some_and(|share| share >= STARVED) {
            return Self::Cpu;
        }
        match seen.messages {
            Some(messages) if busy >= NEARLY * messages && storage > seen.at_target => Self::StorageLatency,
            Some(messages) if busy >= NEARLY * messages => Self::TargetLatency,
            _ => Self::Waiting,
        }
    }

    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::TargetRefuses => "the target: it refuses more (429)",
            Self::TargetAdvice => "the target: it advises no more requests at once (x-ms-dop-hint)",
            Self::MaxInFlight => "max_in_flight: all places at the target are taken",
            Self::Cpu => "CPU: the handlers wait for a processor",
            Self::Rows => "rows: events of one row go one after the other",
            Self::TargetLatency => "messages at once: each waits for the target, more of them would go faster",
            Self::StorageLatency => "messages at once: each waits for the storage, more of them would go faster",
            Self::Waiting => "nothing is busy: pauses, or a run too short to tell",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_is_the_limit() {
        let idle = Measured {
            at_target: 2.0,
            at_storage: Some(1.0),
            places: 16.0,
            advised: Some(8.0),
            messages: Some(16.0),
            rows: 1_000.0,
            refused: 0.0,
            starved: Some(0.3),
        };
        let check = |seen: Measured, expected: Limit| assert_eq!(Limit::of(&seen), expected, "{seen:?}");
        check(idle, Limit::Waiting);
        check(Measured { at_target: 7.5, ..idle }, Limit::TargetAdvice);
        check(Measured { at_target: 7.5, advised: None, ..idle }, Limit::Waiting);
        check(Measured { at_target: 15.0, advised: None, ..idle }, Limit::MaxInFlight);
        check(Measured { at_target: 7.5, advised: Some(20.0), places: 8.0, ..idle }, Limit::MaxInFlight);
        check(Measured { at_target: 4.0, refused: 0.01, ..idle }, Limit::TargetRefuses);
        check(Measured { rows: 4.0, ..idle }, Limit::Rows);
        check(Measured { messages: Some(4.0), ..idle }, Limit::TargetLatency);
        check(Measured { messages: Some(4.0), at_target: 1.0, at_storage: Some(2.5), ..idle }, Limit::StorageLatency);
        check(Measured { starved: Some(0.6), ..idle }, Limit::Cpu);
        check(Measured { starved: Some(0.6), at_target: 8.0, ..idle }, Limit::TargetAdvice);
    }
}
