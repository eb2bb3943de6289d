//! `dev`: the app on this machine, as `func start` runs it: HTTP on port 7071, timers, a queue of its own, and the handler
//! started again when it dies or is built anew. Arguments and the watching; which app is in `folder`, against what in
//! `surroundings`, what is shown in `lines`.

mod folder;
mod lines;
mod stand_ins;
mod surroundings;

use super::Trouble;
use super::place::print;
use crate::app::stop_signals;
use crate::clock::{Clock, SystemClock};
use crate::sim::host::function::Trigger;
use crate::sim::host::{FunctionKeys, GRACE, Handlers, Host, HostSettings, QueueSettings, Status, Timers, Watch};
use crate::sim::host::{Log, StartError};
use anyhow::{Context, anyhow};
use clap::Args;
use folder::{Changes, Folder};
use futures_util::StreamExt;
use lines::Lines;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use surroundings::Surroundings;
use tokio::time::{Instant, sleep};

/// How often it is looked whether the binary has changed and how the handler is.
const LOOK: Duration = Duration::from_millis(500);
/// Until a handler that died three times in half an hour is started again.
const REST: Duration = Duration::from_secs(10);

/// What `dev` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The repository, or the folder of a package: host.json, sync.toml and the functions
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// Where to listen, on 127.0.0.1; 0: a free port. Stand-ins take the three after it
    #[arg(long, short, default_value_t = 7071)]
    port: u16,
    /// Run against two Dataverse stand-ins with sample tables and a table storage in memory, rather than real environments
    #[arg(long)]
    stand_ins: bool,
    /// Settings [default: local.settings.json in the root, if it is there]. Variables of the environment come first
    #[arg(long, value_name = "FILE", conflicts_with = "stand_ins")]
    settings: Option<PathBuf>,
    /// Write the stand-ins' settings there, for other commands: `doctor --settings FILE`, `parked list --settings FILE`, ...
    #[arg(long, value_name = "FILE", requires = "stand_ins")]
    write_settings: Option<PathBuf>,
    /// Ask callers for this key, as Azure does; else nobody is asked for any
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The handler [default: the one of host.json beside it, else this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Runs the app until Ctrl-C.
///
/// # Errors
/// [`Trouble::Wrong`] for settings, mapping, host.json and function.json; [`Trouble::Failed`] for ports that are taken and
/// a handler that does not start.
pub fn dev(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(run(arguments, environment))
}

async fn run(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let clock = Arc::new(SystemClock::default());
    let mut signals = stop_signals().context("cannot listen for signals")?;
    let folder = Folder::open(&arguments.root, arguments.binary.as_deref())?;
    let around = if arguments.stand_ins {
        Surroundings::stand_ins(&folder, environment, arguments.port, clock.now()).await?
    } else {
        Surroundings::real(&folder, environment, arguments.settings.as_deref()).await?
    };
    // as infra/servicebus.bicep sets it
    let lock_duration = Duration::from_secs(120);
    let queue = QueueSettings { start: clock.now(), lock_duration, ..QueueSettings::default() };
    let (queues, _broker, values) = around.with_broker(&folder, queue.clone()).await?;
    let changes = folder.changes(&values);
    let broker = values.get(surroundings::CONNECTION).cloned().unwrap_or_default();
    let lines = Arc::new(Lines::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let (listener, watcher) = (Arc::clone(&lines), Arc::clone(&lines));
    let key = arguments.key.clone();
    let started = Host::start(HostSettings {
        handlers: Handlers::Program { executable: folder.program.clone(), arguments: folder.arguments.clone() },
        environment: values,
        keys: FunctionKeys {
            host: key.iter().cloned().collect(),
            master: key.clone(),
            open: key.is_none(),
            ..FunctionKeys::default()
        },
        http_port: arguments.port,
        queue,
        queues,
        timers: Timers::Scheduled,
        admin: true,
        shield: true,
        log: Log::listening(move |line| listener.line(line)),
        watch: Watch::by(move |invoked| watcher.invoked(invoked)),
        ..HostSettings::new(&folder.app_root)
    });
    let host = tokio::select! {
        host = started => host.map_err(refused)?,
        _ = signals.next() => return Ok(()),
    };
    around.connect(&host)?;
    let registered = async || {
        let clock: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
        if let Some(said) = around.register(clock).await {
            lines.say(&said);
        }
    };
    if let Some(file) = &arguments.write_settings {
        around.write_settings(file, &broker)?;
    }
    // a row that somebody makes at once must raise its event
    registered().await;
    print(&welcome(&host, &around, arguments.key.as_deref()));
    tokio::select! {
        () = watch(&host, &lines, changes, registered) => {}
        _ = signals.next() => {}
    }
    print("stopping; again Ctrl-C to end at once\n");
    tokio::select! {
        () = host.stop(GRACE) => {}
        _ = signals.next() => {}
    }
    Ok(())
}

fn refused(error: StartError) -> Trouble {
    match error {
        StartError::Manifest(_) | StartError::Refused(_) => Trouble::Wrong(error.into()),
        StartError::Port { port, source } => Trouble::Failed(anyhow!(
            "cannot listen on port {port}: {source}; another `dev` or `func`? Choose one with --port"
        )),
        StartError::Instance { .. } => Trouble::Failed(error.into()),
    }
}

/// Stays with the handler: starts it again when it was built anew, when it left, and, after a rest, when it gave up. A
/// changed mapping may need other steps.
async fn watch(host: &Host, lines: &Lines, mut changes: Changes, register: impl AsyncFn()) {
    let (mut down_since, mut dead_letters) = (None::<Instant>, 0);
    loop {
        sleep(LOOK).await;
        let dead: u64 = host.queues().values().map(|queue| queue.counts().dead_lettered).sum();
        if dead > dead_letters {
            lines.say(&format!("{} messages were given up: GET /admin/queues/{{name}} tells", dead - dead_letters));
            dead_letters = dead;
        }
        let changed = changes.look();
        if let Some(what) = &changed {
            lines.say(&format!("{what} has changed: starting the handler again"));
            host.terminate(0, GRACE).await.ok();
            register().await;
        }
        let is_down = matches!(host.status(0), Some(Status::Down | Status::Exited(_)));
        if !is_down {
            down_since = None;
            continue;
        }
        let since = *down_since.get_or_insert_with(Instant::now);
        if changed.is_none() && since.elapsed() < REST {
            continue;
        }
        down_since = None;
        if let Err(why) = host.revive(0).await {
            lines.say(&format!(
                "the handler does not start ({why}); next attempt when it changes, or in {} s",
                REST.as_secs()
            ));
        }
    }
}

/// What is there, and how to call it.
fn welcome(host: &Host, around: &Surroundings, key: Option<&str>) -> String {
    let (url, mut text) = (host.url(), String::from("\nFunctions\n"));
    let code = key.map(|key| format!("?code={key}")).unwrap_or_default();
    for (name, function) in host.functions() {
        let what = match &function.trigger {
            Trigger::Timer { .. } if function.disabled => {
                format!("[timer, disabled] curl -X POST {url}/admin/functions/{name}{code}")
            }
            _ if function.disabled => "disabled".to_owned(),
            Trigger::Http { route, methods, level } => {
                let code = if *level == crate::sim::host::function::AuthLevel::Anonymous { "" } else { &code };
                format!("[{}] {url}/api/{route}{code}", methods.join(","))
            }
            Trigger::Queue { queue, .. } => {
                format!(
                    "[queue {queue}] curl {url}/admin/queues/{queue}/messages{code} -H 'message-id: 1' -d @event.json"
                )
            }
            Trigger::Timer { .. } => format!("[timer] curl -X POST {url}/admin/functions/{name}{code}"),
        };
        text.push_str(&format!("  {name:<10} {what}\n"));
    }
    text.push_str(&around.text);
    text.push_str("\nCtrl-C ends it.\n\n");
    text
}
