//! The environment itself: its state behind one lock, the steps, the work in the background, and what can be looked
//! at. Knows no request.

use super::cell::Row;
use super::deliver::{self, FailedJob, Receive, Sink};
use super::errors::ApiError;
use super::events::{RaisedEvent, Step};
use super::faults::Faults;
use super::furnish;
use super::log::Log;
use super::protection::Gate;
use super::registered::{self, Queues};
use super::registration;
use super::store::{Links, Rows, State};
use super::world::{Auth, Origin, Settings, User, World};
use super::write::{Commit, Writer};
use chrono::{DateTime, Utc};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

/// One environment. Clones are the same environment.
#[derive(Clone)]
pub struct Environment(Arc<Inner>);

struct Inner {
    world: World,
    epoch: DateTime<Utc>,
    start: Instant,
    race_window: Duration,
    latency: (Duration, Duration),
    step_delay: (Duration, Duration),
    changes_kept: Duration,
    dop_hint: u32,
    auth: Auth,
    state: Mutex<State>,
    steps: Mutex<Vec<Arc<Step>>>,
    registered: Mutex<Vec<Arc<Step>>>,
    queues: Mutex<Queues>,
    failed: Mutex<Vec<FailedJob>>,
    faults: Faults,
    gate: Gate,
    log: Log,
    tasks: Mutex<JoinSet<()>>,
    busy: watch::Sender<usize>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("organization", &self.0.world.organization).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Environment {
    /// An environment with its users, team, business unit and currency (EUR), and no other rows.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        registration::add(&mut settings.schema);
        // Two environments with one seed still have ids of their own.
        let [.., a, b, c, d, e, f, g, h] = settings.organization.into_bytes();
        let mut state = State::new(settings.seed ^ u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let user = |state: &mut State, object: u128| User { id: state.guid(), object_id: Uuid::from_u128(object) };
        let world = World {
            organization: settings.organization,
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            business_unit: state.guid(),
            // The same people work in every environment; only their row ids differ.
            person: user(&mut state, 0x5b0c_7e94_2f6d_4d83_9a17_e8c3_f1b6_402d),
            service: user(&mut state, 0xd41f_8a05_73be_4c29_8e60_1fa2_b95c_7d38),
            team: state.guid(),
            base_currency: state.guid(),
            privileges_lacking: settings.privileges_lacking,
            sorts_as_text: settings.sorts_as_text,
            schema: settings.schema,
        };
        furnish::furnish(&mut state, &world);
        registration::furnish(&mut state, &world.schema);
        Self(Arc::new(Inner {
            world,
            epoch: settings.epoch,
            start: Instant::now(),
            race_window: settings.race_window,
            latency: settings.latency,
            step_delay: settings.step_delay,
            changes_kept: settings.changes_kept,
            dop_hint: settings.dop_hint,
            auth: settings.auth,
            state: Mutex::new(state),
            steps: Mutex::default(),
            registered: Mutex::default(),
            queues: Mutex::default(),
            failed: Mutex::default(),
            faults: Faults::new(),
            gate: Gate::new(settings.protection),
            log: Log::new(settings.log_entries_max),
            tasks: Mutex::default(),
            busy: watch::Sender::new(0),
        }))
    }

    /// Ids, tables and address.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// The person who works here, as an origin for direct changes.
    #[must_use]
    pub fn person(&self) -> Origin {
        Origin::of(self.0.world.person)
    }

    /// The application user, as whom the Web API is called.
    #[must_use]
    pub fn service(&self) -> Origin {
        Origin::of(self.0.world.service)
    }

    /// The time in the environment, to the second.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let now = self.0.epoch + self.elapsed();
        DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now)
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Faults on demand.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What was asked over HTTP.
    #[must_use]
    pub fn requests(&self) -> &Log {
        &self.0.log
    }

    /// Service protection and its counters.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Registers a step: from now on its events are raised.
    pub fn subscribe(&self, step: Step) {
        locked(&self.0.steps).push(Arc::new(step));
    }

    /// Makes a queue reachable for steps that are registered over the Web API: `name.servicebus.windows.net` and its path.
    pub fn connect_queue(&self, namespace: &str, path: &str, receive: Receive) {
        locked(&self.0.queues).insert((registered::host(namespace), path.to_owned()), receive);
        let steps = self.registered_steps(&locked(&self.0.state));
        *locked(&self.0.registered) = steps;
    }

    /// Jobs whose events are lost.
    #[must_use]
    pub fn failed_jobs(&self) -> Vec<FailedJob> {
        locked(&self.0.failed).clone()
    }

