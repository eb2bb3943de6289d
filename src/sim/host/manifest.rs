//! host.json and `<function>/function.json` as the host reads them, with its refusals. Knows no process.
//!
//! Names in host.json are compared without case and unknown ones are ignored; a function.json that is wrong skips its
//! function (with a line in the log), as the host does.

use super::function::{Function, expand, read_function};
use super::pump::Batch;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// host.json is no JSON object.
    #[error("Unable to parse host configuration file '{path}': {why}")]
    NoJson {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A value that the host refuses, in its words where they are known.
    #[error("{0}")]
    Refused(String),
}

/// host.json, as far as it matters to a custom handler.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `defaultExecutablePath`, `%NAME%` expanded.
    pub executable: String,
    /// `arguments` as they stand there.
    pub arguments: Vec<String>,
    /// `workingDirectory`; default the app root.
    pub directory: PathBuf,
    /// `useStdErrorStreamForErrorsOnly`.
    pub stderr_is_error: bool,
    /// `enableProxyingHttpRequest`.
    pub proxying: bool,
    /// `enableForwardingHttpRequest`; proxying wins.
    pub forwarding: bool,
    /// `initializationTimeout`.
    pub initialization_timeout: Duration,
    /// `functionTimeout`; `None` = unbounded.
    pub function_timeout: Option<Duration>,
    /// `extensions.http.routePrefix`.
    pub route_prefix: String,
    /// `extensions.serviceBus.maxConcurrentCalls`.
    pub concurrent_calls_max: usize,
    /// `extensions.serviceBus.maxAutoLockRenewalDuration`.
    pub lock_renewal_max: Duration,
    /// `extensions.serviceBus.maxMessageBatchSize`, `minMessageBatchSize` and `maxBatchWaitTime`.
    pub batch: Batch,
    /// `extensions.serviceBus.autoCompleteMessages`.
    pub auto_complete: bool,
    /// The functions, by name.
    pub functions: BTreeMap<String, Function>,
    /// What was skipped and why, for the log.
    pub skipped: Vec<String>,
}

/// Reads an app root.
///
/// # Errors
/// What the host would not start with.
pub fn read(app_root: &Path, environment: &BTreeMap<String, String>) -> Result<Manifest, ManifestError> {
    let path = app_root.join("host.json");
    let text =
        std::fs::read_to_string(&path).map_err(|source| ManifestError::Unreadable { path: path.clone(), source })?;
    let json = match serde_json::from_str(&text) {
        Ok(Json::Object(json)) => json,
        Ok(_) => return Err(ManifestError::NoJson { path, why: "no object".into() }),
        Err(e) => return Err(ManifestError::NoJson { path, why: e.to_string() }),
    };
    let mut manifest = settings(&json, app_root, environment)?;
    functions(app_root, environment, &mut manifest)?;
    if has_routes(&json) && !(manifest.functions.is_empty() && manifest.skipped.is_empty()) {
        return refused("Detected both function.json files and custom handler routes; use one of them.");
    }
    if has_routes(&json) {
        return refused("customHandler.http.routes is not supported by this stand-in: use function.json");
    }
    Ok(manifest)
}

fn refused<T>(text: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError::Refused(text.into()))
}

/// A member by name, in any case.
pub fn member<'a>(map: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    map.get(name).or_else(|| map.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

fn object<'a>(map: &'a Map<String, Json>, path: &[&str]) -> Option<&'a Map<String, Json>> {
    path.iter().try_fold(map, |map, name| member(map, name)?.as_object())
}

fn has_routes(json: &Map<String, Json>) -> bool {
    object(json, &["customHandler", "http"]).and_then(|http| member(http, "routes")).is_some()
}

