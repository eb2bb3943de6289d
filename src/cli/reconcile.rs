//! `reconcile`: arguments, progress on stderr, the report on stdout.

mod show;

use super::Trouble;
use super::place::{Place, print};
use crate::app::{reconciling, stop_signals};
use crate::operate::reconcile::progress::{Progress, WAITING};
use crate::operate::reconcile::report::Report;
use crate::operate::reconcile::stop::Stop;
use crate::operate::reconcile::{CannotReconcile, Options};
use anyhow::{Context, anyhow};
use clap::Args;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where nobody looks at a terminal, one report of progress in this many is printed (they come twice a second).
const QUIET: u32 = 20;

/// What `reconcile` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// All rows: initial load and full comparison, many-to-many links included
    #[arg(long)]
    full: bool,
    /// Only these source tables
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Compare all rows, report in numbers and examples, write nothing
    #[arg(long, conflicts_with_all = ["full", "delete_extra"])]
    dry_run: bool,
    /// Begin anew instead of going on where an interrupted run was
    #[arg(long, conflicts_with = "dry_run")]
    anew: bool,
    /// Delete what the target has and the source does not; implies --full
    #[arg(long)]
    delete_extra: bool,
    /// Most extra rows of a table that this run deletes, 0 for any number [default: `deletes_max` of sync.toml]
    #[arg(long, value_name = "ROWS", requires = "delete_extra")]
    deletes_max: Option<u32>,
    /// Show values in examples; they are the rows' contents
    #[arg(long, requires = "dry_run")]
    values: bool,
    /// Rows of a page, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    page: u32,
    /// Wait this long before what differs is looked at a second time (dry run): events under way have arrived then
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    second_look: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Compares, and mends unless it is a dry run.
///
/// # Errors
/// [`Trouble::Wrong`] for settings, mapping and table names, [`Trouble::Failed`] if the sides differ (dry run) or something
/// is left to do.
pub fn reconcile(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let (base, values, root) = arguments.place.settle(environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let reconciler = reconciling::open(&base, &values, &root, !arguments.dry_run).map_err(Trouble::Wrong)?;
    let options = Options {
        tables: arguments.table.clone(),
        full: arguments.full || arguments.delete_extra,
        delete_extra: arguments.delete_extra,
        deletes_max: arguments.deletes_max,
        values: arguments.values,
        anew: arguments.anew,
        page_rows: arguments.page,
        second_look: Duration::from_secs(arguments.second_look),
        ..Options::default()
    };
    let told = Told { terminal: std::io::stderr().is_terminal(), last: Mutex::default() };
    let watch = |progress: &Progress| told.tell(progress);
    let terminal = told.terminal;
    let report = runtime.block_on(async {
        let run = async {
            if arguments.dry_run {
                reconciler.compare(&options, &watch).await
            } else {
                reconciler.mend(&options, &watch).await
            }
        };
        tokio::select! {
            report = run => Ok(report),
            stopped = stop_when_asked(&options.stop) => Err(stopped),
        }
    })?;
    if terminal {
        tell_text("\r\x1b[K");
    }
    let report = report.map_err(|error| match error {
        CannotReconcile::NoSource | CannotReconcile::UnknownTable { .. } => Trouble::Wrong(error.into()),
    })?;
    print(&if arguments.json {
        show::json(&report, arguments.dry_run)
    } else {
        show::text(&report, arguments.dry_run)
    });
    judge(&report, arguments.dry_run)
}

fn judge(report: &Report, dry: bool) -> Result<(), Trouble> {
    match (dry, report.is_equal(), report.is_done()) {
        (true, true, _) | (false, _, true) => Ok(()),
        (true, false, _) => Err(Trouble::Failed(anyhow!(
            "the two sides are not known to be equal; `reconcile --full` mends what differs, extra rows need --delete-extra"
        ))),
        (false, _, false) => Err(Trouble::Failed(anyhow!(
            "something is left to do: see the report, `parked list` and `doctor`; run it again to go on"
        ))),
    }
}

/// The first Ctrl-C (or SIGTERM) lets the run end in order: what is under way is finished, and where it is is kept. Comes
/// back at the second one.
async fn stop_when_asked(stop: &Stop) -> anyhow::Error {
    let mut signals = match stop_signals() {
        Ok(signals) => signals,
        // then it dies of them, as everything does
        Err(_) => return std::future::pending().await,
    };
    signals.next().await;
    tell_text("\nstopping: what is under way is finished (again: at once)\n");
    stop.ask();
    signals.next().await;
    anyhow!("stopped at once; the next run waits some seconds until the table is free, and goes on from there")
}

/// What was told of how far it is.
struct Told {
    terminal: bool,
    /// Table and step, and how often they came since they were told last.
    last: Mutex<(String, &'static str, u32)>,
}

impl Told {
    fn tell(&self, progress: &Progress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = (last.0.as_str(), last.1) != (progress.table.as_str(), progress.step);
        last.2 += 1;
        if !self.terminal && !is_new && last.2 < QUIET {
            return;
        }
        *last = (progress.table.clone(), progress.step, 0);
        let line = line(progress);
        tell_text(&if self.terminal { format!("\r\x1b[K{line}") } else { format!("{line}\n") });
    }
}

/// How far it is, on one line.
fn line(progress: &Progress) -> String {
    let Progress { table, step, rows, total, per_second, left } = progress;
    if *step == WAITING {
        return format!("{table} waiting: another run has this table, or died less than half a minute ago");
    }
    let total = total.map(|total| format!(" of about {total}")).unwrap_or_default();
    let left = left.map(|left| format!(", {} left", time(left))).unwrap_or_default();
    let rate = if *per_second > 0.0 { format!(", {per_second:.0} per second{left}") } else { String::new() };
    format!("{table} {step}: {rows}{total} rows{rate}")
}

fn time(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Progress is for people: nobody minds if it cannot be shown.
fn tell_text(text: &str) {
    let mut err = std::io::stderr();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left_where_the_total_is_known() {
        let progress = Progress {
            table: "account".to_owned(),
            step: "comparing",
            rows: 5_000,
            total: Some(20_000),
            per_second: 250.4,
            left: Some(Duration::from_secs(60)),
        };
        assert_eq!(line(&progress), "account comparing: 5000 of about 20000 rows, 250 per second, 60 s left");
        let unknown = Progress { total: None, left: None, ..progress.clone() };
        assert_eq!(line(&unknown), "account comparing: 5000 rows, 250 per second");
        let begun = Progress { rows: 0, per_second: 0.0, left: None, ..progress.clone() };
        assert_eq!(line(&begun), "account comparing: 0 of about 20000 rows");
        let waits = Progress { step: WAITING, ..progress };
        assert!(line(&waits).starts_with("account waiting: another run has this table"));
        let times = [119, 120, 7_199, 7_200].map(|seconds| time(Duration::from_secs(seconds)));
        assert_eq!(times, ["119 s", "2 min", "120 min", "2 h 0 min"]);
    }
}
