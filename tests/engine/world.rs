//! A world in one process on paused time: a source and a target environment, one ledger, several instances.

use crate::support::clock::TokioClock;
use crate::support::lossy_store::LossyStore;
use crate::support::trace::Trace;
use crate::support::wire::Wire;
use dataverse_sync::clock::Clock;
use dataverse_sync::config;
use dataverse_sync::dataverse::client::{ClientLimits, Dataverse};
use dataverse_sync::dataverse::environment::EnvironmentUrl;
use dataverse_sync::domain::decode::{DecodeLimits, Decoded, Inbound, Item, decode};
use dataverse_sync::domain::delivery::{Channel, Delivery, NotHandled, Report};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::mapping::Mapping;
use dataverse_sync::inbox::Inbox;
use dataverse_sync::ledger::claim::{Ledger, LedgerLimits};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::outbound::authorize::NoToken;
use dataverse_sync::outbound::gate::Gate;
use dataverse_sync::outbound::gated::Gated;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{
    Collector, Environment, Image, Message, Origin, RaisedEvent, Settings, Sink, Step, difference,
};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::{Engine, Parts};
use dataverse_sync::sync::environment::Environment as SyncEnvironment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The tables of most tests.
pub const PLAIN: &str = "version = 1\n[tables.account]\n[tables.contact]\n[tables.salesorder]\n";

/// Tables that the source raises events for.
pub const TABLES: [&str; 3] = ["account", "contact", "salesorder"];

/// A world.
pub struct World {
    pub source: Environment,
    pub target: Environment,
    pub store: Arc<LossyStore>,
    pub clock: TokioClock,
    pub mapping: Mapping,
    /// The inbox, if the world has one.
    pub inbox: Option<Arc<dyn dataverse_sync::inbox::store::Store>>,
    /// Named leases and states, if the world has a place for them.
    pub states: Option<Arc<dyn StateStore>>,
    /// Every request, to whomever.
    pub trace: Trace,
    /// Whether instances may ask the source.
    pub has_source: bool,
    collector: Collector,
    person: Origin,
}

impl World {
    /// A world with this `sync.toml`.
    pub fn new(toml: &str) -> Self {
        Self::with(toml, |_| {})
    }

    /// A world whose target is set up further.
    pub fn with(toml: &str, target: impl FnOnce(&mut Settings)) -> Self {
        Self::on(LossyStore::new(Arc::new(MemoryStore::default()), &[]), toml, target)
    }

    /// A world with this ledger.
    pub fn on(store: Arc<LossyStore>, toml: &str, target: impl FnOnce(&mut Settings)) -> Self {
        Self::whose_events(Some(Image::All), store, toml, target)
    }

    /// A world whose events carry this post-image.
    pub fn whose_events(
        carry: Option<Image>,
        store: Arc<LossyStore>,
        toml: &str,
        target: impl FnOnce(&mut Settings),
    ) -> Self {
        let mapping = config::file::compile("sync.toml", toml).unwrap();
        let environment = |number: u128, more: &mut dyn FnMut(&mut Settings)| {
            let mut settings = Settings::new(Uuid::from_u128(number), sample_schema());
            settings.seed = 7 * u64::try_from(number).unwrap();
            more(&mut settings);
            Environment::new(settings)
        };
        let source = environment(1, &mut |_| {});
        let mut target = Some(target);
        let target = environment(2, &mut |settings| {
            if let Some(more) = target.take() {
                more(settings);
            }
        });
        let collector = Collector::default();
        for (n, table) in TABLES.iter().enumerate() {
            let step = Step::new(Uuid::from_u128(100 + n as u128), table, Sink::Collect(collector.clone()));
            source.subscribe(match &carry {
                Some(image) => step.image(image.clone()),
                None => step,
            });
        }
        let person = source.person();
        Self {
            source,
            target,
            store,
            clock: TokioClock::new(0),
            mapping,
            inbox: None,
            states: None,
            trace: Trace::new(),
            has_source: true,
            collector,
            person,
        }
    }

    /// An instance of the handler: caches of its own, the ledger shared.
    pub fn instance(&self) -> Engine {
        self.instance_on(Arc::clone(&self.store) as Arc<dyn Store>, 0)
    }

    /// An instance whose wall clock is off, on a ledger that may misbehave.
    pub fn instance_on(&self, store: Arc<dyn Store>, skew_ms: i64) -> Engine {
        self.instance_at(store, Arc::new(self.clock.skewed(skew_ms)))
    }

