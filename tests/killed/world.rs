//! Everything that runs: Azurite, both environments, the host with three processes, and what is looked at in the end.

use super::delivery::Delivery;
use super::trouble::Done;
use crate::support::azurite::Azurite;
use crate::support::table::client;
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Collector, Environment, Image, Message, Settings, Sink, Step, difference, serve};
use dataverse_sync::sim::host::{
    BrokerSettings, FunctionKeys, Handlers, Host, HostSettings, Queue, QueueSettings, Timers, announce_broker,
};
use dataverse_sync::sim::http::Server;
use dataverse_sync::tables::{Entity, Filter, Query, TableClient, TablesError, split};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

pub const LEASE: Duration = Duration::from_secs(5);
pub const SETTLE: Duration = Duration::from_secs(2);
pub const CLOCK_SKEW: Duration = Duration::from_millis(500);
/// The mapping: short limits, so that leases end while the test runs.
const MAPPING: &str = r#"
version = 1

[defaults]
guard = "etag"

[limits]
lease = "5s"
settle = "2s"
request_timeout = "1500ms"
webhook_deadline = "2s"
queue_deadline = "3s"
duplicate_wait = "1s"
clock_skew = "500ms"

[tables.account]
[tables.contact]
[tables.product]

[tables.salesorder]
guard = "lease"
"#;

pub const TABLES: [&str; 4] = ["account", "contact", "product", "salesorder"];
pub const RELATIONSHIPS: [&str; 2] = ["new_account_contact", "new_contact_product"];
const SOURCE: Uuid = Uuid::from_u128(1);
const KEY: &str = "killed";
const QUEUE: &str = "dataverse-events";
/// Name and key of whom the broker lets in.
const POLICY: &str = "sync";
const POLICY_KEY: &str = "bm90IGEgc2VjcmV0IQ==";
/// Between giving a message back and its next delivery. A handler that crashed refuses everything until the host notices;
/// without a broker's round trips a message would be dead in that moment, and nobody of ours has ever seen it.
const REDELIVERY: Duration = Duration::from_millis(100);
/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub struct World {
    pub source: Environment,
    pub target: Environment,
    pub host: Host,
    pub queue: Queue,
    pub delivery: Arc<Delivery>,
    pub trouble: Done,
    /// Rows as they came into being in the target.
    created: Collector,
    ledger: TableClient,
    inbox: TableClient,
    _servers: [Server; 3],
    _folder: Folder,
    _azurite: Azurite,
}

/// What still moves, or stands where it should not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    messages: usize,
    /// Events that are not done.
    owed: Vec<String>,
    /// Rows that somebody holds.
    leased: Vec<String>,
    /// Entries of the inbox, due or parked.
    entries: Vec<String>,
}

impl World {
    pub async fn start(seed: u64) -> Self {
        let environment = |organization: Uuid| {
            let mut settings = Settings::new(organization, sample_schema());
            settings.seed = seed;
            settings
        };
        let source = Environment::new(environment(SOURCE));
        // slow enough that whoever dies often dies within a request
        let target = Environment::new(Settings {
            latency: (Duration::from_millis(20), Duration::from_millis(120)),
            race_window: Duration::from_millis(50),
            ..environment(Uuid::from_u128(2))
        });
        let shared_key = Some((POLICY.to_owned(), POLICY_KEY.to_owned()));
        let broker = announce_broker(BrokerSettings { shared_key, ..BrokerSettings::default() }, 0);
        let (broker, queues) = broker.await.unwrap();
        let servers = [serve(source.clone(), 0).await.unwrap(), serve(target.clone(), 0).await.unwrap(), broker];
        let azurite = Azurite::start();
        let folder = Folder::write();
        let host = host(&azurite, &servers, &folder).await;
        queues.set(host.queues().clone()).unwrap();
        let queue = host.queue(QUEUE).unwrap_or_else(|| panic!("{:?}", host.skipped()));
        let url = format!("{}/api/webhook?code={KEY}", host.url());
        let delivery = Arc::new(Delivery::new(seed, url, queue.clone()));
        subscribe(&source, &delivery);
        let created = Collector::default();
        for (number, table) in (200..).zip(TABLES) {
            let step = Step::new(Uuid::from_u128(number), table, Sink::Collect(created.clone()));
            target.subscribe(step.messages(&[Message::Create]));
        }
        let (ledger, inbox) = (client(&azurite.connection(), "syncledger"), client(&azurite.connection(), "syncinbox"));
        Self {
            source,
            target,
            host,
            queue,
            delivery,
            trouble: Done::default(),
            created,
            ledger,
            inbox,
            _servers: servers,
            _folder: folder,
            _azurite: azurite,
        }
    }

