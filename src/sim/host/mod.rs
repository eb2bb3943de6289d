//! A stand-in for the Azure Functions host: it reads host.json and the functions' folders, keeps handler processes
//! alive, invokes them by its JSON protocol or passes requests on, judges their answers, and has queues and timers.
//! Knows nothing of what the functions do.
//!
//! It behaves as host 4.1037 does by its source; what differs:
//! * queues are local ([`Queue`]), without sessions and prefetch;
//! * `http.routes`, named configuration profiles and route constraints are refused, not imitated;
//! * `arguments` of host.json are split at white space after joining (quotes are not understood);
//! * requests and answers are buffered, not streamed; clients appear as 127.0.0.1;
//! * a function whose folder is wrong is skipped with a line in the log, as in the host ([`Host::skipped`]).
//!
//! Two ways for an instance to die, because they differ for messages: [`Host::crash`] kills the handler, the host
//! notices, fails what was under way (so messages come back at once) and counts the exit; [`Host::kill`] takes the
//! whole instance away, so nobody abandons anything: locks run out, and a fresh instance takes its place.

pub mod admin;
pub mod broker;
pub mod envelope;
pub mod front;
pub mod function;
pub mod identity;
pub mod instance;
pub mod invoke;
pub mod log;
pub mod manifest;
pub mod message;
pub mod pass;
pub mod process;
pub mod pump;
pub mod queue;
pub mod route;
pub mod schedule;
mod settings;
mod start;
#[cfg(test)]
mod tests;
mod told;
pub mod verdict;
mod work;

pub use broker::{BrokerSettings, KnownQueues, announce_broker, serve_broker};
pub use front::FunctionKeys;
pub use identity::{Identity, IdentitySettings};
pub use instance::Status;
pub use invoke::Ending;
pub use log::{Level, Line, Log};
pub use message::{Message, NewMessage};
pub use queue::{DeadLetter, Queue, QueueCounts, QueueSettings};
pub use settings::{Handlers, HostSettings, StartError, Timers};
pub use told::{Invoked, Said, Watch};
pub use work::Counts;

use super::http::{Reply, Server, serve};
use instance::{Death, Instance};
use invoke::Client;
use manifest::Manifest;
use process::Signal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use work::Shared;

/// How long a platform waits between SIGTERM and SIGKILL unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

/// The running host. Everything, handler processes included, ends when it is dropped.
#[derive(Debug)]
pub struct Host {
    shared: Arc<Shared>,
    front: Server,
    /// The listeners of each instance, and the switch that drains them.
    listeners: Mutex<Vec<(JoinSet<()>, watch::Sender<bool>)>>,
    /// Supervisors and timers.
    _tasks: JoinSet<()>,
}

impl Host {
    /// Starts the host and waits until every instance is ready.
    ///
    /// # Errors
    /// What the host refuses, and handlers that do not start.
    pub async fn start(settings: HostSettings) -> Result<Self, StartError> {
        let manifest = manifest::read(&settings.app_root, &settings.environment)?;
        for line in &manifest.skipped {
            settings.log.host(None, Level::Error, line.clone());
        }
        let routes =
            front::Routes::new(&manifest.route_prefix, manifest.functions.values()).map_err(StartError::Refused)?;
        let mut tasks = JoinSet::new();
        let (instances, orders) = start::instances(&settings, &manifest)?;
        for (instance, orders) in instances.iter().cloned().zip(orders) {
            tasks.spawn(async move { instance.supervise(orders).await });
        }
        let shared = Arc::new(Shared {
            routes,
            keys: settings.keys.clone(),
            queues: start::queues(&settings, &manifest),
            instances,
            timeout: settings.function_timeout.or(manifest.function_timeout),
            log: settings.log.clone(),
            watch: settings.watch.clone(),
            clock: (settings.queue.start, Instant::now()),
            client: Client::default(),
            sender: crate::sim::http::Sender::default(),
            counts: Mutex::default(),
            turn: std::sync::atomic::AtomicUsize::new(0),
            manifest: match settings.concurrent_calls_max {
                None => manifest,
                Some(most) => {
                    let batch = pump::Batch { most, least: manifest.batch.least.min(most), ..manifest.batch };
                    Manifest { concurrent_calls_max: most, batch, ..manifest }
                }
            },
        });
        let (server, admin) = (Arc::clone(&shared), settings.admin);
        let front = serve(settings.http_port, move |request| {
            let shared = Arc::clone(&server);
            async move {
                let below_admin = admin && admin::is_below(request.uri().path());
                Reply::Answer(match below_admin {
                    true => admin::answer(&shared, &request).await,
                    false => shared.request(request).await,
                })
            }
        })
        .await
        .map_err(|source| StartError::Port { port: settings.http_port, source })?;
        for instance in &shared.instances {
            if let Err(why) = instance.ready().await {
                return Err(start::not_started(&shared, instance.index, why));
            }
        }
        let listeners = (0..shared.instances.len()).map(|index| start::listen(&shared, index)).collect();
        start::timers(&shared, settings.timers, &mut tasks);
        Ok(Self { shared, front, listeners: Mutex::new(listeners), _tasks: tasks })
    }

    /// The functions that it read, by name.
    #[must_use]
    pub fn functions(&self) -> &BTreeMap<String, function::Function> {
        &self.shared.manifest.functions
    }

