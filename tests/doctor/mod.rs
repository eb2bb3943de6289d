//! `doctor` against stand-ins on loopback: a good setup is all ok, and every planted mistake is found, named and comes
//! with what to do about it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dataverse_sync::app::compose::Base;
use dataverse_sync::app::examine::{Reach, examine};
use dataverse_sync::app::registering::{self, Registering};
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::operate::doctor::{Check, Status};
use dataverse_sync::operate::register::{NAME_DEFAULT, Registrar};
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::schema::{Schema, TableDef};
use dataverse_sync::sim::dataverse::{Environment, Settings, serve};
use dataverse_sync::sim::host::{BrokerSettings, Queue, QueueSettings, serve_broker};
use dataverse_sync::sim::http::{self as sim_http, Reply, Server};
use dataverse_sync::sim::tables::{self, TableService};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const MAPPING: &str = r#"version = 1
[tables.account]
[tables.contact]
key = ["new_externalid"]
guard = "etag"
[tables.contact.columns]
rename = { jobtitle = "description" }
values = { preferredcontactmethodcode = { "9" = 2 } }
[tables.contact.lookups]
ownerid = { by = "azureactivedirectoryobjectid" }
parentcustomerid = "ensure"
transactioncurrencyid = "skip"
[tables.account.lookups]
new_regionid = "skip"
transactioncurrencyid = "skip"
"#;

const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

/// A setup that is right, until a test spoils it.
pub(crate) struct Setup {
    settings: BTreeMap<String, String>,
    pub(crate) mapping: String,
    host: Value,
    source: Settings,
    target: Settings,
    files: BTreeMap<String, String>,
    queue: QueueSettings,
    /// What somebody does to the source after the steps were registered.
    after: Option<fn(&Environment)>,
    /// Whether there are steps at all.
    registered: bool,
    /// The queue of an installation in the other direction.
    other_way: Option<&'static str>,
    /// What tokens say; none: the token service refuses.
    claims: Option<Value>,
}

impl Setup {
    fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    fn unset(&mut self, name: &str) {
        self.settings.remove(name);
    }

    fn toml(&mut self, from: &str, to: &str) {
        assert!(self.mapping.contains(from), "{from}");
        self.mapping = self.mapping.replace(from, to);
    }

    fn manifest(&mut self, function: &str, from: &str, to: &str) {
        let text = self.files.get_mut(&format!("{function}/function.json")).unwrap();
        assert!(text.contains(from), "{from}");
        *text = text.replace(from, to);
    }
}

fn table<'a>(schema: &'a mut Schema, name: &str) -> &'a mut TableDef {
    schema.tables.get_mut(name).unwrap()
}

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

