//! `<function>/function.json` beside host.json, and the settings that the host itself resolves for them. Knows the manifests'
//! bindings, not what the functions do.

use super::host_json::{member, read};
use super::{Check, or_fine};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// What the host needs of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// `SYNC_QUEUE` is set: the host knows no default for `%SYNC_QUEUE%`.
    pub queue: bool,
    /// `ServiceBus` or `ServiceBus__fullyQualifiedNamespace` is set.
    pub connection: bool,
}

/// A manifest: its function, and what its trigger must say.
type Expected = (&'static str, &'static [(&'static str, &'static str)]);

const FUNCTIONS: [Expected; 4] = [
    ("webhook", &[("type", "httpTrigger"), ("route", "webhook")]),
    (
        "queue",
        &[
            ("type", "serviceBusTrigger"),
            ("name", "message"),
            ("queueName", "%SYNC_QUEUE%"),
            ("connection", "ServiceBus"),
            ("dataType", "binary"),
        ],
    ),
    // without it nothing that was deferred is ever tried again
    ("sweep", &[("type", "timerTrigger"), ("name", "timer")]),
    ("health", &[("type", "httpTrigger"), ("route", "health")]),
];

/// Functions that may be left out; where they are deployed they must be right.
const OPTIONAL: [Expected; 3] = [
    ("rows", &[("type", "httpTrigger"), ("route", "rows/{table}/{key}"), ("authLevel", "function")]),
    ("claims", &[("type", "httpTrigger"), ("route", "claims/{id}"), ("authLevel", "function")]),
    ("console", &[("type", "httpTrigger"), ("route", "console"), ("authLevel", "function")]),
];

/// Checks the manifests, and the settings of the queue's trigger.
#[must_use]
pub fn manifests(root: &Path, settings: QueueSettings) -> Vec<Check> {
    let mut checks = Vec::new();
    let in_clone = FUNCTIONS.iter().all(|(function, _)| matches!(find(root, function), Some((_, false))));
    if in_clone {
        let remedy = "before deploying, run `dataverse-sync package`: it puts them beside host.json";
        checks.push(Check::warn("functions", "are in functions/, as in a clone", remedy));
    }
    for (function, expected) in FUNCTIONS {
        let name = format!("function {function}");
        checks.extend(match find(root, function) {
            None => vec![Check::fail(&name, format!("{function}/function.json is not beside host.json"), COPY)],
            Some((path, beside)) => manifest(&name, &path, beside || in_clone, expected),
        });
    }
    for (function, expected) in OPTIONAL {
        let name = format!("function {function}");
        checks.extend(match find(root, function) {
            None => vec![Check::skipped(name, format!("{function}/function.json is not there: it is not deployed"))],
            Some((path, beside)) => manifest(&name, &path, beside || in_clone, expected),
        });
    }
    checks.extend(queue(settings));
    checks
}

const COPY: &str = "copy functions/* of the repository beside host.json";

/// The manifest, and whether it is where the host looks. A clone keeps them all in one folder.
fn find(root: &Path, function: &str) -> Option<(PathBuf, bool)> {
    let place = |folder: &Path| folder.join(function).join("function.json");
    let (beside, in_clone) = (place(root), place(&root.join("functions")));
    if beside.is_file() {
        return Some((beside, true));
    }
    in_clone.is_file().then_some((in_clone, false))
}

/// Where a function's manifest is.
pub(super) fn place_of(root: &Path, function: &str) -> Option<PathBuf> {
    find(root, function).map(|(path, _)| path)
}

fn manifest(name: &str, path: &Path, beside: bool, expected: &[(&str, &str)]) -> Vec<Check> {
    let json = match read(path) {
        Ok(json) => json,
        Err(why) => return vec![Check::fail(name, why, COPY)],
    };
    let trigger = member(&json, &["bindings"]).and_then(Json::as_array).and_then(|bindings| bindings.first());
    let mut checks = Vec::new();
    for (key, value) in expected {
        let given = trigger.and_then(|trigger| member(trigger, &[key]));
        if given.and_then(Json::as_str) != Some(value) {
            let given = given.map_or("missing".to_owned(), ToString::to_string);
            checks.push(Check::fail(name, format!("{key} of the trigger is {given}, not \"{value}\""), COPY));
        }
    }
    if member(&json, &["disabled"]) == Some(&Json::Bool(true)) {
        checks.push(Check::warn(name, "is disabled in function.json", "remove `disabled`, if that is not meant"));
    }
    if !beside {
        let remedy = "in the deployed folder the function's folder stands beside host.json";
        checks.push(Check::warn(name, "is in functions/, where the host does not look", remedy));
    }
    or_fine(checks, name, || "as the handler expects it".to_owned())
}

fn queue(settings: QueueSettings) -> Vec<Check> {
    const NAME: &str = "queue settings";
    let mut checks = Vec::new();
    if !settings.connection {
        let remedy = "set one of them, or leave the folder queue out of the deployment and use the webhook";
        let detail = "neither ServiceBus nor ServiceBus__fullyQualifiedNamespace is set";
        checks.push(Check::fail(NAME, detail, remedy));
    }
    if !settings.queue {
        let remedy = "set it, for example to dataverse-events";
        checks.push(Check::fail(NAME, "SYNC_QUEUE is not set, and the host has no default for it", remedy));
    }
    or_fine(checks, NAME, || "queue and connection are set".to_owned())
}
