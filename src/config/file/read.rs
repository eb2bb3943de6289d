//! Typed reading of a TOML document with places: every reader reports what is wrong and goes on, so that all mistakes
//! come out at once. Knows nothing of what the keys mean.

use crate::config::problem::{ConfigProblems, Problem};
use crate::config::suggest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest table or column name. Dataverse allows 128 characters for columns and fewer for tables.
const NAME_CHARS_MAX: usize = 128;

/// The problems found so far in one file.
#[derive(Debug)]
pub struct Report<'t> {
    file: &'t str,
    text: &'t str,
    found: ConfigProblems,
}

impl<'t> Report<'t> {
    /// An empty report for a file with this name and text.
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, found: ConfigProblems::default() }
    }

    /// Notes a problem at a byte offset.
    pub fn say(&mut self, at: usize, problem: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        self.found.problems.push(Problem::in_file(self.file, self.text, at, problem, help));
    }

    /// The line of a byte offset, for messages that point to a second place.
    pub fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// `value` if nothing was found.
    pub fn or<T>(self, value: T) -> Result<T, ConfigProblems> {
        self.found.or(value)
    }
}

/// A TOML table and where it stands.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Dotted path, empty for the document.
    pub path: String,
    /// Byte offset of its header or key.
    pub at: usize,
    entries: &'a DeTable<'a>,
}

/// One key of a section with its value.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// Dotted path with the key.
    pub path: String,
    /// The key.
    pub name: &'a str,
    /// Byte offset of the key (of the value, for list elements).
    pub at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub fn document(root: &'a Spanned<DeTable<'a>>) -> Self {
        Self { path: String::new(), at: root.span().start, entries: root.get_ref() }
    }

    /// Reports every key that is not known here.
    pub fn only(&self, known: &[&str], report: &mut Report<'_>) {
        for field in self.fields().filter(|field| !known.contains(&field.name)) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            report.say(field.at, format!("unknown key `{}`{place}", field.name), suggest::help(field.name, known));
        }
    }

    /// All keys, sorted by name.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        self.entries.iter().map(|(key, value)| Field {
            path: join(&self.path, key.get_ref()),
            name: key.get_ref(),
            at: key.span().start,
            value,
        })
    }

    /// One key.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|field| field.name == name)
    }

    /// A key that holds a table.
    pub fn section(&self, name: &str, report: &mut Report<'_>) -> Option<Section<'a>> {
        self.get(name).and_then(|field| field.section(report))
    }
}

impl<'a> Field<'a> {
    /// Byte offset of the value.
    pub fn value_at(&self) -> usize {
        self.value.span().start
    }

    /// The value, whatever it is.
    pub fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Reports that the value is of the wrong type.
    pub fn wrong(&self, expected: &str, report: &mut Report<'_>) {
        let found = self.value().type_str();
        report.say(self.value_at(), format!("`{}` must be {expected}, not {found}", self.path), "");
    }

    /// A table.
    pub fn section(&self, report: &mut Report<'_>) -> Option<Section<'a>> {
        match self.value() {
            DeValue::Table(entries) => Some(Section { path: self.path.clone(), at: self.at, entries }),
            _ => {
                self.wrong("a table", report);
                None
            }
        }
    }

    /// A list; its elements are fields without names of their own.
    pub fn list(&self, expected: &str, report: &mut Report<'_>) -> Option<Vec<Field<'a>>> {
        let DeValue::Array(items) = self.value() else {
            self.wrong(expected, report);
            return None;
        };
        let field = |value: &'a Spanned<DeValue<'a>>| Field {
            path: self.path.clone(),
            name: self.name,
            at: value.span().start,
            value,
        };
        Some(items.iter().map(field).collect())
    }

    /// How many elements the list has; 0 for everything else.
    pub fn len(&self) -> usize {
        self.value().as_array().map_or(0, |items| items.len())
    }

    /// Text.
    pub fn text(&self, report: &mut Report<'_>) -> Option<&'a str> {
        let text = self.value().as_str();
        if text.is_none() {
            self.wrong("text", report);
        }
        text
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)], report: &mut Report<'_>) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(given) = self.value().as_str() else {
            self.wrong(&format!("one of \"{}\"", known.join("\", \"")), report);
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value);
        if found.is_none() {
            let help = suggest::help(given, &known);
            report.say(self.value_at(), format!("`{}` can't be \"{given}\"", self.path), help);
        }
        found
    }

    /// A list of logical names without repetitions, each with its place.
    pub fn logical_names(&self, report: &mut Report<'_>) -> Option<Vec<(String, usize)>> {
        let mut names: Vec<(String, usize)> = Vec::new();
        for item in self.list("a list of column names", report)? {
            let Some(name) = item.text(report).and_then(|text| logical_name(text, item.at, report)) else { continue };
            if names.iter().any(|(known, _)| *known == name) {
                report.say(item.at, format!("`{name}` stands twice in `{}`", self.path), "remove one");
            } else {
                names.push((name, item.at));
            }
        }
        Some(names)
    }
}

/// Checks a table or column name. One that is right but for its case is reported and then used in lower case.
pub fn logical_name(text: &str, at: usize, report: &mut Report<'_>) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let valid = lower.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && lower.chars().all(word)
        && lower.len() <= NAME_CHARS_MAX;
    if !valid {
        let problem = format!("`{}` is not a logical name", text.escape_debug());
        report.say(at, problem, "logical names are letters, digits and `_`, at most 128, and begin with a letter");
        return None;
    }
    if lower != text {
        report.say(at, format!("`{text}` is not a logical name"), format!("logical names are lower case: `{lower}`"));
    }
    Some(lower)
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
