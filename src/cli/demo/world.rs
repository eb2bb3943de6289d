//! The machine that the demo runs on: both environments, the table storage and the host with its handler processes, wired
//! to each other over loopback HTTP. Knows no story.

use super::counts::Counts;
use super::delivery::Deliveries;
use super::plan::{INSTANCES, Plan};
use super::steps::{BY_QUEUE, BY_WEBHOOK, Registration};
use crate::sim::dataverse::{self, Collector, Environment, Message, Sink, Step, sample};
use crate::sim::host::{
    BrokerSettings, FunctionKeys, Handlers, Host, HostSettings, Log, Queue, QueueSettings, Timers, announce_broker,
};
use crate::sim::http::Server;
use crate::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use anyhow::{Context, anyhow};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The relationship whose links go through the queue: which products a contact is interested in.
pub(super) const LINKS: &str = "new_contact_product";
/// All of them.
pub(super) const TABLES: [&str; 4] = ["account", "contact", "salesorder", "product"];

const SOURCE: Uuid = Uuid::from_u128(0x50c0_0000_0000_4000_8000_0000_0000_0001);
const TARGET: Uuid = Uuid::from_u128(0x7a60_0000_0000_4000_8000_0000_0000_0002);
/// The ledger's table.
pub(super) const LEDGER: &str = "syncledger";
/// The inbox's table.
pub(super) const INBOX: &str = "syncinbox";
pub(super) const QUEUE: &str = "dataverse-events";
pub(super) const KEY: &str = "demo";
const BEARER: &str = "demo";
/// Name and key of whom the broker lets in.
const POLICY: &str = "sync";
const POLICY_KEY: &str = "bm90IGEgc2VjcmV0IQ==";
/// What a placeholder is called.
const PLACEHOLDER: &str = "(awaiting sync)";
/// Where the connection string of the table storage is.
const CONNECTION: &str = "DemoStorage";
/// Between "no such row" and the insert of an upsert.
const RACE_WINDOW: Duration = Duration::from_millis(120);
const LATENCY: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(16));
/// Between giving a message back to the broker and its next delivery. An instance that is killed gives nothing back; but a
/// handler that somebody kills from outside refuses everything until the host has noticed, and with no time at all between
/// two deliveries a message would be dead in that moment.
const REDELIVERY: Duration = Duration::from_millis(20);
/// Until the source sends an event: its jobs wait their turn.
const STEP_DELAY: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(200));
/// Requests that the log keeps in full.
const LOG_ENTRIES_MAX: usize = 50_000;

/// A currency and its ids on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Currency {
    pub(super) source: Uuid,
    pub(super) target: Uuid,
}

/// Everything that runs. It ends when dropped, handler processes included.
#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Environment,
    pub(super) target: Environment,
    pub(super) tables: TableService,
    pub(super) host: Host,
    pub(super) queue: Queue,
    pub(super) counts: Arc<Counts>,
    pub(super) deliveries: Arc<Deliveries>,
    /// Every change of the target.
    pub(super) written: Collector,
    pub(super) currencies: Vec<Currency>,
    /// What `register` made in the source, in words.
    pub(super) registered: String,
    /// Rows of the target as they came into being, and how many of them were placeholders.
    made: Collector,
    placeholders: AtomicU64,
    _servers: [Server; 4],
    _folder: Folder,
}