    /// An instance with a clock of its own.
    pub fn instance_at(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Engine {
        let limits = &self.mapping.limits;
        let environment = |name: &'static str, stand_in: &Environment| {
            let gate = Gate::new(Arc::clone(&clock), 8);
            let wire = Wire { to: stand_in.clone(), name, trace: self.trace.clone() };
            let gated = Gated::new(Arc::new(wire), gate.clone(), Arc::clone(&clock));
            let client_limits = ClientLimits { request_timeout: limits.request_timeout, ..ClientLimits::default() };
            let url = EnvironmentUrl::parse(&stand_in.world().base_url).unwrap();
            let client = Dataverse::new(url, Arc::new(NoToken), Arc::new(gated), Arc::clone(&clock), client_limits);
            SyncEnvironment::new(client, gate)
        };
        let ledger_limits = LedgerLimits { lease: limits.lease, clock_skew: limits.clock_skew };
        Engine::new(Parts {
            mapping: Arc::new(self.mapping.clone()),
            ledger: Ledger::new(store, Arc::clone(&clock), ledger_limits),
            inbox: self.inbox.clone().map(Inbox::new),
            system: self.states.clone().map(|states| System::new(states, Arc::clone(&clock), limits.clock_skew)),
            target: environment("target", &self.target),
            source: self.has_source.then(|| environment("source", &self.source)),
            clock,
            tag: "dataverse-sync".to_owned(),
            organizations: None,
        })
    }

    /// From now on links raise events too.
    pub fn watch_links(&self) {
        let step = Step::new(Uuid::from_u128(900), "account", Sink::Collect(self.collector.clone()));
        self.source.subscribe(step.messages(&[Message::Associate, Message::Disassociate]));
    }

    pub fn create(&self, table: &str, body: Value) -> Uuid {
        self.source.create(&self.person, table, &body).unwrap()
    }

    pub fn update(&self, table: &str, id: Uuid, body: Value) {
        self.source.update(&self.person, table, id, &body).unwrap();
    }

    pub fn delete(&self, table: &str, id: Uuid) {
        self.source.delete(&self.person, table, id).unwrap();
    }

    /// The events raised since the last call, in commit order.
    pub async fn events(&self) -> Vec<RaisedEvent> {
        self.source.idle().await;
        self.collector.take()
    }

    /// Writes that the target has seen (not counting reads and metadata).
    pub fn target_writes(&self) -> usize {
        self.target.requests().last().iter().filter(|record| record.writes()).count()
    }

    /// The target must hold what the source holds.
    pub fn assert_equal(&self) {
        let found = difference(&self.source, &self.target, &TABLES, &["ownerid"]);
        assert!(found.is_empty(), "source and target differ: {found:#?}");
    }
}

/// The event as the queue would bring it.
pub fn decoded(event: &RaisedEvent) -> ChangeEvent {
    let message = event.queue().unwrap();
    let headers = BTreeMap::new();
    let inbound = Inbound {
        content_type: Some(message.content_type),
        headers: &headers,
        message_id: Some("m"),
        body: &message.body,
    };
    match decode(&inbound, &DecodeLimits::default()).unwrap() {
        Decoded::One(Item::Change(event)) => *event,
        other => panic!("{other:?}"),
    }
}

pub fn delivery(count: u32) -> Delivery {
    Delivery {
        channel: Channel::Queue,
        arrival_ms: 1_767_600_000_000,
        delivery_count: count,
        invocation: "test".to_owned(),
        traceparent: None,
        until: None,
    }
}

/// Delivers once.
pub async fn deliver(instance: &Engine, event: &RaisedEvent) -> Result<Report, NotHandled> {
    instance.handle(decoded(event), &delivery(1)).await
}

/// Delivers as the broker does: again at once while it fails, at most ten times.
pub async fn redeliver(instance: &Engine, event: &RaisedEvent) -> Report {
    let mut last = None;
    for count in 1..=10 {
        match instance.handle(decoded(event), &delivery(count)).await {
            Ok(report) => return report,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("dead-lettered: {last:?}");
}

/// `outcome: detail`, for asserts.
pub fn words(report: &Report) -> String {
    format!("{}: {}", report.outcome.name(), report.outcome.detail())
}

/// An account's body.
pub fn account(name: &str) -> Value {
    json!({ "name": name, "telephone1": "1", "description": "d" })
}
