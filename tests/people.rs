//! What people do with a running system, as they do it: the built binary's commands beside a running handler, the Table
//! Storage stand-in between them, and the Dataverse stand-in behind.
#![cfg(unix)]

use crate::support::handler::{Answer, Handler};
use crate::support::sides::Sides;
use crate::support::table::connection;
use dataverse_sync::sim::dataverse::{Collector, Effect, Environment, RaisedEvent, Rule, When, serve};
use dataverse_sync::sim::http::Server;
use dataverse_sync::sim::tables::{self, TableService};
use serde_json::{Value, json};
use std::process::{Command, Output};
use uuid::Uuid;

struct World {
    source: Environment,
    target: Environment,
    raised: Collector,
    settings: Vec<(&'static str, String)>,
    _served: (Server, Server),
}

impl World {
    async fn new() -> Self {
        let Sides { source, raised, target } = Sides::new();
        let tables = TableService::new(tables::Settings::default());
        let served = (serve(target.clone(), 0).await.unwrap(), tables::serve(tables, 0).await.unwrap());
        let settings = vec![
            ("TARGET_URL", served.0.url()),
            ("TARGET_AUTH", "none".to_owned()),
            ("AzureWebJobsStorage", connection(&served.1.url())),
        ];
        Self { source, target, raised, settings, _served: served }
    }

    async fn handler(&self) -> Handler {
        let settings: Vec<(&str, &str)> = self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Handler::start(&settings).await
    }

    /// Runs a command as a person does: exit code, output, errors.
    async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
        command.args(args).args(["--root", env!("CARGO_MANIFEST_DIR")]).env_clear().envs(self.settings.iter().cloned());
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    /// The same, when all must go well.
    async fn well(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}: {out}");
        out
    }

    fn create(&self, name: &str) -> Uuid {
        self.source.create(&self.source.person(), "account", &json!({ "name": name })).unwrap()
    }

    fn update(&self, id: Uuid, telephone: &str) {
        let person = self.source.person();
        self.source.update(&person, "account", id, &json!({ "telephone1": telephone })).unwrap();
    }

    fn event(&self) -> RaisedEvent {
        self.raised.take().remove(0)
    }

    /// What stands in a column of the target's row.
    fn there(&self, id: Uuid, column: &str) -> Option<String> {
        let rows = self.target.rows("account");
        rows.iter().find(|(found, _)| **found == id).map(|(_, row)| format!("{:?}", row.get(column)))
    }
}

async fn bring(handler: &Handler, body: &[u8], properties: &Value) -> String {
    let body = json!(String::from_utf8(body.to_vec()).unwrap());
    let answer = handler.invoke(&Uuid::new_v4().to_string(), &body, properties).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["Logs"].to_string()
}

async fn queued(handler: &Handler, event: &RaisedEvent) -> String {
    let message = event.queue().unwrap();
    bring(handler, &message.body, &json!(message.properties)).await
}