impl World {
    /// Starts everything and waits until the handlers are ready.
    ///
    /// # Errors
    /// Ports, files, and handlers that do not start.
    pub(super) async fn start(
        plan: &Plan,
        naive: bool,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let (source, target) = (dataverse(SOURCE, plan.seed), dataverse(TARGET, plan.seed.wrapping_add(1)));
        let keys = tables::Keys { bearer: Some(BEARER.to_owned()), ..tables::Settings::default().keys };
        let latency = Duration::from_millis(2);
        let tables = TableService::new(tables::Settings {
            keys,
            latency_before: latency,
            latency_after: latency,
            seed: plan.seed,
            ..tables::Settings::default()
        });
        let shared_key = Some((POLICY.to_owned(), POLICY_KEY.to_owned()));
        let broker = announce_broker(BrokerSettings { shared_key, ..BrokerSettings::default() }, 0).await;
        let (broker, queues) = broker.context("the broker's port")?;
        let servers = [
            dataverse::serve(source.clone(), 0).await.context("the source's port")?,
            dataverse::serve(target.clone(), 0).await.context("the target's port")?,
            tables::serve(tables.clone(), 0).await.context("the table storage's port")?,
            broker,
        ];
        let currencies = currencies(&source, &target)?;
        let folder = Folder::write(plan, naive)?;
        let counts = Arc::new(Counts::default());
        let urls = servers.each_ref().map(Server::url);
        let settings = host(plan, naive, environment, &urls, &currencies, &folder.0, &counts)?;
        let host = Host::start(settings).await.context("the handlers did not start")?;
        // nobody else knows them, so they are not known yet
        let _ = queues.set(host.queues().clone());
        let skipped = host.skipped().join("; ");
        let queue = host.queue(QUEUE).ok_or_else(|| anyhow!("no function listens to the queue: {skipped}"))?;
        let deliveries = Arc::new(Deliveries::new(plan, queue.clone(), target.clone()));
        let written = Collector::default();
        for (number, table) in (0_u128..).zip(TABLES) {
            target.subscribe(Step::new(Uuid::from_u128(100 + number), table, Sink::Collect(written.clone())));
        }
        let made = Collector::default();
        let creates = Step::new(Uuid::from_u128(120), "account", Sink::Collect(made.clone()));
        target.subscribe(creates.messages(&[Message::Create]));
        let registration =
            Registration { settings: places(&urls), root: &folder.0, source: &source, deliveries: &deliveries };
        let registered = registration.register(&host).await?;
        Ok(Self {
            source,
            target,
            tables,
            host,
            queue,
            counts,
            deliveries,
            written,
            currencies,
            registered,
            made,
            placeholders: AtomicU64::new(0),
            _servers: servers,
            _folder: folder,
        })
    }
}

impl World {
    /// Accounts that came into being as placeholders so far.
    pub(super) fn placeholders(&self) -> u64 {
        let made = self.made.take();
        let found = made.iter().filter(|event| String::from_utf8_lossy(&event.body).contains(PLACEHOLDER)).count();
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        self.placeholders.fetch_add(found, Ordering::Relaxed).saturating_add(found)
    }

    /// Writes that lost a race: 412 from the target so far.
    pub(super) fn races(&self) -> u64 {
        let counts = self.target.requests().counts();
        let lost = counts.iter().filter(|((method, _, status), _)| *status == Some(412) && method != "GET");
        lost.map(|(_, count)| count).sum()
    }

    /// Events that went to the webhook and have no answer that counts: after 502 to 504 they are sent once more.
    pub(super) fn unanswered(&self) -> u64 {
        let answers = self.host.counts().http;
        let counting = answers.iter().filter(|(status, _)| !(502..=504).contains(*status));
        self.deliveries.posted().saturating_sub(counting.map(|(_, count)| count).sum())
    }
}

fn dataverse(organization: Uuid, seed: u64) -> Environment {
    Environment::new(dataverse::Settings {
        seed,
        race_window: RACE_WINDOW,
        latency: LATENCY,
        step_delay: STEP_DELAY,
        log_entries_max: LOG_ENTRIES_MAX,
        ..dataverse::Settings::new(organization, sample::sample_schema())
    })
}

/// Euro and US dollar, with other ids on either side.
fn currencies(source: &Environment, target: &Environment) -> anyhow::Result<Vec<Currency>> {
    let dollar = json!({"currencyname": "US Dollar", "isocurrencycode": "USD", "currencysymbol": "$",
        "exchangerate": 1.1, "currencyprecision": 2});
    let create = |environment: &Environment| {
        let created = environment.create(&environment.person(), "transactioncurrency", &dollar);
        created.map_err(|error| anyhow!("the stand-in refuses a currency: {error:?}"))
    };
    let euro = Currency { source: source.world().base_currency, target: target.world().base_currency };
    Ok(vec![euro, Currency { source: create(source)?, target: create(target)? }])
}

