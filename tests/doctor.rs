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
use dataverse_sync::sim::dataverse::schema::{KeyStatus, Kind, Schema, TableDef};
use dataverse_sync::sim::dataverse::{Auth, Environment, Settings, serve};
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
        queue: QueueSettings { duplicate_window: Some(Duration::from_secs(600)), ..QueueSettings::default() },
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

use Status::{Fail, Skipped, Warn};

#[tokio::test]
async fn a_good_setup_is_all_ok() {
    let checks = checks(good()).await;
    let not_ok: Vec<_> = checks.iter().filter(|check| check.status != Status::Ok).collect();
    assert_eq!(not_ok, Vec::<&Check>::new());
    for name in
        ["settings", "mapping", "host.json", "function queue", "queue settings", "ledger", "queue", "target token"]
    {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
    for name in
        ["target connection", "source connection", "organizations", "target table contact", "source table contact"]
    {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
}

#[tokio::test]
async fn mistakes_in_settings_and_mapping_are_found() {
    finds(|s| s.set("TARGET_URL", ""), (Fail, "settings", "TARGET_URL: is not set", "the target environment")).await;
    finds(|s| s.set("LEDGER_TABLE", "a-b"), (Fail, "settings", "LEDGER_TABLE: ", "letters and digits")).await;
    finds(
        |s| s.toml("[tables.account]", "[tables.account]\ntargett = \"account\""),
        (Fail, "mapping", "sync.toml:3:1: unknown key `targett`", "did you mean `target`?"),
    )
    .await;
    let from_source = |s: &mut Setup| {
        s.toml("[tables.account]", "[tables.account]\nread = \"source\"");
        s.set("SOURCE_URL", "");
    };
    finds(from_source, (Fail, "settings and mapping", "read = \"source\" for account", "set SOURCE_URL")).await;
}

#[tokio::test]
async fn what_depends_on_a_mistake_is_skipped_and_says_why() {
    let mut setup = good();
    setup.set("TARGET_URL", "");
    let checks = checks(setup).await;
    for name in ["ledger", "target token", "target table account", "target table contact"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!((check.status, check.detail.as_str()), (Status::Skipped, "the settings must be mended first"));
    }
    assert!(checks.iter().any(|check| check.name == "host.json" && check.status == Status::Ok), "{checks:#?}");
}

#[tokio::test]
async fn an_environment_that_cannot_be_used_is_found() {
    let secret = |s: &mut Setup| {
        s.set("TARGET_AUTH", "auto");
        s.set("TARGET_TENANT_ID", "11111111-1111-1111-1111-111111111111");
        s.set("TARGET_CLIENT_ID", "22222222-2222-2222-2222-222222222222");
        s.set("TARGET_CLIENT_SECRET", "wrong");
    };
    finds(secret, (Fail, "target token", "AADSTS7000215", "TARGET_CLIENT_SECRET")).await;
    let unreached = |s: &mut Setup| {
        secret(s);
        s.set("AZURE_AUTHORITY_HOST", "http://127.0.0.1:9");
    };
    finds(unreached, (Fail, "target token", "the token endpoint was not reached", "AZURE_AUTHORITY_HOST")).await;
    // port 9 is nobody's
    let away = |s: &mut Setup| s.set("TARGET_URL", "http://127.0.0.1:9");
    finds(away, (Fail, "target connection", "whoami", "check TARGET_URL and the network")).await;
    let same = |s: &mut Setup| s.source.organization = s.target.organization;
    finds(same, (Fail, "organizations", "are the same organization", "different environments")).await;
    let foreign = |s: &mut Setup| s.set("SOURCE_ORGANIZATION_ID", "33333333-3333-3333-3333-333333333333");
    finds(foreign, (Fail, "organizations", "does not name the source's organization", "add it")).await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_used_is_found() {
    let connection = "AccountName=devstoreaccount1;AccountKey=d3Jvbmc=;TableEndpoint={storage}/devstoreaccount1";
    let wrong_key = |s: &mut Setup| s.set("AzureWebJobsStorage", connection);
    finds(wrong_key, (Fail, "ledger", "403 AuthenticationFailed", "check the key in the connection string")).await;
    let away = connection.replace("{storage}", "http://127.0.0.1:9");
    finds(|s| s.set("AzureWebJobsStorage", &away), (Fail, "ledger", "cannot be used", "start Azurite")).await;
    finds(|s| s.set("LEDGER_STORE", "memory"), (Warn, "ledger", "lost when it ends", "LEDGER_STORE=table")).await;
}

const CONTACT: &str = "target table contact";

#[tokio::test]
async fn names_that_the_target_does_not_have_are_found() {
    let no_table = |s: &mut Setup| s.toml("[tables.account]", "[tables.account]\ntarget = \"acount\"");
    finds(no_table, (Fail, "target table acount", "has no table acount", "correct `target` in [tables.account]")).await;
    let no_column = |s: &mut Setup| s.toml("jobtitle = \"description\"", "jobtitle = \"descripton\"");
    finds(no_column, (Fail, CONTACT, "has no column descripton", "did you mean `description`?")).await;
    let read_only = |s: &mut Setup| s.toml("jobtitle = \"description\"", "jobtitle = \"fullname\"");
    finds(read_only, (Fail, CONTACT, "column fullname, named in `rename`, cannot be written", "take it out")).await;
    let no_option = |s: &mut Setup| s.toml("\"9\" = 2", "\"9\" = 2, \"8\" = 77");
    finds(no_option, (Fail, CONTACT, "preferredcontactmethodcode has no option 77", "use one of 1, 2, 3, 4, 5")).await;
    let no_lookup = |s: &mut Setup| s.toml("parentcustomerid =", "lastname =");
    finds(no_lookup, (Fail, CONTACT, "lastname has a rule in `lookups`, but is no lookup", "remove it")).await;
    let no_match = |s: &mut Setup| s.toml("azureactivedirectoryobjectid", "azureobjectid");
    finds(no_match, (Fail, CONTACT, "azureobjectid, which none of systemuser has", "correct `by`")).await;
}

#[tokio::test]
async fn a_lookup_that_needs_the_source_is_found() {
    let alone = |s: &mut Setup| s.set("SOURCE_URL", "");
    finds(alone, (Warn, CONTACT, "ownerid matched by a column of the source", "set SOURCE_URL")).await;
}

#[tokio::test]
async fn keys_and_flags_of_the_target_are_found() {
    let inactive = |s: &mut Setup| table(&mut s.target.schema, "contact").keys[0].status = KeyStatus::Failed;
    finds(inactive, (Fail, CONTACT, "new_externalidkey (new_externalid) is not Active", "reactivate the key")).await;
    let no_key = |s: &mut Setup| s.toml("[\"new_externalid\"]", "[\"emailaddress1\"]");
    finds(
        no_key,
        (Fail, CONTACT, "no alternate key with exactly the columns emailaddress1", "it has new_externalidkey"),
    )
    .await;
    let elastic = |s: &mut Setup| s.toml("[tables.account]", "[tables.account]\n[tables.new_reading]");
    finds(elastic, (Fail, "target table new_reading", "is an elastic table", "remove [tables.new_reading]")).await;
    let external = |s: &mut Setup| table(&mut s.target.schema, "account").external = true;
    finds(external, (Fail, "target table account", "is a virtual table", "remove [tables.account]")).await;
    let source = |s: &mut Setup| table(&mut s.source.schema, "account").external = true;
    finds(source, (Fail, "source table account", "is a virtual table", "raises no event")).await;
    let source = |s: &mut Setup| table(&mut s.source.schema, "account").elastic = true;
    finds(source, (Warn, "source table account", "is an elastic table", "register its steps on Upsert")).await;
    let no_etags = |s: &mut Setup| table(&mut s.target.schema, "contact").optimistic_concurrency = false;
    finds(no_etags, (Fail, CONTACT, "guard = \"etag\"", "guard = \"lease\"")).await;
    let alone = |s: &mut Setup| s.toml("\"ensure\"\n", "\"ensure\"\nnew_other = \"skip\"\n");
    finds(alone, (Fail, CONTACT, "has no column new_other, named in `lookups`", "take it out of [tables.contact]"))
        .await;
}

#[tokio::test]
async fn differences_between_source_and_target_are_found() {
    let lacks = |s: &mut Setup| drop(table(&mut s.target.schema, "account").columns.remove("telephone1"));
    let account = "source table account";
    finds(lacks, (Warn, account, "has columns that the target lacks: telephone1", "add them to the target")).await;
    let renamed = |s: &mut Setup| s.toml("jobtitle =", "jobtitel =");
    finds(renamed, (Fail, "source table contact", "has no column jobtitel", "did you mean `jobtitle`?")).await;
    let excluded = |s: &mut Setup| s.toml("rename =", "exclude = [\"nothing\"]\nrename =");
    finds(excluded, (Warn, "source table contact", "has no column nothing, named in `exclude`", "compare with")).await;
}

#[tokio::test]
async fn values_that_do_not_fit_are_found() {
    let account = "source table account";
    let kind = |s: &mut Setup| {
        table(&mut s.target.schema, "account").columns.get_mut("telephone1").unwrap().kind = Kind::Bool;
    };
    finds(kind, (Fail, account, "telephone1 is a text and telephone1 of the target a yes or no", "exclude it")).await;
    let option = |s: &mut Setup| {
        table(&mut s.target.schema, "account").columns.get_mut("industrycode").unwrap().kind =
            Kind::Choice((1..=32).collect());
    };
    finds(option, (Warn, account, "industrycode has options that the target lacks: 33", "under `values`")).await;
    let lookup = |s: &mut Setup| s.toml("new_regionid = \"skip\"\n", "");
    finds(lookup, (Warn, "target table account", "without a rule: new_regionid", "[tables.account.lookups]")).await;
    let once = |s: &mut Setup| {
        table(&mut s.target.schema, "contact").columns.get_mut("description").unwrap().for_update = false;
    };
    finds(once, (Warn, CONTACT, "description, named in `rename`, can only be set when a row is created", "later"))
        .await;
}

#[tokio::test]
async fn rights_tokens_and_clocks_are_found() {
    let write = |s: &mut Setup| s.target.privileges_lacking.extend(["prvWriteAccount".to_owned()]);
    finds(write, (Fail, "target privileges", "lacks prvWriteAccount", "role of the application user")).await;
    let assign = |s: &mut Setup| s.target.privileges_lacking.extend(["prvAssignContact".to_owned()]);
    finds(assign, (Fail, "target privileges", "lacks prvAssignContact", "role of the application user")).await;
    let users = |s: &mut Setup| s.source.privileges_lacking.extend(["prvReadSystemUser".to_owned()]);
    finds(users, (Fail, "source privileges", "lacks prvReadSystemUser", "role of the application user")).await;
    let read = |s: &mut Setup| s.source.privileges_lacking.extend(["prvReadContact".to_owned()]);
    finds(read, (Fail, "source privileges", "lacks prvReadContact", "role of the application user")).await;
    let token = |s: &mut Setup| s.target.auth = Auth::token("another");
    finds(token, (Fail, "target connection", "unauthorized", "an application user of the environment")).await;
    let late = |s: &mut Setup| s.target.epoch -= chrono::Duration::seconds(90);
    finds(late, (Warn, "target clock", "differs by", "NTP")).await;
}

const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

/// A target that wants tokens, and what those say.
fn with_token(setup: &mut Setup, mut claims: Value) {
    setup.set("TARGET_AUTH", "auto");
    setup.set("TARGET_TENANT_ID", TENANT);
    setup.set("TARGET_CLIENT_ID", CLIENT);
    setup.set("TARGET_CLIENT_SECRET", "s");
    let now = SystemClock::default().now().timestamp();
    let good = json!({"aud": "{target}", "tid": TENANT, "appid": CLIENT, "nbf": now - 60, "exp": now + 3_540});
    for (name, value) in good.as_object().unwrap() {
        claims.as_object_mut().unwrap().entry(name).or_insert(value.clone());
    }
    setup.claims = Some(claims);
}

#[tokio::test]
async fn tokens_that_are_for_somebody_else_are_found() {
    let mut setup = good();
    with_token(&mut setup, json!({}));
    let told = checks(setup).await;
    assert!(told.iter().all(|check| check.status == Status::Ok), "{told:#?}");
    let line = told.iter().find(|check| check.name == "target token").unwrap();
    assert!(line.detail.contains("for http://127.0.0.1") && line.detail.contains("more minutes"), "{line:?}");
    let other = |s: &mut Setup| with_token(s, json!({"aud": "https://other.crm4.dynamics.com/"}));
    finds(other, (Fail, "target token", "it is for https://other.crm4.dynamics.com/", "set TARGET_URL")).await;
    let tenant = |s: &mut Setup| with_token(s, json!({"tid": CLIENT}));
    finds(tenant, (Fail, "target token", "from the tenant 2222", "set TARGET_TENANT_ID")).await;
    let application = |s: &mut Setup| with_token(s, json!({"appid": TENANT}));
    finds(application, (Fail, "target token", "for the application 1111", "correct TARGET_CLIENT_ID")).await;
    finds(|s| with_token(s, json!({"exp": 1_000})), (Fail, "target token", "has expired", "NTP")).await;
}

#[tokio::test]
async fn a_target_that_sends_its_own_events_here_is_found() {
    const MARKER: &str = "loop marker";
    let back = |s: &mut Setup| s.other_way = Some("dataverse-events");
    finds(back, (Fail, MARKER, "bus.servicebus.windows.net/dataverse-events", "SOURCE_ORGANIZATION_ID")).await;
    let named = |s: &mut Setup| {
        back(s);
        s.set("SOURCE_ORGANIZATION_ID", &Uuid::from_u128(1).to_string());
    };
    finds(named, (Warn, MARKER, "each is ignored", "remove those steps from the target")).await;
}

#[tokio::test]
async fn a_sync_in_both_directions_is_told_and_wants_one_application() {
    const MARKER: &str = "loop marker";
    let mut setup = good();
    setup.other_way = Some("events-back");
    let told = checks(setup).await;
    assert!(told.iter().all(|check| check.status == Status::Ok), "{told:#?}");
    let line = told.iter().find(|check| check.name == MARKER).unwrap();
    assert!(line.detail.contains("both directions") && line.detail.contains("tag dataverse-sync"), "{line:?}");
    let other = |s: &mut Setup| {
        s.other_way = Some("events-back");
        s.after = Some(|source| {
            let user = source.service().user;
            let body = json!({"azureactivedirectoryobjectid": Uuid::from_u128(77)});
            source.update(&source.person(), "systemuser", user, &body).unwrap();
        });
    };
    finds(other, (Warn, MARKER, "by different applications", "one application in both environments")).await;
}

#[tokio::test]
async fn an_application_that_somebody_else_uses_in_the_source_is_found() {
    let shared = |s: &mut Setup| {
        s.after = Some(|source| {
            source.create(&source.service(), "account", &json!({"name": "From the ERP"})).unwrap();
        });
    };
    finds(shared, (Warn, "own user in the source", "changed rows of account", "an application of its own")).await;
}

#[tokio::test]
async fn steps_that_are_missing_or_were_changed_are_found() {
    const STEPS: &str = "registered steps";
    let none = |s: &mut Setup| s.registered = false;
    finds(none, (Warn, STEPS, "has registered none", "dataverse-sync register")).await;
    let disabled = |s: &mut Setup| {
        s.after = Some(|source| {
            let step = *source.rows("sdkmessageprocessingstep").keys().next().unwrap();
            source.update(&source.person(), "sdkmessageprocessingstep", step, &json!({"statecode": 1})).unwrap();
        });
    };
    finds(disabled, (Fail, STEPS, "is disabled", "dataverse-sync register")).await;
    let image = |s: &mut Setup| {
        s.after = Some(|source| {
            let image = *source.rows("sdkmessageprocessingstepimage").keys().next().unwrap();
            source.delete(&source.person(), "sdkmessageprocessingstepimage", image).unwrap();
        });
    };
    finds(image, (Fail, STEPS, "image of", "--dry-run")).await;
}

#[tokio::test]
async fn limits_that_contradict_each_other_are_found() {
    let lease = |s: &mut Setup| s.toml("version = 1\n", "version = 1\n[limits]\nlease = \"100s\"\n");
    finds(lease, (Fail, "mapping", "`lease` must be longer than `settle`", "frees the row")).await;
    let doubled = |s: &mut Setup| s.queue.duplicate_window = None;
    finds(doubled, (Warn, "queue", "no duplicate detection", "create it anew")).await;
}

#[tokio::test]
async fn a_host_that_would_not_work_is_found() {
    let short = |s: &mut Setup| s.host["functionTimeout"] = json!("00:01:30");
    finds(short, (Fail, "host.json", "functionTimeout is 90 s, not more than", "lower queue_deadline")).await;
    let lock = |s: &mut Setup| {
        s.host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] = json!("00:01:00");
    };
    finds(lock, (Fail, "host.json", "maxAutoLockRenewalDuration is 60 s", "its lock ends")).await;
    let prefix = |s: &mut Setup| s.host["extensions"]["http"]["routePrefix"] = json!("");
    finds(prefix, (Fail, "host.json", "routePrefix is not \"api\"", "set it to \"api\"")).await;
    let proxying = |s: &mut Setup| s.host["customHandler"]["enableProxyingHttpRequest"] = json!(false);
    finds(proxying, (Fail, "host.json", "enableProxyingHttpRequest is not true", "set it to true")).await;
    let program = |s: &mut Setup| {
        s.host["customHandler"]["description"]["defaultExecutablePath"] = json!("handler");
    };
    finds(program, (Fail, "host.json", "defaultExecutablePath is \"handler\"", "dataverse-sync")).await;
    let binary = |s: &mut Setup| drop(s.files.remove("dataverse-sync"));
    finds(binary, (Warn, "host.json", "is not in the folder", "run `dataverse-sync package`")).await;
}

#[tokio::test]
async fn functions_that_the_host_would_not_run_are_found() {
    let missing = |s: &mut Setup| drop(s.files.remove("queue/function.json"));
    finds(missing, (Fail, "function queue", "queue/function.json is not beside host.json", "copy functions/*")).await;
    let unswept = |s: &mut Setup| drop(s.files.remove("sweep/function.json"));
    finds(unswept, (Fail, "function sweep", "sweep/function.json is not beside host.json", "copy functions/*")).await;
    let in_clone = |s: &mut Setup| {
        let text = s.files.remove("health/function.json").unwrap();
        s.files.insert("functions/health/function.json".to_owned(), text);
    };
    finds(in_clone, (Warn, "function health", "where the host does not look", "beside host.json")).await;
    let text = |s: &mut Setup| s.manifest("queue", "\"binary\"", "\"string\"");
    finds(text, (Fail, "function queue", "dataType of the trigger is \"string\"", "copy functions/*")).await;
    let open = |s: &mut Setup| s.manifest("console", "\"function\"", "\"anonymous\"");
    finds(open, (Fail, "function console", "authLevel of the trigger is \"anonymous\"", "copy functions/*")).await;
    let left_out = |s: &mut Setup| drop(s.files.remove("claims/function.json"));
    finds(left_out, (Skipped, "function claims", "it is not deployed", "")).await;
    let unconnected = |s: &mut Setup| s.unset("ServiceBus");
    finds(unconnected, (Fail, "queue settings", "neither ServiceBus nor", "set one of them")).await;
    let few = |s: &mut Setup| s.toml("version = 1\n", "version = 1\n[limits]\ndeliveries_max = 12\n");
    finds(few, (Fail, "queue", "gives a message up after 10", "deliveries_max = 10")).await;
    let absent = |s: &mut Setup| s.set("SYNC_QUEUE", "other");
    finds(absent, (Fail, "queue", "no such queue", "create it")).await;
    finds(|s| s.unset("SYNC_QUEUE"), (Fail, "queue settings", "SYNC_QUEUE is not set", "dataverse-events")).await;
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
    let output = command.arg("doctor").args(arguments).env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_prints_a_line_for_each_check_and_fails_if_one_did() {
    let (code, out, err) = run(&["--root", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(code, Some(1), "{err}");
    let line = out.lines().find(|line| line.contains("TARGET_URL")).unwrap();
    assert!(line.starts_with("fail     settings") && line.contains(" -> the target environment"), "{line}");
    assert!(out.lines().any(|line| line.starts_with("ok       mapping")) && !out.contains('\x1b'), "{out}");
    assert!(err.starts_with("error: ") && err.contains("checks failed"), "{err}");
    let (code, out, _) = run(&["--json", "--root", env!("CARGO_MANIFEST_DIR")]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"]), (Some(1), &json!(false)));
    assert!(report["checks"].as_array().unwrap().iter().any(|check| check["status"] == "skipped"), "{report}");
}

#[test]
fn offline_nothing_is_asked_and_what_is_written_is_checked() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
    command.args(["doctor", "--offline", "--root", env!("CARGO_MANIFEST_DIR")]).env_clear();
    // somebody who is asked would not answer
    let settings = [
        ("TARGET_URL", "https://org.crm4.dynamics.com"),
        ("TARGET_TENANT_ID", TENANT),
        ("TARGET_CLIENT_ID", CLIENT),
        ("TARGET_CLIENT_SECRET", "s"),
        ("AZURE_AUTHORITY_HOST", "http://127.0.0.1:9"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
        ("SYNC_QUEUE", "dataverse-events"),
        ("ServiceBus", "Endpoint=sb://b.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=a2V5"),
    ];
    let output = command.envs(settings).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    for name in ["ledger", "queue", "target token", "target table account", "loop marker"] {
        let line =
            out.lines().find(|line| line.starts_with("skipped") && line.contains(&format!("  {name} "))).unwrap();
        assert!(line.ends_with("not asked: --offline"), "{line}");
    }
    assert!(out.lines().any(|line| line.starts_with("ok       mapping")), "{out}");
}

#[test]
fn wrong_usage_of_the_command_is_two() {
    assert_eq!(run(&["--jsno"]).0, Some(2));
    let (code, _, err) = run(&["--settings", "no/such/file"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no/such/file:1:1: can't be read"), "{err}");
}