fn settings(
    json: &Map<String, Json>,
    root: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Manifest, ManifestError> {
    if member(json, "version").and_then(Json::as_str) != Some("2.0") {
        return refused("The host.json file is missing the required 'version' property, or it is not '2.0'.");
    }
    if let Some(profile) = member(json, "configurationProfile").and_then(Json::as_str)
        && !matches!(profile, "" | "default")
    {
        return refused(format!("configurationProfile '{profile}' is not supported by this stand-in"));
    }
    let none = Map::new();
    let handler = object(json, &["customHandler"]).or_else(|| object(json, &["httpWorker"]));
    let Some(handler) = handler else { return refused("WorkerConfig for runtime: custom not found") };
    let Some(description) = object(handler, &["description"]) else { return refused("Missing worker Description.") };
    let path = member(description, "defaultExecutablePath").and_then(Json::as_str).unwrap_or("");
    if path.is_empty() {
        return refused("WorkerDescription DefaultExecutablePath cannot be empty");
    }
    let arguments = match member(description, "arguments") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(all)) => all.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        Some(_) => return refused("customHandler.description.arguments is no array"),
    };
    let http = object(json, &["extensions", "http"]).unwrap_or(&none);
    let bus = object(json, &["extensions", "serviceBus"]).unwrap_or(&none);
    let directory = member(description, "workingDirectory").and_then(Json::as_str).unwrap_or("");
    Ok(Manifest {
        executable: expand(path, environment, ""),
        arguments,
        directory: root.join(directory),
        stderr_is_error: flag(description, "useStdErrorStreamForErrorsOnly", true)?,
        proxying: flag(handler, "enableProxyingHttpRequest", false)?,
        forwarding: flag(handler, "enableForwardingHttpRequest", false)?,
        initialization_timeout: span(handler, "initializationTimeout")?.unwrap_or(Duration::from_secs(30)),
        function_timeout: timeout(json)?,
        route_prefix: member(http, "routePrefix").and_then(Json::as_str).unwrap_or("api").trim_matches('/').to_owned(),
        concurrent_calls_max: count(bus, "maxConcurrentCalls")?.unwrap_or(16),
        lock_renewal_max: span(bus, "maxAutoLockRenewalDuration")?.unwrap_or(Duration::from_secs(300)),
        batch: batch(bus)?,
        auto_complete: flag(bus, "autoCompleteMessages", true)?,
        functions: BTreeMap::new(),
        skipped: Vec::new(),
    })
}

/// How many messages come together; the host refuses a wait above 2:30, and more waited for than may come.
fn batch(bus: &Map<String, Json>) -> Result<Batch, ManifestError> {
    let most = count(bus, "maxMessageBatchSize")?.unwrap_or(1_000);
    let least = count(bus, "minMessageBatchSize")?.unwrap_or(1);
    let wait = span(bus, "maxBatchWaitTime")?.unwrap_or(Duration::from_secs(30));
    if least > most || wait > Duration::from_secs(150) {
        return refused(
            "minMessageBatchSize must not be above maxMessageBatchSize, nor maxBatchWaitTime above 00:02:30",
        );
    }
    Ok(Batch { most, least, wait })
}

/// `functionTimeout`: 30 minutes unless set; -1 = unbounded.
fn timeout(json: &Map<String, Json>) -> Result<Option<Duration>, ManifestError> {
    if member(json, "functionTimeout").is_some_and(|t| t == "-1" || t.as_i64() == Some(-1)) {
        return Ok(None);
    }
    Ok(Some(span(json, "functionTimeout")?.unwrap_or(Duration::from_secs(1800))))
}

fn flag(map: &Map<String, Json>, name: &str, default: bool) -> Result<bool, ManifestError> {
    match member(map, name) {
        None | Some(Json::Null) => Ok(default),
        Some(Json::Bool(b)) => Ok(*b),
        Some(Json::String(s)) if s.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(s)) if s.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => refused(format!("{name}: '{other}' is no Boolean")),
    }
}

fn count(map: &Map<String, Json>, name: &str) -> Result<Option<usize>, ManifestError> {
    match member(map, name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) {
            Some(n) => Ok(Some(n)),
            None => refused(format!("{name}: '{value}' is no positive number")),
        },
    }
}

fn span(map: &Map<String, Json>, name: &str) -> Result<Option<Duration>, ManifestError> {
    match member(map, name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_str().and_then(parse_span).filter(|s| !s.is_zero()) {
            Some(span) => Ok(Some(span)),
            None => refused(format!("{name}: '{value}' is no time span like 00:05:00")),
        },
    }
}

/// A .NET time span `[d.]hh:mm:ss[.fraction]`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut fields = text.split(':');
    let (first, minutes, seconds) = (fields.next()?, fields.next()?, fields.next()?);
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let number = |text: &str, below: u64| text.parse::<u64>().ok().filter(|n| *n < below);
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let seconds =
        number(days, 100_000)? * 86_400 + number(hours, 24)? * 3600 + number(minutes, 60)? * 60 + number(whole, 60)?;
    let nanos = format!("{fraction:0<9}");
    if fields.next().is_some() || nanos.len() != 9 {
        return None;
    }
    Some(Duration::new(seconds, nanos.parse().ok()?))
}

/// Folders directly beside host.json that hold a function.json, and nothing deeper.
fn functions(
    root: &Path,
    environment: &BTreeMap<String, String>,
    manifest: &mut Manifest,
) -> Result<(), ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: root.to_owned(), source };
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        let file = folder.join("function.json");
        let (Some(name), Ok(text)) = (folder.file_name().and_then(|n| n.to_str()), std::fs::read_to_string(&file))
        else {
            continue;
        };
        match read_function(name, &text, environment) {
            Ok(function) => {
                manifest.functions.insert(name.to_owned(), function);
            }
            Err(why) => manifest.skipped.push(format!("The '{name}' function is in error: {why}")),
        }
    }
    Ok(())
}
