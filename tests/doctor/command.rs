//! The command: lines, JSON, exit codes.

use super::{CLIENT, TENANT};
use serde_json::{Value, json};
use std::process::Command;

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
