//! The composition root: settings become parts, parts become a running handler. Decides nothing else.

pub mod compose;
pub mod desk;
pub mod examine;
pub mod reconciling;
pub mod registering;
#[cfg(feature = "sim")]
pub mod trial;

use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::decode::DecodeLimits;
use crate::functions;
pub use crate::functions::Running;
use crate::host::dispatch::Dispatch;
use crate::host::drain::DrainLimits;
pub use crate::host::drain::End;
use crate::host::server;
use crate::secret::Secret;
use crate::sync::HandleEvent;
use futures_util::{Stream, stream};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The port when the host gives none (CONTRACT `serve`).
pub const PORT_DEFAULT: u16 = 8080;

/// What is behind the functions.
pub type Engine = Arc<dyn HandleEvent>;

/// What the way in needs to know.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Loopback port; the host gives it in `FUNCTIONS_CUSTOMHANDLER_PORT`. 0: a free one.
    pub port: u16,
    /// `WEBHOOK_SECRETS`; empty: the function key alone guards the webhook.
    pub webhook_secrets: Vec<Secret>,
    /// What is decoded at most.
    pub decode: DecodeLimits,
    /// How serving ends.
    pub drain: DrainLimits,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            webhook_secrets: Vec::new(),
            decode: DecodeLimits::default(),
            drain: DrainLimits::default(),
        }
    }
}

impl From<&Settings> for HostSettings {
    fn from(settings: &Settings) -> Self {
        Self { port: settings.handler.port, webhook_secrets: settings.webhook.secrets.clone(), ..Self::default() }
    }
}

/// The handler could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The port is taken. The host looks for the words "address already in use".
    #[error("cannot listen on 127.0.0.1:{port}: {source}; stop the other process, or set FUNCTIONS_CUSTOMHANDLER_PORT")]
    Listen {
        /// Which.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// Accepting connections or waiting for signals failed.
    #[error("the server stopped: {0}")]
    Serve(#[from] std::io::Error),
}

/// A handler that holds its port and does not answer yet. The port comes first: the host asks every 25 ms whether we
/// are there, and connections wait in the listener until [`App::serve`].
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    settings: HostSettings,
}

impl App {
    /// Takes the port.
    ///
    /// # Errors
    /// [`AppError::Listen`].
    pub async fn bind(settings: HostSettings) -> Result<Self, AppError> {
        let port = settings.port;
        let listener = server::bind(port).await.map_err(|source| AppError::Listen { port, source })?;
        Ok(Self { listener, settings })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> Result<SocketAddr, AppError> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until told to stop by `signals` (see [`stop_signals`]).
    ///
    /// # Errors
    /// [`AppError::Serve`].
    pub async fn serve<S>(
        self,
        engine: &Engine,
        running: Option<Running>,
        clock: Arc<dyn Clock>,
        signals: S,
    ) -> Result<End, AppError>
    where
        S: Stream<Item = ()> + Send + Unpin,
    {
        let Self { listener, settings } = self;
        let functions = functions::all(engine, running, settings.webhook_secrets, settings.decode);
        Ok(server::serve(listener, Dispatch::new(functions, clock), settings.drain, signals).await?)
    }
}

/// SIGTERM and SIGINT, as they come.
///
/// # Errors
/// When the system refuses to report them.
#[cfg(unix)]
pub fn stop_signals() -> std::io::Result<impl Stream<Item = ()> + Send + Unpin> {
    use tokio::signal::unix::{SignalKind, signal};
    let both = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(stream::unfold(both, |(mut terminate, mut interrupt)| async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Some(((), (terminate, interrupt)))
    })))
}

/// Ctrl-C, as it comes.
///
/// # Errors
/// None on this system.
#[cfg(not(unix))]
pub fn stop_signals() -> std::io::Result<impl Stream<Item = ()> + Send + Unpin> {
    Ok(Box::pin(stream::unfold((), |()| async {
        if tokio::signal::ctrl_c().await.is_err() {
            return None;
        }
        Some(((), ()))
    })))
}

/// Logs panics with their place and without their text, which may hold a row's values; on stdout like everything else.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::process::Command;

    #[tokio::test]
    async fn both_signals_are_heard_each_time() {
        let mut signals = stop_signals().unwrap();
        for signal in ["-TERM", "-INT", "-TERM"] {
            let own = std::process::id().to_string();
            assert!(Command::new("kill").args([signal, &own]).status().unwrap().success());
            assert_eq!(signals.next().await, Some(()));
        }
    }
}
