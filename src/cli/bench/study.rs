//! Several runs that differ in one thing, as a table: throughput by messages at once, CPU by size. Measures nothing itself.

use super::BenchArgs;
use super::report::{Report, known};

/// Messages at once, from one to more than a stand-in takes.
const AT_ONCE: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Lengths of the text in an event: beside it, an event has about 5,000 bytes.
const PAYLOADS: [u32; 4] = [10, 2_000, 10_000, 50_000];
/// `max_in_flight` of a curve, unless given: so much that it is not the limit.
const IN_FLIGHT: u32 = 64;
/// More than this over the step before is growth.
const GROWTH: f64 = 1.1;

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Study {
    /// Messages at once.
    Curve,
    /// Payload.
    Scaling,
}

impl Study {
    /// The runs.
    pub(super) fn runs(self, arguments: &BenchArgs) -> Vec<BenchArgs> {
        match self {
            Self::Curve => {
                let max_in_flight = arguments.max_in_flight.or(Some(IN_FLIGHT));
                let run = |concurrency| BenchArgs { concurrency, max_in_flight, ..arguments.clone() };
                AT_ONCE.into_iter().map(run).collect()
            }
            Self::Scaling => {
                let run = |payload_bytes| BenchArgs { payload_bytes, ..arguments.clone() };
                PAYLOADS.into_iter().map(run).collect()
            }
        }
    }

    /// The table's first line.
    pub(super) fn head(self) -> String {
        match self {
            Self::Curve => {
                line(["messages at once", "events/s", "p50, ms", "p99, ms", "CPU, ms", "at target", "limit"])
            }
            Self::Scaling => {
                line(["bytes of an event", "events/s", "p50, ms", "p99, ms", "CPU, ms", "storage", "limit"])
            }
        }
    }

    /// A run's line.
    pub(super) fn row(self, report: &Report) -> String {
        let (first, sixth) = match self {
            Self::Curve => {
                let most = format!("{} of {}", report.target_at_once.most(), places(report));
                (report.given.concurrency.saturating_mul(report.given.instances).to_string(), most)
            }
            Self::Scaling => (report.event_bytes.to_string(), known(report.storage_per_event)),
        };
        let bad = if report.is_good() { "" } else { "  LOST, DOUBLED OR DIFFERENT" };
        let limit = format!("{}{bad}", report.limit.text());
        line([
            &first,
            &format!("{:.0}", report.events_per_second),
            &format!("{:.1}", report.p50_ms),
            &format!("{:.1}", report.p99_ms),
            &known(report.cpu_ms_per_event),
            &sixth,
            &limit,
        ])
    }

    /// What the table says, in words.
    pub(super) fn end(self, reports: &[Report]) -> Option<String> {
        match self {
            Self::Curve => grown(reports),
            Self::Scaling => None,
        }
    }
}

/// Until where throughput grows, and what ends it.
fn grown(reports: &[Report]) -> Option<String> {
    let mut best = reports.first()?;
    for report in reports.iter().skip(1) {
        if report.events_per_second >= best.events_per_second * GROWTH {
            best = report;
        }
    }
    let last = reports.last()?;
    let at = best.given.concurrency.saturating_mul(best.given.instances);
    Some(format!(
        "Grows to {:.0} events/s at {at} messages at once; then the limit is {}",
        best.events_per_second,
        last.limit.text()
    ))
}

/// Requests that may be under way at the target.
fn places(report: &Report) -> u32 {
    let each = report.advice.map_or(report.given.max_in_flight, |advice| advice.min(report.given.max_in_flight));
    each.saturating_mul(u32::try_from(report.given.instances).unwrap_or(u32::MAX))
}

fn line([first, rest @ .., last]: [&str; 7]) -> String {
    let mut line = format!("{first:>17}");
    for text in rest {
        line.push_str(&format!("{text:>10}"));
    }
    format!("{line}  {last}")
}

#[cfg(test)]
mod tests {
    use super::super::limit::Limit;
    use super::super::report::Given;
    use super::*;

    fn run(concurrency: usize, events_per_second: f64, limit: Limit) -> Report {
        let given = Given { instances: 1, concurrency, max_in_flight: 64, ..Given::default() };
        Report { given, events_per_second, limit, advice: Some(8), ..Report::default() }
    }

    #[test]
    fn a_curve_ends_where_more_messages_bring_no_more() {
        let runs = [
            run(1, 20.0, Limit::TargetLatency),
            run(2, 40.0, Limit::TargetLatency),
            run(8, 170.0, Limit::TargetAdvice),
            run(16, 178.0, Limit::TargetAdvice),
        ];
        let said = Study::Curve.end(&runs).unwrap();
        assert!(
            said.starts_with("Grows to 170 events/s at 8 messages at once; then the limit is the target"),
            "{said}"
        );
        assert!(Study::Curve.row(&runs[2]).contains("0 of 8"));
        assert_eq!(Study::Curve.end(&[]), None);
    }
}
