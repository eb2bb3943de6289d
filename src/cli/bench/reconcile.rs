//! `bench --reconcile`: the real `reconcile` in a process of its own, between two environments full of rows. Measured from
//! outside: peak memory, time, and requests on the wire per thousand rows. Says whether it found what was planted.

use super::BenchArgs;
use super::measure::{peak_kib, per};
use crate::sim::dataverse::{self, Environment, sample};
use crate::sim::http::Server;
use crate::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use anyhow::{Context, anyhow, ensure};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Most memory that a run may hold, whatever the number of rows: a page of each side as it came and as rows, what one
/// stretch of rows becomes, and the ledger's memory of the rows written last when it is full.
const PEAK_MIB_MAX: f64 = 192.0;
/// How often the memory is looked at. The kernel keeps the highest itself; only what is allocated just before the end
/// could be missed.
const LOOK: Duration = Duration::from_millis(10);
/// One row of so many differs in a column; as many have changed at the source before the round of changes.
const DIFFERS_EVERY: u32 = 100;
const MAPPING: &str = "version = 1\n[tables.account]\n[tables.contact]\n";
const ORGANIZATIONS: [Uuid; 2] = [
    Uuid::from_u128(0x50c0_0000_0000_4000_8000_0000_0000_0001),
    Uuid::from_u128(0x7a60_0000_0000_4000_8000_0000_0000_0002),
];

/// One command, measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Measured {
    /// Its arguments.
    run: String,
    /// From start to end of the process.
    seconds: f64,
    /// Rows of the source that it looked at in a second.
    rows_per_second: f64,
    /// Most memory that it held.
    peak_mib: f64,
    /// Rows of the source that it looked at.
    rows: u64,
    /// Rows that it found to be missing, extra or different.
    differing: u64,
    /// Requests to the source.
    source_requests: u64,
    /// Requests to the target that read.
    target_reads: u64,
    /// Requests to the target that write.
    target_writes: u64,
    /// Requests to the table storage.
    storage_requests: u64,
}

/// The measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Rows of the source.
    rows: u32,
    /// The bound of the peaks, in MiB.
    peak_mib_max: f64,
    runs: Vec<Measured>,
    /// What is not as it should be; nothing, if all is well.
    wrong: Vec<String>,
}

impl Report {
    /// What is wrong, if anything is.
    pub(super) fn wrong(&self) -> Option<String> {
        (!self.wrong.is_empty()).then(|| self.wrong.join("; "))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} rows; bound of memory {} MiB\n", self.rows, self.peak_mib_max);
        text.push_str(
            "                              per 1,000 rows looked at: reads             writes   storage\n\
             run                rows   differ      s   rows/s  peak MiB  source  target  target  requests\n",
        );
        for run in &self.runs {
            let of = |requests: u64| per(requests * 1_000, usize::try_from(run.rows).unwrap_or(usize::MAX));
            text.push_str(&format!(
                "{:14} {:>8} {:>8} {:>6.1} {:>8.0} {:>9.1} {:>7.2} {:>7.2} {:>7.1} {:>9.1}\n",
                run.run,
                run.rows,
                run.differing,
                run.seconds,
                run.rows_per_second,
                run.peak_mib,
                of(run.source_requests),
                of(run.target_reads),
                of(run.target_writes),
                of(run.storage_requests),
            ));
        }
        text
    }
}

/// Everything that runs. It ends when dropped.
struct World {
    source: Environment,
    target: Environment,
    tables: TableService,
    servers: [Server; 3],
    folder: PathBuf,
    page_rows: String,
}

