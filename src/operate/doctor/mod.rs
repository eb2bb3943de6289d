//! What `doctor` looks at: each check a small function that says what is wrong and how to mend it. Changes nothing but a
//! probe of its own in the ledger. Reads no settings and no environment: whoever calls passes in what is to be checked.

pub mod batches;
pub mod echo;
pub mod environment;
pub mod host_json;
pub mod ledger;
pub mod manifests;
pub mod queue;
pub mod rights;
pub mod source;
pub mod steps;
pub mod table;
pub mod target;
pub mod token;
pub mod values;

use serde::Serialize;

/// Most names that one line lists; the rest is counted.
const NAMES_MAX: usize = 10;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// It does not work.
    Fail,
    /// Not looked at, because something before it failed or nothing is there to look at.
    Skipped,
}

impl Status {
    /// The word people see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One line of the report. Holds names and numbers, never a secret or a row's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: `target table contact`.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was found, one line.
    pub detail: String,
    /// What to do about it; of warnings and failures only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// As it should be.
    #[must_use]
    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, detail: detail.into(), remedy: None }
    }

    /// Works, and somebody should look.
    #[must_use]
    pub fn warn(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Does not work.
    #[must_use]
    pub fn fail(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Fail, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Not looked at, and why.
    #[must_use]
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Skipped, detail: why.into(), remedy: None }
    }
}

/// What is wrong with one thing: `checks` if there is anything, else one line that says that it is fine.
fn or_fine(checks: Vec<Check>, name: &str, fine: impl FnOnce() -> String) -> Vec<Check> {
    if checks.iter().any(|check| check.status != Status::Ok) { checks } else { vec![Check::ok(name, fine())] }
}

/// `a, b, c and 4 more`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.get(..NAMES_MAX).unwrap_or(&names).join(", ");
    match names.len().checked_sub(NAMES_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// ``did you mean `x`? Else `` for the nearest known name, else nothing.
fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |name: &str| strsim::damerau_levenshtein(given, name);
    let allowed = (given.len() / 3).clamp(1, 3);
    let near = known.into_iter().filter(|name| distance(name) <= allowed).min_by_key(|name| distance(name));
    near.map(|name| format!("did you mean `{name}`? Else ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_counted() {
        assert_eq!(listed(["a", "b"]), "a, b");
        let names: Vec<String> = (0..13).map(|n| n.to_string()).collect();
        assert_eq!(listed(names.iter().map(String::as_str)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more");
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(meant("telephon1", ["name", "telephone1"]), "did you mean `telephone1`? Else ");
        assert_eq!(meant("xyz", ["name", "telephone1"]), "");
    }
}
