//! What the load runs against: the source, the target and the table storage, each a stand-in or what settings name, and the
//! host with its handler processes. Knows no scenario's meaning.

use super::BenchArgs;
use super::folder::{Folder, QUEUE, QUEUE_CONNECTION, TABLE};
use super::live::Live;
use super::scenario::Scenario;
use super::storage::Meter;
use super::target::{Calls, Target};
use crate::app::trial::Ledger;
use crate::sim::dataverse::schema::Kind;
use crate::sim::dataverse::{self, Collector, Environment, Image, Sink, Step, sample};
use crate::sim::host::{FunctionKeys, Handlers, Host, HostSettings, Log, Queue, QueueSettings, Timers};
use crate::sim::http::{Reply, Server, serve};
use crate::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::Request;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

const SOURCE: Uuid = Uuid::from_u128(0x50c0_0000_0000_4000_8000_0000_0000_0001);
const TARGET: Uuid = Uuid::from_u128(0x7a60_0000_0000_4000_8000_0000_0000_0002);
/// The function key.
pub(super) const KEY: &str = "bench";
const CONNECTION: &str = "BenchStorage";
/// Settings of this process that handlers need to prove who they are.
const IDENTITY: [&str; 3] = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_AUTHORITY_HOST"];
/// Requests that the target's log keeps: what was repeated is found there.
const LOG_ENTRIES_MAX: usize = 1_000_000;
/// How often `sweep` runs: every minute in earnest, but a measurement does not wait for that.
const SWEEP: Duration = Duration::from_secs(1);
/// Last errors of handlers that are told when the run fails.
const ERRORS_MAX: usize = 5;
/// Characters that the stand-ins' `description` takes; two thousand in earnest, but payloads can be larger than that.
const TEXT_CHARS_MAX: usize = 100_000;

/// Everything that runs. It ends when dropped, handler processes included.
#[derive(Debug)]
pub(super) struct World {
    /// Where events come from: always a stand-in.
    pub(super) source: Environment,
    /// Events as the source raises them.
    pub(super) raised: Collector,
    pub(super) target: Target,
    /// Counts what is asked of the storage; `None` if handlers reach it directly.
    pub(super) meter: Option<Meter>,
    pub(super) host: Host,
    pub(super) queue: Queue,
    /// The last warnings of handlers.
    pub(super) warnings: Arc<Mutex<Vec<String>>>,
    _servers: Vec<Server>,
    _folder: Folder,
}

impl World {
    /// Starts everything and waits until the handlers are ready. `live` is what settings name.
    ///
    /// # Errors
    /// Ports, files, and handlers that do not start.
    pub(super) async fn start(arguments: &BenchArgs, scenario: Scenario, live: &Live) -> anyhow::Result<Self> {
        let source = Environment::new(environment(arguments, SOURCE, live.seed));
        let raised = Collector::default();
        let step = Step::new(Uuid::from_u128(1), TABLE, Sink::Collect(raised.clone()));
        source.subscribe(step.image(Image::Columns(vec!["versionnumber".to_owned()])));
        let mut servers = Vec::new();
        let target = match &live.trial {
            Some(trial) if arguments.target_by_settings() => {
                let calls = Calls::default();
                servers.push(calls.listen(trial.target.clone()).await?);
                Target::Settings(calls)
            }
            _ => {
                let protection = scenario.protection();
                let settings = environment(arguments, TARGET, live.seed);
                let environment = Environment::new(dataverse::Settings { protection, ..settings });
                let written = Collector::default();
                environment.subscribe(Step::new(Uuid::from_u128(2), TABLE, Sink::Collect(written.clone())));
                servers.push(dataverse::serve(environment.clone(), 0).await.context("the target's port")?);
                Target::StandIn { environment, written }
            }
        };
        let target_url = servers.iter().map(Server::url).collect();
        let names = (live.ledger_table(), live.inbox_table());
        let (meter, storage) = match &live.trial {
            Some(trial) if arguments.ledger_by_settings() => by_settings(&trial.ledger, live, &mut servers).await?,
            _ => {
                let meter = Meter::new(&names.0, &names.1);
                let server = stand_in(arguments, meter.clone()).await?;
                let account = format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY}");
                let connection = format!("{account};TableEndpoint={}/{DEVELOPMENT_ACCOUNT}", server.url());
                servers.push(server);
                (Some(meter), vec![(CONNECTION.to_owned(), connection)])
            }
        };
        let folder = Folder::write(arguments)?;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let values = values(target_url, names, storage, live);
        let host = Host::start(host(arguments, values, &folder, &warnings)?).await;
        let host = host.context("the handlers did not start")?;
        let skipped = host.skipped().join("; ");
        let queue = host.queue(QUEUE).ok_or_else(|| anyhow!("no function listens to the queue: {skipped}"))?;
        let (_servers, _folder) = (servers, folder);
        Ok(Self { source, raised, target, meter, host, queue, warnings, _servers, _folder })
    }

    /// The handlers' process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        (0..self.host.instance_count()).filter_map(|instance| self.host.pid(instance)).collect()
    }

    /// Requests that the storage has now.
    pub(super) fn at_storage(&self) -> usize {
        self.meter.as_ref().map_or(0, Meter::under_way)
    }
}

