//! `dev` from outside: the built binary against its stand-ins, spoken to over HTTP as a developer with curl would.
#![cfg(unix)]

use crate::support::folder::Folder;
use bytes::Bytes;
use dataverse_sync::operate::package::{archive, collect};
use dataverse_sync::sim::http::Sender;
use http::Request;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Until something must have been said or done; what is waited for takes a second at most on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
const ACCOUNT: &str = "6a1ee5f0-0001-4b3c-9d2e-000000000001";

/// A running `dev`; it ends with the test, its handler included.
struct Dev {
    child: Child,
    said: Receiver<String>,
    all: String,
    url: String,
    source: String,
    target: String,
    sender: Sender,
}

impl Dev {
    #[expect(clippy::disallowed_methods, reason = "a reader of the process's output; it ends with the process")]
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .args(["dev", "--stand-ins", "--port", "0", "--root"])
            .arg(root)
            .args(arguments)
            .env_clear()
            // none of a machine's own settings leads anywhere from here
            .env("TARGET_URL", "https://production.crm4.dynamics.com")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let (url, source, target) = (String::new(), String::new(), String::new());
        let mut dev = Self { child, said, all: String::new(), url, source, target, sender: Sender::default() };
        dev.hears("Ctrl-C ends it");
        let word = |label: &str, n: usize| {
            let line = dev.all.lines().find(|line| line.trim_start().starts_with(label));
            line.and_then(|line| line.split_whitespace().nth(n)).unwrap_or_default().to_owned()
        };
        let url = word("health", 2).replace("/api/health", "");
        (dev.source, dev.target) = (word("Source", 1), word("Target", 1));
        dev.url = url;
        dev
    }

    /// Waits until a line with these words comes.
    fn hears(&mut self, words: &str) -> String {
        loop {
            let Ok(line) = self.said.recv_timeout(PATIENCE) else {
                let mut err = String::new();
                let _ = self.child.kill();
                let _ = self.child.stderr.take().map(|mut stream| stream.read_to_string(&mut err));
                panic!("nobody said '{words}':\n{}\n{err}", self.all)
            };
            self.all.push_str(&line);
            self.all.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(url).header("content-type", "application/json");
        let request = request.header("accept", "*/*");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let answer = self.sender.send(request.body(body).unwrap()).await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    /// Waits until the target has a row of accounts with this name.
    async fn arrives(&self, name: &str) -> Value {
        let url = format!("{}/accounts?$select=name", self.target);
        let arrived = async {
            loop {
                let (status, rows) = self.send("GET", &url, &[], &Value::Null).await;
                assert_eq!(status, 200, "{rows}");
                let row = rows["value"].as_array().unwrap().iter().find(|row| row["name"] == name);
                if let Some(row) = row {
                    return row.clone();
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let arrived = tokio::time::timeout(PATIENCE, arrived).await;
        arrived.unwrap_or_else(|_| panic!("{name} does not arrive\n{}", self.all))
    }

    /// The handler: the only child.
    fn handler(&self) -> Option<String> {
        let found = Command::new("ps").args(["-o", "pid=", "--ppid", &self.child.id().to_string()]).output().unwrap();
        let text = String::from_utf8(found.stdout).unwrap();
        text.lines().map(|line| line.trim().to_owned()).next()
    }

    /// Ctrl-C, and its end.
    fn interrupt(mut self) -> (Option<i32>, String) {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            self.all.push_str(&line);
            self.all.push('\n');
        }
        (code, self.all.clone())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // asked, so that it takes its handler with it
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

/// The repository's app with a mapping of one table, that a test may change.
fn app() -> Folder {
    let (folder, root) = (Folder::new("dev"), Path::new(env!("CARGO_MANIFEST_DIR")));
    std::fs::copy(root.join("host.json"), folder.path().join("host.json")).unwrap();
    for entry in std::fs::read_dir(root.join("functions")).unwrap() {
        let from = entry.unwrap().path();
        let to = folder.path().join("functions").join(from.file_name().unwrap());
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join("function.json"), to.join("function.json")).unwrap();
    }
    std::fs::write(folder.path().join("sync.toml"), "version = 1\n[tables.account]\n").unwrap();
    folder
}

fn change(name: &str, version: &str) -> Value {
    json!({"table": "account", "id": ACCOUNT, "operation": "upsert", "columns": {"name": name}, "version": version})
}

#[tokio::test]
async fn a_row_gets_from_the_source_to_the_target_and_so_does_what_is_posted_here() {
    let mut dev = Dev::start(Path::new(env!("CARGO_MANIFEST_DIR")), &[]);
    let (status, _) = dev.send("POST", &format!("{}/accounts", dev.source), &[], &json!({"name": "Contoso"})).await;
    assert_eq!(status, 204);
    dev.arrives("Contoso").await;
    let line = dev.hears("applied (created): account");
    assert!(line.contains("queue") && line.ends_with(" ms"), "{line}");
    assert!(dev.all.contains("register made, changed or removed 1 endpoint, "), "{}", dev.all);

    let webhook = format!("{}/api/webhook", dev.url);
    let first = change("From the webhook", "2026-01-05T08:00:00Z");
    let (status, answer) = dev.send("POST", &webhook, &[("ce-id", "e-1")], &first).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("applied")), "{answer}");
    dev.hears("200 applied (created): account");
    let (_, answer) = dev.send("POST", &webhook, &[("ce-id", "e-1")], &first).await;
    assert_eq!(answer["outcome"], "duplicate", "{answer}");

    let queue = format!("{}/admin/queues/dataverse-events", dev.url);
    let second = change("From the queue", "2026-01-05T08:00:01Z");
    let headers = [("message-id", "m-1"), ("cloudEvents_id", "\"e-2\"")];
    let (status, _) = dev.send("POST", &format!("{queue}/messages"), &headers, &second).await;
    assert_eq!(status, 201);
    assert!(
        dev.hears("applied (updated): account").contains("event e-2"),
        "the property comes before the message's id"
    );
    assert_eq!(dev.arrives("From the queue").await["accountid"], ACCOUNT);
    let (_, counts) = dev.send("GET", &queue, &[], &Value::Null).await;
    assert_eq!((&counts["completed"], &counts["dead_lettered"]), (&json!(2), &json!(0)), "{counts}");

    let (status, _) = dev.send("POST", &format!("{}/admin/functions/sweep", dev.url), &[], &Value::Null).await;
    assert_eq!(status, 202);
    dev.hears("handed over 0");
    for (path, expected) in [("functions/none", 404), ("functions/health", 400), ("queues/none/messages", 404)] {
        let (status, _) = dev.send("POST", &format!("{}/admin/{path}", dev.url), &[], &Value::Null).await;
        assert_eq!(status, expected, "{path}");
    }
    let origin = [("origin", "https://elsewhere.example")];
    let (status, _) = dev.send("POST", &format!("{queue}/messages"), &origin, &second).await;
    assert_eq!(status, 403, "a page in a browser may not");

    let handler = dev.handler().expect("a handler");
    let (code, all) = dev.interrupt();
    assert_eq!(code, Some(0), "{all}");
    assert!(!Path::new("/proc").join(handler).join("fd").exists(), "the handler has ended");
}

#[tokio::test]
async fn the_handler_starts_again_when_it_dies_and_when_something_changes() {
    let app = app();
    let (built, anew) = (app.path().join("built"), app.path().join("anew"));
    std::fs::copy(env!("CARGO_BIN_EXE_dataverse-sync"), &built).unwrap();
    let mut dev = Dev::start(app.path(), &["--key", "k3y", "--binary", built.to_str().unwrap()]);
    let webhook = format!("{}/api/webhook", dev.url);
    let (status, _) = dev.send("POST", &webhook, &[("ce-id", "e-1")], &change("A", "2026-01-05T08:00:00Z")).await;
    assert_eq!(status, 401);
    let (status, _) = dev.send("POST", &format!("{}/admin/functions/sweep", dev.url), &[], &Value::Null).await;
    assert_eq!(status, 401);
    let webhook = format!("{webhook}?code=k3y");
    assert!(dev.all.contains(&webhook), "the address is shown with its key\n{}", dev.all);

    let first = dev.handler().expect("a handler");
    assert!(Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    dev.hears("exited with code 137");
    dev.hears("the handler is ready");
    let second = dev.handler().expect("a handler");
    assert_ne!(first, second);
    let (_, answer) = dev.send("POST", &webhook, &[("ce-id", "e-1")], &change("A", "2026-01-05T08:00:00Z")).await;
    assert_eq!(answer["outcome"], "applied", "{answer}");

    // as cargo does: the new one takes the old one's place
    std::fs::copy(env!("CARGO_BIN_EXE_dataverse-sync"), &anew).unwrap();
    std::fs::rename(&anew, &built).unwrap();
    assert!(dev.hears("has changed").contains("built"));
    dev.hears("the handler is ready");
    let third = dev.handler().expect("a handler");
    assert_ne!(second, third);

    let mapping = "version = 1\n[tables.account.columns]\nexclude = [\"name\"]\n";
    std::fs::write(app.path().join("sync.toml"), mapping).unwrap();
    dev.hears("has changed");
    dev.hears("the handler is ready");
    assert_ne!(dev.handler().expect("a handler"), third);
    let (_, answer) = dev.send("POST", &webhook, &[("ce-id", "e-2")], &change("B", "2026-01-05T08:00:01Z")).await;
    assert_eq!((&answer["outcome"], &answer["detail"]), (&json!("ignored"), &json!("nothing_to_write")), "{answer}");

    std::fs::write(app.path().join("sync.toml"), "version = 1\n[tables.account]\n[tabels.contact]\n").unwrap();
    let why = dev.hears("does not start");
    std::fs::write(app.path().join("sync.toml"), "version = 1\n[tables.account]\n").unwrap();
    dev.hears("has changed");
    dev.hears("the handler is ready");
    let (_, answer) = dev.send("POST", &webhook, &[("ce-id", "e-3")], &change("C", "2026-01-05T08:00:02Z")).await;
    assert_eq!(answer["outcome"], "applied", "{answer} {why}");
}

#[tokio::test]
async fn the_folder_that_package_writes_runs_and_a_new_table_of_its_mapping_is_registered() {
    let folder = Folder::new("dev-package");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_BIN_EXE_dataverse-sync"));
    let (package, problems) = collect(root, program).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    archive::write_folder(&package, folder.path()).unwrap();
    let mapping = folder.path().join("sync.toml");
    std::fs::write(&mapping, "version = 1\n[tables.contact]\n").unwrap();
    let mut dev = Dev::start(folder.path(), &[]);
    let handler = dev.handler().expect("a handler");
    let running = std::fs::read_link(Path::new("/proc").join(handler).join("exe")).unwrap();
    assert_eq!(running, folder.path().join("dataverse-sync").canonicalize().unwrap(), "the package's own binary");
    let accounts = format!("{}/accounts", dev.source);
    let (status, _) = dev.send("POST", &accounts, &[], &json!({"name": "Too early"})).await;
    assert_eq!(status, 204);
    std::fs::write(&mapping, "version = 1\n[tables.account]\n[tables.contact]\n").unwrap();
    assert!(dev.hears("has changed").contains("sync.toml"));
    dev.hears("register made, changed or removed 0 endpoints, ");
    dev.hears("the handler is ready");
    let (status, _) = dev.send("POST", &accounts, &[], &json!({"name": "Contoso"})).await;
    assert_eq!(status, 204);
    dev.arrives("Contoso").await;
    let (_, rows) = dev.send("GET", &format!("{}/accounts?$select=name", dev.target), &[], &Value::Null).await;
    assert!(!rows.to_string().contains("Too early"), "nothing was registered then: {rows}");
    let (code, all) = dev.interrupt();
    assert_eq!(code, Some(0), "{all}");
}

#[tokio::test]
async fn the_commands_of_the_guide_to_operations_run_on_the_stand_ins() {
    let folder = Folder::new("dev-settings");
    let (root, settings) = (env!("CARGO_MANIFEST_DIR"), folder.path().join("stand-ins.json"));
    let mut dev = Dev::start(Path::new(root), &["--write-settings", settings.to_str().unwrap()]);
    let accounts = format!("{}/accounts", dev.source);
    dev.send("POST", &accounts, &[], &json!({"name": "Contoso"})).await;
    dev.arrives("Contoso").await;
    let webhook = format!("{}/api/webhook", dev.url);
    let from_dataverse = [("x-ms-dynamics-request-name", "Create"), ("x-ms-dynamics-entity-name", "account")];
    let (status, answer) = dev.send("POST", &webhook, &from_dataverse, &json!({"nothing": "that it knows"})).await;
    assert_eq!((status, &answer["outcome"]), (202, &json!("parked")), "{answer}");
    let run = |command: &str| {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        words.extend(["--root", root, "--settings", settings.to_str().unwrap()]);
        let mut process = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"));
        let output = process.args(words).env_clear().output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, said) = run("parked list --reason undecodable");
    assert!(code == Some(0) && said.contains("undecodable"), "{said}");
    let page = std::fs::read_to_string(format!("{root}/docs/operate.md")).unwrap();
    let commands = page.lines().filter_map(|line| line.strip_prefix("./dataverse-sync "));
    let commands: Vec<&str> = commands.map(|line| line.split('#').next().unwrap().trim()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|command| !command.contains('<')).collect();
    assert!(commands.len() >= 20, "{commands:?}");
    for command in commands {
        let (code, said) = run(command);
        // `history` of a row that is not there, and a dry run that finds something
        assert!(matches!(code, Some(0 | 1)), "{command}: {code:?} {said}");
    }
    assert_eq!(run("parked list").1.lines().count(), 1, "what could not be understood was discarded");
    assert_eq!(run("reconcile --dry-run --second-look 0").0, Some(0), "both sides are equal");
    let (code, said) = run("doctor");
    assert_eq!(code, Some(0), "{said}");
    run("pause");
    dev.send("POST", &accounts, &[], &json!({"name": "In the window"})).await;
    dev.hears("deferred");
    assert_eq!(run("resume").0, Some(0));
    dev.send("POST", &format!("{}/admin/functions/sweep", dev.url), &[], &Value::Null).await;
    dev.arrives("In the window").await;
    drop(dev);
}

#[test]
fn what_is_wrong_is_said_before_anything_starts() {
    let (app, taken) = (app(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = taken.local_addr().unwrap().port().to_string();
    let check = |arguments: &[&str], environment: &[(&str, &str)], code: i32, words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dataverse-sync"))
            .args(["dev", "--root", app.path().to_str().unwrap()])
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {err}");
        assert!(err.starts_with("error: ") && words.iter().all(|word| err.contains(word)), "{err}");
    };
    check(&[], &[], 2, &["TARGET_URL", "AzureWebJobsStorage", "local.settings.json.example", "--stand-ins"]);
    check(&["--root", "/nowhere"], &[], 2, &["cannot be used multiple times"]);
    let memory = [("TARGET_URL", "http://127.0.0.1:9"), ("TARGET_AUTH", "none"), ("LEDGER_STORE", "memory")];
    check(&["--port", &taken], &memory, 1, &["cannot listen on port", &taken, "--port"]);

    let queue = app.path().join("functions/queue/function.json");
    let good = std::fs::read_to_string(&queue).unwrap();
    std::fs::write(&queue, good.replace("\"connection\": \"ServiceBus\"", "\"connection\": \"Servicebus\"")).unwrap();
    check(&["--stand-ins", "--port", "0"], &[], 2, &["'queue' function is in error", "'Servicebus' does not exist"]);
    std::fs::write(&queue, good).unwrap();

    std::fs::write(app.path().join("sync.toml"), "version = 1\n[tabels.account]\n").unwrap();
    check(&["--stand-ins", "--port", "0"], &[], 2, &["sync.toml:2", "tabels"]);
    std::fs::remove_file(app.path().join("host.json")).unwrap();
    check(&["--stand-ins", "--port", "0"], &[], 2, &["no host.json", "--root"]);
}
