//! One function.json: its trigger, its outputs, its names. Knows no host.

use super::manifest::member;
use super::schedule::Schedule;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Who may call an HTTP function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthLevel {
    /// Anybody.
    Anonymous,
    /// Whoever has the function's, the host's or the master key.
    Function,
    /// Whoever has the master key.
    Admin,
}

/// What starts a function.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A request.
    Http {
        /// Route below the prefix; the function's name unless set.
        route: String,
        /// Upper-case methods; empty = all.
        methods: Vec<String>,
        /// Who may call.
        level: AuthLevel,
    },
    /// A message.
    Queue {
        /// The queue's name.
        queue: String,
        /// `dataType: binary`: the exact bytes, base64, and nothing of them in the metadata.
        binary: bool,
        /// `autoCompleteMessages` of the binding.
        auto_complete: Option<bool>,
        /// `cardinality: many`.
        many: bool,
    },
    /// A clock.
    Timer {
        /// When.
        schedule: Schedule,
    },
}

/// An output binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Name of the binding.
    pub name: String,
    /// What it sends to.
    pub target: Target,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The HTTP response.
    Http,
    /// A queue.
    Queue {
        /// Its name.
        queue: String,
        /// `dataType: binary`.
        binary: bool,
    },
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// The folder's name.
    pub name: String,
    /// Name of the trigger binding.
    pub binding: String,
    /// What starts it.
    pub trigger: Trigger,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Switched off, in function.json or by `AzureWebJobs.<name>.Disabled`.
    pub disabled: bool,
}

impl Function {
    /// Whether requests reach the handler as they are: exactly one input, an HTTP trigger, and one output, `http`.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        matches!(self.trigger, Trigger::Http { .. })
            && matches!(self.outputs.as_slice(), [Output { target: Target::Http, .. }])
    }
}

/// Replaces `%NAME%` by the setting; an unset one by `missing`.
#[must_use]
pub fn expand(text: &str, environment: &BTreeMap<String, String>, missing: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        let Some((name, tail)) = after.split_once('%') else {
            result.push('%');
            rest = after;
            continue;
        };
        result.push_str(environment.get(name).map_or(missing, String::as_str));
        rest = tail;
    }
    result.push_str(rest);
    result
}

/// Reads a function.json.
///
/// # Errors
/// Why the host skips the function.
pub fn read_function(name: &str, text: &str, environment: &BTreeMap<String, String>) -> Result<Function, String> {
    if !is_function_name(name) {
        return Err(format!("'{name}' is not a valid function name."));
    }
    let Ok(Json::Object(json)) = serde_json::from_str::<Json>(text) else {
        return Err("Error parsing function.json: no JSON object".into());
    };
    if member(&json, "scriptFile").is_some() {
        return Err("scriptFile is not for custom handlers".into());
    }
    let bindings = member(&json, "bindings").and_then(Json::as_array).filter(|b| !b.is_empty());
    let Some(bindings) = bindings else { return Err("At least one binding must be declared.".into()) };
    let (mut trigger, mut outputs) = (None, Vec::new());
    for binding in bindings {
        let Json::Object(binding) = binding else { return Err("a binding is no object".into()) };
        let kind = text_of(binding, "type").ok_or("a binding has no type")?;
        let given = text_of(binding, "name").unwrap_or_default();
        if !is_binding_name(&given) {
            return Err(format!("The binding name {given} is invalid. Please assign a valid name to the binding."));
        }
        let direction = text_of(binding, "direction").unwrap_or_else(|| "in".into());
        match (kind.to_ascii_lowercase().ends_with("trigger"), direction.to_ascii_lowercase().as_str()) {
            (true, "in") if trigger.is_none() => {
                trigger = Some((given, read_trigger(name, &kind, binding, environment)?))
            }
            (true, "in") => return Err("Multiple trigger bindings defined.".into()),
            (true, _) => return Err("a trigger must have direction 'in'".into()),
            (false, "out") => outputs.push(read_output(given, &kind, binding, environment)?),
            (false, _) => return Err(format!("input binding '{kind}' is not supported by this stand-in")),
        }
    }
    let (binding, trigger) =
        trigger.ok_or("No trigger binding specified. A function must have a trigger input binding.")?;
    let setting = environment.get(&format!("AzureWebJobs.{name}.Disabled"));
    let off = |v: &str| v == "1" || v.eq_ignore_ascii_case("true");
    let disabled = setting.map_or_else(|| member(&json, "disabled") == Some(&Json::Bool(true)), |v| off(v));
    Ok(Function { name: name.to_owned(), binding, trigger, outputs, disabled })
}