pub(crate) fn good() -> Setup {
    let functions = ["webhook", "queue", "sweep", "health", "rows", "claims", "console", "status"]
        .map(|name| format!("{name}/function.json"));
    let mut setup = Setup {
        settings: BTreeMap::new(),
        mapping: MAPPING.to_owned(),
        host: serde_json::from_str(&repository("host.json")).unwrap(),
        source: Settings::new(Uuid::from_u128(1), sample_schema()),
        target: Settings::new(Uuid::from_u128(2), sample_schema()),
        queue: QueueSettings {
            duplicate_window: Some(Duration::from_secs(600)),
            lock_duration: Duration::from_secs(120),
            ..QueueSettings::default()
        },
        after: None,
        registered: true,
        other_way: None,
        claims: None,
        files: functions.into_iter().map(|path| (path.clone(), repository(&format!("functions/{path}")))).collect(),
    };
    let now = SystemClock::default().now();
    (setup.source.epoch, setup.target.epoch) = (now, now);
    setup.set("SYNC_QUEUE", "dataverse-events");
    setup.set("ServiceBus", "Endpoint={bus};SharedAccessKeyName=n;SharedAccessKey=a2V5;UseDevelopmentEmulator=true");
    setup.set("TARGET_AUTH", "none");
    setup.set("SOURCE_AUTH", "none");
    setup.files.insert("dataverse-sync".to_owned(), "the binary".to_owned());
    setup
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("doctor-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A token service: it hands out tokens with these claims, else it refuses a wrong secret as Entra does.
async fn authority(claims: Option<Value>) -> Server {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let (status, body) = match claims {
        Some(claims) => {
            let token = format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
            (200, json!({"token_type": "Bearer", "expires_in": 3_599, "access_token": token}))
        }
        None => (
            401,
            json!({"error": "invalid_client", "error_codes": [7_000_215],
                "error_description": "AADSTS7000215: Invalid client secret provided."}),
        ),
    };
    let answer = move |_| {
        let body = Bytes::from(body.to_string());
        async move { Reply::Answer(http::Response::builder().status(status).body(body).unwrap()) }
    };
    sim_http::serve(0, answer).await.unwrap()
}

/// Registers the steps, as far as the setup allows it.
async fn register(base: &Base, settings: &BTreeMap<String, String>, root: &Path) {
    let send = "Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=a2V5";
    let mut settings = settings.clone();
    settings.insert("DATAVERSE_SEND_CONNECTION".to_owned(), send.to_owned());
    let Ok(parts) = registering::open(base, &settings, root, None) else { return };
    let Registering { mapping, source, target, receiver } = &parts;
    let clock = base.clock.as_ref();
    let registrar = Registrar { mapping, source, target, clock, installation: NAME_DEFAULT };
    if let Ok(Some(plan)) = registrar.look(receiver, false).await {
        registrar.apply(plan).await.unwrap();
    }
}

/// Runs `doctor` on the setup; addresses that the setup does not give are the stand-ins'.
pub(crate) async fn checks(setup: Setup) -> Vec<Check> {
    let folder = Folder::new();
    for (path, text) in &setup.files {
        folder.write(path, text);
    }
    let program = folder.0.join("dataverse-sync");
    if program.exists() {
        assert!(Command::new("chmod").arg("0755").arg(program).status().unwrap().success());
    }
    folder.write("host.json", &setup.host.to_string());
    folder.write("sync.toml", &setup.mapping);
    let (source, target) = (Environment::new(setup.source), Environment::new(setup.target));
    let changed = source.clone();
    let (source, target) = (serve(source, 0).await.unwrap(), serve(target, 0).await.unwrap());
    let service = TableService::new(tables::Settings::default());
    let storage = tables::serve(service.clone(), 0).await.unwrap();
    let claims = setup.claims.map(|claims| {
        let text = claims.to_string().replace("{target}", &target.url());
        serde_json::from_str(&text).unwrap()
    });
    let authority = authority(claims).await;
    let connection = format!(
        "AccountName={};AccountKey={};TableEndpoint={}/{}",
        tables::DEVELOPMENT_ACCOUNT,
        tables::DEVELOPMENT_KEY,
        storage.url(),
        tables::DEVELOPMENT_ACCOUNT
    );
    let queue = Queue::new(setup.queue);
    let queues = BTreeMap::from([("dataverse-events".to_owned(), queue)]);
    let bus = serve_broker(queues, BrokerSettings::default(), 0).await.unwrap();
    let mut settings = setup.settings;
    for value in settings.values_mut() {
        *value = value.replace("{bus}", &format!("sb://{}", bus.address));
    }
    let mut default = |name: &str, value: String| {
        let value = settings.remove(name).unwrap_or(value);
        settings.insert(name.to_owned(), value.replace("{storage}", &storage.url()));
    };
    default("TARGET_URL", target.url());
    default("SOURCE_URL", source.url());
    default("AzureWebJobsStorage", connection);
    default("AZURE_AUTHORITY_HOST", authority.url());
    let base = Base::over_network(Arc::new(SystemClock::default()));
    if setup.registered {
        register(&base, &settings, &folder.0).await;
    }
    if let Some(queue) = setup.other_way {
        let mut swapped = settings.clone();
        swapped.insert("SOURCE_URL".to_owned(), settings["TARGET_URL"].clone());
        swapped.insert("TARGET_URL".to_owned(), settings["SOURCE_URL"].clone());
        swapped.insert("SYNC_QUEUE".to_owned(), queue.to_owned());
        register(&base, &swapped, &folder.0).await;
    }
    if let Some(after) = setup.after {
        after(&changed);
    }
    let checks = examine(&base, &settings, &folder.0, Reach::Network).await;
    assert_eq!(service.entities("syncledger"), [], "the probe is removed");
    checks
}

/// What is expected: status, name, part of the detail, part of the remedy.
type Expected = (Status, &'static str, &'static str, &'static str);

async fn finds(plant: impl FnOnce(&mut Setup), expected: Expected) {
    let mut setup = good();
    plant(&mut setup);
    let checks = checks(setup).await;
    let (status, name, detail, remedy) = expected;
    let found = checks.iter().any(|check| {
        let told = check.remedy.as_deref().unwrap_or_default();
        (check.status, check.name.as_str()) == (status, name) && check.detail.contains(detail) && told.contains(remedy)
    });
    assert!(found, "{expected:?} in {checks:#?}");
    let others = checks.iter().filter(|check| check.status == Status::Fail && check.name != name);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&Check>::new(), "{expected:?}: one mistake, one thing that fails");
    if status == Status::Warn {
        assert!(checks.iter().all(|check| check.status != Status::Fail), "{checks:#?}");
    }
}

mod command;
mod planted;
mod sides;