    /// Waits until nothing moves and nothing is owed.
    pub async fn at_rest(&self, patience: Duration) {
        let quiet = async {
            self.source.idle().await;
            self.queue.idle().await;
            self.target.idle().await;
            while self.left().await != Left::default() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(patience, quiet).await.is_err() {
            let left = self.left().await;
            panic!("no rest after {patience:?}: {left:#?}\n{}\n{}", self.history(&left).await, self.told());
        }
    }

    async fn left(&self) -> Left {
        let mut left = Left { messages: self.queue.pending(), ..Left::default() };
        let now_ms = SystemClock::default().now().timestamp_millis();
        for entity in entities(&self.ledger).await {
            let name = format!("{} {}", entity.partition.as_str(), entity.row.as_str());
            let record: serde_json::Value = serde_json::from_str(&record(&entity)).unwrap();
            // a shard's lease, or the purge's cursor, is about no row
            let of_a_row = !entity.partition.as_str().starts_with("system");
            let until_ms = record["lease"]["until_ms"].as_i64().filter(|_| of_a_row);
            // one that ran out belongs to nobody: who held a parent for a placeholder and died has no event to come back to
            if until_ms.is_some_and(|until_ms| until_ms + millis(CLOCK_SKEW) > now_ms) {
                left.leased.push(format!("{name}: {}", record["lease"]));
            }
            if entity.text("phase").is_some_and(|phase| phase != "done") {
                left.owed.push(format!("{name}: {}", record["phase"]));
            }
        }
        for entity in entities(&self.inbox).await {
            // a placeholder's note is looked at once an hour, and removed then
            if entity.partition.as_str().starts_with("placeholder:") {
                continue;
            }
            left.entries.push(format!("{} {}", entity.partition.as_str(), record(&entity)));
        }
        left
    }

    /// What the ledger and the log know of what is left.
    async fn history(&self, left: &Left) -> String {
        let named = left.leased.iter().chain(&left.owed).filter_map(|name| name.split(' ').next());
        let partitions: Vec<&str> = named.collect();
        let all = entities(&self.ledger).await;
        let of_them = all.iter().filter(|entity| partitions.contains(&entity.partition.as_str()));
        let mut text: String = of_them.map(|entity| format!("{}\n", record(entity))).collect();
        let rows: Vec<&str> = partitions.iter().filter_map(|name| name.rsplit(':').next()).collect();
        for line in self.host.log().lines() {
            if rows.iter().any(|row| line.text.contains(row)) {
                text.push_str(&format!("{:?} {}\n", line.instance, line.text));
            }
        }
        text
    }

    /// Source and target are equal, and nobody gave up anything.
    pub fn assert_equal(&self) {
        assert!(self.queue.dead_letters().is_empty(), "{:#?}\n{}", self.queue.dead_letters(), self.told());
        assert!(self.source.failed_jobs().is_empty(), "{:#?}", self.source.failed_jobs());
        let found = difference(&self.source, &self.target, &TABLES, &["ownerid", "transactioncurrencyid"]);
        assert!(found.is_empty(), "source and target differ: {found:#?}\n{}", self.told());
        for relationship in RELATIONSHIPS {
            assert_eq!(self.source.links(relationship), self.target.links(relationship), "{relationship}");
        }
    }

    /// A storm that misses what it aims at proves nothing.
    pub fn assert_that_everything_happened(&self) {
        let (trouble, delivery, queue) = (&self.trouble, &self.delivery, self.queue.counts());
        let placeholders = self.created.take().into_iter();
        let placeholders =
            placeholders.filter(|event| String::from_utf8_lossy(&event.body).contains("(awaiting sync)"));
        let rows: usize = TABLES.iter().map(|table| self.target.rows(table).len()).sum();
        let links: usize = RELATIONSHIPS.iter().map(|name| self.target.links(name).len()).sum();
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let happened = [
            ("processes killed", read(&trouble.kills)),
            ("processes stopped", read(&trouble.stops)),
            ("processes stopped for longer than the lease", read(&trouble.long_stops)),
            ("webhooks kept for later", read(&delivery.kept)),
            ("webhooks sent again", read(&delivery.refused)),
            ("events that came by both ways", read(&delivery.twice)),
            ("locks that ran out", queue.locks_lost),
            ("messages delivered again", queue.redelivered),
            ("placeholders", u64::try_from(placeholders.count()).unwrap()),
            ("rows", u64::try_from(rows).unwrap()),
            ("links", u64::try_from(links).unwrap()),
        ];
        println!("{happened:?}");
        assert!(happened.iter().all(|(_, count)| *count > 0), "{happened:?}");
    }

    /// The last warnings and errors.
    fn told(&self) -> String {
        let lines = self.host.log().lines();
        let bad = lines.iter().filter(|line| line.text.contains("\"WARN\"") || line.text.contains("unfinished"));
        let bad: Vec<&str> = bad.map(|line| line.text.as_str()).collect();
        bad[bad.len().saturating_sub(20)..].join("\n")
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

async fn host(azurite: &Azurite, [source, target, broker]: &[Server; 3], folder: &Folder) -> Host {
    let bus = format!("Endpoint=sb://{};SharedAccessKeyName={POLICY};SharedAccessKey={POLICY_KEY}", broker.address);
    let environment: BTreeMap<String, String> = [
        ("SYNC_QUEUE", QUEUE.to_owned()),
        ("ServiceBus", format!("{bus};UseDevelopmentEmulator=true")),
        ("TARGET_URL", target.url()),
        ("TARGET_AUTH", "none".to_owned()),
        ("SOURCE_URL", source.url()),
        ("SOURCE_AUTH", "none".to_owned()),
        ("SOURCE_ORGANIZATION_ID", SOURCE.to_string()),
        ("AzureWebJobsStorage", azurite.connection()),
        ("LOG_FORMAT", "json".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_dataverse-sync"));
    Host::start(HostSettings {
        handlers: Handlers::Program { executable, arguments: vec!["serve".to_owned()] },
        instances: 3,
        environment,
        keys: FunctionKeys { host: vec![KEY.to_owned()], ..FunctionKeys::default() },
        queue: QueueSettings {
            // longer than the work of a batch, whose locks nobody renews
            lock_duration: Duration::from_secs(5),
            redelivery_delay: REDELIVERY,
            ..QueueSettings::default()
        },
        timers: Timers::Every(Duration::from_secs(1)),
        ..HostSettings::new(&folder.0)
    })
    .await
    .unwrap()
}

/// Every change raises an event, with the image that orders changes of one second.
fn subscribe(source: &Environment, delivery: &Arc<Delivery>) {
    let sink = || {
        let delivery = Arc::clone(delivery);
        Sink::Call(Arc::new(move |event| {
            let delivery = Arc::clone(&delivery);
            Box::pin(async move { delivery.deliver(event).await })
        }))
    };
    for (number, table) in (100..).zip(TABLES) {
        let columns = ["versionnumber", "statecode", "statuscode"].map(str::to_owned);
        source.subscribe(Step::new(Uuid::from_u128(number), table, sink()).image(Image::Columns(columns.into())));
    }
    // both relationships have a contact at one end
    let links = Step::new(Uuid::from_u128(150), "contact", sink());
    source.subscribe(links.messages(&[Message::Associate, Message::Disassociate]));
}

/// Everything in a table; asked again while the loaded machine does not answer.
async fn entities(table: &TableClient) -> Vec<Entity> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        match table.query(&Query::new(Filter::all()), from.as_ref()).await {
            Ok(page) => {
                found.extend(page.entities);
                match page.next {
                    Some(next) => from = Some(next),
                    None => return found,
                }
            }
            Err(TablesError::NotFound { .. }) => return found,
            Err(error) => {
                println!("looking again: {error}");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

fn record(entity: &Entity) -> String {
    split::get(entity, "record").unwrap().unwrap_or_else(|| panic!("{entity:?} says nothing"))
}

/// The app's folder, as it is deployed. It goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn write() -> Self {
        let folder = Self(std::env::temp_dir().join(format!("dataverse-sync-killed-{}", Uuid::new_v4())));
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        for name in ["queue", "webhook", "sweep", "health"] {
            std::fs::create_dir_all(folder.0.join(name)).unwrap();
            let manifest = repository.join("functions").join(name).join("function.json");
            std::fs::copy(manifest, folder.0.join(name).join("function.json")).unwrap();
        }
        std::fs::copy(repository.join("host.json"), folder.0.join("host.json")).unwrap();
        std::fs::write(folder.0.join("sync.toml"), MAPPING).unwrap();
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