/// Where both environments are, for whoever asks them and nothing else.
fn places([source, target, ..]: &[String; 4]) -> BTreeMap<String, String> {
    let values = [
        ("TARGET_URL", target.as_str()),
        ("TARGET_AUTH", "none"),
        ("SOURCE_URL", source),
        ("SOURCE_AUTH", "none"),
        ("LEDGER_STORE", "memory"),
    ];
    values.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn host(
    plan: &Plan,
    naive: bool,
    inherited: &BTreeMap<String, String>,
    [source, target, tables, broker]: &[String; 4],
    currencies: &[Currency],
    root: &Path,
    counts: &Arc<Counts>,
) -> anyhow::Result<HostSettings> {
    let account = format!("{tables}/{DEVELOPMENT_ACCOUNT}");
    let connection = format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY};TableEndpoint={account};");
    let bus = broker.replacen("http://", "sb://", 1);
    let bus =
        format!("Endpoint={bus};SharedAccessKeyName={POLICY};SharedAccessKey={POLICY_KEY};UseDevelopmentEmulator=true");
    let pairs: Vec<String> = currencies.iter().map(|c| format!("{}={}", c.source, c.target)).collect();
    let mut environment: BTreeMap<String, String> = [
        ("SYNC_QUEUE", QUEUE.to_owned()),
        ("ServiceBus", bus),
        ("TARGET_URL", target.clone()),
        ("LOG_FORMAT", "json".to_owned()),
    ]
    .into_iter()
    .chain(if naive {
        vec![("NAIVE_TABLES", account), ("NAIVE_BEARER", BEARER.to_owned()), ("NAIVE_CURRENCIES", pairs.join(","))]
    } else {
        vec![
            ("TARGET_AUTH", "none".to_owned()),
            ("SOURCE_URL", source.clone()),
            ("SOURCE_AUTH", "none".to_owned()),
            ("SOURCE_ORGANIZATION_ID", SOURCE.to_string()),
            ("LEDGER_CONNECTION", CONNECTION.to_owned()),
            ("LEDGER_TABLE", LEDGER.to_owned()),
            ("INBOX_TABLE", INBOX.to_owned()),
            (CONNECTION, connection),
            ("SYNC_CONFIG", "sync.toml".to_owned()),
        ]
    })
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    // Windows opens no socket without it
    if let Some(root) = inherited.get("SystemRoot") {
        environment.insert("SystemRoot".to_owned(), root.clone());
    }
    let command = if naive { "naive-handler" } else { "serve" };
    let executable = std::env::current_exe().context("this program's path")?;
    let listener = Arc::clone(counts);
    Ok(HostSettings {
        handlers: Handlers::Program { executable, arguments: vec![command.to_owned()] },
        instances: INSTANCES,
        environment,
        keys: FunctionKeys { host: vec![KEY.to_owned()], ..FunctionKeys::default() },
        queue: QueueSettings { lock_duration: plan.lock, redelivery_delay: REDELIVERY, ..QueueSettings::default() },
        timers: if naive { Timers::OnDemand } else { Timers::Every(SWEEP) },
        log: Log::listening(move |line| listener.line(line)),
        ..HostSettings::new(root)
    })
}

/// How often `sweep` runs: every minute in earnest, but a demonstration does not wait for that.
const SWEEP: Duration = Duration::from_millis(700);

/// The app's folder, as it would be deployed. It goes with the value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn write(plan: &Plan, naive: bool) -> anyhow::Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("dataverse-sync-demo-{}", Uuid::new_v4())));
        let mapping = mapping(plan);
        let files = [
            ("host.json", include_str!("../../../host.json")),
            ("queue/function.json", include_str!("../../../functions/queue/function.json")),
            ("webhook/function.json", include_str!("../../../functions/webhook/function.json")),
            ("health/function.json", include_str!("../../../functions/health/function.json")),
            ("sync.toml", mapping.as_str()),
            BY_QUEUE,
            BY_WEBHOOK,
        ];
        // whoever keeps nothing for later has nothing to sweep
        let sweep = ("sweep/function.json", include_str!("../../../functions/sweep/function.json"));
        for (name, text) in files.into_iter().chain((!naive).then_some(sweep)) {
            // whoever fails a message that came with others brings all of them back, so naive handlers take one at a time
            let one_by_one =
                if naive { text.replace(",\n      \"cardinality\": \"many\"", "") } else { text.to_owned() };
            let text = one_by_one.as_str();
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

fn mapping(plan: &Plan) -> String {
    let mut text = format!("version = 1\n\n[limits]{}", plan.limits);
    for table in TABLES {
        text.push_str(&format!("\n[tables.{table}.columns]\nexclude = [\"ownerid\"]\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_is_accepted_in_both_sizes() {
        for plan in [Plan::usual(1), Plan::fast(1)] {
            let folder = Folder::write(&plan, false).unwrap();
            let mapping = crate::config::mapping(&folder.0.join("sync.toml"));
            assert!(mapping.is_ok(), "{mapping:?}");
        }
    }

    #[test]
    fn the_folder_goes_with_its_value() {
        let folder = Folder::write(&Plan::fast(1), false).unwrap();
        let path = folder.0.clone();
        assert!(path.join("queue/function.json").is_file());
        drop(folder);
        assert!(!path.exists());
    }
}
