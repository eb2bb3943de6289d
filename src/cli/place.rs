//! Where commands for a running system find it: arguments they share, and the way from them to its stores.

use super::Trouble;
use crate::app::compose::Base;
use crate::app::desk::Stores;
use crate::clock::SystemClock;
use crate::config;
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Which system.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The app's folder, which has sync.toml [default: $FUNCTIONS_APP_ROOT_PATH, else the current folder]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Take settings from a local.settings.json too; the environment's come first
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl Place {
    /// Settings, the app's folder, and what reaches the network; for commands that build more than stores.
    ///
    /// # Errors
    /// [`Trouble::Wrong`] if the settings file cannot be read.
    pub fn settle(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Base, BTreeMap<String, String>, PathBuf), Trouble> {
        let mut values = environment.clone();
        if let Some(file) = &self.settings {
            for (name, value) in config::local_settings(file).map_err(|problems| Trouble::Wrong(problems.into()))? {
                values.entry(name).or_insert(value);
            }
        }
        let given = self.root.clone();
        let root = given.or_else(|| values.get("FUNCTIONS_APP_ROOT_PATH").map(PathBuf::from));
        let base = Base::over_network(Arc::new(SystemClock::default()));
        Ok((base, values, root.unwrap_or_else(|| ".".into())))
    }

    /// Runs a command's work on the stores of this system.
    ///
    /// # Errors
    /// [`Trouble::Wrong`] for settings, mapping and connections; else what the work says.
    pub fn with_stores<W>(
        &self,
        environment: &BTreeMap<String, String>,
        work: impl FnOnce(Stores) -> W,
    ) -> Result<(), Trouble>
    where
        W: Future<Output = Result<(), Trouble>>,
    {
        let (base, values, root) = self.settle(environment)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        let stores = Stores::open(&base, &values, &root).map_err(Trouble::Wrong)?;
        runtime.block_on(work(stores))
    }
}

/// Prints to standard output. A closed pipe is no failure of the command.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A text in one line.
pub fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
