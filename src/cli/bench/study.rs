//! Several runs that differ in one thing, as a table: throughput by messages at once, CPU and requests by size. Measures
//! nothing itself.

use super::BenchArgs;
use super::report::{Report, known};
use super::scenario::Scenario;

/// Messages at once, from one to more than a stand-in takes.
const AT_ONCE: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Lengths of the text in an event: beside it, an event has about 5,000 bytes.
const PAYLOADS: [u32; 4] = [10, 2_000, 10_000, 50_000];
/// Messages of one invocation.
const BATCHES: [usize; 4] = [1, 8, 16, 64];
/// `max_in_flight` of a curve, unless given: so much that it is not the limit.
const IN_FLIGHT: u32 = 64;
/// More than this over the step before is growth.
const GROWTH: f64 = 1.1;

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Study {
    /// Messages at once.
    Curve,
    /// Payload, and messages of one invocation.
    Scaling,
}

impl Study {
    /// The runs; of the scenario that is asked for, else of those that show it best.
    pub(super) fn runs(self, arguments: &BenchArgs) -> Vec<(BenchArgs, Scenario)> {
        let asked = arguments.scenario.first().copied();
        match self {
            Self::Curve => {
                let max_in_flight = arguments.max_in_flight.or(Some(IN_FLIGHT));
                let run = |concurrency| BenchArgs { concurrency, max_in_flight, batch: Some(1), ..arguments.clone() };
                AT_ONCE.into_iter().map(|at_once| (run(at_once), asked.unwrap_or(Scenario::NewRows))).collect()
            }
            Self::Scaling => {
                let batch = arguments.batch.or(Some(1));
                let sized = |payload_bytes| BenchArgs { payload_bytes, batch, ..arguments.clone() };
                let of = asked.unwrap_or(Scenario::NewRows);
                let mut runs: Vec<_> = PAYLOADS.into_iter().map(|payload| (sized(payload), of)).collect();
                let together = |batch| BenchArgs { batch: Some(batch), ..arguments.clone() };
                for of in asked.map_or_else(|| vec![Scenario::NewRows, Scenario::HotRows], |asked| vec![asked]) {
                    runs.extend(BATCHES.into_iter().map(|batch| (together(batch), of)));
                }
                runs
            }
        }
    }

    /// The table's first line.
    pub(super) fn head(self) -> String {
        match self {
            Self::Curve => {
                line("messages at once", ["events/s", "p50, ms", "p99, ms", "CPU, ms", "at target", ""], "limit")
            }
            Self::Scaling => {
                line("", ["bytes", "batch", "events/s", "CPU, ms", "ledger", "storage"], "target requests per event")
            }
        }
    }

    /// A run's line.
    pub(super) fn row(self, report: &Report) -> String {
        let (rate, cpu) = (format!("{:.0}", report.events_per_second), known(report.cpu_ms_per_event));
        let bad = if report.is_good() { "" } else { "  LOST, DOUBLED OR DIFFERENT" };
        match self {
            Self::Curve => {
                let at_once = report.given.concurrency.saturating_mul(report.given.instances).to_string();
                let (p50, p99) = (format!("{:.1}", report.p50_ms), format!("{:.1}", report.p99_ms));
                let most = format!("{} of {}", report.target_at_once.most(), places(report));
                line(&at_once, [&rate, &p50, &p99, &cpu, &most, ""], &format!("{}{bad}", report.limit.text()))
            }
            Self::Scaling => {
                let (bytes, batch) = (report.event_bytes.to_string(), report.given.batch.to_string());
                let (ledger, storage) = (known(report.ledger_per_event), known(report.storage_per_event));
                let target = format!("{:.2}{bad}", report.target_per_event);
                line(report.scenario, [&bytes, &batch, &rate, &cpu, &ledger, &storage], &target)
            }
        }
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

fn line(first: &str, rest: [&str; 6], last: &str) -> String {
    let mut line = format!("{first:>17}");
    for text in rest.into_iter().filter(|text| !text.is_empty()) {
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
