//! How the host stand-in is started. Knows no behaviour.

use super::front::FunctionKeys;
use super::log::Log;
use super::manifest::ManifestError;
use super::queue::{Queue, QueueSettings};
use super::told::Watch;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the handlers come from.
#[derive(Clone, Debug)]
pub enum Handlers {
    /// The process that host.json names.
    Described,
    /// Another program, with exactly these arguments.
    Program {
        /// Its path.
        executable: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Servers that run already, one per instance (for tests without processes).
    Attached(Vec<SocketAddr>),
}

/// When timers fire by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// Never; only on demand.
    OnDemand,
    /// By their schedules.
    Scheduled,
    /// All of them, this often: a demonstration does not wait a minute.
    Every(Duration),
}

/// How the host is started.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The folder with host.json and the functions' folders.
    pub app_root: PathBuf,
    /// Where the handlers come from.
    pub handlers: Handlers,
    /// How many instances; each has its own handler and its own listeners.
    pub instances: usize,
    /// Application settings: `%NAME%` in the files, and the handlers' environment.
    pub environment: BTreeMap<String, String>,
    /// Whether handlers inherit nothing else.
    pub env_clear: bool,
    /// Who may call.
    pub keys: FunctionKeys,
    /// Port of the HTTP side; 0 = a free one.
    pub http_port: u16,
    /// How queues behave; its `start` is the host's clock, too.
    pub queue: QueueSettings,
    /// Instead of `extensions.serviceBus.maxConcurrentCalls` and `maxMessageBatchSize`: messages under way at the same time.
    pub concurrent_calls_max: Option<usize>,
    /// Instead of host.json's `functionTimeout`.
    pub function_timeout: Option<Duration>,
    /// When timers fire.
    pub timers: Timers,
    /// Where lines go.
    pub log: Log,
    /// Queues that are there already, by name; the others are made.
    pub queues: BTreeMap<String, Queue>,
    /// Whether what is below `/admin/` is served (see [`super::admin`]).
    pub admin: bool,
    /// Whether handlers are out of reach of the terminal's Ctrl-C, so that only the host ends them (Unix).
    pub shield: bool,
    /// Who is told of each invocation.
    pub watch: Watch,
}

impl HostSettings {
    /// One instance of what stands in this folder, nothing inherited, timers on demand.
    #[must_use]
    pub fn new(app_root: impl Into<PathBuf>) -> Self {
        Self {
            app_root: app_root.into(),
            handlers: Handlers::Described,
            instances: 1,
            environment: BTreeMap::new(),
            env_clear: true,
            keys: FunctionKeys::default(),
            http_port: 0,
            queue: QueueSettings::default(),
            concurrent_calls_max: None,
            function_timeout: None,
            timers: Timers::OnDemand,
            log: Log::default(),
            queues: BTreeMap::new(),
            admin: false,
            shield: false,
            watch: Watch::default(),
        }
    }
}

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// host.json or its folder.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A function with a wrong route, or settings that contradict each other.
    #[error("{0}")]
    Refused(String),
    /// The HTTP port.
    #[error("cannot listen on port {port}: {source}")]
    Port {
        /// Which.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A handler never became ready, in three attempts.
    #[error("instance {instance} did not start: {last_error}")]
    Instance {
        /// Which.
        instance: usize,
        /// The last error in its log.
        last_error: String,
    },
}
