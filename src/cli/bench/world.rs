//! What the load runs against: both environments and, unless another is given, the table storage, over loopback HTTP, and
//! the host with its handler processes. Knows no scenario's meaning.

use super::BenchArgs;
use super::scenario::Scenario;
use crate::sim::dataverse::{self, Collector, Environment, Image, Sink, Step, sample};
use crate::sim::host::{FunctionKeys, Handlers, Host, HostSettings, Log, Queue, QueueSettings, Timers};
use crate::sim::http::Server;
use crate::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The table that events are about.
pub(super) const TABLE: &str = "account";
const SOURCE: Uuid = Uuid::from_u128(0x50c0_0000_0000_4000_8000_0000_0000_0001);
const TARGET: Uuid = Uuid::from_u128(0x7a60_0000_0000_4000_8000_0000_0000_0002);
const QUEUE: &str = "dataverse-events";
/// The function key.
pub(super) const KEY: &str = "bench";
const CONNECTION: &str = "BenchStorage";
/// The host's connection to the queue has a name of its own, so handlers have none: their sweeps work off what is due
/// themselves.
const QUEUE_CONNECTION: &str = "BenchQueue";
/// Requests that the target's log keeps: what was repeated is found there.
const LOG_ENTRIES_MAX: usize = 1_000_000;
/// How often `sweep` runs: every minute in earnest, but a measurement does not wait for that.
const SWEEP: Duration = Duration::from_secs(1);
/// Last errors of handlers that are told when the run fails.
const ERRORS_MAX: usize = 5;

/// Everything that runs. It ends when dropped, handler processes included.
#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Environment,
    /// Events as the source raises them.
    pub(super) raised: Collector,
    pub(super) target: Environment,
    /// Every change of the target.
    pub(super) written: Collector,
    /// The stand-in; `None` if another storage is used.
    pub(super) tables: Option<TableService>,
    pub(super) host: Host,
    pub(super) queue: Queue,
    /// The last warnings of handlers.
    pub(super) warnings: Arc<Mutex<Vec<String>>>,
    _servers: Vec<Server>,
    _folder: Folder,
}

impl World {
    /// Starts everything and waits until the handlers are ready.
    ///
    /// # Errors
    /// Ports, files, and handlers that do not start.
    pub(super) async fn start(arguments: &BenchArgs, scenario: Scenario) -> anyhow::Result<Self> {
        let latency = Duration::from_millis(arguments.target_ms);
        let settings = |organization, protection| dataverse::Settings {
            seed: arguments.seed,
            latency: (latency / 2, latency.saturating_mul(3) / 2),
            race_window: latency,
            protection,
            log_entries_max: LOG_ENTRIES_MAX,
            ..dataverse::Settings::new(organization, sample::sample_schema())
        };
        let source = Environment::new(settings(SOURCE, None));
        let target = Environment::new(settings(TARGET, scenario.protection()));
        let mut servers = vec![dataverse::serve(target.clone(), 0).await.context("the target's port")?];
        let target_url = servers.iter().map(Server::url).collect();
        let (tables, connection) = match &arguments.storage {
            Some(connection) => (None, connection.clone()),
            None => {
                let half = Duration::from_millis(arguments.storage_ms) / 2;
                let service = TableService::new(tables::Settings {
                    latency_before: half,
                    latency_after: half,
                    ..tables::Settings::default()
                });
                let server = tables::serve(service.clone(), 0).await.context("the table storage's port")?;
                let url = server.url();
                servers.push(server);
                let names = format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY}");
                (Some(service), format!("{names};TableEndpoint={url}/{DEVELOPMENT_ACCOUNT}"))
            }
        };
        let (raised, written) = (Collector::default(), Collector::default());
        let step = Step::new(Uuid::from_u128(1), TABLE, Sink::Collect(raised.clone()));
        source.subscribe(step.image(Image::Columns(vec!["versionnumber".to_owned()])));
        target.subscribe(Step::new(Uuid::from_u128(2), TABLE, Sink::Collect(written.clone())));
        let folder = Folder::write(arguments)?;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let settings = host(arguments, target_url, connection, &folder, &warnings)?;
        let host = Host::start(settings).await.context("the handlers did not start")?;
        let skipped = host.skipped().join("; ");
        let queue = host.queue(QUEUE).ok_or_else(|| anyhow!("no function listens to the queue: {skipped}"))?;
        let (_servers, _folder) = (servers, folder);
        Ok(Self { source, raised, target, written, tables, host, queue, warnings, _servers, _folder })
    }

    /// The handlers' process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        (0..self.host.instance_count()).filter_map(|instance| self.host.pid(instance)).collect()
    }
}

