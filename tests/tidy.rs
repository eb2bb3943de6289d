//! The rules of the house as a test: who may import whom, what every file begins with and how long it is, what must not
//! be left behind, and that manifests, settings and documents say what the code does.

use dataverse_sync::app::HostSettings;
use dataverse_sync::config::SETTINGS;
use dataverse_sync::config::settings::GivenBy;
use dataverse_sync::domain::delivery::{Delivery, NotHandled, Report, Unfinished};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::host::{Function, Kind};
use dataverse_sync::sync::{HandleEvent, Owed, RawEvent};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Lines of a source file without its tests and the page at its top; over that, it is two things.
const CODE_LINES_MAX: usize = 400;
/// Lines of a file with tests, or of tests alone.
const LINES_MAX: usize = 600;

/// Modules that everybody may use, except those of [`ALLOWED`] that say otherwise.
const FOR_ALL: [&str; 5] = ["domain", "clock", "chance", "secret", "telemetry"];

/// Who may import what, besides [`FOR_ALL`] and itself (DESIGN "Layers"). `a::b` allows only that part of `a`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["cli", "app"]),
    ("lib", &[]),
    (
        "app",
        &[
            "config",
            "functions",
            "host",
            "operate",
            "sync",
            "ledger",
            "inbox",
            "tables",
            "dataverse",
            "servicebus",
            "outbound",
            "identity",
        ],
    ),
    ("cli", &["operate", "app", "sim", "config"]),
    ("functions", &["host", "sync", "operate", "ledger", "inbox"]),
    ("host", &[]),
    ("operate", &["sync", "ledger", "inbox", "dataverse", "servicebus"]),
    // the engine decides before it claims whether the way out is open
    ("sync", &["ledger", "inbox", "dataverse", "outbound::retry", "outbound::gate"]),
    ("ledger", &["tables"]),
    ("inbox", &["tables"]),
    ("tables", &["outbound", "identity"]),
    ("dataverse", &["outbound", "identity"]),
    ("servicebus", &["outbound", "identity"]),
    ("outbound", &["identity"]),
    // below outbound in what it is for, beside it in how it calls: a token is fetched by the same means
    ("identity", &["outbound::transport", "outbound::retry", "outbound::disposition"]),
    ("config", &[]),
    ("telemetry", &[]),
    ("clock", &[]),
    ("chance", &[]),
    ("secret", &[]),
    ("domain", &[]),
    ("sim", &[]),
];

/// Modules that use nothing of the crate but themselves: what is pure, and what must not share bugs with the client.
const ALONE: [&str; 5] = ["domain", "sim", "clock", "chance", "secret"];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// First part of the module path: `host` for `src/host/mod.rs`, `app` for `src/app.rs`.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap();
        inside.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// How many modules deep its items are: 1 for `src/app.rs` and `src/host/mod.rs`, 2 for `src/host/server.rs`.
    fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap().trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').count()
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The code without tests at its end and without comments.
    fn code(&self) -> String {
        let lines = without_tests(&self.text).lines();
        lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
    }
}

fn without_tests(text: &str) -> &str {
    text.split_once("\nmod tests {").map_or(text, |(code, _)| code)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources under {folder}");
    found
}

