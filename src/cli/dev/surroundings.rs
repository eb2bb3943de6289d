//! What the app runs against: settings, from a file or of the stand-ins; the local queue and its broker; a table storage
//! if the settings want the emulator and none is there. Knows no function.

use super::folder::Folder;
use super::stand_ins::{self, StandIns};
use crate::app::compose::Base;
use crate::app::registering;
use crate::cli::Trouble;
use crate::clock::Clock;
use crate::config::settings::SETTINGS;
use crate::config::{self, Settings};
use crate::sim::host::function::Trigger;
use crate::sim::host::{BrokerSettings, Host, Queue, QueueSettings, serve_broker};
use crate::sim::http::Server;
use crate::sim::tables::{self, TableService};
use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The setting that the queue's trigger names.
pub(super) const CONNECTION: &str = "ServiceBus";
/// Its form without a secret, which comes first where both are set.
const NAMESPACE: &str = "ServiceBus__fullyQualifiedNamespace";
const QUEUE_DEFAULT: &str = "dataverse-events";
/// Where the table storage of Azurite listens.
const EMULATOR_PORT: u16 = 10_002;
const EMULATOR: &str = "UseDevelopmentStorage=true";
/// Whether somebody listens on this machine shows at once.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// What is around the app.
#[derive(Debug)]
pub(super) struct Surroundings {
    values: BTreeMap<String, String>,
    stand_ins: Option<StandIns>,
    _storage: Option<Server>,
    /// What people should know of it.
    pub(super) text: String,
}

