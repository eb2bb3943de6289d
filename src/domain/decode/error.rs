//! Why bytes were not understood: where (a JSON path) and what was expected. Never carries a value of the body.

use super::json::Json;

/// The bytes are no event that we understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct DecodeError {
    /// Where: a JSON path (`$.InputParameters[0].value.Attributes[3].value.Value`), or `header <name>`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes are not JSON in UTF-8.
    #[error("not JSON (line {line}, column {column})")]
    NotJson {
        /// From 1; 0 if unknown.
        line: usize,
        /// From 1; 0 if unknown.
        column: usize,
    },
    /// JSON, but none of the shapes we know.
    #[error("unknown shape: {0}")]
    UnknownShape(String),
    /// There is nothing that identifies the event: it must not be processed unprotected.
    #[error("event without identity: {0}")]
    MissingIdentity(&'static str),
    /// One value is not what it must be.
    #[error("bad value: {0}")]
    BadValue(String),
    /// Too many bytes.
    #[error("{what} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The body, a text, ...
        what: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// Nested too deeply.
    #[error("nested deeper than {depth_max} levels")]
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// Too many of something.
    #[error("more than {count_max} {what}")]
    TooMany {
        /// Columns, events, parties, ...
        what: &'static str,
        /// The limit.
        count_max: usize,
    },
    /// Not a format that we read.
    #[error("unsupported media type: {0}")]
    UnsupportedMediaType(String),
}

/// How HTTP refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400.
    NotUnderstood,
    /// 413: the body as a whole, so that a smaller one may pass.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
}

impl DecodeError {
    /// An error about a header.
    pub(super) fn header(name: &str, problem: Problem) -> Self {
        Self { path: format!("header {name}"), problem }
    }

    /// An error about the body as a whole.
    pub(super) fn body(problem: Problem) -> Self {
        Self { path: "$".to_owned(), problem }
    }

    /// How HTTP refuses it; on the queue all of them are parked.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self.problem {
            Problem::NotJson { .. }
            | Problem::UnknownShape(_)
            | Problem::MissingIdentity(_)
            | Problem::BadValue(_)
            | Problem::TooDeep { .. }
            | Problem::TooMany { .. } => Refusal::NotUnderstood,
            Problem::TooLarge { .. } => Refusal::TooLarge,
            Problem::UnsupportedMediaType(_) => Refusal::UnsupportedMediaType,
        }
    }
}

/// An error inside a parsed document: it points at the value, and the path is looked up only when somebody asks
/// ([`super::json::path_of`]), so that decoding carries no paths around.
#[derive(Clone, Debug)]
pub(super) struct Fault<'v> {
    /// The value that is wrong.
    pub(super) at: &'v Json,
    /// What is wrong with it.
    pub(super) problem: Problem,
}

impl<'v> Fault<'v> {
    /// Some problem at a value.
    pub(super) fn new(at: &'v Json, problem: Problem) -> Self {
        Self { at, problem }
    }

    /// A value that is not what it must be.
    pub(super) fn bad(at: &'v Json, what: impl Into<String>) -> Self {
        Self::new(at, Problem::BadValue(what.into()))
    }

    /// A shape that we don't know.
    pub(super) fn shape(at: &'v Json, what: impl Into<String>) -> Self {
        Self::new(at, Problem::UnknownShape(what.into()))
    }

    /// The same with the path of the value. `base` is the path of `root` itself.
    pub(super) fn locate(self, root: &Json, base: &str) -> DecodeError {
        let path = super::json::path_of(root, self.at).unwrap_or_default();
        DecodeError { path: format!("{base}{path}"), problem: self.problem }
    }
}
