//! `bench` from outside: the built binary against stand-ins of its own, and against a target and a storage that settings name
//! and this process serves. It verifies and removes what it made, and says when something is wrong.
#![cfg(unix)]

use bytes::Bytes;
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Auth, Environment, Settings};
use dataverse_sync::sim::host::{Identity, IdentitySettings};
use dataverse_sync::sim::http::{Reply, Server, serve, status};
use dataverse_sync::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::process::Command;
use uuid::Uuid;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn runs(&self) -> Vec<Value> {
        let output: Value = serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err));
        assert_eq!(output["format"], 1);
        output["runs"].as_array().unwrap().clone()
    }
}

async fn bench(arguments: &[&str], settings: &BTreeMap<String, String>) -> Ended {
    let ended = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
        .arg("bench")
        .args(arguments)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: ended.status.code(), out: text(ended.stdout), err: text(ended.stderr) }
}

/// A target that wants tokens, and a storage, both served by this process.
struct World {
    target: Environment,
    storage: TableService,
    /// Writes that the target answers and does not do.
    forgotten: Arc<AtomicU64>,
    settings: BTreeMap<String, String>,
    _servers: [Server; 2],
    _identity: Identity,
}

impl World {
    async fn new() -> Self {
        let target = Environment::new(Settings {
            auth: Auth::token("good"),
            log_entries_max: 10_000,
            ..Settings::new(Uuid::from_u128(2), sample_schema())
        });
        let storage = TableService::new(tables::Settings::default());
        let forgotten = Arc::new(AtomicU64::new(0));
        let (behind, forgets) = (target.clone(), Arc::clone(&forgotten));
        let front = serve(0, move |request: Request<Bytes>| {
            let (behind, forgets) = (behind.clone(), Arc::clone(&forgets));
            async move {
                let less = |left: u64| left.checked_sub(1);
                if request.method() == Method::PATCH
                    && forgets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
                {
                    return Reply::Answer(status(StatusCode::NO_CONTENT));
                }
                behind.handle(request).await
            }
        });
        let servers = [front.await.unwrap(), tables::serve(storage.clone(), 0).await.unwrap()];
        let tokens = BTreeMap::from([(servers[0].url(), "good".to_owned())]);
        let start = SystemClock::default().now();
        let identity = IdentitySettings {
            secret: "shown to handlers".to_owned(),
            system_assigned: true,
            client_ids: Vec::new(),
            tokens,
            lifetime: Duration::from_secs(86_400),
            start,
        };
        let identity = Identity::start(identity).await.unwrap();
        let account = format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY}");
        let connection = format!("{account};TableEndpoint={}/{DEVELOPMENT_ACCOUNT}", servers[1].url());
        let mut settings = identity.environment();
        settings.insert("TARGET_URL".to_owned(), servers[0].url());
        settings.insert("AzureWebJobsStorage".to_owned(), connection);
        Self { target, storage, forgotten, settings, _servers: servers, _identity: identity }
    }
}

fn number(run: &Value, name: &str) -> f64 {
    run[name].as_f64().unwrap_or_else(|| panic!("{name}: {run}"))
}

fn assert_good(run: &Value) {
    for name in ["lost", "doubled", "different"] {
        assert_eq!(run[name], 0, "{name}: {run}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn against_stand_ins_it_counts_what_an_event_costs() {
    let arguments = ["--events", "60", "--json", "--scenario", "new-rows", "--scenario", "duplicates"];
    let ended = bench(&arguments, &BTreeMap::new()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let runs = ended.runs();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        assert_good(run);
        let ledger = number(run, "ledger_per_event");
        assert!((3.0..3.5).contains(&ledger), "look, claim and finish of a new row: {run}");
        assert!(number(run, "storage_per_event") >= ledger, "{run}");
        assert!((1.0..1.1).contains(&number(run, "target_per_event")), "{run}");
        assert_eq!(run["storage"]["claim"], run["storage"]["finish"], "{run}");
        assert!(run["target_at_once"]["highest"].as_array().unwrap().iter().any(|count| *count != 0), "{run}");
        assert!(run["limit"].is_string() && number(run, "cpu_ms_per_event") > 0.0, "{run}");
    }
    assert_eq!((&runs[1]["events"], &runs[1]["sent"]), (&30.into(), &60.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_settings_name_is_loaded_verified_and_left_as_it_was() {
    let world = World::new().await;
    let arguments = ["--target", "settings", "--ledger", "settings", "--scenario", "new-rows", "--events", "40"];
    let ended = bench(&[&arguments[..], &["--json"]].concat(), &world.settings).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert!(ended.err.contains("up to 40 rows of the table account"), "{}", ended.err);
    let run = &ended.runs()[0];
    assert_good(run);
    assert_eq!(run["given"]["target"], world.settings["TARGET_URL"].as_str());
    // counted on the way, as before a stand-in
    assert!((1.0..1.1).contains(&number(run, "target_per_event")), "{run}");
    assert!((3.0..3.5).contains(&number(run, "ledger_per_event")), "{run}");
    assert_eq!(run["advice"], 8, "{run}");
    let asked = world.target.requests().last();
    let removed = asked.iter().filter(|record| record.method == Method::DELETE && record.status == Some(204)).count();
    // four more made the handler warm
    assert_eq!(removed, 44);
    assert!(asked.iter().all(|record| record.status != Some(401)), "with its token");
    assert!(world.target.rows("account").is_empty());
    assert_eq!(world.storage.tables(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_target_only_pretends_to_have_are_lost() {
    let world = World::new().await;
    let arguments = ["--target", "settings", "--scenario", "new-rows", "--events", "20", "--json", "--keep"];
    world.forgotten.store(3, Ordering::SeqCst);
    let ended = bench(&arguments, &world.settings).await;
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.out, ended.err);
    assert!(ended.err.contains("lost, doubled or different: new-rows"), "{}", ended.err);
    assert_eq!(ended.runs()[0]["lost"], 3, "{}", ended.out);
    let names = world.target.rows("account");
    assert!(names.len() >= 17, "they are kept: {}", names.len());
}

#[tokio::test]
async fn another_machine_is_left_alone_without_a_yes() {
    let settings: BTreeMap<String, String> = [
        ("TARGET_URL", "https://nowhere.crm4.dynamics.com"),
        ("TARGET_TENANT_ID", "contoso.example"),
        ("TARGET_CLIENT_ID", "11111111-2222-4333-8444-555555555555"),
        ("TARGET_CLIENT_SECRET", "secret"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let refused = tokio::time::timeout(Duration::from_secs(30), bench(&["--target", "settings"], &settings)).await;
    let refused = refused.unwrap();
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("nothing was done") && refused.err.contains("--yes"), "{}", refused.err);
    assert!(refused.err.contains("https://nowhere.crm4.dynamics.com: up to 5000 rows"), "{}", refused.err);
}