impl Drop for World {
    fn drop(&mut self) {
        // what stays behind is one small file in the temporary folder
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs it.
pub(super) async fn run(arguments: &BenchArgs, rows: u32) -> anyhow::Result<Report> {
    let world = World::start(arguments).await?;
    let missing = world.fill(rows, arguments).await?;
    let planted = u64::from(missing + rows.div_ceil(DIFFERS_EVERY));
    let mut report = Report { rows, peak_mib_max: PEAK_MIB_MAX, ..Report::default() };
    let mut one = async |run: &str, expected: u64| {
        let measured = world.measure(run).await?;
        if measured.differing != expected {
            report.wrong.push(format!("{run}: {} rows differ instead of {expected}", measured.differing));
        }
        if measured.peak_mib > PEAK_MIB_MAX {
            report.wrong.push(format!("{run}: {:.1} MiB of memory", measured.peak_mib));
        }
        report.runs.push(measured);
        anyhow::Ok(())
    };
    one("--dry-run", planted).await?;
    one("--full", planted).await?;
    one("--dry-run", 0).await?;
    let changed = world.change(rows)?;
    one("", changed).await?;
    one("--dry-run", 0).await?;
    Ok(report)
}

/// A row id whose text order is not the service's.
fn id(n: u32) -> Uuid {
    let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid()
}

/// Accounts, and two contacts for each three of them.
fn row(n: u32, rows: u32, payload_bytes: u32) -> (&'static str, Json) {
    let text = "x".repeat(usize::try_from(payload_bytes).unwrap_or(1));
    let accounts = accounts(rows);
    if n < accounts {
        let row = json!({
            "accountid": id(n), "name": format!("Account {n}"), "telephone1": n.to_string(), "description": text,
            "numberofemployees": n, "creditonhold": n.is_multiple_of(2), "industrycode": 1,
        });
        return ("account", row);
    }
    let parent = format!("accounts({})", id(n % accounts.max(1)));
    let row = json!({
        "contactid": id(n), "firstname": format!("First {n}"), "lastname": "Last", "description": text,
        "birthdate": "1985-05-24", "parentcustomerid_account@odata.bind": parent,
    });
    ("contact", row)
}

fn accounts(rows: u32) -> u32 {
    rows.div_ceil(5) * 3
}

fn changed(table: &str, text: &str) -> Json {
    if table == "account" { json!({ "telephone1": text }) } else { json!({ "firstname": text }) }
}

fn refused(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("the stand-in refuses a row: {error:?}")
}

impl World {
    async fn start(arguments: &BenchArgs) -> anyhow::Result<Self> {
        let environment = |organization| {
            let mut settings = dataverse::Settings::new(organization, sample::sample_schema());
            settings.seed = arguments.seed;
            settings.log_entries_max = 100;
            Environment::new(settings)
        };
        let [source, target] = ORGANIZATIONS.map(environment);
        let tables = TableService::new(tables::Settings::default());
        let servers = [
            dataverse::serve(source.clone(), 0).await.context("the source's port")?,
            dataverse::serve(target.clone(), 0).await.context("the target's port")?,
            tables::serve(tables.clone(), 0).await.context("the table storage's port")?,
        ];
        let folder = std::env::temp_dir().join(format!("dataverse-sync-bench-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::write(folder.join("sync.toml"), MAPPING).context("cannot write sync.toml")?;
        Ok(Self { source, target, tables, servers, folder, page_rows: arguments.page.to_string() })
    }

    /// Fills both sides, and plants the differences. How many rows the target lacks.
    async fn fill(&self, rows: u32, arguments: &BenchArgs) -> anyhow::Result<u32> {
        let (percent, bytes) = (arguments.missing, arguments.payload_bytes);
        let lacks = move |n: u32| n % 100 < percent && !n.is_multiple_of(DIFFERS_EVERY) || percent == 100;
        let side = |side: &Environment, is_target: bool| {
            let side = side.clone();
            tokio::task::spawn_blocking(move || {
                let person = side.person();
                for n in (0..rows).filter(|n| !(is_target && lacks(*n))) {
                    let (table, mut body) = row(n, rows, bytes);
                    if is_target && n.is_multiple_of(DIFFERS_EVERY) {
                        let other = changed(table, "by hand");
                        body.as_object_mut().into_iter().zip(other.as_object()).for_each(|(body, other)| {
                            body.extend(other.clone());
                        });
                    }
                    side.create(&person, table, &body).map_err(refused)?;
                }
                anyhow::Ok(())
            })
        };
        let (source, target) = (side(&self.source, false), side(&self.target, true));
        source.await??;
        target.await??;
        Ok(u32::try_from((0..rows).filter(|n| lacks(*n)).count())?)
    }

    /// Changes some rows of the source. How many.
    fn change(&self, rows: u32) -> anyhow::Result<u64> {
        let mut count = 0;
        for n in (0..rows).filter(|n| n % DIFFERS_EVERY == 1) {
            let table = if n < accounts(rows) { "account" } else { "contact" };
            self.source.update(&self.source.person(), table, id(n), &changed(table, "changed")).map_err(refused)?;
            count += 1;
        }
        Ok(count)
    }

    fn command(&self, run: &str) -> anyhow::Result<Command> {
        let [source, target, tables] = &self.servers;
        let account = format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY}");
        let mut command = Command::new(std::env::current_exe().context("this program's path")?);
        command.args(["reconcile", "--json", "--second-look", "0", "--page", &self.page_rows]);
        command.args(run.split_whitespace()).env_clear();
        command.env("SOURCE_URL", source.url()).env("SOURCE_AUTH", "none");
        command.env("TARGET_URL", target.url()).env("TARGET_AUTH", "none");
        command.env("AzureWebJobsStorage", format!("{account};TableEndpoint={}/{DEVELOPMENT_ACCOUNT}", tables.url()));
        command.env("FUNCTIONS_APP_ROOT_PATH", &self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    async fn measure(&self, run: &str) -> anyhow::Result<Measured> {
        for side in [&self.source, &self.target] {
            side.requests().clear();
        }
        self.tables.reset_counts();
        let started = Instant::now();
        let child = self.command(run)?.spawn().context("reconcile does not start")?;
        let pid = child.id();
        let mut peak = 0;
        let watch = async {
            loop {
                peak = pid.and_then(peak_kib).unwrap_or_default().max(peak);
                sleep(LOOK).await;
            }
        };
        let output = tokio::select! {
            output = child.wait_with_output() => output?,
            () = watch => return Err(anyhow!("nobody watches any more")),
        };
        ensure!(peak > 0, "this system does not tell how much memory a process held");
        let seconds = started.elapsed().as_secs_f64();
        let told = String::from_utf8_lossy(&output.stderr);
        let dry = run == "--dry-run";
        ensure!(dry || output.status.success(), "reconcile {run}: {told}");
        let json: Json = serde_json::from_slice(&output.stdout).map_err(|error| anyhow!("{error}: {told}"))?;
        let sum = |names: &[&str]| {
            let tables = json.get("tables").and_then(Json::as_array);
            let tables = tables.into_iter().flatten();
            tables.flat_map(|table| names.iter().filter_map(|name| table.get(*name)?.as_u64())).sum::<u64>()
        };
        let rows = sum(&["source_rows"]);
        let reads = |side: &Environment| side.requests().count() - side.requests().count_writes();
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        Ok(Measured {
            run: if run.is_empty() { "(changes)".to_owned() } else { run.to_owned() },
            seconds,
            rows_per_second: rows as f64 / seconds,
            peak_mib: peak as f64 / 1_024.0,
            rows,
            differing: sum(&["missing", "extra", "different"]),
            source_requests: self.source.requests().count(),
            target_reads: reads(&self.target),
            target_writes: self.target.requests().count_writes(),
            storage_requests: self.tables.round_trips(),
        })
    }
}
