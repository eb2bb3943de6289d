//! `bench`: load on the handler, measured from outside: the handler processes are this program's `serve`, the host and the
//! source are stand-ins, target and storage are too unless settings name others. Decides nothing about events.

mod events;
mod folder;
mod limit;
mod live;
mod load;
mod measure;
mod reconcile;
mod report;
mod scenario;
mod series;
mod storage;
mod study;
mod target;
mod world;

use self::live::Live;
use self::report::{FORMAT, Output, Report};
use self::scenario::Scenario;
use self::study::Study;
use super::Trouble;
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// `max_in_flight` unless given: the mapping's own default.
const IN_FLIGHT: u32 = 8;

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    /// A stand-in on this machine
    StandIn,
    /// What the settings name, as for `serve`
    Settings,
}

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
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    instances: usize,
    /// Messages that the host gives to one instance at once, each in an invocation of its own (with --batch 1)
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    concurrency: usize,
    /// Messages of one invocation, one invocation at a time for each instance [default: as host.json says; with --curve 1]
    #[arg(long, value_parser = at_least_one)]
    batch: Option<usize>,
    /// `max_in_flight` of the handlers: calls to the target at once [default: 8; with --curve 64]
    #[arg(long)]
    max_in_flight: Option<u32>,
    /// What the stand-in of the target takes for a request on average, in milliseconds
    #[arg(long, default_value_t = 20)]
    target_ms: u64,
    /// What it advises as requests at once (`x-ms-dop-hint`)
    #[arg(long, default_value_t = 8)]
    target_advice: u32,
    /// What the stand-in of the table storage takes for a request, in milliseconds
    #[arg(long, default_value_t = 4)]
    storage_ms: u64,
    /// Length of the text that each event carries beside its other columns, in bytes; at most 2000 for an environment of settings
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    payload_bytes: u32,
    /// Runs with 1 to 64 messages at once, as a table: where throughput ends, and why
    #[arg(long, conflicts_with = "scaling")]
    curve: bool,
    /// Runs with payloads and batches of growing size, as a table: CPU and requests per event
    #[arg(long)]
    scaling: bool,
    /// The target: TARGET_URL and what goes with it, if `settings`
    #[arg(long, value_enum, default_value_t = Where::StandIn)]
    target: Where,
    /// The storage of ledger and inbox: LEDGER_CONNECTION and what goes with it, if `settings`
    #[arg(long, value_enum, default_value_t = Where::StandIn)]
    ledger: Where,
    /// Take settings from a local.settings.json too; the environment's come first
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Do it, although target or storage of the settings is not on this machine
    #[arg(long)]
    yes: bool,
    /// Leave the rows and tables that were made at what settings name
    #[arg(long)]
    keep: bool,
    /// Decides times and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of events: `reconcile` over so many rows, its memory, time and requests
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["scenario", "curve", "scaling", "target", "ledger"],
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
    /// One JSON object instead of text; docs/performance.md describes it
    #[arg(long)]
    json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "not a number of at least 1".to_owned())
}

impl BenchArgs {
    fn target_by_settings(&self) -> bool {
        self.target == Where::Settings
    }

    fn ledger_by_settings(&self) -> bool {
        self.ledger == Where::Settings
    }

    fn by_settings(&self) -> bool {
        self.target_by_settings() || self.ledger_by_settings()
    }

    fn max_in_flight(&self) -> u32 {
        self.max_in_flight.unwrap_or(IN_FLIGHT)
    }

    /// Messages of one invocation.
    fn batch(&self) -> usize {
        self.batch.unwrap_or_else(folder::shipped_batch)
    }

    /// Messages that one instance has at once.
    fn at_once(&self) -> usize {
        if self.batch() > 1 { self.batch() } else { self.concurrency }
    }

    fn study(&self) -> Option<Study> {
        self.curve.then_some(Study::Curve).or(self.scaling.then_some(Study::Scaling))
    }

    /// The runs, one after the other.
    fn runs(&self) -> Result<Vec<(Self, Scenario)>, Trouble> {
        let wrong = |text: &str| Err(Trouble::Wrong(anyhow!("{text}")));
        if self.target_by_settings() && (self.payload_bytes > 2_000 || self.scaling) {
            return wrong("accounts of an environment take 2,000 bytes; larger payloads need --target stand-in");
        }
        if self.target_by_settings() && self.scenario.iter().any(|scenario| scenario.needs_the_stand_in()) {
            return wrong(
                "an environment has limits and faults of its own; throttled and faulty need --target stand-in",
            );
        }
        if let Some(study) = self.study() {
            if self.scenario.len() > 1 {
                return wrong("--curve and --scaling take one scenario");
            }
            return Ok(study.runs(self));
        }
        let fits = |scenario: &Scenario| !self.target_by_settings() || !scenario.needs_the_stand_in();
        let all: Vec<Scenario> = match self.scenario.is_empty() {
            true => Scenario::ALL.into_iter().filter(fits).collect(),
            false => self.scenario.clone(),
        };
        Ok(all.into_iter().map(|scenario| (self.clone(), scenario)).collect())
    }
}

