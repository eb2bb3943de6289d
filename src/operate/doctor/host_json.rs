//! host.json against what the handler needs: that the host starts it, lets requests through as they came, and gives it the
//! time that its limits promise. Pure but for a look at the files beside it. Names are compared without case, as the host does.

use super::{Check, or_fine};
use crate::domain::mapping::Limits;
use serde_json::Value as Json;
use std::path::Path;
use std::time::Duration;

const NAME: &str = "host.json";

/// The binary that host.json must start.
pub const BINARY: &str = "dataverse-sync";

/// What the host takes where host.json says nothing: the Consumption plan's time-out, and Service Bus' lock renewal.
const DEFAULT: Duration = Duration::from_secs(300);

/// How long the host waits for the least number of messages that are to come together, unless host.json says.
pub(super) const DEFAULT_BATCH_WAIT: Duration = Duration::from_secs(30);

/// Longest file read, in bytes; a host.json has a few hundred.
const BYTES_MAX: u64 = 1 << 20;

/// Checks `host.json` in the app root. `limits`: of the mapping, if it could be read.
#[must_use]
pub fn host_json(root: &Path, limits: Option<&Limits>) -> Vec<Check> {
    let json = match read(&root.join(NAME)) {
        Ok(json) => json,
        Err(why) => {
            let remedy = "run this in the app's folder or name that with --root; the repository has one to copy";
            return vec![Check::fail(NAME, why, remedy)];
        }
    };
    let mut checks = general(&json);
    checks.extend(binary(&json, root));
    match limits {
        Some(limits) => checks.extend(times(&json, limits)),
        None => checks.push(Check::skipped("host.json times", "the mapping's limits are not known")),
    }
    or_fine(checks, NAME, || "starts the handler, proxies requests, outlasts the limits".to_owned())
}

