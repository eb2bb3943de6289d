//! The functions of a package as the host reads them: names, bindings, connections, routes. A function that the host finds
//! wrong it skips with a line in its log, so that nothing comes in: better said before it is deployed.

use super::Package;
use super::http::{Route, route};
use crate::operate::doctor::Check;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Longest name of a function or binding.
const NAME_LENGTH_MAX: usize = 128;

/// Names of settings that are there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names; of a file only those with a value.
    pub names: BTreeSet<String>,
    /// What they are, for messages: "in local.settings.json", "among the settings of the README".
    pub place: String,
}

/// What the host would refuse.
#[must_use]
pub fn problems(package: &Package, settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut routes: Vec<Route> = Vec::new();
    let mut names = BTreeSet::new();
    for (path, entry) in &package.entries {
        let Some(name) = path.strip_suffix("/function.json") else { continue };
        let mut found = Found { name, checks: &mut checks };
        found.name(&mut names);
        match serde_json::from_slice::<Json>(&entry.bytes) {
            Err(error) => found.say(format!("function.json is no JSON: {error}"), "mend it"),
            Ok(json) => {
                found.manifest(&json, settings);
                if let Some(new) = route(name, &json) {
                    for clash in routes.iter().filter(|other| other.clashes(&new)) {
                        let detail = format!("its route {} is {}'s as well", new.text, clash.function);
                        found.say(detail, "give one of them another route or method");
                    }
                    routes.push(new);
                }
            }
        }
    }
    if names.is_empty() {
        let remedy = "run this in the repository, or name it with --root";
        checks.push(Check::fail("functions", "there is no function", remedy));
    }
    checks
}

struct Found<'f> {
    name: &'f str,
    checks: &'f mut Vec<Check>,
}

impl Found<'_> {
    fn say(&mut self, detail: impl Into<String>, remedy: impl Into<String>) {
        self.checks.push(Check::fail(format!("function {}", self.name), detail, remedy));
    }

    /// `^[a-z][a-z0-9_\-]{0,127}$` in any case, and not `host`.
    fn name(&mut self, names: &mut BTreeSet<String>) {
        let begins = self.name.starts_with(|c: char| c.is_ascii_alphabetic());
        let consists = self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !begins || !consists || self.name.len() > NAME_LENGTH_MAX || self.name.eq_ignore_ascii_case("host") {
            let remedy = "a letter, then letters, digits, `_` and `-`, at most 128; not `host`, no folder in a folder";
            self.say("is no name that the host takes", remedy);
        }
        if !names.insert(self.name.to_ascii_lowercase()) {
            self.say("there is another function of this name in another case", "rename one of them");
        }
    }

    fn manifest(&mut self, json: &Json, settings: &Settings) {
        if json.get("scriptFile").is_some() || json.get("entryPoint").is_some() {
            self.say("names a script", "remove scriptFile and entryPoint: the handler is started by host.json");
        }
        let Some(bindings) = json.get("bindings").and_then(Json::as_array).filter(|all| !all.is_empty()) else {
            return self.say("has no bindings", "copy the manifest of the repository");
        };
        let text = |binding: &Json, name: &str| binding.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let triggers = bindings.iter().filter(|binding| text(binding, "type").ends_with("Trigger")).count();
        if triggers != 1 {
            self.say(format!("has {triggers} triggers"), "one binding with a type that ends in Trigger");
        }
        let mut seen = BTreeSet::new();
        for binding in bindings {
            let (kind, name) = (text(binding, "type"), text(binding, "name"));
            if kind.is_empty() {
                self.say("a binding has no type", "copy the manifest of the repository");
            }
            if !matches!(text(binding, "direction").as_str(), "in" | "out" | "inout") {
                self.say(format!("the binding {name} has no direction"), "in for triggers, out for answers");
            }
            let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
            let consists = name.chars().all(|c| c.is_ascii_alphanumeric()) && name.len() <= NAME_LENGTH_MAX;
            if name != "$return" && !(begins && consists) {
                self.say(format!("the binding's name {name:?} is none"), "a letter, then letters and digits");
            }
            if !seen.insert(name.clone()) {
                self.say(format!("two bindings are called {name}"), "rename one of them");
            }
            self.settings(&kind, binding, settings);
        }
    }

    /// The host resolves connections and `%NAME%` itself, and does not start a function that lacks one.
    fn settings(&mut self, kind: &str, binding: &Json, settings: &Settings) {
        let given = binding.get("connection").and_then(Json::as_str);
        let connection = match (kind, given) {
            ("serviceBusTrigger" | "serviceBus", None | Some("")) => Some("AzureWebJobsServiceBus"),
            (_, given) => given,
        };
        if let Some(connection) = connection {
            let forms = ["", "__fullyQualifiedNamespace", "__accountName", "__tableServiceUri", "__queueServiceUri"];
            if !forms.iter().any(|form| settings.names.contains(&format!("{connection}{form}"))) {
                let detail = format!("the connection {connection} is not {}", settings.place);
                self.say(detail, format!("set {connection}__fullyQualifiedNamespace or {connection}"));
            }
        }
        let texts = binding.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        for name in texts.filter_map(|text| text.strip_prefix('%')?.strip_suffix('%')) {
            if !settings.names.contains(name) {
                self.say(format!("the setting {name} is not {}", settings.place), "set it: the host knows no default");
            }
        }
        let schedule = binding.get("schedule").and_then(Json::as_str);
        if kind == "timerTrigger" {
            let fields = schedule.map_or(0, |text| text.split_ascii_whitespace().count());
            let named = schedule.is_some_and(|text| text.starts_with('%') && text.ends_with('%'));
            if !named && fields != 6 {
                self.say(format!("the schedule has {fields} fields"), "six: second minute hour day month weekday");
            }
        }
    }
}