    /// `http://127.0.0.1:port` of the HTTP side.
    #[must_use]
    pub fn url(&self) -> String {
        self.front.url()
    }

    /// A queue by its name, if a function listens or sends to it.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<Queue> {
        self.shared.queues.get(name).cloned()
    }

    /// The queues by name.
    #[must_use]
    pub fn queues(&self) -> &BTreeMap<String, Queue> {
        &self.shared.queues
    }

    /// Fires a timer now, on the first instance that is up, and waits for its end.
    ///
    /// # Errors
    /// No such timer, or no instance.
    pub async fn fire(&self, timer: &str) -> Result<Ending, String> {
        self.shared.tick(timer, false).await
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Functions that were skipped, and why.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.shared.manifest.skipped
    }

    /// How an instance is doing; `None` if there is no such instance.
    #[must_use]
    pub fn status(&self, instance: usize) -> Option<Status> {
        self.shared.instances.get(instance).map(|i| i.status())
    }

    /// How many instances there are.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        self.shared.instances.len()
    }

    /// The process id of an instance's handler.
    #[must_use]
    pub fn pid(&self, instance: usize) -> Option<u32> {
        self.shared.instances.get(instance)?.pid()
    }

    /// How often handlers died or were replaced, over all instances.
    #[must_use]
    pub fn deaths(&self) -> u64 {
        self.shared.instances.iter().map(|i| i.death_count()).sum()
    }

    /// Waits until an instance can be called.
    ///
    /// # Errors
    /// It is down, or takes too long.
    pub async fn ready(&self, instance: usize) -> Result<(), String> {
        self.get(instance)?.ready().await.map(|_| ())
    }

    /// Takes a whole instance away without warning (SIGKILL) and starts a fresh one in its place. Its messages stay
    /// locked until their locks run out; its HTTP clients get 502. Returns when the old process is gone.
    ///
    /// # Errors
    /// No such instance.
    pub async fn kill(&self, instance: usize) -> Result<(), String> {
        let dying = self.get(instance)?;
        drop(self.take_listeners(instance));
        dying.restart(Death::Instance).await;
        self.put_listeners(instance);
        Ok(())
    }

    /// Kills only the handler (SIGKILL): what was under way fails, messages come back at once, and the host starts
    /// another; the third time within 30 minutes each it gives up. Returns when the host has noticed.
    ///
    /// # Errors
    /// No such instance or no process.
    pub async fn crash(&self, instance: usize) -> Result<(), String> {
        self.get(instance)?.crash().await.map_err(|e| e.to_string())
    }

    /// Makes a handler stand still (SIGSTOP), as a stalled machine does; the host around it goes on.
    ///
    /// # Errors
    /// No such instance or no process.
    pub async fn pause(&self, instance: usize) -> Result<(), String> {
        self.get(instance)?.signal(Signal::Stop).await.map_err(|e| e.to_string())
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// No such instance or no process.
    pub async fn resume(&self, instance: usize) -> Result<(), String> {
        self.get(instance)?.signal(Signal::Continue).await.map_err(|e| e.to_string())
    }

    /// Takes an instance out as the platform does when it scales in: listeners stop taking messages, SIGTERM, then what
    /// is under way has `grace` to end, then SIGKILL. The instance stays down. Returns the exit code of a process.
    ///
    /// # Errors
    /// No such instance.
    pub async fn terminate(&self, instance: usize, grace: Duration) -> Result<Option<i32>, String> {
        let leaving = self.get(instance)?;
        let (mut listeners, drain) = self.take_listeners(instance);
        drain.send_replace(true);
        let drained = async { while listeners.join_next().await.is_some() {} };
        let (code, _) = tokio::join!(leaving.stop(grace), tokio::time::timeout(grace, drained));
        Ok(code)
    }

    /// Starts an instance again that is down.
    ///
    /// # Errors
    /// No such instance, or it does not become ready.
    pub async fn revive(&self, instance: usize) -> Result<(), String> {
        let back = self.get(instance)?;
        if !matches!(back.status(), Status::Down | Status::Exited(_)) {
            return Err(format!("instance {instance} is not down"));
        }
        back.start();
        back.ready().await?;
        self.put_listeners(instance);
        Ok(())
    }

    /// Waits until no queue holds anything that is not settled.
    pub async fn idle(&self) {
        for queue in self.shared.queues.values() {
            queue.idle().await;
        }
    }

    /// Terminates all instances, at the same time.
    pub async fn stop(self, grace: Duration) {
        let all = (0..self.instance_count()).map(|i| self.terminate(i, grace));
        futures_util::future::join_all(all).await;
    }

    fn get(&self, instance: usize) -> Result<&Arc<Instance>, String> {
        self.shared.instances.get(instance).ok_or_else(|| format!("no instance {instance}"))
    }

    fn take_listeners(&self, instance: usize) -> (JoinSet<()>, watch::Sender<bool>) {
        let mut all = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || (JoinSet::new(), watch::Sender::new(false));
        all.get_mut(instance).map_or_else(none, |slot| std::mem::replace(slot, none()))
    }

    fn put_listeners(&self, instance: usize) {
        let mut all = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = all.get_mut(instance) {
            *slot = start::listen(&self.shared, instance);
        }
    }
}
