//! What the host and its handlers say, by line and level: kept in bounds, and handed to whoever listens.
//! Knows no process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Most lines kept; older ones go.
const LINES_MAX: usize = 20_000;
/// Longest line kept, in bytes.
const LINE_BYTES_MAX: usize = 32 * 1024;

/// Levels as Functions shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything on stdout.
    Information,
    /// stderr with "warn" in it.
    Warning,
    /// Other stderr, failed invocations.
    Error,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The host itself.
    Host,
    /// A handler, `Host.Function.Console`.
    Console,
    /// A handler's line with the prefix `LanguageWorkerConsoleLog`, or `azfuncjsonlog:`: not shown to users.
    System,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which instance, counted from 0; `None` = the host as a whole.
    pub instance: Option<usize>,
    /// Who said it.
    pub source: Source,
    /// How grave.
    pub level: Level,
    /// What.
    pub text: String,
}

type Listener = Arc<dyn Fn(&Line) + Send + Sync>;

/// The log. Clones share it.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<Line>>>,
    listener: Option<Listener>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// A log that also tells each line to a listener, which must not block.
    #[must_use]
    pub fn listening(listener: impl Fn(&Line) + Send + Sync + 'static) -> Self {
        Self { lines: Arc::default(), listener: Some(Arc::new(listener)) }
    }

    /// The kept lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether a kept line contains this text.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|l| l.text.contains(text))
    }

    /// Adds a line of the host's own.
    pub fn host(&self, instance: Option<usize>, level: Level, text: impl Into<String>) {
        self.add(Line { instance, source: Source::Host, level, text: text.into() });
    }

    /// Adds a line that a handler printed.
    pub fn console(&self, instance: usize, stderr: bool, errors_only: bool, text: &str) {
        let (source, level, text) = classify(stderr, errors_only, text);
        self.add(Line { instance: Some(instance), source, level, text: text.to_owned() });
    }

    fn add(&self, mut line: Line) {
        if line.text.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX).rev().find(|i| line.text.is_char_boundary(*i)).unwrap_or(0);
            line.text.truncate(end);
        }
        if let Some(listener) = &self.listener {
            listener(&line);
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The host's rule for handlers' output. `errors_only` = `useStdErrorStreamForErrorsOnly`.
fn classify(stderr: bool, errors_only: bool, text: &str) -> (Source, Level, &str) {
    for prefix in ["LanguageWorkerConsoleLog", "azfuncjsonlog:"] {
        if let (Some(start), Some(rest)) = (text.get(..prefix.len()), text.get(prefix.len()..))
            && start.eq_ignore_ascii_case(prefix)
        {
            return (Source::System, Level::Information, rest);
        }
    }
    let lower = text.to_ascii_lowercase();
    let level = if !stderr {
        Level::Information
    } else if lower.contains("warn") {
        Level::Warning
    } else if errors_only || ["error", "fail", "severe"].iter().any(|w| lower.contains(w)) {
        Level::Error
    } else {
        Level::Information
    };
    (Source::Console, level, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_gets_the_levels_of_the_host() {
        let check = |stderr, errors_only, text, source, level, shown: &str| {
            assert_eq!(classify(stderr, errors_only, text), (source, level, shown));
        };
        check(false, true, "error: x", Source::Console, Level::Information, "error: x");
        check(true, true, "hello", Source::Console, Level::Error, "hello");
        check(true, true, "a WARNing", Source::Console, Level::Warning, "a WARNing");
        check(true, false, "hello", Source::Console, Level::Information, "hello");
        check(true, false, "it failed", Source::Console, Level::Error, "it failed");
        check(false, true, "languageworkerconsolelog x", Source::System, Level::Information, " x");
    }
}
