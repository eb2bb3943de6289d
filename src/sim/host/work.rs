//! What the host does with a message, a tick of a timer, a request: one invocation each, counted and logged.
//! Knows neither how instances are kept alive nor how the host is started.

use super::envelope::{self, Call};
use super::front::{self, Found, FunctionKeys, Routes};
use super::function::{Function, Target, Trigger};
use super::instance::{Instance, Status};
use super::invoke::{Client, Ending};
use super::log::{Level, Log};
use super::manifest::Manifest;
use super::message::NewMessage;
use super::pass::{Mode, pass};
use super::pump::Settle;
use super::queue::{Queue, Received};
use super::told::{Said, Watch};
use super::verdict::{Outcome, http_output, queue_output};
use crate::sim::http::{Sender, status};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{Request, Response, StatusCode};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// After this time the platform's front end stops waiting for an answer (documented as 230 s; the status is assumed).
const FRONT_TIMEOUT: Duration = Duration::from_secs(230);

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Invocations begun, by function.
    pub invocations: BTreeMap<String, u64>,
    /// Invocations that succeeded. A request that was passed on counts as success whatever its status, as in the host.
    pub successes: u64,
    /// Invocations that failed, time-outs included.
    pub failures: u64,
    /// Invocations that met `functionTimeout`.
    pub timeouts: u64,
    /// Invocations that went down with their instance.
    pub lost: u64,
    /// HTTP answers to clients by status.
    pub http: BTreeMap<u16, u64>,
    /// How long invocations took that succeeded, by function; the first million each.
    pub took: BTreeMap<String, Vec<Duration>>,
}

/// Times of one function's invocations that are kept.
const TOOK_MAX: usize = 1_000_000;

/// What all parts of the host share.
#[derive(Debug)]
pub struct Shared {
    /// host.json and the functions.
    pub manifest: Manifest,
    /// The routes.
    pub routes: Routes,
    /// Who may call.
    pub keys: FunctionKeys,
    /// The queues by name.
    pub queues: BTreeMap<String, Queue>,
    /// The instances.
    pub instances: Vec<Arc<Instance>>,
    /// `functionTimeout`.
    pub timeout: Option<Duration>,
    /// Where lines go.
    pub log: Log,
    /// Who is told of each invocation.
    pub watch: Watch,
    /// The wall clock's start, and when that was.
    pub clock: (DateTime<Utc>, Instant),
    pub(super) client: Client,
    pub(super) sender: Sender,
    pub(super) counts: Mutex<Counts>,
    pub(super) turn: AtomicUsize,
}

impl Shared {
    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(self.clock.1.elapsed()).unwrap_or(TimeDelta::MAX);
        self.clock.0.checked_add_signed(elapsed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The counters.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next instance in turn that is not down.
    #[must_use]
    pub fn next_instance(&self) -> Option<Arc<Instance>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.instances.len().max(1);
        let mut turn = (0..self.instances.len()).filter_map(|i| self.instances.get((first + i) % count));
        turn.find(|i| i.status() != Status::Down).cloned()
    }

    /// Invokes a function for a message, sends its outputs, and says how to settle.
    pub async fn message(&self, function: &Function, instance: &Instance, received: Received) -> Settle {
        let Trigger::Queue { binary, .. } = &function.trigger else { return Settle::Abandon };
        let call = Call { function: &function.name, binding: &function.binding, now: self.now() };
        let body = envelope::message(&call, &received, *binary);
        self.settled(function, instance, &body, "New ServiceBus message detected").await
    }

    /// Invokes a function for messages that come together: they all end alike.
    pub async fn messages(&self, function: &Function, instance: &Instance, received: Vec<Received>) -> Settle {
        let Trigger::Queue { binary, .. } = &function.trigger else { return Settle::Abandon };
        let call = Call { function: &function.name, binding: &function.binding, now: self.now() };
        let body = envelope::messages(&call, &received, *binary);
        self.settled(function, instance, &body, "New ServiceBus messages detected").await
    }

    async fn settled(&self, function: &Function, instance: &Instance, body: &Json, reason: &str) -> Settle {
        let Trigger::Queue { auto_complete, .. } = &function.trigger else { return Settle::Abandon };
        match self.invoke(function, instance, body, reason).await {
            Ending::Success(outcome) => {
                self.send_outputs(function, &outcome);
                let completes = auto_complete.unwrap_or(self.manifest.auto_complete);
                if completes { Settle::Complete } else { Settle::Leave }
            }
            Ending::Failure(_) | Ending::TimedOut => Settle::Abandon,
            Ending::Lost => Settle::Leave,
        }
    }

    /// Invokes a timer function on one instance, as the host's singleton lock does.
    ///
    /// # Errors
    /// No such timer, or no instance.
    pub async fn tick(&self, name: &str, past_due: bool) -> Result<Ending, String> {
        let function = self.manifest.functions.get(name).ok_or_else(|| format!("no function '{name}'"))?;
        let Trigger::Timer { schedule } = &function.trigger else { return Err(format!("'{name}' is no timer")) };
        let instance = self.instances.iter().find(|i| i.status() != Status::Down).ok_or("no instance is running")?;
        let now = self.now();
        let next = schedule.after(now);
        let far = next.filter(|next| *next - now >= TimeDelta::minutes(1));
        let call = Call { function: name, binding: &function.binding, now };
        let body = envelope::timer(&call, far.map(|next| (now, next)), past_due);
        let ending = self.invoke(function, instance, &body, "Timer fired").await;
        if let Ending::Success(outcome) = &ending {
            self.send_outputs(function, outcome);
        }
        Ok(ending)
    }