fn text_of(map: &Map<String, Json>, name: &str) -> Option<String> {
    member(map, name).and_then(Json::as_str).map(str::to_owned)
}

fn read_trigger(
    function: &str,
    kind: &str,
    binding: &Map<String, Json>,
    environment: &BTreeMap<String, String>,
) -> Result<Trigger, String> {
    match kind.to_ascii_lowercase().as_str() {
        "httptrigger" => {
            let level = match text_of(binding, "authLevel").unwrap_or_default().to_ascii_lowercase().as_str() {
                "anonymous" => AuthLevel::Anonymous,
                "function" | "" => AuthLevel::Function,
                "admin" => AuthLevel::Admin,
                other => return Err(format!("authLevel '{other}' is unknown")),
            };
            let methods = member(binding, "methods").and_then(Json::as_array);
            let methods = methods.into_iter().flatten().filter_map(Json::as_str).map(str::to_ascii_uppercase).collect();
            let route = text_of(binding, "route").unwrap_or_else(|| function.to_owned());
            Ok(Trigger::Http { route, methods, level })
        }
        "servicebustrigger" => {
            let many = match text_of(binding, "cardinality").unwrap_or_default().to_ascii_lowercase().as_str() {
                "" | "one" => false,
                "many" => true,
                other => return Err(format!("cardinality '{other}' is unknown")),
            };
            if member(binding, "isSessionsEnabled") == Some(&Json::Bool(true)) {
                return Err("sessions are not supported by this stand-in".into());
            }
            let queue = queue_name(binding, environment)?;
            let auto_complete = member(binding, "autoCompleteMessages").and_then(Json::as_bool);
            Ok(Trigger::Queue { queue, binary: is_binary(binding), auto_complete, many })
        }
        "timertrigger" => {
            let text = expand(&text_of(binding, "schedule").unwrap_or_default(), environment, "");
            let schedule = Schedule::parse(&text).ok_or_else(|| {
                format!(
                    "The schedule expression '{text}' was not recognized as a valid cron expression or timespan string."
                )
            })?;
            Ok(Trigger::Timer { schedule })
        }
        other => Err(format!("The binding type(s) '{other}' are not registered.")),
    }
}

fn read_output(
    name: String,
    kind: &str,
    binding: &Map<String, Json>,
    environment: &BTreeMap<String, String>,
) -> Result<Output, String> {
    let target = match kind.to_ascii_lowercase().as_str() {
        "http" => Target::Http,
        "servicebus" => Target::Queue { queue: queue_name(binding, environment)?, binary: is_binary(binding) },
        other => return Err(format!("The binding type(s) '{other}' are not registered.")),
    };
    Ok(Output { name, target })
}

fn is_binary(binding: &Map<String, Json>) -> bool {
    text_of(binding, "dataType").is_some_and(|t| t.eq_ignore_ascii_case("binary"))
}

/// The queue and its connection, which must be there in one of its forms.
fn queue_name(binding: &Map<String, Json>, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let raw = text_of(binding, "queueName").ok_or("queueName is missing")?;
    let queue = expand(&raw, environment, "%");
    if queue.is_empty() || queue.contains('%') {
        return Err(format!("'{raw}' does not resolve to a value."));
    }
    let connection =
        text_of(binding, "connection").filter(|c| !c.is_empty()).unwrap_or("AzureWebJobsServiceBus".into());
    let names = [connection.clone(), format!("{connection}__fullyQualifiedNamespace")];
    if !names.iter().any(|n| environment.get(n).is_some_and(|v| !v.is_empty())) {
        return Err(format!(
            "Service Bus connection '{connection}' does not exist. Make sure that it is a defined App Setting."
        ));
    }
    Ok(queue)
}

/// `^[a-z][a-z0-9_\-]{0,127}$` in any case, and not `host`.
fn is_function_name(name: &str) -> bool {
    let rest_ok = name.bytes().skip(1).all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && rest_ok
        && name.len() <= 128
        && !name.eq_ignore_ascii_case("host")
}

/// `[a-zA-Z][a-zA-Z0-9]{0,127}` or `$return`.
fn is_binding_name(name: &str) -> bool {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    name == "$return" || (plain && name.len() <= 128)
}