async fn sweep(handler: &Handler) -> String {
    let envelope = json!({"Data": {"timer": {"IsPastDue": false}}, "Metadata": {"sys": {"MethodName": "sweep"}}});
    let headers =
        [("x-azure-functions-invocationid", "s"), ("content-type", "application/json"), ("user-agent", "test")];
    let answer = handler.send("POST", "/sweep", &headers, envelope.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["Logs"].to_string()
}

async fn status(handler: &Handler) -> Value {
    let Answer { status, json, .. } = handler.send("GET", "/api/status", &[], "").await;
    assert_eq!(status, 200, "{json}");
    json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_event_is_found_understood_replayed_and_ends_applied() {
    let world = World::new().await;
    let handler = world.handler().await;
    let id = world.create("Fabrikam").to_string();
    let event = world.event();
    let refused = Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None };
    world.target.faults().add(Rule::new(When::Always, refused.clone()).writes());
    assert!(queued(&handler, &event).await.contains("parked (plugin_refused"));
    assert_eq!(status(&handler).await["parked"], 1);

    let listed = world.well(&["parked", "list"]).await;
    let parked = listed.split_whitespace().next().unwrap().to_owned();
    assert!(listed.contains("  account  plugin_refused: ") && listed.lines().count() == 1, "{listed}");
    assert_eq!(world.well(&["parked", "list", "--reason", "undecodable"]).await, "nothing is parked\n");
    let shown = world.well(&["parked", "show", &parked]).await;
    for part in ["plug-in", "what to do", "then replay", "create", "account"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("Fabrikam"), "a value is shown that nobody asked for: {shown}");
    assert!(world.well(&["parked", "show", &parked, "--payload"]).await.contains("Fabrikam"));

    world.target.faults().clear();
    let replayed = world.well(&["parked", "replay", &parked]).await;
    assert!(replayed.starts_with("replayed") && replayed.contains("next sweep"), "{replayed}");
    assert!(sweep(&handler).await.contains("ended 1"));
    assert_eq!(world.well(&["parked", "list"]).await, "nothing is parked\n");
    assert!(world.there(id.parse().unwrap(), "name").unwrap().contains("Fabrikam"));
    let again = queued(&handler, &event).await;
    assert!(again.contains("duplicate"), "{again}");

    let told = world.well(&["history", "account", &id]).await;
    for part in [&format!("account:{id}"), "create  applied: created", "replayed 1 times", "carries ", "in the target"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("Fabrikam"), "{told}");
    let told: Value = serde_json::from_str(&world.well(&["history", "account", &id, "--json"]).await).unwrap();
    assert_eq!(told["events"][0]["outcome"], "applied");

    // several at once are asked for, and given up
    world.target.faults().add(Rule::new(When::Always, refused).writes());
    for n in 0..2 {
        world.update(id.parse().unwrap(), &n.to_string());
        queued(&handler, &world.event()).await;
    }
    let (code, _, err) = world.run(&["parked", "discard", "--reason", "plugin_refused"]).await;
    assert!(code == Some(2) && err.contains("discard 2 events; say --yes"), "{err}");
    let discarded = world.well(&["parked", "discard", "--reason", "plugin_refused", "--yes"]).await;
    assert_eq!(discarded.lines().filter(|line| line.starts_with("discarded")).count(), 2, "{discarded}");
    assert_eq!(status(&handler).await["parked"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_paused_is_stored_and_applied_after_resume() {
    let world = World::new().await;
    let paused = world.well(&["pause", "account"]).await;
    assert_eq!(paused, "paused: account; in force within 5 s\n");
    let handler = world.handler().await;
    let id = world.create("A");
    assert!(queued(&handler, &world.event()).await.contains("deferred (paused"));
    let told = status(&handler).await;
    assert_eq!((&told["owed"], &told["due"], &told["paused"]["tables"]), (&json!(1), &json!(0), &json!(["account"])));
    let waits = world.well(&["history", "account", &id.to_string()]).await;
    assert!(waits.contains("create  owed"), "{waits}");
    assert!(sweep(&handler).await.contains("ended 0"));
    let resumed = world.well(&["resume", "account"]).await;
    assert_eq!(resumed, "nothing is paused\n1 stored events are due now; the next sweeps apply them\n");
    assert!(sweep(&handler).await.contains("ended 1"));
    assert!(world.there(id, "name").unwrap().contains('A'));
    assert_eq!(status(&handler).await["owed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_environments_events_are_ignored_and_counted() {
    let world = World::new().await;
    let handler = world.handler().await;
    let id = world.create("A");
    let event = world.event().queue().unwrap();
    bring(&handler, &event.body, &json!(event.properties)).await;
    world.update(id, "1");
    let event = world.event().queue().unwrap();
    let mut copied: Value = serde_json::from_slice(&event.body).unwrap();
    copied["OrganizationId"] = json!(Uuid::from_u128(0xC0));
    let said = bring(&handler, copied.to_string().as_bytes(), &json!(event.properties)).await;
    assert!(said.contains("ignored (foreign_organization)"), "{said}");
    assert_eq!(status(&handler).await["foreign"], 1);
    assert!(bring(&handler, &event.body, &json!(event.properties)).await.contains("applied"));
    let (_, checks, _) = world.run(&["doctor"]).await;
    let pinned = checks.lines().find(|line| line.contains("pinned organization")).unwrap();
    assert!(pinned.starts_with("ok") && pinned.contains(&Uuid::from_u128(1).to_string()), "{pinned}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_user_is_told_what_was_wrong_and_what_to_do() {
    let world = World::new().await;
    let check = async |args: &[&str], code: i32, parts: &[&str]| {
        let (found, out, err) = world.run(args).await;
        assert_eq!((found, out.as_str()), (Some(code), ""), "{args:?}: {err}");
        assert!(err.starts_with("error: "), "{err}");
        parts.iter().for_each(|part| assert!(err.contains(part), "{part}: {err}"));
    };
    let nobody = Uuid::from_u128(7).to_string();
    check(&["history", "account", &nobody], 1, &["knows nothing of account:", "parked list --table account"]).await;
    check(&["history", "acount", &nobody], 2, &["no table acount", "it has account"]).await;
    check(&["history", "account", "A-1"], 2, &["`A-1` is no GUID"]).await;
    check(&["parked", "show", "7"], 1, &["no parked event has the id 7"]).await;
    check(&["parked", "replay"], 2, &["parked list", "parked replay <id>", "--all"]).await;
    check(&["pause", "lead"], 2, &["no table lead"]).await;
    let (code, out, _) = world.run(&["parked", "replay", "07-00000000000000000000000000000000"]).await;
    assert_eq!((code, out.starts_with("missing")), (Some(1), true), "{out}");
    assert_eq!(world.well(&["parked", "list"]).await, "nothing is parked\n");
    assert!(world.well(&["placeholders"]).await.starts_with("no placeholder has waited"));
}
