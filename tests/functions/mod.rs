//! Functions that people and programs call by HTTP, from outside: the built binary under the host stand-in with the
//! repository's own manifests, the Table Storage stand-in behind it, and the Dataverse stand-in as the target.
#![cfg(unix)]

mod claims;
mod console;
mod rows;

use crate::support::folder::Folder;
use crate::support::table;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Environment, Settings, serve};
use dataverse_sync::sim::host::{FunctionKeys, Handlers, Host, HostSettings};
use dataverse_sync::sim::http::{Sender, Server};
use dataverse_sync::sim::tables::{self, TableService};
use http::{HeaderMap, Request};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

const KEY: &str = "function-key";

/// How the host passes requests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Proxying,
    Forwarding,
    /// In an envelope, as hosts do that know neither.
    Envelope,
}

struct World {
    target: Environment,
    tables: TableService,
    host: Host,
    sender: Sender,
    _served: (Server, Server),
    _folder: Folder,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl World {
    async fn new(mode: Mode, instances: usize, mapping: &str, more: &[(&str, &str)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Folder::new("functions");
        for function in ["rows", "claims", "console", "webhook", "sweep", "status"] {
            std::fs::create_dir(folder.path().join(function)).unwrap();
            let manifest = format!("{function}/function.json");
            std::fs::copy(root.join("functions").join(&manifest), folder.path().join(&manifest)).unwrap();
        }
        let mut manifest = std::fs::read_to_string(root.join("host.json")).unwrap();
        let mut without = |flag: &str| {
            let on = format!("\"{flag}\": true");
            assert!(manifest.contains(&on), "{flag}");
            manifest = manifest.replace(&on, &format!("\"{flag}\": false"));
        };
        if mode != Mode::Proxying {
            without("enableProxyingHttpRequest");
        }
        if mode == Mode::Envelope {
            without("enableForwardingHttpRequest");
        }
        std::fs::write(folder.path().join("host.json"), manifest).unwrap();
        std::fs::write(folder.path().join("sync.toml"), mapping).unwrap();
        let target = Environment::new(Settings::new(Uuid::from_u128(2), sample_schema()));
        let tables = TableService::new(tables::Settings::default());
        let served = (serve(target.clone(), 0).await.unwrap(), tables::serve(tables.clone(), 0).await.unwrap());
        let storage = table::connection(&served.1.url());
        let (url, auth) = (served.0.url(), "none".to_owned());
        let own = [("TARGET_URL", url), ("TARGET_AUTH", auth), ("AzureWebJobsStorage", storage)];
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let environment = own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect();
        let handlers = Handlers::Program {
            executable: env!("CARGO_BIN_EXE_dataverse-sync").into(),
            arguments: vec!["serve".to_owned()],
        };
        let keys = FunctionKeys { host: vec![KEY.to_owned()], ..FunctionKeys::default() };
        let settings = HostSettings { handlers, instances, environment, keys, ..HostSettings::new(folder.path()) };
        let host = Host::start(settings).await.unwrap();
        assert_eq!(host.skipped(), [] as [&str; 0]);
        Self { target, tables, host, sender: Sender::default(), _served: served, _folder: folder }
    }

    /// With the function key.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_as(Some(KEY), method, path, headers, body).await
    }

    async fn send_as(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.host.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = key {
            request = request.header("x-functions-key", key);
        }
        let answer = self.sender.send(request.body(body.to_owned().into()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// What stands in a column of a row of the target.
    fn there(&self, table: &str, id: Uuid, column: &str) -> Option<String> {
        self.target.row(table, id).map(|row| format!("{:?}", row.get(column)))
    }

    async fn stop(self) {
        self.host.stop(Duration::from_secs(5)).await;
    }
}
