//! Two environments, a ledger, and the binary between them: what they differ in is planted and known.

use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::schema::Kind;
use dataverse_sync::sim::dataverse::{Environment, Settings, serve};
use dataverse_sync::sim::http::Server;
use dataverse_sync::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use uuid::Uuid;

/// The mapping: a rename, a value map, and links.
pub const TOML: &str = r#"version = 1
[tables.account]
[tables.account.columns]
rename = { telephone1 = "emailaddress1" }
values = { industrycode = { "1" = 11, "2" = 12 } }
[tables.contact]
[tables.product]
"#;

/// Both sides, served, and a folder with the mapping.
pub struct World {
    pub source: Environment,
    pub target: Environment,
    pub folder: PathBuf,
    pub settings: Vec<(String, String)>,
    _servers: [Server; 3],
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
    /// Most memory it held, as far as was seen.
    pub peak_kib: u64,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The part of a JSON report about a table.
    pub fn table(&self, name: &str) -> Value {
        let json = self.json();
        json["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap().clone()
    }
}

impl World {
    pub async fn new() -> Self {
        let target = |settings: &mut Settings| {
            // the target rounds more, and holds less
            let account = settings.schema.tables.get_mut("account").unwrap();
            account.columns.get_mut("new_rating").unwrap().kind = Kind::Decimal(2, -1_000, 1_000);
            account.columns.get_mut("description").unwrap().kind = Kind::Memo(10);
            account.columns.remove("new_sequence");
        };
        Self::set(TOML, |_| {}, target).await
    }

    /// With this mapping, and sides that are like this.
    pub async fn set(toml: &str, source: impl FnOnce(&mut Settings), target: impl FnOnce(&mut Settings)) -> Self {
        let settings = |number: u128| {
            let mut settings = Settings::new(Uuid::from_u128(number << 96), sample_schema());
            settings.log_entries_max = 10;
            settings
        };
        let (mut at_source, mut at_target) = (settings(1), settings(2));
        source(&mut at_source);
        target(&mut at_target);
        let environment = |number| Environment::new(if number == 1 { at_source.clone() } else { at_target.clone() });
        let (source, target) = (environment(1), environment(2));
        let tables = TableService::new(tables::Settings::default());
        let servers = [
            serve(source.clone(), 0).await.unwrap(),
            serve(target.clone(), 0).await.unwrap(),
            tables::serve(tables, 0).await.unwrap(),
        ];
        let folder = std::env::temp_dir().join(format!("reconcile-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("sync.toml"), toml).unwrap();
        let connection = format!(
            "DefaultEndpointsProtocol=http;AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY};TableEndpoint={}/{DEVELOPMENT_ACCOUNT};",
            servers[2].url()
        );
        let settings = [
            ("TARGET_URL", servers[1].url()),
            ("TARGET_AUTH", "none".to_owned()),
            ("SOURCE_URL", servers[0].url()),
            ("SOURCE_AUTH", "none".to_owned()),
            ("AzureWebJobsStorage", connection),
            ("FUNCTIONS_APP_ROOT_PATH", folder.to_str().unwrap().to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { source, target, folder, settings, _servers: servers }
    }

    /// The command, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command.arg("reconcile").args(arguments).env_clear().envs(settings);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A process that does not know how to stop is killed like this.
    pub async fn killed_when(&self, mut child: Child, is_time: impl Fn() -> bool) -> Option<i32> {
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            if is_time() {
                child.kill().unwrap();
                child.wait().unwrap();
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs the command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        let started = tokio::time::Instant::now();
        let child = command.spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        tokio::pin!(output);
        let mut peak_kib = 0;
        let output = loop {
            tokio::select! {
                output = &mut output => break output.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    let text = std::fs::read_to_string(&status).unwrap_or_default();
                    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                    let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
                    peak_kib = peak.unwrap_or(0).max(peak_kib);
                }
            }
        };
        Ended {
            peak_kib,
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            took: started.elapsed(),
        }
    }

    /// Requests so far on rows, by method: source, target.
    pub fn requests(&self) -> [BTreeMap<String, u64>; 2] {
        [&self.source, &self.target].map(|side| {
            let mut counts = BTreeMap::new();
            for ((method, table, _), count) in side.requests().counts() {
                let what = if table.is_some() { method.to_string() } else { "metadata".to_owned() };
                *counts.entry(what).or_default() += count;
            }
            counts
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A row id whose text order is not the service's order.
pub fn id(n: u32) -> Uuid {
    let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid()
}

/// Creates or changes a row by itself, as a person would.
pub fn put(side: &Environment, table: &str, id: Uuid, mut body: Value) {
    if side.row(table, id).is_some() {
        side.update(&side.person(), table, id, &body).unwrap();
        return;
    }
    body[side.world().schema.tables[table].primary_id.as_str()] = json!(id);
    side.create(&side.person(), table, &body).unwrap();
}