fn host(
    arguments: &BenchArgs,
    target: String,
    connection: String,
    folder: &Folder,
    warnings: &Arc<Mutex<Vec<String>>>,
) -> anyhow::Result<HostSettings> {
    // tables of another storage may hold what an earlier run left
    let run = Uuid::new_v4().simple().to_string();
    let environment: BTreeMap<String, String> = [
        ("SYNC_QUEUE", QUEUE.to_owned()),
        (QUEUE_CONNECTION, "the host's alone".to_owned()),
        ("TARGET_URL", target),
        ("TARGET_AUTH", "none".to_owned()),
        ("SOURCE_ORGANIZATION_ID", SOURCE.to_string()),
        ("LEDGER_CONNECTION", CONNECTION.to_owned()),
        (CONNECTION, connection),
        ("LEDGER_TABLE", format!("ledger{run}")),
        ("INBOX_TABLE", format!("inbox{run}")),
        ("SYNC_CONFIG", "sync.toml".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let executable = std::env::current_exe().context("this program's path")?;
    let seen = Arc::clone(warnings);
    Ok(HostSettings {
        handlers: Handlers::Program { executable, arguments: vec!["serve".to_owned()] },
        instances: arguments.instances,
        environment,
        keys: FunctionKeys { host: vec![KEY.to_owned()], ..FunctionKeys::default() },
        queue: QueueSettings { redelivery_delay: Duration::from_millis(20), ..QueueSettings::default() },
        concurrent_calls_max: Some(arguments.concurrency),
        timers: Timers::Every(SWEEP),
        log: Log::listening(move |line| {
            if line.text.contains("\"WARN\"") || line.text.contains("\"ERROR\"") {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.len() >= ERRORS_MAX {
                    seen.remove(0);
                }
                seen.push(line.text.clone());
            }
        }),
        ..HostSettings::new(&folder.0)
    })
}

/// The app's folder, as it would be deployed. It goes with the value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn write(arguments: &BenchArgs) -> anyhow::Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("dataverse-sync-bench-{}", Uuid::new_v4())));
        // short times: what is deferred or unanswered must come to its end within the measurement
        let mapping = format!(
            "version = 1\n[limits]\nlease = \"14s\"\nsettle = \"4s\"\nrequest_timeout = \"3s\"\nwebhook_deadline = \"2s\"\n\
             queue_deadline = \"9s\"\nduplicate_wait = \"1s\"\nclock_skew = \"1s\"\nmax_in_flight = {}\n\
             [tables.{TABLE}.columns]\nexclude = [\"ownerid\", \"transactioncurrencyid\"]\n",
            arguments.max_in_flight
        );
        let queue = include_str!("../../../functions/queue/function.json")
            .replace("ServiceBus\"", &format!("{QUEUE_CONNECTION}\""));
        let files = [
            ("host.json", include_str!("../../../host.json")),
            ("queue/function.json", queue.as_str()),
            ("webhook/function.json", include_str!("../../../functions/webhook/function.json")),
            ("sweep/function.json", include_str!("../../../functions/sweep/function.json")),
            ("status/function.json", include_str!("../../../functions/status/function.json")),
            ("health/function.json", include_str!("../../../functions/health/function.json")),
            ("sync.toml", mapping.as_str()),
        ];
        for (name, text) in files {
            let path = folder.0.join(name);
            let parent = path.parent().unwrap_or(&folder.0);
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what stays behind is a few kilobytes in the temporary folder
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
