//! `serve`: the custom handler. Settings first (milliseconds, no network), then the port, then the parts behind it.

use super::Trouble;
use crate::app::compose::{self, Base, Records};
use crate::app::{App, End, Engine, HostSettings, Running, log_panics, stop_signals};
use crate::clock::{Clock, SystemClock};
use crate::config::settings::LoggingSettings;
use crate::config::{self, Settings};
use crate::telemetry::{self, LogFormat};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

/// Runs the handler until it is told to stop.
///
/// # Errors
/// [`Trouble::Wrong`] for settings and mapping, all problems at once; [`Trouble::Failed`] if the port is taken.
pub fn serve(environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let logging = Settings::logging_only(environment);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let end = runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        start_logging(&logging, Arc::clone(&clock))?;
        log_panics();
        let settings = Settings::from_map(environment).map_err(|problems| Trouble::Wrong(problems.into()))?;
        let signals = stop_signals().context("cannot listen for signals")?;
        let app = App::bind(HostSettings::from(&settings)).await?;
        let mapping = config::mapping(&settings.mapping_file).map_err(|problems| Trouble::Wrong(problems.into()))?;
        settings.check_with(&mapping).map_err(|problems| Trouble::Wrong(problems.into()))?;
        let base = Base::over_network(Arc::clone(&clock));
        let records = Records::open(&base, &settings).map_err(Trouble::Wrong)?;
        let engine = Arc::new(compose::engine(&base, &settings, &records, mapping).map_err(Trouble::Wrong)?);
        let sweeper = compose::sweeper(&base, &settings, &records, Arc::clone(&engine)).map_err(Trouble::Wrong)?;
        let reconciler = compose::reconciler(&base, &records, &engine).map(Arc::new);
        let flows = Arc::new(records.flows(&base, engine.parts().mapping.limits.clock_skew));
        let running = Running { engine: Arc::clone(&engine), sweeper: Arc::new(sweeper), reconciler, flows };
        let engine: Engine = engine;
        tracing::info!(address = %app.address()?, version = env!("CARGO_PKG_VERSION"), "serving");
        Ok::<End, Trouble>(app.serve(&engine, Some(running), clock, signals).await?)
    })?;
    // what still runs was given its time
    runtime.shutdown_background();
    match end {
        End::Idle => Ok(()),
        End::Grace => {
            tracing::warn!("the time to finish was over");
            Ok(())
        }
        End::Twice => Err(Trouble::Failed(anyhow!("told to stop twice; what was under way was cut off"))),
    }
}

fn start_logging(logging: &LoggingSettings, clock: Arc<dyn Clock>) -> Result<(), Trouble> {
    let by_output = if std::io::stdout().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    Ok(telemetry::start(logging.format.unwrap_or(by_output), &logging.filter, clock)?)
}