/// A JSON file of bounded length.
pub(super) fn read(path: &Path) -> Result<Json, String> {
    let fail = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > BYTES_MAX {
        return Err(format!("{} is larger than {BYTES_MAX} bytes", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| format!("{} is no JSON: {error}", path.display()))
}

/// A member by path, names compared without case.
pub(super) fn member<'a>(json: &'a Json, path: &[&str]) -> Option<&'a Json> {
    path.iter().try_fold(json, |json, name| {
        json.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

fn general(json: &Json) -> Vec<Check> {
    let is = |path: &[&str], value: Json| member(json, path) == Some(&value);
    let prefix = member(json, &["extensions", "http", "routePrefix"]);
    let complete = member(json, &["extensions", "serviceBus", "autoCompleteMessages"]);
    let bundle = member(json, &["extensionBundle", "id"]);
    let rules = [
        (
            is(&["version"], "2.0".into()),
            "version is not \"2.0\"",
            "write \"version\": \"2.0\": the host refuses others",
        ),
        (
            is(&["customHandler", "enableProxyingHttpRequest"], true.into()),
            "customHandler.enableProxyingHttpRequest is not true",
            "set it to true: the handler answers HTTP requests only as they came",
        ),
        (
            prefix.is_none_or(|prefix| prefix.as_str() == Some("api")),
            "extensions.http.routePrefix is not \"api\"",
            "set it to \"api\": the handler's routes are below it, and an empty one would open the invocation paths",
        ),
        (
            complete != Some(&Json::Bool(false)),
            "extensions.serviceBus.autoCompleteMessages is false",
            "remove it: the handler leaves completing messages to the host",
        ),
        (
            bundle.is_some(),
            "there is no extensionBundle",
            "copy it from the repository's host.json: without it the host has no Service Bus trigger",
        ),
    ];
    let broken = rules.into_iter().filter(|(holds, ..)| !holds);
    broken.map(|(_, detail, remedy)| Check::fail(NAME, detail, remedy)).collect()
}

/// The program that the host starts.
fn binary(json: &Json, root: &Path) -> Option<Check> {
    let given = member(json, &["customHandler", "description", "defaultExecutablePath"]).and_then(Json::as_str);
    let remedy = format!("set it to \"{BINARY}\", the binary beside host.json");
    let Some(given) = given else {
        return Some(Check::fail(NAME, "customHandler.description.defaultExecutablePath is missing", remedy));
    };
    let file = given.rsplit(['/', '\\']).next().unwrap_or(given);
    if file.trim_end_matches(".exe") != BINARY {
        return Some(Check::fail(NAME, format!("defaultExecutablePath is {given:?}, not {BINARY}"), remedy));
    }
    let path = root.join(given);
    let found = std::fs::metadata(&path).is_ok_and(|found| found.is_file());
    if !found {
        let remedy = "before deploying, run `dataverse-sync package`: it builds the binary and puts it there";
        return Some(Check::warn(NAME, format!("the binary {given} is not in the folder"), remedy));
    }
    (!executable(&path))
        .then(|| Check::fail(NAME, format!("the binary {given} may not be executed"), format!("chmod 0755 {given}")))
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(_: &Path) -> bool {
    true
}

/// An invocation works up to `queue_deadline`, and its last request may take `request_timeout` more.
fn times(json: &Json, limits: &Limits) -> Vec<Check> {
    let longest = limits.queue_deadline.saturating_add(limits.request_timeout);
    let cases: [(&[&str], &str); 2] = [
        (&["functionTimeout"], "the host kills the handler when an invocation takes longer"),
        (
            &["extensions", "serviceBus", "maxAutoLockRenewalDuration"],
            "the broker delivers the message again when its lock ends",
        ),
    ];
    let mut checks = Vec::new();
    for (path, why) in cases {
        let name = path.join(".");
        let given = member(json, path);
        let span = match given {
            None => Some(DEFAULT),
            // -1: without bounds
            Some(Json::String(text)) if text == "-1" => continue,
            Some(given) => given.as_str().and_then(span),
        };
        let Some(span) = span else {
            checks.push(Check::fail(NAME, format!("{name} is not a time"), "write it as \"hh:mm:ss\""));
            continue;
        };
        if span <= longest {
            let (have, need) = (span.as_secs(), longest.as_secs());
            let default = if given.is_none() { " (the default)" } else { "" };
            let detail =
                format!("{name} is {have} s{default}, not more than queue_deadline + request_timeout = {need} s");
            checks.push(Check::fail(NAME, detail, format!("raise it, or lower queue_deadline: {why}")));
        }
    }
    checks
}

/// `[d.]hh:mm:ss[.fff]`; whole seconds are enough here.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let (first, minutes, last) = (parts.next()?, parts.next()?.parse::<u64>().ok()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let seconds = last.split('.').next()?.parse::<u64>().ok()?;
    let (days, hours) = (days.parse::<u64>().ok()?, hours.parse::<u64>().ok()?);
    let valid = hours < 24 && minutes < 60 && seconds < 60 && days <= 3_650;
    valid.then(|| Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_net_writes_them() {
        for (text, expected) in [
            ("00:05:00", Some(300)),
            ("1.02:03:04", Some(93_784)),
            ("00:00:59.5000000", Some(59)),
            ("5", None),
            ("00:61:00", None),
            ("a:b:c", None),
            ("0:0:0:0", None),
        ] {
            assert_eq!(span(text), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn what_is_not_said_has_the_hosts_default() {
        let limits = Limits { queue_deadline: Duration::from_secs(270), ..Limits::default() };
        let details: Vec<String> = times(&Json::Null, &limits).into_iter().map(|check| check.detail).collect();
        assert_eq!(details.len(), 2, "{details:?}");
        assert!(details.iter().all(|detail| detail.contains("is 300 s (the default), not more than")), "{details:?}");
        assert!(times(&Json::Null, &Limits::default()).is_empty());
    }
}
