//! What is wrong with settings and files, all of it in one report. Knows no setting and no key by name.

use std::fmt;

/// Where a problem was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A setting, by its name in the environment.
    Setting(String),
    /// A place in a file; line and column count from 1, the column in characters.
    File {
        /// The file as the user names it.
        file: String,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(name) => write!(f, "{name}"),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// One problem: where, what, and what to do about it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, a lower-case fragment.
    pub problem: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem of a setting.
    #[must_use]
    pub fn setting(name: &str, problem: impl Into<String>, help: Option<String>) -> Self {
        Self { place: Place::Setting(name.to_owned()), problem: problem.into(), help }
    }

    /// A problem at a byte offset of a file's text.
    #[must_use]
    pub fn in_file(file: &str, text: &str, offset: usize, problem: impl Into<String>, help: Option<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { place: Place::File { file: file.to_owned(), line, column }, problem: problem.into(), help }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        match &self.help {
            Some(help) => write!(f, "\n    {help}"),
            None => Ok(()),
        }
    }
}

/// All problems of a start, in the order of their places. Never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct ConfigProblems {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl ConfigProblems {
    /// Adds another report.
    pub fn extend(&mut self, other: Self) {
        self.problems.extend(other.problems);
    }

    /// `value` if there is no problem, else the sorted report.
    ///
    /// # Errors
    /// The report itself, when it is not empty.
    pub fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(self)
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => write!(f, "no problems"),
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} problems", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        for (text, offset, line, column) in
            [("abc", 0, 1, 1), ("abc\nd", 4, 2, 1), ("é=1", 2, 1, 2), ("a\n\nbc", 4, 3, 2), ("x", 99, 1, 2)]
        {
            let place = Place::File { file: "f".to_owned(), line, column };
            assert_eq!(Problem::in_file("f", text, offset, "p", None).place, place, "{text:?} {offset}");
        }
    }
}