/// The paths behind `crate::` (or the crate's name) in code, at most two names long: `outbound::retry`.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for marker in ["crate::", "dataverse_sync::"] {
        for (at, _) in code.match_indices(marker) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                first_names(&code[at + marker.len()..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads one use tree, adds its paths, and gives back what comes after it.
fn first_names<'a>(text: &'a str, above: &mut Vec<String>, found: &mut BTreeSet<String>) -> &'a str {
    let mut text = text.trim_start();
    if let Some(mut inner) = text.strip_prefix('{') {
        loop {
            inner = inner.trim_start().trim_start_matches(',').trim_start();
            if let Some(rest) = inner.strip_prefix('}') {
                return rest;
            }
            let rest = first_names(inner, &mut above.clone(), found);
            if rest.len() == inner.len() {
                return rest;
            }
            inner = rest;
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let name = &text[..end];
    text = &text[end..];
    above.push(name.to_owned());
    if let Some(rest) = text.strip_prefix("::") {
        return first_names(rest, above, found);
    }
    found.insert(above.iter().take(2).cloned().collect::<Vec<_>>().join("::"));
    match text.strip_prefix(" as ") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => text,
    }
}

#[test]
fn use_trees_are_read_to_two_names() {
    let check = |code: &str, expected: &[&str]| {
        assert_eq!(crate_paths(code), expected.iter().map(|path| (*path).to_owned()).collect(), "{code}");
    };
    check("use crate::host;", &["host"]);
    check("use crate::host::answer::Done;", &["host::answer"]);
    check("use crate::{a, b::{c::D, e}, f as g, h};", &["a", "b::c", "b::e", "f", "h"]);
    check("fn f() -> crate::x::Y { crate::z::w() }", &["x::Y", "z::w"]);
    check("use crate::{\n    a::b,\n    c::{d, e as _},\n};\nuse std::x;", &["a::b", "c::d", "c::e"]);
    check("use mycrate::a; use dataverse_sync::cli::main;", &["cli::main"]);
}

#[test]
fn imports_go_the_way_of_the_layers() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module `{module}` is not in the table of layers", source.path));
            continue;
        };
        let code = source.code();
        for path in crate_paths(&code) {
            let target = path.split("::").next().unwrap();
            let for_all = FOR_ALL.contains(&target) && !ALONE.contains(&module);
            if target != module && !for_all && !allowed.contains(&target) && !allowed.contains(&path.as_str()) {
                wrong.push(format!("{}: `{module}` must not know `{path}`", source.path));
            }
        }
        if code.contains(&"super::".repeat(source.depth())) {
            wrong.push(format!("{}: leaves its module by `super`; write `crate::`", source.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn some_crates_are_known_in_one_place_only() {
    let homes: [(&str, &[&str]); 3] =
        [("reqwest", &["src/outbound/reqwest.rs"]), ("axum", &["src/app/", "src/host/"]), ("clap", &["src/cli/"])];
    for (name, homes) in homes {
        for source in sources("src") {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            // our own module of the name is no use of the crate
            let code =
                source.code().replace(&format!("outbound::{name}::"), "").replace(&format!("super::{name}::"), "");
            assert!(at_home || !code.contains(&format!("{name}::")), "{} knows {name}", source.path);
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_one_thing() {
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let Source { path, text } = &source;
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: does not begin with `//! `"));
        }
        let code = without_tests(text).lines().filter(|line| !line.starts_with("//!")).count();
        let all = text.lines().count();
        if (code > CODE_LINES_MAX && !source.is_test()) || all > LINES_MAX {
            wrong.push(format!("{path}: {code} lines of code, {all} with tests"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_behind() {
    let words = ["dbg!(", "FIX|ME", "TO|DO", "XX|X", "to|do!(", "unimplemented!("].map(|word| word.replace('|', ""));
    for source in sources("src").into_iter().chain(sources("tests")) {
        if source.path == "tests/tidy.rs" {
            continue;
        }
        for (n, line) in source.text.lines().enumerate() {
            let left = words.iter().find(|word| line.contains(word.as_str()));
            assert!(left.is_none(), "{}:{}: {}", source.path, n + 1, line.trim());
            assert!(!line.contains("#[ignore"), "{}:{}: a test that never runs", source.path, n + 1);
        }
    }
}

#[test]
fn every_integration_test_runs() {
    let main = read("tests/main.rs");
    for source in sources("tests") {
        let name = source.path.split('/').nth(1).unwrap().trim_end_matches(".rs");
        let named = main.lines().any(|line| line == format!("mod {name};"));
        assert!(named || name == "main", "{}: tests/main.rs has no `mod {name};`", source.path);
    }
}

#[derive(Debug)]
struct NoEngine;

#[async_trait::async_trait]
impl HandleEvent for NoEngine {
    async fn handle(&self, _event: ChangeEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        unreachable!("nothing is sent")
    }

    async fn keep_raw(&self, raw: RawEvent, _delivery: &Delivery) -> Result<Report, NotHandled> {
        Err(Unfinished { reason: raw.problem, retry_after: Duration::from_secs(60) }.into())
    }

    async fn come_back(&self, _owed: &Owed, _invocation: &str) -> Result<Option<Report>, NotHandled> {
        Ok(None)
    }

    fn deliveries_max(&self) -> u32 {
        10
    }
}

fn functions() -> Vec<Function> {
    let engine: Arc<dyn HandleEvent> = Arc::new(NoEngine);
    dataverse_sync::functions::all(&engine, None, Vec::new(), HostSettings::default().decode)
}

#[test]
fn the_manifests_are_the_functions() {
    let functions = functions();
    let named: BTreeSet<_> = functions.iter().map(|function| function.name.to_owned()).collect();
    let folders: BTreeSet<_> = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, named, "functions/ against the code");
    for Function { name, kind } in &functions {
        assert!(root().join(format!("src/functions/{name}.rs")).exists(), "{name} has no module of its own");
        let files = fs::read_dir(root().join("functions").join(name)).unwrap().count();
        assert_eq!(files, 1, "functions/{name}: the host takes any other file for a script");
        let manifest: Value = serde_json::from_str(&read(&format!("functions/{name}/function.json"))).unwrap();
        let bindings = manifest["bindings"].as_array().unwrap();
        let trigger = &bindings[0];
        match kind {
            Kind::Http { route, methods, .. } => {
                assert_eq!((&trigger["type"], &trigger["name"]), (&"httpTrigger".into(), &"req".into()), "{name}");
                assert_eq!(trigger["route"], Value::from(*route), "{name}");
                let methods: Vec<_> = methods.iter().map(|method| method.as_str().to_lowercase()).collect();
                assert_eq!(trigger["methods"], Value::from(methods), "{name}");
                // proxying is for exactly one input and one output
                assert_eq!((bindings.len(), &bindings[1]["type"]), (2, &"http".into()), "{name}");
                assert_eq!(bindings[1]["name"], Value::from("res"), "{name}");
            }
            Kind::Invoked { binding, .. } => {
                assert_eq!((bindings.len(), &trigger["name"]), (1, &Value::from(*binding)), "{name}");
                assert_ne!(trigger["type"], Value::from("httpTrigger"), "{name}");
            }
        }
    }
    let queue: Value = serde_json::from_str(&read("functions/queue/function.json")).unwrap();
    let queue = &queue["bindings"][0];
    assert_eq!(queue["dataType"], Value::from("binary"), "else the body leaks into Metadata");
    assert_eq!((&queue["queueName"], &queue["connection"]), (&"%SYNC_QUEUE%".into(), &"ServiceBus".into()));
}

fn seconds(time: &Value) -> u64 {
    time.as_str().unwrap().split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap())
}

#[test]
fn host_json_fits_the_handler() {
    let host: Value = serde_json::from_str(&read("host.json")).unwrap();
    let handler = &host["customHandler"];
    assert_eq!(handler["description"]["defaultExecutablePath"], Value::from(env!("CARGO_PKG_NAME")));
    assert_eq!(
        (&handler["enableProxyingHttpRequest"], &handler["enableForwardingHttpRequest"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        host["extensions"]["http"]["routePrefix"],
        Value::from("api"),
        "an empty prefix opens the invocation paths"
    );
    let bus = &host["extensions"]["serviceBus"];
    assert_eq!(bus["autoCompleteMessages"], Value::from(true));
    let most = bus["maxMessageBatchSize"].as_u64().and_then(|most| usize::try_from(most).ok());
    assert_eq!(most, Some(dataverse_sync::ledger::fold::FOLD_EVENTS_MAX), "a batch of one row is one claim");
    let (timeout, renewal) = (seconds(&host["functionTimeout"]), seconds(&bus["maxAutoLockRenewalDuration"]));
    assert!(renewal > timeout, "a lock must outlast the longest run: {renewal} s against {timeout} s");
    let mapping = dataverse_sync::config::mapping(&root().join("sync.toml")).unwrap();
    let longest = mapping.limits.queue_deadline + mapping.limits.lease;
    assert!(u128::from(timeout) * 1000 > longest.as_millis(), "the host kills the handler at functionTimeout");
}

#[test]
fn settings_are_documented_where_people_look() {
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    let example: Value = serde_json::from_str(&read("local.settings.json.example")).unwrap();
    for name in example["Values"].as_object().unwrap().keys() {
        let of_the_host = name.starts_with("FUNCTIONS_");
        assert!(of_the_host || names.contains(name.as_str()), "local.settings.json.example: {name} is read by nobody");
    }
    // the page for users comes last; once it is there it must be complete
    let readme = root().join("README.md");
    if readme.exists() {
        let text = fs::read_to_string(readme).unwrap();
        for setting in SETTINGS.iter().filter(|setting| setting.given_by == GivenBy::User) {
            assert!(text.contains(setting.name), "README.md does not name {}", setting.name);
        }
    }
}
