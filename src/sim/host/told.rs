//! Telling somebody of each invocation: which function, how long, and what it said. Knows no handler.

use super::invoke::Ending;
use bytes::Bytes;
use http::StatusCode;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An invocation that ended.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// Which function.
    pub function: String,
    /// From the request to the handler to its answer, waiting for a handler included.
    pub took: Duration,
    /// What came of it.
    pub said: Said,
}

/// What came of an invocation.
#[derive(Clone, Debug)]
pub enum Said {
    /// A request was passed on: status and body of the answer.
    Answer(StatusCode, Bytes),
    /// It succeeded, with these `Logs`.
    Success(Vec<String>),
    /// It failed.
    Failure(String),
}

impl Said {
    pub(super) fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Success(outcome) => Self::Success(outcome.logs.clone()),
            Ending::Failure(why) => Self::Failure(why.clone()),
            Ending::TimedOut => Self::Failure("functionTimeout was over; the handler was killed".to_owned()),
            Ending::Lost => Self::Failure("the instance is gone".to_owned()),
        }
    }
}

type Told = Arc<dyn Fn(&Invoked) + Send + Sync>;

/// Who is told; nobody by default. Clones tell the same.
#[derive(Clone, Default)]
pub struct Watch(Option<Told>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

impl Watch {
    /// Tells this one, which must not block.
    #[must_use]
    pub fn by(told: impl Fn(&Invoked) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(super) fn tell(&self, function: &str, took: Duration, said: Said) {
        if let Some(told) = &self.0 {
            told(&Invoked { function: function.to_owned(), took, said });
        }
    }
}
