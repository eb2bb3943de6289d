//! `package`: the zip runs under the host stand-in, is the same at every repetition, has the modes that the host needs; what
//! the host would refuse is refused before it is deployed.
#![cfg(unix)]

use crate::support::folder::Folder;
use dataverse_sync::config::SETTINGS;
use dataverse_sync::operate::package::manifests::{Settings, problems};
use dataverse_sync::operate::package::{Package, archive, collect};
use dataverse_sync::sim::host::{Host, HostSettings};
use http::Request;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_dataverse-sync");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the repository packs, with this program.
fn package_with(program: &Path) -> Package {
    let (package, checks) = collect(root(), program).unwrap();
    assert!(checks.is_empty(), "{checks:?}");
    package
}

/// The same with a small file for a program, where nobody starts it.
fn package() -> Package {
    package_with(&root().join("Cargo.lock"))
}

fn settings() -> Settings {
    let names = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
    Settings { names, place: "known".to_owned() }
}

/// Unpacks as Azure does: names and modes from the zip.
fn unpack(zip: &[u8], to: &Path) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    archive.extract(to).unwrap();
}

#[tokio::test]
async fn the_zip_unpacked_runs_under_the_host() {
    let folder = Folder::new("package-runs");
    // the binary of the tests: a static one takes minutes to build
    unpack(&archive::zipped(&package_with(Path::new(BINARY))).unwrap(), folder.path());
    let mut host = HostSettings::new(folder.path());
    let settings = [
        ("TARGET_URL", "http://127.0.0.1:9"),
        ("TARGET_AUTH", "none"),
        ("LEDGER_STORE", "memory"),
        ("SYNC_QUEUE", "dataverse-events"),
        ("ServiceBus", "Endpoint=sb://none.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=bm9uZQ=="),
    ];
    host.environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let host = Host::start(host).await.unwrap();
    host.ready(0).await.unwrap();
    assert_eq!(host.skipped(), [] as [&str; 0]);
    let request = Request::get(format!("{}/api/health", host.url())).body(bytes::Bytes::new()).unwrap();
    let answer = dataverse_sync::sim::http::Sender::default().send(request).await.unwrap();
    let body: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!((answer.status().as_u16(), body), (200, json!({"status": "ok"})));
    host.stop(std::time::Duration::from_secs(30)).await;
}

#[test]
fn the_zip_is_the_same_at_every_repetition() {
    let zip = archive::zipped(&package()).unwrap();
    let folder = Folder::new("package-again");
    archive::write_folder(&package(), folder.path()).unwrap();
    // files that are younger, of another folder, and whose modes were lost on the way
    let manifest = folder.path().join("health/function.json");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o600)).unwrap();
    let program = folder.path().join("dataverse-sync");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let (again, _) = collect(folder.path(), &program).unwrap();
    assert!(archive::zipped(&again).unwrap() == zip, "two packages of the same files differ");
}

#[test]
fn the_zip_says_what_the_host_needs() {
    let zip = archive::zipped(&package()).unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&zip)).unwrap();
    let mut names = Vec::new();
    for n in 0..archive.len() {
        let entry = archive.by_index(n).unwrap();
        let mode = entry.unix_mode().map(|mode| mode & 0o777);
        let expected = if entry.name() == "dataverse-sync" || entry.is_dir() { 0o755 } else { 0o644 };
        assert_eq!(mode, Some(expected), "{}", entry.name());
        assert_eq!(entry.last_modified().map(|time| time.year()), Some(1980), "{}", entry.name());
        names.push(entry.name().to_owned());
    }
    let functions = fs::read_dir(root().join("functions")).unwrap().count();
    for expected in ["host.json", "sync.toml", "dataverse-sync", ".azurefunctions/", "queue/function.json"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    assert_eq!(names.len(), functions + 4, "{names:?}");
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
}