fn environment(arguments: &BenchArgs, organization: Uuid, seed: u64) -> dataverse::Settings {
    let latency = Duration::from_millis(arguments.target_ms);
    let mut schema = sample::sample_schema();
    let text = schema.tables.get_mut(TABLE).and_then(|table| table.columns.get_mut("description"));
    if let Some(text) = text.filter(|_| !arguments.target_by_settings()) {
        text.kind = Kind::Memo(TEXT_CHARS_MAX);
    }
    dataverse::Settings {
        seed,
        latency: (latency / 2, latency.saturating_mul(3) / 2),
        race_window: latency,
        dop_hint: arguments.target_advice,
        log_entries_max: LOG_ENTRIES_MAX,
        ..dataverse::Settings::new(organization, schema)
    }
}

/// The storage's stand-in.
async fn stand_in(arguments: &BenchArgs, meter: Meter) -> anyhow::Result<Server> {
    let half = Duration::from_millis(arguments.storage_ms) / 2;
    let settings = tables::Settings { latency_before: half, latency_after: half, ..tables::Settings::default() };
    let service = TableService::new(settings);
    let server = serve(0, move |request: Request<Bytes>| {
        let (service, passing) = (service.clone(), meter.begin(&request));
        async move {
            let reply = service.handle(request).await;
            drop(passing);
            reply
        }
    });
    server.await.context("the table storage's port")
}

/// The storage of settings: what counts its requests, and the settings that lead to it.
async fn by_settings(
    ledger: &Ledger,
    live: &Live,
    servers: &mut Vec<Server>,
) -> anyhow::Result<(Option<Meter>, Vec<(String, String)>)> {
    let Ledger::Text { upstream, .. } = ledger else {
        // an identity's tokens are for the service alone
        return Ok((None, live.connection(CONNECTION)));
    };
    let meter = Meter::new(&live.ledger_table(), &live.inbox_table());
    let (upstream, counting) = (upstream.clone(), meter.clone());
    let server = serve(0, move |request: Request<Bytes>| {
        let (upstream, passing) = (upstream.clone(), counting.begin(&request));
        async move {
            let answer = upstream.pass(request).await;
            drop(passing);
            answer.map_or(Reply::Hangup, Reply::Answer)
        }
    });
    let server = server.await.context("a port before the storage")?;
    let connection = ledger.through(&server.url())?;
    servers.push(server);
    let connection = connection.map(|text| (CONNECTION.to_owned(), text.expose().to_owned()));
    Ok((Some(meter), connection.into_iter().collect()))
}

/// The handlers' settings.
fn values(
    target_url: String,
    (ledger, inbox): (String, String),
    storage: Vec<(String, String)>,
    live: &Live,
) -> BTreeMap<String, String> {
    let own = [
        ("SYNC_QUEUE", QUEUE.to_owned()),
        (QUEUE_CONNECTION, "the host's alone".to_owned()),
        ("TARGET_URL", target_url),
        // whoever listens before an environment has its credentials
        ("TARGET_AUTH", "none".to_owned()),
        ("SOURCE_ORGANIZATION_ID", SOURCE.to_string()),
        ("LEDGER_CONNECTION", CONNECTION.to_owned()),
        ("LEDGER_TABLE", ledger),
        ("INBOX_TABLE", inbox),
        ("SYNC_CONFIG", "sync.toml".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let identity = IDENTITY.iter().filter_map(|name| Some(((*name).to_owned(), live.values.get(*name)?.clone())));
    identity.chain(storage).chain(own).collect()
}

fn host(
    arguments: &BenchArgs,
    environment: BTreeMap<String, String>,
    folder: &Folder,
    warnings: &Arc<Mutex<Vec<String>>>,
) -> anyhow::Result<HostSettings> {
    let executable = std::env::current_exe().context("this program's path")?;
    let seen = Arc::clone(warnings);
    Ok(HostSettings {
        handlers: Handlers::Program { executable, arguments: vec!["serve".to_owned()] },
        instances: arguments.instances,
        environment,
        keys: FunctionKeys { host: vec![KEY.to_owned()], ..FunctionKeys::default() },
        queue: QueueSettings { redelivery_delay: Duration::from_millis(20), ..QueueSettings::default() },
        concurrent_calls_max: Some(arguments.at_once()),
        timers: Timers::Every(SWEEP),
        shield: true,
        log: Log::listening(move |line| {
            if line.text.contains("\"WARN\"") || line.text.contains("\"ERROR\"") {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.len() >= ERRORS_MAX {
                    seen.remove(0);
                }
                seen.push(line.text.clone());
            }
        }),
        ..HostSettings::new(folder.path())
    })
}
