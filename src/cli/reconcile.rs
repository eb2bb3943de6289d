//! `reconcile`: arguments, progress on stderr, the report on stdout.

mod show;

use super::Trouble;
use super::place::{Place, print};
use crate::app::reconciling;
use crate::operate::reconcile::progress::Progress;
use crate::operate::reconcile::report::Report;
use crate::operate::reconcile::{CannotReconcile, Options};
use anyhow::{Context, anyhow};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};
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
    let told = AtomicU32::new(0);
    let terminal = std::io::stderr().is_terminal();
    let watch = |progress: &Progress| tell(progress, terminal, &told);
    let report = runtime.block_on(async {
        if arguments.dry_run {
            reconciler.compare(&options, &watch).await
        } else {
            reconciler.mend(&options, &watch).await
        }
    });
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

fn tell(progress: &Progress, terminal: bool, told: &AtomicU32) {
    let number = told.fetch_add(1, Ordering::Relaxed);
    if !terminal && !number.is_multiple_of(QUIET) {
        return;
    }
    let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let left = progress.left.map(|left| format!(", {} s left", left.as_secs())).unwrap_or_default();
    let line = format!(
        "{} {}: {}{total} rows, {:.0} per second{left}",
        progress.table, progress.step, progress.rows, progress.per_second
    );
    tell_text(&if terminal { format!("\r\x1b[K{line}") } else { format!("{line}\n") });
}

/// Progress is for people: nobody minds if it cannot be shown.
fn tell_text(text: &str) {
    let mut err = std::io::stderr();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