    /// Answers a client's request.
    pub async fn request(&self, request: Request<Bytes>) -> Response<Bytes> {
        let answer = match self.routes.find(&request, &self.keys) {
            Found::Answer(code) => status(code),
            Found::Function(function, parameters) => match self.next_instance() {
                Some(instance) => {
                    let called = self.call(function, &instance, &request, &parameters);
                    let cut = tokio::time::timeout(FRONT_TIMEOUT, called).await;
                    cut.unwrap_or_else(|_| status(StatusCode::GATEWAY_TIMEOUT))
                }
                None => status(StatusCode::SERVICE_UNAVAILABLE),
            },
        };
        *self.counts().http.entry(answer.status().as_u16()).or_default() += 1;
        answer
    }

    async fn call(
        &self,
        function: &Function,
        instance: &Instance,
        request: &Request<Bytes>,
        parameters: &BTreeMap<String, String>,
    ) -> Response<Bytes> {
        let mode = match (self.manifest.proxying, self.manifest.forwarding) {
            (true, _) => Some(Mode::Proxying),
            (false, true) => Some(Mode::Forwarding),
            (false, false) => None,
        };
        let Some(mode) = mode.filter(|_| function.is_plain_http()) else {
            return self.call_by_json(function, instance, request, parameters).await;
        };
        let invocation = self.begin(function, instance, "This function was programmatically called via the host APIs.");
        let begun = Instant::now();
        let answer = pass(&self.sender, instance, mode, request, invocation, self.timeout).await;
        self.watch.tell(&function.name, begun.elapsed(), Said::Answer(answer.status(), answer.body().clone()));
        self.end(function, instance, invocation, &Ending::Success(Outcome::default()));
        answer
    }

    async fn call_by_json(
        &self,
        function: &Function,
        instance: &Instance,
        request: &Request<Bytes>,
        parameters: &BTreeMap<String, String>,
    ) -> Response<Bytes> {
        let call = Call { function: &function.name, binding: &function.binding, now: self.now() };
        let body = front::envelope(function, request, parameters, envelope::sys(&call));
        match self
            .invoke(function, instance, &body, "This function was programmatically called via the host APIs.")
            .await
        {
            Ending::Success(outcome) => {
                self.send_outputs(function, &outcome);
                http_output(&outcome, &function.outputs)
            }
            Ending::Failure(_) | Ending::TimedOut => status(StatusCode::INTERNAL_SERVER_ERROR),
            Ending::Lost => status(StatusCode::BAD_GATEWAY),
        }
    }

    async fn invoke(&self, function: &Function, instance: &Instance, body: &Json, reason: &str) -> Ending {
        let invocation = self.begin(function, instance, reason);
        let begun = Instant::now();
        let ending = self.client.invoke(instance, &function.name, invocation, body, self.timeout).await;
        self.watch.tell(&function.name, begun.elapsed(), Said::of(&ending));
        if matches!(ending, Ending::Success(_)) {
            let mut counts = self.counts();
            let took = counts.took.entry(function.name.clone()).or_default();
            if took.len() < TOOK_MAX {
                took.push(begun.elapsed());
            }
        }
        self.end(function, instance, invocation, &ending);
        ending
    }

    fn begin(&self, function: &Function, instance: &Instance, reason: &str) -> Uuid {
        let invocation = Uuid::new_v4();
        *self.counts().invocations.entry(function.name.clone()).or_default() += 1;
        let text = format!("Executing 'Functions.{}' (Reason='{reason}', Id={invocation})", function.name);
        self.log.host(Some(instance.index), Level::Information, text);
        invocation
    }

    fn end(&self, function: &Function, instance: &Instance, invocation: Uuid, ending: &Ending) {
        let mut counts = self.counts();
        let (level, how, why) = match ending {
            Ending::Success(_) => {
                counts.successes += 1;
                (Level::Information, "Succeeded", "")
            }
            Ending::Failure(why) => {
                counts.failures += 1;
                (Level::Error, "Failed", why.as_str())
            }
            Ending::TimedOut => {
                counts.failures += 1;
                counts.timeouts += 1;
                (Level::Error, "Failed", "Timeout value exceeded; the handler was killed")
            }
            Ending::Lost => {
                counts.lost += 1;
                return;
            }
        };
        drop(counts);
        if let Ending::Success(outcome) = ending {
            for line in &outcome.logs {
                self.log.host(Some(instance.index), Level::Information, line.clone());
            }
        }
        let text = format!("Executed 'Functions.{}' ({how}, Id={invocation}) {why}", function.name);
        self.log.host(Some(instance.index), level, text.trim_end());
    }

    /// Sends queue outputs, one by one, before the trigger is settled. Unknown names are ignored.
    fn send_outputs(&self, function: &Function, outcome: &Outcome) {
        for output in &function.outputs {
            let Target::Queue { queue, binary } = &output.target else { continue };
            let value = if output.name == "$return" {
                outcome.return_value.as_ref()
            } else {
                outcome.outputs.get(&output.name)
            };
            let (Some(value), Some(queue)) = (value, self.queues.get(queue)) else { continue };
            for body in queue_output(value, *binary) {
                let content_type = Some("text/plain".to_owned());
                queue.send(NewMessage { body, content_type, ..NewMessage::default() });
            }
        }
    }
}