#[test]
fn a_folder_that_is_no_package_is_left_alone() {
    let folder = Folder::new("package-folder");
    fs::write(folder.path().join("letter.txt"), "mine").unwrap();
    let error = archive::write_folder(&package(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("something else than a package"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("letter.txt")).unwrap(), "mine");
    fs::remove_file(folder.path().join("letter.txt")).unwrap();
    archive::write_folder(&package(), folder.path()).unwrap();
    archive::write_folder(&package(), folder.path()).unwrap();
    let mode = fs::metadata(folder.path().join("dataverse-sync")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

/// The details of what is wrong when a function is put among those of the repository.
fn said(name: &str, manifest: &str) -> String {
    let mut package = package();
    let entry = dataverse_sync::operate::package::Entry { bytes: manifest.as_bytes().to_vec(), mode: 0o644 };
    package.entries.insert(format!("{name}/function.json"), entry);
    problems(&package, &settings()).into_iter().map(|check| format!("{}: {}\n", check.name, check.detail)).collect()
}

#[test]
fn the_repository_has_nothing_that_the_host_refuses() {
    assert_eq!(problems(&package(), &settings()), []);
}

#[test]
fn what_the_host_would_refuse_is_refused() {
    let http = |more: Value| {
        let mut trigger = json!({"type": "httpTrigger", "direction": "in", "name": "req", "route": "extra"});
        trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"bindings": [trigger, {"type": "http", "direction": "out", "name": "res"}]}).to_string()
    };
    let bus = |more: Value| {
        let mut trigger = json!({"type": "serviceBusTrigger", "direction": "in", "name": "message",
            "queueName": "%SYNC_QUEUE%", "connection": "ServiceBus"});
        trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"bindings": [trigger]}).to_string()
    };
    let timer = |schedule: &str| {
        json!({"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": schedule}]})
            .to_string()
    };
    let good = http(json!({}));
    assert_eq!(said("extra", &good), "");
    for (name, manifest, expected) in [
        ("1extra", good.clone(), "is no name that the host takes"),
        ("ex.tra", good.clone(), "is no name that the host takes"),
        ("host", good.clone(), "is no name that the host takes"),
        ("a/b", good.clone(), "is no name that the host takes"),
        ("WEBHOOK", good.clone(), "another case"),
        ("extra", "{\"bindings\": [".to_owned(), "is no JSON"),
        ("extra", "{}".to_owned(), "has no bindings"),
        ("extra", json!({"bindings": [{"type": "http", "direction": "out", "name": "res"}]}).to_string(), "0 triggers"),
        ("extra", http(json!({"name": "re_q"})), "is none"),
        ("extra", http(json!({"name": "res"})), "two bindings are called res"),
        ("extra", http(json!({"direction": "to"})), "has no direction"),
        ("extra", http(json!({"route": "WebHook/"})), "is extra's as well"),
        ("extra", good.replace("{\"bindings\"", "{\"scriptFile\": \"x\", \"bindings\""), "names a script"),
        ("extra", bus(json!({"connection": "ServiceBuss"})), "the connection ServiceBuss is not known"),
        ("extra", bus(json!({"connection": ""})), "the connection AzureWebJobsServiceBus is not known"),
        ("extra", bus(json!({"queueName": "%SYNC_QEUE%"})), "the setting SYNC_QEUE is not known"),
        ("extra", timer("0 * * * *"), "the schedule has 5 fields"),
        ("extra", timer(""), "the schedule has 0 fields"),
    ] {
        let said = said(name, &manifest);
        assert!(said.contains(expected), "{name} {manifest}: {said:?}");
    }
}

#[test]
fn a_file_beside_a_manifest_is_refused() {
    let folder = Folder::new("package-script");
    archive::write_folder(&package(), folder.path()).unwrap();
    fs::write(folder.path().join("health/run.sh"), "").unwrap();
    let (_, checks) = collect(folder.path(), Path::new(BINARY)).unwrap();
    assert!(checks.len() == 1 && checks[0].detail.contains("run.sh beside function.json"), "{checks:?}");
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        Command::new(BINARY).arg("package").args(arguments).current_dir(root()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_binary_that_azure_could_not_start_is_refused_and_nothing_written() {
    let folder = Folder::new("package-refused");
    let zip = folder.path().join("app.zip");
    let (code, said) = run(&["--binary", BINARY, "--output", zip.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    // the binary of the tests is linked to this machine's libraries, and has the stand-ins
    for expected in ["is not static: it needs /lib", "has the stand-ins in it", "x86_64-unknown-linux-musl"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let (code, said) = run(&["--binary", "host.json", "--output", zip.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("is no Linux program"), "{said}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn connections_are_checked_against_a_settings_file() {
    let folder = Folder::new("package-settings");
    let file = folder.path().join("local.settings.json");
    fs::write(&file, json!({"Values": {"ServiceBus": "", "SYNC_QUEUE": "q"}}).to_string()).unwrap();
    let (code, said) = run(&["--binary", BINARY, "--settings", file.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("function queue: the connection ServiceBus is not set in"), "{said}");
    assert!(!said.contains("SYNC_QUEUE is not"), "{said}");
}

#[test]
fn without_a_repository_a_binary_must_be_named() {
    let folder = Folder::new("package-nowhere");
    let (code, said) = run(&["--root", folder.path().to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("--binary"), "{said}");
}
