//! What this project wants of its infrastructure, beyond what the types say: facts about the platform that no type holds, and
//! agreement with the code, the manifests and sync.toml.

use super::syntax::{Declaration, File, Kind, Member, Node, Part, Problem, What};
use dataverse_sync::config::SETTINGS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Built-in roles by the name of the variable that holds their id.
const ROLES: [(&str, &str); 7] = [
    ("blobDataOwner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
    ("tableDataContributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
    ("dataReceiver", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0"),
    ("dataSender", "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39"),
    ("dataOwner", "090c5cfd-751d-490a-894a-3ce6f1109419"),
    ("secretsUser", "4633458b-17de-408a-b874-0445c86b69e6"),
    ("metricsPublisher", "3913510d-42f4-4e42-8a64-420c390055eb"),
];

/// Settings that the host reads rather than the binary.
const OF_THE_HOST: [&str; 6] = [
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "ServiceBus__credential",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
];

/// Settings that Flex Consumption refuses.
const REFUSED: [&str; 8] = [
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_EXTENSION_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTSHARE",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "ENABLE_ORYX_BUILD",
    "WEBSITE_TIME_ZONE",
    "TZ",
];

/// Settings without which nothing works.
const NEEDED: [&str; 7] = [
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "ServiceBus__clientId",
    "SYNC_QUEUE",
    "TARGET_URL",
];

/// Log lines that alerts wait for and nobody writes yet. Such an alert never fires; the guides have to say so.
pub const NOT_LOGGED_YET: [&str; 0] = [];

/// Longest lock that Service Bus allows, in seconds.
const LOCK_S_MAX: u64 = 300;

/// Checks all rules.
pub fn rules(files: &BTreeMap<String, File>, root: &Path) -> Vec<Problem> {
    let mut rules = Rules { files, problems: Vec::new() };
    rules.site(root);
    rules.storage();
    rules.queue(root);
    rules.roles();
    rules.settings(root);
    rules.log_lines(root);
    rules.command_line_tool(root);
    rules.problems
}

struct Rules<'r> {
    files: &'r BTreeMap<String, File>,
    problems: Vec<Problem>,
}

impl<'r> Rules<'r> {
    fn say(&mut self, file: &str, node: &Node, problem: impl AsRef<str>) {
        self.problems.push(format!("{file}:{}: {}", node.line, problem.as_ref()));
    }

    /// The resources of a type that are created, with their files.
    fn resources(&self, name: &str) -> Vec<(&'r File, &'r Declaration, &'r Node)> {
        let all = self.files.values().flat_map(|file| file.declarations.iter().map(move |d| (file, d)));
        all.filter_map(|(file, d)| match &d.what {
            What::Resource { kind, existing: false, body } if kind.split('@').next() == Some(name) => {
                Some((file, d, body.body()))
            }
            _ => None,
        })
        .collect()
    }

    fn one(&self, name: &str) -> (&'r File, &'r Node) {
        let found = self.resources(name);
        let [(file, _, body)] = found.as_slice() else { panic!("{} resources of type {name}", found.len()) };
        (file, body)
    }

    /// The text that an expression comes to, through parameters, modules and outputs; `?` where only Azure knows.
    fn value(&self, file: &'r File, node: &'r Node) -> String {
        const UNKNOWN: &str = "?";
        match &node.kind {
            Kind::Text(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Fixed(text) => text.clone(),
                    Part::Value(node) => self.value(file, node),
                })
                .collect(),
            Kind::Number(number) => number.to_string(),
            Kind::Bool(value) => value.to_string(),
            Kind::Name(name) => match file.find(name).map(|found| &found.what) {
                Some(What::Var(value)) => self.value(file, value),
                Some(What::Param { default, .. }) => match (self.passed(file, name), default) {
                    (Some((caller, given)), _) => self.value(caller, given),
                    (None, Some(default)) => self.value(file, default),
                    (None, None) => UNKNOWN.to_owned(),
                },
                _ => UNKNOWN.to_owned(),
            },
            Kind::Dot(object, member) => match &object.kind {
                Kind::Name(name) if member == "name" => match file.find(name).map(|found| &found.what) {
                    Some(What::Resource { body, .. }) => {
                        body.body().get("name").map_or(UNKNOWN.to_owned(), |name| self.value(file, name))
                    }
                    _ => UNKNOWN.to_owned(),
                },
                Kind::Dot(module, outputs) if outputs == "outputs" => {
                    self.output(file, module, member).unwrap_or_else(|| UNKNOWN.to_owned())
                }
                _ => UNKNOWN.to_owned(),
            },
            _ => UNKNOWN.to_owned(),
        }
    }

    fn output(&self, file: &'r File, module: &Node, name: &str) -> Option<String> {
        let Kind::Name(module) = &module.kind else { return None };
        let What::Module { path, .. } = &file.find(module)?.what else { return None };
        let inside = self.files.get(path)?;
        let found = inside.declarations.iter().find_map(|d| match &d.what {
            What::Output { value, .. } if d.name == name => Some(value),
            _ => None,
        })?;
        Some(self.value(inside, found))
    }

    /// What a module is given for a parameter, and by which file.
    fn passed(&self, module: &File, name: &str) -> Option<(&'r File, &'r Node)> {
        self.files.values().find_map(|caller| {
            caller.declarations.iter().find_map(|d| match &d.what {
                What::Module { path, body } if *path == module.name => {
                    Some((caller, body.body().get("params")?.get(name)?))
                }
                _ => None,
            })
        })
    }

    fn want(&mut self, file: &'r File, body: &'r Node, path: &[&str], expected: &str, why: &str) {
        let name = path.join(".");
        match body.at(path) {
            None => self.say(&file.name, body, format!("{name} must be {expected}: {why}")),
            Some(node) => {
                let given = self.value(file, node);
                if given != expected {
                    self.say(&file.name, node, format!("{name} is {given}, must be {expected}: {why}"));
                }
            }
        }
    }

    fn site(&mut self, root: &Path) {
        let (file, plan) = self.one("Microsoft.Web/serverfarms");
        self.want(
            file,
            plan,
            &["sku", "name"],
            "FC1",
            "custom handlers with this configuration run on Flex Consumption",
        );
        self.want(file, plan, &["properties", "reserved"], "true", "Flex Consumption is Linux");
        let (file, site) = self.one("Microsoft.Web/sites");
        self.want(file, site, &["kind"], "functionapp,linux", "nothing else runs there");
        self.want(file, site, &["properties", "httpsOnly"], "true", "keys travel in addresses and headers");
        let config = ["properties", "functionAppConfig"];
        let runtime = |name| [config[0], config[1], "runtime", name];
        self.want(file, site, &runtime("name"), "custom", "ARM takes any text, the host fails at its start");
        self.want(file, site, &runtime("version"), "1.0", "ARM takes any text, the host fails at its start");
        let scale = |name| [config[0], config[1], "scaleAndConcurrency", name];
        self.want(file, site, &scale("instanceMemoryMB"), "2048", "512 has been refused");
        if let Some(node) = site.at(&scale("maximumInstanceCount")) {
            let given = self.value(file, node);
            if given.parse::<u32>().is_ok_and(|given| given < 40) {
                self.say(&file.name, node, format!("maximumInstanceCount is {given}, the plan allows no less than 40"));
            }
        }
        let mut ready = Vec::new();
        site.walk(&mut |node| {
            ready.extend(node.text().filter(|text| text.starts_with("function:")).map(|t| (node, t)))
        });
        for (node, text) in ready {
            let name = text.trim_start_matches("function:");
            if !root.join("functions").join(name).is_dir() {
                self.say(&file.name, node, format!("there is no function {name}"));
            }
        }
        let Some(Kind::Object(members)) = site.at(&["properties", "siteConfig"]).map(|node| &node.kind) else { return };
        for Member { key, value, .. } in members {
            let key = key.as_deref().unwrap_or_default();
            if !["minTlsVersion", "appSettings"].contains(&key) {
                self.say(&file.name, value, format!("siteConfig.{key} is refused by Flex Consumption"));
            }
        }
    }

    fn storage(&mut self) {
        let (file, account) = self.one("Microsoft.Storage/storageAccounts");
        let off = ["allowSharedKeyAccess", "allowBlobPublicAccess"];
        for name in off {
            self.want(file, account, &["properties", name], "false", "only identities come in");
        }
        let tables = self.resources("Microsoft.Storage/storageAccounts/tableServices/tables");
        let names: BTreeSet<_> =
            tables.iter().filter_map(|(file, _, body)| body.get("name").map(|name| self.value(file, name))).collect();
        let expected = SETTINGS.iter().filter(|setting| ["LEDGER_TABLE", "INBOX_TABLE"].contains(&setting.name));
        for setting in expected {
            if !names.contains(setting.default) {
                self.say(&file.name, account, format!("there is no table {}", setting.default));
            }
            let (app, list) = self.list();
            let given = list.get(setting.name).map(|node| self.value(app, node)).unwrap_or_default();
            if !names.contains(&given) {
                self.say(&app.name, account, format!("{} is {given}, which is no table here", setting.name));
            }
        }
    }

    fn queue(&mut self, root: &Path) {
        let (file, queue) = self.one("Microsoft.ServiceBus/namespaces/queues");
        let on = ["requiresDuplicateDetection", "deadLetteringOnMessageExpiration"];
        for name in on {
            self.want(file, queue, &["properties", name], "true", "see servicebus.bicep");
        }
        let limits = dataverse_sync::config::mapping(&root.join("sync.toml")).unwrap().limits;
        let deliveries = limits.deliveries_max.to_string();
        self.want(file, queue, &["properties", "maxDeliveryCount"], &deliveries, "sync.toml says so (deliveries_max)");
        let longest = (limits.queue_deadline + limits.request_timeout).as_secs();
        if let Some(node) = queue.at(&["properties", "lockDuration"]) {
            let given = self.value(file, node);
            match seconds(&given) {
                Some(lock) if lock > longest && lock <= LOCK_S_MAX => {}
                _ => self.say(
                    &file.name,
                    node,
                    format!("lockDuration is {given}, must be more than {longest} s and at most PT5M"),
                ),
            }
        } else {
            self.say(&file.name, queue, "lockDuration is missing: the default is a minute");
        }
        for (file, d, body) in self.resources("Microsoft.ServiceBus/namespaces/queues/authorizationRules") {
            let rights = body.at(&["properties", "rights"]).map(|node| &node.kind);
            let only_send = matches!(rights, Some(Kind::Array(all)) if matches!(all.as_slice(), [one] if one.text().as_deref() == Some("Send")));
            if !only_send {
                self.say(&file.name, body, format!("`{}` may do more than send", d.name));
            }
        }
        for (file, _, body) in self.resources("Microsoft.ServiceBus/namespaces/AuthorizationRules") {
            self.say(&file.name, body, "a policy of the namespace reaches every queue: put it on the queue");
        }
    }

    /// Role ids are those of the table, under their names.
    fn roles(&mut self) {
        for file in self.files.values() {
            for d in &file.declarations {
                let mut ids = Vec::new();
                for node in d.nodes() {
                    node.walk(&mut |node| {
                        if let Some(text) = node.text().filter(|text| uuid::Uuid::try_parse(text).is_ok()) {
                            ids.push((node, text));
                        }
                    });
                }
                for (node, id) in ids {
                    if !ROLES.contains(&(d.name.as_str(), id.as_str())) {
                        self.say(&file.name, node, format!("{id} is not the id of the role `{}`", d.name));
                    }
                }
            }
        }
    }

    /// The app settings that every installation gets.
    fn list(&self) -> (&'r File, BTreeMap<String, &'r Node>) {
        let file = &self.files["app.bicep"];
        let Some(What::Var(Node { kind: Kind::Array(all), .. })) = file.find("settings").map(|found| &found.what)
        else {
            panic!("app.bicep has no list of settings");
        };
        let pairs = all.iter().map(|one| (self.value(file, one.get("name").unwrap()), one.get("value").unwrap()));
        (file, pairs.collect())
    }

    fn settings(&mut self, root: &Path) {
        let (file, list) = self.list();
        let Some(What::Var(at)) = file.find("settings").map(|found| &found.what) else { return };
        for (name, node) in &list {
            let of_ours = SETTINGS.iter().find(|setting| setting.name == name);
            if REFUSED.contains(&name.as_str()) {
                self.say(&file.name, node, format!("Flex Consumption refuses the setting {name}"));
            } else if of_ours.is_none() && !OF_THE_HOST.contains(&name.as_str()) {
                self.say(&file.name, node, format!("the setting {name} is read by nobody"));
            } else if of_ours.is_some_and(|setting| setting.secret) {
                self.say(&file.name, node, format!("{name} is a secret: it comes from the vault (secretSettings)"));
            }
        }
        for name in NEEDED {
            if !list.contains_key(name) {
                self.say(&file.name, at, format!("the setting {name} is missing"));
            }
        }
        for (function, binding) in bindings(root) {
            if let Some(connection) = binding["connection"].as_str() {
                let name = format!("{connection}__fullyQualifiedNamespace");
                if !list.contains_key(&name) {
                    self.say(&file.name, at, format!("the setting {name} is missing: {function} connects with it"));
                }
            }
            let texts = binding.as_object().unwrap().values().filter_map(Value::as_str);
            for name in texts.filter_map(|text| text.strip_prefix('%')?.strip_suffix('%')) {
                if !list.contains_key(name) {
                    self.say(&file.name, at, format!("the setting {name} is missing: {function} names it"));
                }
            }
        }
        let (bus, queue) = self.one("Microsoft.ServiceBus/namespaces/queues");
        let queue = self.value(bus, queue.get("name").unwrap());
        let alerts = &self.files["alerts.bicep"];
        let watched = self.passed(alerts, "queueName").map(|(caller, node)| self.value(caller, node));
        let named = list.get("SYNC_QUEUE").map(|node| self.value(file, node));
        for (what, name) in [("the setting SYNC_QUEUE", named), ("the alert on dead letters", watched)] {
            if name.as_ref() != Some(&queue) {
                self.say(&file.name, at, format!("{what} says {name:?}, the queue is {queue:?}"));
            }
        }
    }

    /// Queries look for lines that somebody writes.
    fn log_lines(&mut self, root: &Path) {
        let written = logged(root);
        for message in NOT_LOGGED_YET.into_iter().filter(|message| written.contains(*message)) {
            self.problems.push(format!("alerts.bicep: \"{message}\" is logged by now: say so in docs/deploy.md"));
        }
        let mut queries = vec![("workbook.json", fs::read_to_string(root.join("infra/workbook.json")).unwrap())];
        for d in &self.files["alerts.bicep"].declarations {
            for node in d.nodes() {
                node.walk(&mut |node| queries.extend(node.text().map(|text| ("alerts.bicep", text))));
            }
        }
        for (file, text) in queries {
            let text = text.replace("\\\"", "\"");
            for found in text.split("tostring(line.message) == \"").skip(1) {
                let message = found.split('"').next().unwrap_or_default();
                if !written.contains(message) && !NOT_LOGGED_YET.contains(&message) {
                    self.problems.push(format!("{file}: nobody logs \"{message}\""));
                }
            }
        }
    }

    /// azd finds the app by a tag, and gives the parameters that main.bicep has.
    fn command_line_tool(&mut self, root: &Path) {
        let (file, site) = self.one("Microsoft.Web/sites");
        let service = fs::read_to_string(root.join("azure.yaml")).unwrap();
        let dist = service.split("\n    dist: ").nth(1).and_then(|text| text.lines().next()).unwrap();
        assert_eq!(service.matches(&format!("-- package --output {dist}\n")).count(), 2, "azure.yaml: what is built");
        let service =
            service.split("\nservices:\n  ").nth(1).and_then(|text| text.split(':').next()).unwrap().to_owned();
        let mut tagged = false;
        site.get("tags").unwrap().walk(&mut |node| {
            tagged |= node.get("azd-service-name").and_then(Node::text).as_ref() == Some(&service);
        });
        if !tagged {
            self.say(
                &file.name,
                site,
                format!("the tag azd-service-name is not `{service}`, the service of azure.yaml"),
            );
        }
        for (bicep, given) in [("main.bicep", "main.parameters.json"), ("sync.bicep", "sync.parameters.example.json")] {
            let json: Value =
                serde_json::from_str(&fs::read_to_string(root.join("infra").join(given)).unwrap()).unwrap();
            let given_names: BTreeSet<_> = json["parameters"].as_object().unwrap().keys().cloned().collect();
            for d in &self.files[bicep].declarations {
                if matches!(d.what, What::Param { default: None, .. }) && !given_names.contains(&d.name) {
                    self.problems.push(format!("{bicep}:{}: {given} does not give `{}`", d.line, d.name));
                }
            }
            for name in given_names {
                if !matches!(self.files[bicep].find(&name).map(|found| &found.what), Some(What::Param { .. })) {
                    self.problems.push(format!("{given}: {bicep} has no parameter `{name}`"));
                }
            }
        }
    }
}

/// `PT2M`, `PT30S`, `PT1H`.
fn seconds(text: &str) -> Option<u64> {
    let rest = text.strip_prefix("PT")?;
    let (number, unit) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
    let unit = [("S", 1), ("M", 60), ("H", 3600)].into_iter().find(|(name, _)| *name == unit)?.1;
    Some(number.parse::<u64>().ok()? * unit)
}

/// Every binding of every manifest.
fn bindings(root: &Path) -> Vec<(String, Value)> {
    let folders = fs::read_dir(root.join("functions")).unwrap().map(|entry| entry.unwrap());
    folders
        .flat_map(|folder| {
            let manifest = fs::read_to_string(folder.path().join("function.json")).unwrap();
            let manifest: Value = serde_json::from_str(&manifest).unwrap();
            let name = folder.file_name().into_string().unwrap();
            manifest["bindings"].as_array().unwrap().iter().map(|b| (name.clone(), b.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// The messages that the code logs: the last text of each `tracing::info!(...)` and so on.
fn logged(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for level in ["info", "warn", "error"] {
                for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                    let call = call.split(");").next().and_then(|call| call.split(")\n").next()).unwrap_or_default();
                    found.extend(call.rsplit('"').nth(1).map(str::to_owned));
                }
            }
        }
    }
    assert!(found.contains("handled"), "{found:?}");
    found
}