impl Surroundings {
    /// The environments of local.settings.json.
    ///
    /// # Errors
    /// [`Trouble::Wrong`]: everything that is wrong with the settings and the mapping.
    pub(super) async fn real(
        folder: &Folder,
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Self, Trouble> {
        let usual = folder.root.join("local.settings.json");
        let file = file.map(Path::to_owned).or_else(|| usual.is_file().then_some(usual));
        let mut values = environment.clone();
        if let Some(file) = &file {
            for (name, value) in config::local_settings(file).map_err(|problems| Trouble::Wrong(problems.into()))? {
                values.entry(name).or_insert(value);
            }
        }
        let hint = match &file {
            Some(file) => format!("mend it in {}, or run with --stand-ins", file.display()),
            None => "copy local.settings.json.example to local.settings.json and fill it in, or run with --stand-ins"
                .to_owned(),
        };
        // the queue is a local one, whatever the settings say
        values.remove(NAMESPACE);
        values.insert(CONNECTION.to_owned(), String::new());
        let settings = check(folder, &mut values).map_err(|problems| Trouble::Wrong(anyhow!("{problems}\n{hint}")))?;
        let mut text = format!("\nTarget      {}\n", settings.target.url);
        text.push_str("Queue       a local one; what waits in it is gone with this program\n");
        let storage = if needs_emulator(&settings, &values) && !listens(EMULATOR_PORT).await {
            let service = TableService::new(tables::Settings::default());
            let server = tables::serve(service, EMULATOR_PORT).await.context("the port of the table storage")?;
            text.push_str(
                "Ledger      in memory, gone with this program: nobody listens on port 10002 (Azurite would)\n",
            );
            Some(server)
        } else {
            None
        };
        Ok(Self { values, stand_ins: None, _storage: storage, text })
    }

    /// Two Dataverse stand-ins and a table storage, on the ports after `port`.
    ///
    /// # Errors
    /// [`Trouble::Failed`] for ports that are taken, [`Trouble::Wrong`] for the mapping.
    pub(super) async fn stand_ins(
        folder: &Folder,
        environment: &BTreeMap<String, String>,
        port: u16,
        now: DateTime<Utc>,
    ) -> Result<Self, Trouble> {
        // nothing of this machine's settings may reach a real environment from here
        let ours = |name: &str| SETTINGS.iter().any(|setting| setting.name == name) && name != "RUST_LOG";
        let mut values: BTreeMap<String, String> =
            environment.iter().filter(|(name, _)| !ours(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let mapping = config::mapping(&folder.mapping(&values)).map_err(|problems| Trouble::Wrong(problems.into()))?;
        let stand_ins = StandIns::start(port, now).await?;
        values.extend(stand_ins.values());
        values.insert(CONNECTION.to_owned(), String::new());
        check(folder, &mut values).map_err(|problems| Trouble::Wrong(problems.into()))?;
        let (known, unknown) = stand_ins::split(&mapping);
        let text = stand_ins.text(&known, &unknown);
        Ok(Self { values, stand_ins: Some(stand_ins), _storage: None, text })
    }

    /// The queues that functions listen to, with a broker that the handler may send to, and the settings that name it.
    ///
    /// # Errors
    /// [`Trouble::Wrong`] for host.json and the functions.
    pub(super) async fn with_broker(
        &self,
        folder: &Folder,
        settings: QueueSettings,
    ) -> Result<(BTreeMap<String, Queue>, Server, BTreeMap<String, String>), Trouble> {
        let mut values = self.values.clone();
        values.insert(CONNECTION.to_owned(), "a local one".to_owned());
        let manifest = folder.manifest(&values)?;
        let names = manifest.functions.values().filter_map(|function| match &function.trigger {
            Trigger::Queue { queue, .. } => Some(queue.clone()),
            _ => None,
        });
        let queues: BTreeMap<String, Queue> = names.map(|name| (name, Queue::new(settings.clone()))).collect();
        let broker = serve_broker(queues.clone(), BrokerSettings::default(), 0).await.context("the broker's port")?;
        let address = broker.address;
        let connection = format!(
            "Endpoint=sb://{address};SharedAccessKeyName=local;SharedAccessKey=bG9jYWw=;UseDevelopmentEmulator=true"
        );
        values.insert(CONNECTION.to_owned(), connection);
        Ok((queues, broker, values))
    }

    /// Lets the source find the queue, if the source is a stand-in.
    ///
    /// # Errors
    /// No function listens to the queue.
    pub(super) fn connect(&self, host: &Host) -> Result<(), Trouble> {
        let Some(stand_ins) = &self.stand_ins else { return Ok(()) };
        let name = self.values.get("SYNC_QUEUE").map_or(QUEUE_DEFAULT, String::as_str);
        let queue = host.queue(name).ok_or_else(|| anyhow!("no function listens to the queue {name}"))?;
        stand_ins.connect(&queue, name);
        Ok(())
    }

    /// Writes a local.settings.json with which other commands reach all this.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write_settings(&self, file: &Path, broker: &str) -> Result<(), Trouble> {
        let ours = |name: &str| SETTINGS.iter().any(|setting| setting.name == name) && name != "LOG_FORMAT";
        let mut values: BTreeMap<&str, &str> = self
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| ours(name))
            .collect();
        values.extend([(CONNECTION, broker), (registering::SEND_CONNECTION, stand_ins::SEND)]);
        let text = format!("{:#}\n", serde_json::json!({ "IsEncrypted": false, "Values": values }));
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
        Ok(())
    }

    /// Registers the mapping's steps in the source, if that is a stand-in: what that changed, in words.
    pub(super) async fn register(&self, clock: Arc<dyn Clock>) -> Option<String> {
        let stand_ins = self.stand_ins.as_ref()?;
        let registered = stand_ins.register(&Base::over_network(clock), &self.values).await;
        registered.unwrap_or_else(|error| Some(format!("register: {error:#}")))
    }
}

/// Completes the settings for a handler here, and checks them as it will.
fn check(folder: &Folder, values: &mut BTreeMap<String, String>) -> Result<Settings, config::ConfigProblems> {
    let mapping = folder.mapping(values);
    values.insert("SYNC_CONFIG".to_owned(), mapping.display().to_string());
    values.entry("SYNC_QUEUE".to_owned()).or_insert_with(|| QUEUE_DEFAULT.to_owned());
    // lines are made of it
    values.insert("LOG_FORMAT".to_owned(), "json".to_owned());
    let settings = Settings::from_map(values)?;
    settings.check_with(&config::mapping(&mapping)?)?;
    Ok(settings)
}

fn needs_emulator(settings: &Settings, values: &BTreeMap<String, String>) -> bool {
    let name = values.get("LEDGER_CONNECTION").filter(|name| !name.is_empty());
    let connection = values.get(name.map_or("AzureWebJobsStorage", String::as_str));
    !matches!(settings.ledger.store, config::settings::LedgerStore::Memory)
        && connection.is_some_and(|connection| connection.trim().trim_end_matches(';') == EMULATOR)
}

async fn listens(port: u16) -> bool {
    let connected = tokio::net::TcpStream::connect(("127.0.0.1", port));
    matches!(tokio::time::timeout(CONNECT_MAX, connected).await, Ok(Ok(_)))
}
