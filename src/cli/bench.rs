//! `bench`: load on the handler, measured from outside: the handler processes are this program's `serve`, the host and the
//! environments are stand-ins, the storage is one too or Azurite. Decides nothing about events.

mod load;
mod measure;
mod reconcile;
mod report;
mod scenario;
mod world;

use self::report::Report;
use self::scenario::Scenario;
use super::Trouble;
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::io::Write;

/// What can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct BenchArgs {
    /// What is sent; all if not given
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Events of each scenario
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=200_000))]
    events: u32,
    /// Handler processes
    #[arg(long, default_value_t = 1)]
    instances: usize,
    /// Messages that the host gives to one instance at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// `max_in_flight` of the handlers: calls to the target at once
    #[arg(long, default_value_t = 8)]
    max_in_flight: u32,
    /// What the target takes for a request on average, in milliseconds
    #[arg(long, default_value_t = 20)]
    target_ms: u64,
    /// What the table storage takes for a request, in milliseconds
    #[arg(long, default_value_t = 4)]
    storage_ms: u64,
    /// Length of the text that each event carries beside its other columns, in bytes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    payload_bytes: u32,
    /// Another table storage, by its connection string (Azurite: UseDevelopmentStorage=true); its requests are not counted
    #[arg(long)]
    storage: Option<String>,
    /// Decides times and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of events: `reconcile` over so many rows, its memory, time and requests
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["scenario", "storage"],
        value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    reconcile: Option<u32>,
    /// With --reconcile: how many of a hundred rows the target lacks; 100 is an initial load
    #[arg(long, value_name = "PERCENT", default_value_t = 1, requires = "reconcile",
        value_parser = clap::value_parser!(u32).range(0..=100))]
    missing: u32,
    /// With --reconcile: rows of a page
    #[arg(long, value_name = "ROWS", default_value_t = 5_000, requires = "reconcile",
        value_parser = clap::value_parser!(u32).range(1..=5_000))]
    page: u32,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the scenarios, one after the other.
///
/// # Errors
/// They could not run, or something was lost, doubled or different.
pub fn bench(arguments: &BenchArgs, _environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    if let Some(rows) = arguments.reconcile {
        return compare(&runtime, arguments, rows);
    }
    let scenarios = if arguments.scenario.is_empty() { &Scenario::ALL[..] } else { &arguments.scenario };
    let mut reports: Vec<Report> = Vec::new();
    for scenario in scenarios {
        let report = runtime.block_on(async {
            tokio::select! {
                report = load::run(arguments, *scenario) => report,
                _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped before the end")),
            }
        })?;
        if !arguments.json {
            // a closed pipe changes no verdict
            let _ = writeln!(std::io::stdout(), "{}", report.text());
        }
        reports.push(report);
    }
    if arguments.json {
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&reports)?);
    }
    let bad: Vec<&str> = reports.iter().filter(|report| !report.is_good()).map(|report| report.scenario).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Trouble::Failed(anyhow!("lost, doubled or different: {}", bad.join(", "))))
}

/// `--reconcile`.
fn compare(runtime: &tokio::runtime::Runtime, arguments: &BenchArgs, rows: u32) -> Result<(), Trouble> {
    let report = runtime.block_on(async {
        tokio::select! {
            report = reconcile::run(arguments, rows) => report,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped before the end")),
        }
    })?;
    let text = if arguments.json { serde_json::to_string_pretty(&report)? } else { report.text() };
    // a closed pipe changes no verdict
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    match report.wrong() {
        None => Ok(()),
        Some(wrong) => Err(Trouble::Failed(anyhow!("{wrong}"))),
    }
}
