//! What can be seen while it runs: a bar in a terminal, a line now and then in a pipe. Knows nothing of what it shows.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Live progress.
#[derive(Debug)]
pub(super) enum Progress {
    /// In a terminal.
    Bar(ProgressBar),
    /// In a pipe or a file.
    Lines,
}

/// The state at one moment.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) text: String,
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        if !terminal {
            return Self::Lines;
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stdout());
        // the template is ours; with a wrong one the bar looks plain
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed:>4} {wide_bar:.cyan/blue} {pos:>5} of {len} events\n     {wide_msg}")
        {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// How often it is worth showing something.
    pub(super) fn every(&self) -> Duration {
        match self {
            Self::Bar(_) => Duration::from_millis(150),
            Self::Lines => Duration::from_secs(2),
        }
    }

    /// Says what happens now, for good.
    pub(super) fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines => line(text),
        }
    }

    /// Shows where it stands.
    pub(super) fn show(&self, shown: Shown) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(shown.total);
                bar.set_position(shown.done);
                bar.set_message(shown.text);
            }
            Self::Lines => line(&format!("  {} of {} events, {}", shown.done, shown.total, shown.text)),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(text: &str) {
    // whoever closed the pipe does not want to know
    let _ = writeln!(std::io::stdout(), "{text}");
}
