//! `register` as people run it, against the Dataverse stand-in: the rows it makes, that events come by them, that twice is
//! once, that changes by others are shown and mended, and that nothing is left behind or touched that is not ours.

use bytes::Bytes;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Cell, Effect, Environment, RaisedEvent, Rule, Settings, When, serve};
use dataverse_sync::sim::http::{self as sim_http, Reply, Server};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const MAPPING: &str = r#"version = 1
[tables.account]
[tables.contact]
key = ["new_externalid"]
[tables.product]
operations = ["create", "update"]
"#;
const SEND: &str = "Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=dataverse-send;SharedAccessKey=a2V5";
const TABLES: [&str; 3] = ["serviceendpoint", "sdkmessageprocessingstep", "sdkmessageprocessingstepimage"];

struct Place {
    folder: PathBuf,
    source: Environment,
    servers: [Server; 2],
    events: Collected,
}

type Collected = Arc<Mutex<Vec<RaisedEvent>>>;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("register-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("sync.toml"), MAPPING).unwrap();
        let source = Environment::new(Settings::new(Uuid::from_u128(1), sample_schema()));
        let target = Environment::new(Settings::new(Uuid::from_u128(2), sample_schema()));
        let servers = [serve(source.clone(), 0).await.unwrap(), serve(target, 0).await.unwrap()];
        let events = Collected::default();
        let sink = Arc::clone(&events);
        let receive = Arc::new(move |event| {
            sink.lock().unwrap().push(event);
            Box::pin(async { Ok(()) }) as futures_util::future::BoxFuture<'static, Result<(), String>>
        });
        source.connect_queue("sb://bus.servicebus.windows.net/", "dataverse-events", receive);
        Self { folder, source, servers, events }
    }

    async fn run(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ran {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
        command.arg("register").args(arguments).arg("--root").arg(&self.folder).env_clear();
        command.envs([("SOURCE_URL", self.servers[0].url()), ("TARGET_URL", self.servers[1].url())]);
        command.envs([("SOURCE_AUTH", "none"), ("TARGET_AUTH", "none"), ("LEDGER_STORE", "memory")]);
        let output = command.envs(more.iter().copied()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn queue(&self, arguments: &[&str]) -> Ran {
        self.run(arguments, &[("DATAVERSE_SEND_CONNECTION", SEND)]).await
    }

    /// All rows of a table, without what differs by time.
    fn rows(&self, table: &str) -> BTreeMap<Uuid, String> {
        self.source
            .rows(table)
            .into_iter()
            .map(|(id, row)| (id, format!("{} {:?}", row.version, row.columns)))
            .collect()
    }

    fn everything(&self) -> Vec<BTreeMap<Uuid, String>> {
        TABLES.iter().map(|table| self.rows(table)).collect()
    }

    async fn taken(&self) -> Vec<Value> {
        self.source.idle().await;
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        events.iter().map(|event| serde_json::from_slice(&event.body).unwrap()).collect()
    }

    fn step(&self, label: &str) -> Uuid {
        let named = |text: &str| text.contains(&format!("dataverse-sync: {label}\""));
        let rows = self.rows("sdkmessageprocessingstep");
        rows.into_iter().find(|(_, text)| named(text)).unwrap_or_else(|| panic!("{label}")).0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn image(event: &Value, which: &str) -> BTreeMap<String, Value> {
    let images = event[which].as_array().unwrap();
    let ours =
        images.iter().find(|image| image["key"].as_str().unwrap().ends_with("eImage") || image["key"] == "PostImage");
    let Some(ours) = ours else { return BTreeMap::new() };
    let pairs = ours["value"]["Attributes"].as_array().unwrap();
    pairs.iter().map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone())).collect()
}

#[tokio::test]
async fn what_is_registered_sends_events_with_image_and_filter() {
    let place = Place::new().await;
    let ran = place.queue(&[]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains("a2V5"), "{}", ran.out);
    // account and contact: three each; product: two; links: two
    assert_eq!(place.source.rows("sdkmessageprocessingstep").len(), 10, "{}", ran.out);
    let person = place.source.person();
    let account = place.source.create(&person, "account", &json!({"name": "Contoso", "revenue": 5})).unwrap();
    let created = place.taken().await;
    assert_eq!((created.len(), &created[0]["MessageName"]), (1, &json!("Create")));
    let shown = image(&created[0], "PostEntityImages");
    assert!(shown.contains_key("versionnumber") && shown.contains_key("revenue"), "{shown:?}");
    assert!(!shown.contains_key("name"), "only what is needed: {shown:?}");
    place.source.update(&person, "account", account, &json!({"name": "Fabrikam"})).unwrap();
    let updated = place.taken().await;
    assert_eq!((updated.len(), &updated[0]["MessageName"]), (1, &json!("Update")));
    // a column that is never synchronised raises nothing
    let filtering = place.rows("sdkmessageprocessingstep")[&place.step("Update of account")].clone();
    assert!(filtering.contains("telephone1") && !filtering.contains("modifiedon"), "{filtering}");
    place.source.update(&person, "account", account, &json!({"timezoneruleversionnumber": 4})).unwrap();
    assert_eq!(place.taken().await, Vec::<Value>::new());
    let contact = json!({"lastname": "Keller", "new_externalid": "K-1"});
    let contact = place.source.create(&person, "contact", &contact).unwrap();
    place.source.delete(&person, "contact", contact).unwrap();
    let events = place.taken().await;
    let deleted = events.iter().find(|event| event["MessageName"] == "Delete").unwrap();
    assert_eq!(image(deleted, "PreEntityImages")["new_externalid"], json!("K-1"));
}

#[tokio::test]
async fn links_and_tables_without_deletes_get_what_they_need() {
    let place = Place::new().await;
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let person = place.source.person();
    let account = place.source.create(&person, "account", &json!({"name": "Contoso"})).unwrap();
    let contact = place.source.create(&person, "contact", &json!({"lastname": "Keller"})).unwrap();
    let product = place.source.create(&person, "product", &json!({"name": "Pen", "productnumber": "P-1"})).unwrap();
    place.taken().await;
    place.source.associate(&person, "new_account_contact", "account", account, contact).unwrap();
    place.source.disassociate(&person, "new_account_contact", "account", account, contact).unwrap();
    let names: Vec<Value> = place.taken().await.iter().map(|event| event["MessageName"].clone()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    place.source.delete(&person, "product", product).unwrap();
    assert_eq!(place.taken().await, Vec::<Value>::new(), "operations = create, update");
}

#[tokio::test]
async fn twice_is_once() {
    let place = Place::new().await;
    let dry = place.queue(&["--dry-run"]).await;
    assert_eq!(dry.code, Some(1), "{}", dry.out);
    assert!(dry.out.contains("create   endpoint queue"), "{}", dry.out);
    assert_eq!(place.rows("serviceendpoint").len(), 0, "a dry run does nothing");
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let once = place.everything();
    let again = place.queue(&[]).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.ends_with(" rows as they should be, 0 not\n"), "{}", again.out);
    assert_eq!(place.everything(), once);
    // the key need not be given again, and a dry run agrees
    assert_eq!(place.run(&["--dry-run"], &[]).await.code, Some(0));
    // but can be: nobody can read it
    let renewed = place.queue(&["--renew-secrets"]).await;
    assert!(renewed.out.contains("changed  endpoint queue: saskey is sent again"), "{}", renewed.out);
}

#[tokio::test]
async fn a_run_that_was_cut_off_goes_on_and_ids_are_the_same_from_every_machine() {
    let place = Place::new().await;
    // the row is made, and nobody hears of it
    place.source.faults().add(Rule::new(When::Nth(4), Effect::HangupAfter).method(Method::POST));
    let cut_off = place.queue(&[]).await;
    assert_eq!(cut_off.code, Some(1), "{}", cut_off.out);
    place.source.faults().clear();
    let before = place.everything();
    assert!(!before[1].is_empty() && before[1].len() < 10, "some steps are there: {before:?}");
    let again = place.queue(&[]).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(place.run(&["--dry-run"], &[]).await.code, Some(0));
    let elsewhere = Place::new().await;
    assert_eq!(elsewhere.queue(&[]).await.code, Some(0));
    let ids = |place: &Place| TABLES.map(|table| place.rows(table).into_keys().collect::<Vec<_>>());
    assert_eq!(ids(&place), ids(&elsewhere), "each row once, under the id that every machine gives it");
}

#[tokio::test]
async fn drift_is_shown_and_mended() {
    let place = Place::new().await;
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let (person, step) = (place.source.person(), "sdkmessageprocessingstep");
    place
        .source
        .update(&person, step, place.step("Update of account"), &json!({"filteringattributes": "name"}))
        .unwrap();
    place.source.update(&person, step, place.step("Create of contact"), &json!({"statecode": 1})).unwrap();
    place.source.delete(&person, step, place.step("Delete of account")).unwrap();
    let images = place.rows("sdkmessageprocessingstepimage");
    let post = images.iter().find(|(_, text)| text.contains("PostImage")).unwrap();
    place.source.delete(&person, "sdkmessageprocessingstepimage", *post.0).unwrap();
    let dry = place.run(&["--dry-run", "--json"], &[]).await;
    assert_eq!(dry.code, Some(1), "{}", dry.err);
    let report: Value = serde_json::from_str(&dry.out).unwrap();
    let told = report["changes"].to_string();
    for says in ["filteringattributes lacks", "is disabled", "step Delete of account", "image of"] {
        assert!(told.contains(says), "{says}: {told}");
    }
    assert_eq!((report["changes"].as_array().unwrap().len(), &report["done"]), (4, &json!(false)), "{told}");
    assert_eq!(place.run(&[], &[]).await.code, Some(0));
    assert_eq!(place.run(&["--dry-run"], &[]).await.code, Some(0), "mended");
}

#[tokio::test]
async fn what_the_mapping_no_longer_needs_goes_and_what_is_not_ours_stays() {
    let place = Place::new().await;
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let endpoint = *place.rows("serviceendpoint").keys().next().unwrap();
    let theirs = |place: &Place| {
        let create = place.source.row("sdkmessageprocessingstep", place.step("Create of account")).unwrap();
        let id = |column: &str| match create.get(column) {
            Some(Cell::Lookup { id, .. }) => *id,
            other => panic!("{other:?}"),
        };
        json!({"name": "somebody's", "stage": 40, "mode": 1, "rank": 1,
            "eventhandler_serviceendpoint@odata.bind": format!("/serviceendpoints({endpoint})"),
            "sdkmessageid@odata.bind": format!("/sdkmessages({})", id("sdkmessageid")),
            "sdkmessagefilterid@odata.bind": format!("/sdkmessagefilters({})", id("sdkmessagefilterid"))})
    };
    let body = theirs(&place);
    let foreign = place.source.create(&place.source.person(), "sdkmessageprocessingstep", &body).unwrap();
    let kept = place.rows("sdkmessageprocessingstep")[&foreign].clone();
    std::fs::write(
        place.folder.join("sync.toml"),
        MAPPING.replace("[tables.contact]\nkey = [\"new_externalid\"]\n", ""),
    )
    .unwrap();
    let ran = place.run(&[], &[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("removed  step dataverse-sync: Update of contact"), "{}", ran.out);
    assert!(ran.out.contains("foreign  step somebody's"), "{}", ran.out);
    let ran = place.run(&["--remove"], &[]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(ran.err.contains("not ours are bound to it"), "{}", ran.err);
    assert_eq!(place.rows("sdkmessageprocessingstep"), BTreeMap::from([(foreign, kept)]));
    place.source.delete(&place.source.person(), "sdkmessageprocessingstep", foreign).unwrap();
    assert_eq!(place.run(&["--remove"], &[]).await.code, Some(0));
    assert!(place.everything().iter().all(BTreeMap::is_empty), "--remove leaves nothing");
    assert_eq!(place.run(&["--remove"], &[]).await.code, Some(0), "nothing there is no error");
}

#[tokio::test]
async fn a_webhook_gets_its_headers_and_replaces_the_queue() {
    let place = Place::new().await;
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let posts: Arc<Mutex<Vec<http::Request<Bytes>>>> = Arc::default();
    let sink = Arc::clone(&posts);
    let receiver = sim_http::serve(0, move |request| {
        sink.lock().unwrap().push(request);
        async { Reply::Answer(http::Response::new(Bytes::new())) }
    });
    let receiver = receiver.await.unwrap();
    let url = format!("{}/api/webhook", receiver.url());
    let secrets = [("FUNCTION_KEY", "k&1"), ("WEBHOOK_SECRETS", "s1,s2")];
    let ran = place.run(&["--webhook", &url], &secrets).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("removed  endpoint queue") && !ran.out.contains("k&1"), "{}", ran.out);
    place.source.create(&place.source.person(), "account", &json!({"name": "Contoso"})).unwrap();
    assert_eq!(place.taken().await, Vec::<Value>::new(), "not by the queue any more");
    let posts = std::mem::take(&mut *posts.lock().unwrap());
    let header = |name: &str| posts[0].headers()[name].to_str().unwrap().to_owned();
    assert_eq!((posts.len(), header("x-functions-key"), header("x-webhook-secret")), (1, "k&1".into(), "s1".into()));
    assert_eq!(place.run(&["--dry-run", "--webhook", &url], &secrets).await.code, Some(0));
}

#[tokio::test]
async fn wrong_usage_is_two_and_touches_nothing() {
    let place = Place::new().await;
    let ran = place.run(&[], &[]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("DATAVERSE_SEND_CONNECTION"), "{}", ran.err);
    let ran = place.run(&["--webhook", "https://x.example/api/webhook?code=1"], &[("FUNCTION_KEY", "k")]).await;
    assert!(ran.code == Some(2) && ran.err.contains("no query"), "{}", ran.err);
    assert_eq!(place.run(&["--name", "a b"], &[]).await.code, Some(2));
    assert!(place.everything().iter().all(BTreeMap::is_empty));
}

#[tokio::test]
async fn the_stand_in_refuses_what_the_platform_refuses() {
    let place = Place::new().await;
    assert_eq!(place.queue(&[]).await.code, Some(0));
    let (person, step) = (place.source.person(), "sdkmessageprocessingstep");
    let update = place.step("Update of account");
    for (id, body) in [
        (update, json!({"stage": 20})),
        (update, json!({"filteringattributes": "nothing"})),
        (place.step("Create of account"), json!({"filteringattributes": "name"})),
        (update, json!({"rank": null})),
    ] {
        assert!(place.source.update(&person, step, id, &body).is_err(), "{body}");
    }
    let image = *place.rows("sdkmessageprocessingstepimage").keys().next().unwrap();
    for body in [json!({"messagepropertyname": "Row"}), json!({"attributes": "nothing"}), json!({"imagetype": 2})] {
        assert!(place.source.update(&person, "sdkmessageprocessingstepimage", image, &body).is_err(), "{body}");
    }
    let endpoint = *place.rows("serviceendpoint").keys().next().unwrap();
    assert!(place.source.delete(&person, "serviceendpoint", endpoint).is_err(), "steps are bound to it");
    assert!(place.source.update(&person, "serviceendpoint", endpoint, &json!({"saskey": null})).is_err());
}
