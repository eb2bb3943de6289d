//! The sweep's hand-over from outside: the real binary under the host stand-in, its messages over the broker's REST side
//! into the queue, and from there to the queue function of whichever instance listens.
#![cfg(unix)]

use crate::support::sides::Sides;
use crate::support::table::connection;
use bytes::Bytes;
use dataverse_sync::sim::dataverse::{Effect, Rule, When, difference, serve};
use dataverse_sync::sim::host::{BrokerSettings, Ending, FunctionKeys, Handlers, Host, HostSettings, serve_broker};
use dataverse_sync::sim::http::Sender;
use dataverse_sync::sim::tables::{self, TableService};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

const QUEUE: &str = "dataverse-events";
const KEY: &str = "bm90IGEgc2VjcmV0IQ==";
const EVENTS: usize = 12;
/// Until what was deferred once is due: 1 to 2 s, and what the deliveries took.
const DUE: Duration = Duration::from_secs(6);

/// The app's folder; it goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = Self(std::env::temp_dir().join(format!("handover-{}", Uuid::new_v4())));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for function in ["queue", "webhook", "sweep", "health"] {
            std::fs::create_dir_all(folder.0.join(function)).unwrap();
            let manifest = format!("{function}/function.json");
            std::fs::copy(root.join("functions").join(&manifest), folder.0.join(&manifest)).unwrap();
        }
        std::fs::copy(root.join("host.json"), folder.0.join("host.json")).unwrap();
        let limits = "[limits]\nwebhook_deadline = \"2s\"\nduplicate_wait = \"1s\"\n";
        std::fs::write(folder.0.join("sync.toml"), format!("version = 1\n{limits}[tables.account]\n")).unwrap();
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_a_webhook_left_is_handed_to_the_queue_and_finished_by_who_listens() {
    let Sides { source, raised, target } = Sides::new();
    let tables = TableService::new(tables::Settings::default());
    let (served, stored) = (serve(target.clone(), 0).await.unwrap(), tables::serve(tables.clone(), 0).await.unwrap());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bus = format!("Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=sync;SharedAccessKey={KEY}");
    let folder = Folder::new();
    let environment = [
        ("SYNC_QUEUE", QUEUE.to_owned()),
        ("ServiceBus", format!("{bus};UseDevelopmentEmulator=true")),
        ("TARGET_URL", served.url()),
        ("TARGET_AUTH", "none".to_owned()),
        ("AzureWebJobsStorage", connection(&stored.url())),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    let host = Host::start(HostSettings {
        handlers: Handlers::Program {
            executable: env!("CARGO_BIN_EXE_dataverse-sync").into(),
            arguments: vec!["serve".to_owned()],
        },
        instances: 2,
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        keys: FunctionKeys { host: vec!["key".to_owned()], ..FunctionKeys::default() },
        ..HostSettings::new(&folder.0)
    })
    .await
    .unwrap();
    let queue = host.queue(QUEUE).unwrap();
    let shared_key = Some(("sync".to_owned(), KEY.to_owned()));
    let settings = BrokerSettings { shared_key, ..BrokerSettings::default() };
    let _broker = serve_broker(BTreeMap::from([(QUEUE.to_owned(), queue.clone())]), settings, port).await.unwrap();

    // the target is down while the webhooks come: they are stored and acknowledged
    let down = Effect::Status { status: 503, code: String::new(), retry_after: None };
    target.faults().add(Rule::new(When::Always, down).writes().during(Duration::ZERO, DUE - Duration::from_secs(1)));
    let person = source.person();
    for n in 0..EVENTS {
        source.create(&person, "account", &json!({ "name": format!("A{n}") })).unwrap();
    }
    let (sender, url) = (Sender::default(), format!("{}/api/webhook?code=key", host.url()));
    let events = raised.take();
    let posts = events.iter().map(|event| {
        let post = event.webhook();
        let mut request = http::Request::post(&url);
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        sender.send(request.body(post.body.clone()).unwrap())
    });
    for answer in futures_util::future::join_all(posts).await {
        let answer: http::Response<Bytes> = answer.unwrap();
        assert_eq!(answer.status(), 202, "{answer:?}");
    }
    assert_eq!((queue.counts().sent, target.rows("account").len()), (0, 0));

    tokio::time::sleep(DUE).await;
    let fired = host.fire("sweep").await.unwrap();
    assert!(matches!(fired, Ending::Success(_)), "{fired:?}");
    tokio::time::timeout(Duration::from_secs(30), host.idle()).await.expect("the queue is not worked off");
    let counts = queue.counts();
    assert!(counts.sent >= u64::try_from(EVENTS).unwrap(), "{counts:?}");
    assert_eq!((counts.completed, counts.dead_lettered, counts.redelivered), (counts.sent, 0, 0), "{counts:?}");
    assert_eq!(difference(&source, &target, &["account"], &["ownerid"]), []);
    assert_eq!(tables.entities("syncinbox").len(), 0, "nothing is owed any more");
    // what alerts wait for
    let lines = host.log().lines();
    let standing: Vec<serde_json::Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(&line.text).ok())
        .filter(|line: &serde_json::Value| line["message"] == "standing")
        .collect();
    let [line] = standing.as_slice() else { panic!("{standing:?}") };
    assert_eq!((&line["parked"], &line["oldest_due_s"]), (&json!(0), &json!(0)), "{line}");
    assert!(line["owed"].is_u64(), "{line}");
    host.stop(Duration::from_secs(5)).await;
}
