//! `doctor`: arguments and printing. One line per check, aligned; colours only in a terminal.

use super::Trouble;
use crate::app::compose::Base;
use crate::app::examine::{Reach, examine};
use crate::clock::SystemClock;
use crate::config;
use crate::operate::doctor::{Check, Status};
use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// What `doctor` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
    /// Look at settings, mapping and files only, and ask nothing over the network
    #[arg(long)]
    offline: bool,
    /// The folder of host.json [default: $FUNCTIONS_APP_ROOT_PATH, else the current folder]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Take settings from a local.settings.json too; the environment's come first
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Runs the checks and prints them.
///
/// # Errors
/// [`Trouble::Failed`] if a check failed, [`Trouble::Wrong`] if the settings file can't be read.
pub fn doctor(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let mut values = environment.clone();
    if let Some(file) = &arguments.settings {
        for (name, value) in config::local_settings(file).map_err(|problems| Trouble::Wrong(problems.into()))? {
            values.entry(name).or_insert(value);
        }
    }
    let given = arguments.root.clone();
    let root = given.or_else(|| values.get("FUNCTIONS_APP_ROOT_PATH").map(PathBuf::from)).unwrap_or_else(|| ".".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let base = Base::over_network(Arc::new(SystemClock::default()));
    let reach = if arguments.offline { Reach::Files } else { Reach::Network };
    let checks = runtime.block_on(examine(&base, &values, &root, reach));
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    let coloured = std::io::stdout().is_terminal() && !values.contains_key("NO_COLOR");
    let text = if arguments.json { as_json(&checks, failed) } else { as_lines(&checks, coloured) };
    // a closed pipe is no failure of a check
    let _ = std::io::stdout().write_all(text.as_bytes());
    match failed {
        0 => Ok(()),
        1 => Err(Trouble::Failed(anyhow!("1 of {} checks failed; mend what its line says", checks.len()))),
        _ => Err(Trouble::Failed(anyhow!("{failed} of {} checks failed; mend what their lines say", checks.len()))),
    }
}

fn as_json(checks: &[Check], failed: usize) -> String {
    format!("{:#}\n", json!({ "ok": failed == 0, "checks": checks }))
}

fn as_lines(checks: &[Check], coloured: bool) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let line = |check: &Check| {
        let status = format!("{:7}", check.status.name());
        let status = if coloured { format!("\x1b[{}m{status}\x1b[0m", colour(check.status)) } else { status };
        let remedy = check.remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
        let text = format!("{}{remedy}", check.detail).replace(['\n', '\r'], " ");
        format!("{status}  {:width$}  {text}\n", check.name)
    };
    checks.iter().map(line).collect()
}

/// SGR parameter.
fn colour(status: Status) -> &'static str {
    match status {
        Status::Ok => "32",
        Status::Warn => "33",
        Status::Fail => "1;31",
        Status::Skipped => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_aligned_line() {
        let checks = [Check::ok("ledger", "works"), Check::fail("target token", "was\nrefused", "mend it")];
        let expected = "ok       ledger        works\nfail     target token  was refused -> mend it\n";
        assert_eq!(as_lines(&checks, false), expected);
        assert!(as_lines(&checks, true).contains("\x1b[1;31mfail   \x1b[0m"));
    }

    #[test]
    fn json_says_whether_all_is_well() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&[Check::skipped("x", "why")], 0)).unwrap();
        assert_eq!(json, json!({"ok": true, "checks": [{"name": "x", "status": "skipped", "detail": "why"}]}));
    }
}