/// Runs the scenarios, one after the other.
///
/// # Errors
/// [`Trouble::Wrong`] for settings, and for what needs `--yes`; else they could not run, or something was lost, doubled or
/// different.
pub fn bench(arguments: &BenchArgs, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    if let Some(rows) = arguments.reconcile {
        return compare(&runtime, arguments, rows);
    }
    let runs = arguments.runs()?;
    announce(arguments, &Live::open(arguments, environment)?, runs.len())?;
    let say = |text: &str| {
        if !arguments.json {
            // a closed pipe changes no verdict
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    };
    let study = arguments.study();
    if let Some(study) = study {
        say(&study.head());
    }
    let mut reports: Vec<Report> = Vec::new();
    for (arguments, scenario) in &runs {
        let live = Live::open(arguments, environment)?;
        let report = runtime.block_on(load::run(arguments, *scenario, &live))?;
        say(&study.map_or_else(|| report.text(), |study| study.row(&report)));
        reports.push(report);
    }
    if let Some(end) = study.and_then(|study| study.end(&reports)) {
        say(&format!("\n{end}"));
    }
    if arguments.json {
        let output = Output { format: FORMAT, runs: &reports };
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&output)?);
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

/// Says what will be done at what settings name, before anything is.
fn announce(arguments: &BenchArgs, live: &Live, runs: usize) -> Result<(), Trouble> {
    let Some((plan, away)) = live.plan(arguments, runs) else { return Ok(()) };
    let _ = write!(std::io::stderr(), "{plan}");
    if away && !arguments.yes {
        return Err(Trouble::Wrong(anyhow!("nothing was done: this is not on this machine; to do it, add --yes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: BenchArgs,
    }

    fn parsed(text: &str) -> BenchArgs {
        Line::parse_from(std::iter::once("bench").chain(text.split_whitespace())).arguments
    }

    fn settings(url: &str) -> BTreeMap<String, String> {
        let client = "11111111-2222-4333-8444-555555555555";
        [
            ("TARGET_URL", url),
            ("TARGET_TENANT_ID", "contoso.example"),
            ("TARGET_CLIENT_ID", client),
            ("TARGET_CLIENT_SECRET", "secret"),
            ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn nothing_is_done_to_another_machine_without_a_yes() {
        let refused = |text: &str, url: &str| {
            let (arguments, values) = (parsed(text), settings(url));
            let live = Live::open(&arguments, &values).unwrap();
            announce(&arguments, &live, 1).is_err()
        };
        assert!(refused("--target settings", "https://org.crm4.dynamics.com"));
        assert!(!refused("--target settings --yes", "https://org.crm4.dynamics.com"));
        assert!(!refused("--target settings", "http://127.0.0.1:9"));
        assert!(!refused("--ledger settings", "https://org.crm4.dynamics.com"), "the target is a stand-in then");
        let mut values = settings("http://127.0.0.1:9");
        values.insert("AzureWebJobsStorage".to_owned(), "AccountName=acc;AccountKey=a2V5Cg==".to_owned());
        let arguments = parsed("--ledger settings");
        assert!(announce(&arguments, &Live::open(&arguments, &values).unwrap(), 1).is_err());
        let stand_ins = parsed("");
        assert!(announce(&stand_ins, &Live::open(&stand_ins, &values).unwrap(), 1).is_ok());
    }

    #[test]
    fn the_plan_says_which_rows_and_tables_and_how_to_remove_them() {
        let arguments = parsed("--target settings --ledger settings --events 50");
        let live = Live::open(&arguments, &settings("https://org.crm4.dynamics.com")).unwrap();
        let (plan, _) = live.plan(&arguments, 2).unwrap();
        for part in
            ["https://org.crm4.dynamics.com", "100 rows", "account", live::MARK, "deleted at the end", "benchledger"]
        {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        let arguments = BenchArgs { keep: true, ..arguments };
        assert!(live.plan(&arguments, 2).is_some());
    }

    #[test]
    fn an_environment_is_not_asked_for_what_only_a_stand_in_can() {
        for text in ["--target settings --scenario faulty", "--target settings --payload-bytes 2001"] {
            assert!(matches!(parsed(text).runs(), Err(Trouble::Wrong(_))), "{text}");
        }
        let scenarios = |text: &str| parsed(text).runs().unwrap().len();
        assert_eq!((scenarios(""), scenarios("--target settings")), (7, 5));
        assert_eq!((scenarios("--curve"), scenarios("--curve --scenario hot-rows")), (7, 7));
        assert!(scenarios("--scaling") > scenarios("--scaling --scenario hot-rows"));
        assert!(matches!(parsed("--curve --scenario races --scenario storm").runs(), Err(Trouble::Wrong(_))));
    }
}
