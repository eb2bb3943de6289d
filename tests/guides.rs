//! The guides under docs/ say what is true: mappings compile and fit the stand-ins, commands exist, and every word that an
//! alert, a reason or an outcome has is on the page that explains it.

use crate::doctor::{checks, good};
use crate::readme::{blocks, check_commands, page};
use crate::support::folder::Folder;
use dataverse_sync::config::environment;
use dataverse_sync::config::file::compile;
use dataverse_sync::operate::doctor::Status;
use dataverse_sync::operate::parked::reasons::REASONS;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{Auth, Environment, Settings, serve};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[tokio::test]
async fn each_mapping_of_the_guide_fits_the_stand_ins() {
    let text = page("docs/map-your-tables.md");
    let examples = blocks(&text, "toml");
    assert!(examples.len() >= 12, "{}", examples.len());
    let sample = sample_schema();
    for example in examples {
        let mapping = compile("map-your-tables.md", example).unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert!(mapping.tables.keys().all(|table| sample.tables.contains_key(table)), "not a sample table:\n{example}");
        let mut setup = good();
        example.clone_into(&mut setup.mapping);
        let failed: Vec<_> = checks(setup).await.into_iter().filter(|check| check.status == Status::Fail).collect();
        assert!(failed.is_empty(), "{failed:#?}\n{example}");
    }
}

#[test]
fn every_reason_is_on_the_page_as_the_code_has_it() {
    let text = page("docs/operate.md");
    for reason in REASONS {
        let row = format!("| `{}` | {} | {} |", reason.word, reason.meaning, reason.remedy);
        assert!(text.lines().any(|line| line == row), "docs/operate.md lacks the row\n{row}");
    }
    let heading = "| reason | what it means | what to do |\n";
    let rows = text.split_once(heading).unwrap().1.lines().skip(1).take_while(|line| line.starts_with('|')).count();
    assert_eq!(rows, REASONS.len(), "a reason that the code does not have");
}

/// The sources of what is deployed, without tests.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["sim", "cli", "tests"].contains(&name) {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("\nmod tests {").next().unwrap().to_owned();
                found.push((path, code));
            }
        }
    }
    found
}

/// The message of a call of a macro that begins here: its last literal.
fn message(arguments: &str) -> String {
    let (mut depth, mut literal, mut last, mut escaped) = (1, None::<String>, String::new(), false);
    for c in arguments.chars() {
        match (&mut literal, c) {
            (Some(text), c) if escaped => {
                text.push(c);
                escaped = false;
            }
            (Some(_), '\\') => escaped = true,
            (Some(text), '"') => {
                last = std::mem::take(text);
                literal = None;
            }
            (Some(text), c) => text.push(c),
            (None, '"') => literal = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    last
}

#[test]
fn every_line_that_the_log_can_have_at_warn_is_explained() {
    let text = page("docs/operate.md");
    let mut seen = BTreeSet::new();
    for (path, code) in sources() {
        for call in ["tracing::warn!(", "tracing::error!("] {
            for arguments in code.split(call).skip(1) {
                let message = message(arguments);
                assert!(!message.is_empty(), "{}", path.display());
                assert!(
                    text.contains(&format!("`{message}`")),
                    "docs/operate.md lacks `{message}` of {}",
                    path.display()
                );
                seen.insert(message);
            }
        }
    }
    assert!(seen.len() >= 35, "{seen:?}");
}

#[test]
fn every_outcome_field_and_alert_is_on_the_page() {
    let text = page("docs/operate.md");
    let outcome = page("src/domain/outcome.rs");
    let words: BTreeSet<&str> = outcome.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let status = page("src/operate/status.rs");
    let body = status.split_once("pub struct Status {").unwrap().1.split_once("\n}").unwrap().0;
    let fields =
        body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(name, _)| name);
    let bicep = page("infra/alerts.bicep");
    let rules = bicep.split_once("var rules = [").unwrap().1.split_once("\n]").unwrap().0;
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("name: '")?.strip_suffix('\''));
    let all: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).chain(fields).chain(alerts).collect();
    assert!(all.len() >= 40 && all.contains(&"raced") && all.contains(&"at_least") && all.contains(&"sweep-stopped"));
    for word in all.into_iter().chain(["dead-letters"]) {
        assert!(text.contains(&format!("`{word}`")), "docs/operate.md lacks `{word}`");
    }
}

#[test]
fn the_commands_of_every_guide_exist() {
    let mut found = 0;
    for path in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let path = path.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "md") {
            found += check_commands(&fs::read_to_string(path).unwrap());
        }
    }
    assert!(found >= 30, "{found}");
}

const AZ: &str = r#"#!/bin/sh
case "$*" in
"functionapp config appsettings list -g my-group -n my-app --output json") cat "$(dirname "$0")/settings.json" ;;
"account get-access-token --resource "*) echo '{"accessToken": "of-a-person", "expires_on": 4102444800}' ;;
*) echo "not simulated: $*" >&2; exit 1 ;;
esac
"#;

#[cfg(unix)]
#[tokio::test]
async fn a_person_runs_a_command_with_the_settings_of_the_app_and_tokens_of_her_own() {
    let mut settings = Settings::new(Uuid::from_u128(2), sample_schema());
    settings.auth = Auth::token("of-a-person");
    let target = serve(Environment::new(settings), 0).await.unwrap();
    let folder = Folder::new("as-me");
    let app = serde_json::json!([
        {"name": "TARGET_URL", "value": target.url()},
        {"name": "TARGET_CLIENT_ID", "value": "22222222-2222-2222-2222-222222222222"},
        {"name": "TARGET_TENANT_ID", "value": ""},
        {"name": "TARGET_CLIENT_SECRET", "value": "@Microsoft.KeyVault(SecretUri=https://kv.example/s)"},
        {"name": "LEDGER_STORE", "value": "memory"},
        {"name": "LOG_FORMAT", "value": "json"},
    ]);
    fs::write(folder.path().join("settings.json"), app.to_string()).unwrap();
    fs::write(folder.path().join("az"), AZ).unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let chmod = std::process::Command::new("chmod").arg("0755").arg(folder.path().join("az")).status().unwrap();
    assert!(chmod.success());
    let path = format!("{}:{}", folder.path().display(), environment()["PATH"]);
    let mut command = tokio::process::Command::new(format!("{root}/tools/as-me.py"));
    command.args(["-g", "my-group", "-n", "my-app", env!("CARGO_BIN_EXE_dataverse-sync"), "doctor", "--root", root]);
    let output = command.env_clear().env("PATH", path).output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.lines().any(|line| line.starts_with("ok       target connection")), "{out}{err}");
    assert!(
        err.contains("not read from Key Vault: TARGET_CLIENT_SECRET") && !out.contains("of-a-person"),
        "{out}{err}"
    );
    assert_eq!(output.status.code(), Some(1), "the command's own code: {out}");
}
