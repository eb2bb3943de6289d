//! The parts of a starting host: instances, queues, listeners, timers. Knows nothing of what happens later.

use super::function::{Function, Target, Trigger};
use super::instance::{Instance, Orders, Source};
use super::log::Level;
use super::manifest::Manifest;
use super::process::{Arguments, Launch};
use super::pump::{Pump, Settle};
use super::queue::Queue;
use super::settings::{Handlers, HostSettings, StartError, Timers};
use super::work::Shared;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The instances that the settings ask for, not started yet, and the orders for their supervisors.
///
/// # Errors
/// Settings that contradict each other.
pub fn instances(
    settings: &HostSettings,
    manifest: &Manifest,
) -> Result<(Vec<Arc<Instance>>, Vec<Orders>), StartError> {
    let launch = |program, arguments| Launch {
        program,
        arguments,
        directory: manifest.directory.clone(),
        app_root: settings.app_root.clone(),
        environment: settings.environment.clone(),
        env_clear: settings.env_clear,
        shield: settings.shield,
        stderr_is_error: manifest.stderr_is_error,
    };
    let launch = match &settings.handlers {
        Handlers::Described => {
            let program = Launch::resolve(&settings.app_root, &manifest.executable);
            Some(launch(program, Arguments::Described(manifest.arguments.clone())))
        }
        Handlers::Program { executable, arguments } => {
            Some(launch(executable.clone(), Arguments::Exact(arguments.clone())))
        }
        Handlers::Attached(_) => None,
    };
    let source = |index: usize| match (&launch, &settings.handlers) {
        (Some(launch), _) => Ok(Source::Process(Box::new(launch.clone()))),
        (None, Handlers::Attached(addresses)) if addresses.len() == settings.instances => {
            addresses.get(index).copied().map(Source::Attached).ok_or_else(|| StartError::Refused("no address".into()))
        }
        _ => Err(StartError::Refused("as many addresses as instances are needed".into())),
    };
    if settings.instances == 0 {
        return Err(StartError::Refused("at least one instance is needed".into()));
    }
    let all: Result<Vec<_>, StartError> = (0..settings.instances)
        .map(|i| Ok(Instance::new(i, source(i)?, manifest.initialization_timeout, settings.log.clone())))
        .collect();
    Ok(all?.into_iter().map(|(instance, orders)| (Arc::new(instance), orders)).unzip())
}

/// The queues that functions listen or send to.
#[must_use]
pub fn queues(settings: &HostSettings, manifest: &Manifest) -> BTreeMap<String, Queue> {
    let mut all = settings.queues.clone();
    for function in manifest.functions.values() {
        let listens = match &function.trigger {
            Trigger::Queue { queue, .. } => Some(queue),
            _ => None,
        };
        let sends = function.outputs.iter().filter_map(|o| match &o.target {
            Target::Queue { queue, .. } => Some(queue),
            Target::Http => None,
        });
        for name in listens.into_iter().chain(sends) {
            all.entry(name.clone()).or_insert_with(|| Queue::new(settings.queue.clone()));
        }
    }
    all
}

/// Why an instance did not start: the last errors it logged.
#[must_use]
pub fn not_started(shared: &Shared, instance: usize, why: String) -> StartError {
    let lines = shared.log.lines();
    let errors = lines.iter().filter(|l| l.instance == Some(instance) && l.level == Level::Error);
    let texts: Vec<String> = errors.map(|l| l.text.clone()).collect();
    let tail = texts.get(texts.len().saturating_sub(3)..).unwrap_or_default().join("; ");
    StartError::Instance { instance, last_error: if tail.is_empty() { why } else { tail } }
}

/// Starts the listeners of one instance; the switch drains them.
#[must_use]
pub fn listen(shared: &Arc<Shared>, index: usize) -> (JoinSet<()>, watch::Sender<bool>) {
    let (mut tasks, drain) = (JoinSet::new(), watch::Sender::new(false));
    let Some(instance) = shared.instances.get(index) else { return (tasks, drain) };
    for function in shared.manifest.functions.values().filter(|f| !f.disabled) {
        let Trigger::Queue { queue, .. } = &function.trigger else { continue };
        let Some(queue) = shared.queues.get(queue).cloned() else { continue };
        let pump = Pump {
            queue,
            calls_max: shared.manifest.concurrent_calls_max,
            renewal_max: shared.manifest.lock_renewal_max,
        };
        tasks.spawn(listener(pump, Arc::clone(shared), Arc::clone(instance), function.clone(), drain.subscribe()));
    }
    (tasks, drain)
}

/// A listener begins when its handler is ready first, and ends when the host behind it is down.
async fn listener(
    pump: Pump,
    shared: Arc<Shared>,
    instance: Arc<Instance>,
    function: Function,
    draining: watch::Receiver<bool>,
) {
    if instance.ready().await.is_err() {
        return;
    }
    let function = Arc::new(function);
    let down = Arc::clone(&instance);
    let all = (shared, instance, function);
    let many = matches!(all.2.trigger, Trigger::Queue { many: true, .. });
    let run = async {
        if many {
            let each = |received| -> BoxFuture<'static, Settle> {
                let (shared, instance, function) = all.clone();
                Box::pin(async move { shared.messages(&function, &instance, received).await })
            };
            pump.run_batches(all.0.manifest.batch, draining.clone(), each).await;
        } else {
            let each = |received| -> BoxFuture<'static, Settle> {
                let (shared, instance, function) = all.clone();
                Box::pin(async move { shared.message(&function, &instance, received).await })
            };
            pump.run(draining.clone(), each).await;
        }
    };
    tokio::select! {
        () = run => {}
        () = down.down(), if !*draining.borrow() => {}
    }
}

/// Starts the timers, unless they fire on demand only.
pub fn timers(shared: &Arc<Shared>, when: Timers, tasks: &mut JoinSet<()>) {
    if when == Timers::OnDemand {
        return;
    }
    for function in shared.manifest.functions.values().filter(|f| !f.disabled) {
        let Trigger::Timer { schedule } = function.trigger.clone() else { continue };
        let (shared, name) = (Arc::clone(shared), function.name.clone());
        tasks.spawn(async move {
            loop {
                let now = shared.now();
                let wait = match when {
                    Timers::Every(period) => Some(period),
                    _ => schedule.after(now).and_then(|next| (next - now).to_std().ok()),
                };
                let Some(wait) = wait else { return };
                tokio::time::sleep(wait).await;
                if let Err(why) = shared.tick(&name, false).await {
                    shared.log.host(None, Level::Warning, format!("timer '{name}' did not fire: {why}"));
                }
            }
        });
    }
}