    /// Waits until no request, delivery or late effect is under way.
    pub async fn idle(&self) {
        let mut busy = self.0.busy.subscribe();
        let _ = busy.wait_for(|count| *count == 0).await;
    }

    /// All rows of a table.
    #[must_use]
    pub fn rows(&self, table: &str) -> Rows {
        locked(&self.0.state).rows.get(table).cloned().unwrap_or_default()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, table: &str, id: Uuid) -> Option<Row> {
        locked(&self.0.state).row(table, id).cloned()
    }

    /// All links of a relationship: first table's row, second table's row.
    #[must_use]
    pub fn links(&self, relationship: &str) -> Links {
        locked(&self.0.state).links.get(relationship).cloned().unwrap_or_default()
    }

    /// How many changes were made, over HTTP and directly.
    #[must_use]
    pub fn commits(&self) -> u64 {
        locked(&self.0.state).sequence
    }

    /// Runs one transaction and raises the events of its commits.
    pub(super) fn transact<T>(
        &self,
        origin: &Origin,
        work: impl FnOnce(&mut Writer<'_>) -> Result<(T, Vec<Commit>), ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = locked(&self.0.state);
        let mut writer = Writer { world: &self.0.world, state: &mut state, now: self.now(), origin };
        let (value, commits) = work(&mut writer)?;
        if commits.iter().any(|commit| registration::is_own(&commit.table)) {
            *locked(&self.0.registered) = self.registered_steps(&state);
        }
        let jobs = self.raise(&mut state, &commits, origin);
        drop(state);
        for (step, event, delay) in jobs {
            self.deliver(step, event, delay);
        }
        Ok(value)
    }

    /// Reads under the lock.
    pub(super) fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&locked(&self.0.state))
    }

    fn registered_steps(&self, state: &State) -> Vec<Arc<Step>> {
        registered::steps(state, &locked(&self.0.queues), self.0.step_delay)
    }

    fn raise(&self, state: &mut State, commits: &[Commit], origin: &Origin) -> Vec<(Arc<Step>, RaisedEvent, Duration)> {
        let mut steps = locked(&self.0.steps).clone();
        steps.extend(locked(&self.0.registered).iter().cloned());
        let mut jobs = Vec::new();
        let correlation = origin.correlation.unwrap_or_else(|| state.guid());
        let request = state.guid();
        for commit in commits {
            for step in steps.iter().filter(|step| step.wants(commit, origin)) {
                let ids = super::context::Ids { operation: state.guid(), request, correlation, step: step.id };
                let names = |table: &str, id: Uuid| state.name(&self.0.world.schema, table, id);
                let event = RaisedEvent::new(&self.0.world, commit, origin, ids, step, &names);
                if let Sink::Collect(collector) = &step.sink {
                    collector.push(event);
                    continue;
                }
                let (least, longest) = step.delay;
                let delay = least + longest.saturating_sub(least).mul_f64(state.chance());
                jobs.push((Arc::clone(step), event, delay));
            }
        }
        jobs
    }

    fn deliver(&self, step: Arc<Step>, event: RaisedEvent, delay: Duration) {
        let environment = self.clone();
        self.background(async move {
            tokio::time::sleep(delay).await;
            if let Err(failed) = deliver::deliver(&step.sink, &event).await {
                locked(&environment.0.failed).push(failed);
            }
        });
    }

    /// Runs something that goes on although its caller may be gone. [`Environment::idle`] waits for it.
    pub(super) fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let busy = Busy::new(self.clone());
        let mut tasks = locked(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            work.await;
            drop(busy);
        });
    }

    pub(super) async fn race_window(&self) {
        if !self.0.race_window.is_zero() {
            tokio::time::sleep(self.0.race_window).await;
        }
    }

    /// Half of one request's latency.
    pub(super) fn half_latency(&self) -> Duration {
        let (least, longest) = self.0.latency;
        if longest.is_zero() {
            return Duration::ZERO;
        }
        (least + longest.saturating_sub(least).mul_f64(locked(&self.0.state).chance())) / 2
    }

    /// How long a delta link is good.
    pub(super) fn changes_kept(&self) -> Duration {
        self.0.changes_kept
    }

    /// What is advised as requests at once.
    pub(super) fn dop_hint(&self) -> u32 {
        self.0.dop_hint
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(super) fn new_id(&self) -> Uuid {
        locked(&self.0.state).guid()
    }
}

/// Counts as work under way while it lives, also when its task is cancelled or panics.
struct Busy(Environment);

impl Busy {
    fn new(environment: Environment) -> Self {
        environment.0.busy.send_modify(|count| *count += 1);
        Self(environment)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.send_modify(|count| *count = count.saturating_sub(1));
    }
}
