//! Reading values from a map of settings: empty is unset, every mistake is noted, no value of a secret is shown.

use super::docs::{PREFIXES, SETTINGS};
use crate::config::problem::{ConfigProblems, Problem};
use crate::config::suggest;
use crate::secret::Secret;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Longest value accepted, in bytes. Azure allows about 10 KB for all of an app's settings on some plans.
const VALUE_BYTES_MAX: usize = 16_384;

/// Longest list accepted in one setting.
const LIST_ITEMS_MAX: usize = 100;

/// The settings and what is wrong with them so far.
#[derive(Debug)]
pub struct Reader<'m> {
    values: &'m BTreeMap<String, String>,
    found: ConfigProblems,
}

impl<'m> Reader<'m> {
    /// Reads from this map.
    pub fn new(values: &'m BTreeMap<String, String>) -> Self {
        let mut reader = Self { values, found: ConfigProblems::default() };
        reader.near_misses();
        reader
    }

    /// Notes a problem.
    pub fn say(&mut self, name: &str, problem: impl Into<String>, help: &str) {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        self.found.problems.push(Problem::setting(name, problem, help));
    }

    /// `value` if nothing was found.
    pub fn or<T>(self, value: T) -> Result<T, ConfigProblems> {
        self.found.or(value)
    }

    /// A value without surrounding white space; empty is unset.
    pub fn get(&mut self, name: &str) -> Option<&'m str> {
        let value = self.values.get(name)?.trim();
        if value.len() > VALUE_BYTES_MAX {
            self.say(name, format!("longer than {VALUE_BYTES_MAX} bytes"), "");
            return None;
        }
        if value.starts_with("@Microsoft.KeyVault(") {
            let help = "the app's identity needs the role Key Vault Secrets User, and the reference must exist";
            self.say(name, "the Key Vault reference was not resolved", help);
            return None;
        }
        Some(value).filter(|value| !value.is_empty())
    }

    /// Whether it is set at all.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.trim().is_empty())
    }

    /// A value or its default.
    pub fn get_or(&mut self, name: &str, default: &'m str) -> &'m str {
        self.get(name).unwrap_or(default)
    }

    /// A secret.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// A comma-separated list without empty items.
    pub fn list(&mut self, name: &str) -> Vec<&'m str> {
        let items: Vec<&str> = self.get(name).into_iter().flat_map(|text| text.split(',')).map(str::trim).collect();
        if items.iter().any(|item| item.is_empty()) {
            self.say(name, "has an empty item", "separate the items by single commas");
        }
        if items.len() > LIST_ITEMS_MAX {
            self.say(name, format!("has more than {LIST_ITEMS_MAX} items"), "");
        }
        items.into_iter().filter(|item| !item.is_empty()).take(LIST_ITEMS_MAX).collect()
    }

    /// A GUID in any usual notation.
    pub fn guid(&mut self, name: &str, text: &str) -> Option<Uuid> {
        let id = Uuid::try_parse(text).ok().filter(|id| !id.is_nil());
        if id.is_none() {
            self.say(name, "is not a GUID", "write it as 01234567-89ab-cdef-0123-456789abcdef");
        }
        id
    }

    /// One of some words, the first of which is the default.
    pub fn one_of<T: Copy>(&mut self, name: &str, words: [(&'static str, T); 2]) -> T {
        let [(_, default), _] = words;
        let Some(given) = self.get(name) else { return default };
        match words.iter().find(|(word, _)| given.eq_ignore_ascii_case(word)) {
            Some((_, value)) => *value,
            None => {
                let known = words.map(|(word, _)| word);
                let problem = format!("must be `{}`, not `{}`", known.join("` or `"), given.escape_debug());
                self.say(name, problem, "");
                default
            }
        }
    }

    /// Names like ours that are none: `TARGET_CLIENT_SECRT` would quietly switch to the managed identity.
    fn near_misses(&mut self) {
        let is_known = |name: &str| SETTINGS.iter().any(|doc| doc.name == name);
        let values = self.values;
        for name in values.keys().filter(|name| !is_known(name)) {
            let missing = SETTINGS.iter().map(|doc| doc.name).filter(|known| !self.is_set(known));
            let Some(known) = suggest::nearest(name, missing) else { continue };
            let close = strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()) <= 2;
            if close && PREFIXES.iter().any(|prefix| known.starts_with(prefix)) {
                self.say(name, "is no setting", &format!("did you mean `{known}`?"));
            }
        }
    }
}
