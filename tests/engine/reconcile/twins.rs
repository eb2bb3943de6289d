//! Two environments that should be equal, with a ledger and an inbox; what they differ in is planted by the tests.

use crate::support::clock::TokioClock;
use crate::support::trace::Trace;
use crate::support::wire::Wire;
use dataverse_sync::clock::Clock;
use dataverse_sync::config;
use dataverse_sync::dataverse::client::{ClientLimits, Dataverse};
use dataverse_sync::dataverse::environment::EnvironmentUrl;
use dataverse_sync::domain::mapping::Mapping;
use dataverse_sync::domain::partition::Partition;
use dataverse_sync::domain::row::RowState;
use dataverse_sync::domain::value::RowRef;
use dataverse_sync::inbox::Inbox;
use dataverse_sync::inbox::memory::MemoryStore as InboxStore;
use dataverse_sync::ledger::claim::{Ledger, LedgerLimits};
use dataverse_sync::ledger::memory::MemoryStore;
use dataverse_sync::ledger::purge::Expiring;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::operate::reconcile::report::{LinkReport, Report, TableReport};
use dataverse_sync::operate::reconcile::{Options, Reconciler};
use dataverse_sync::operate::sweep::Sweeper;
use dataverse_sync::outbound::authorize::NoToken;
use dataverse_sync::outbound::gate::Gate;
use dataverse_sync::outbound::gated::Gated;
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::schema::Schema;
use dataverse_sync::sim::dataverse::{Collector, Environment, Image, Message, Settings, Sink, Step, difference};
use dataverse_sync::sync::engine::{Engine, Parts};
use dataverse_sync::sync::environment::Environment as SyncEnvironment;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Tables of most tests.
pub const PLAIN: &str = "version = 1\n[tables.account]\n[tables.contact]\n[tables.salesorder]\n";

/// Both sides.
pub struct Twins {
    pub source: Environment,
    pub target: Environment,
    pub ledger: Arc<MemoryStore>,
    pub inbox: Arc<InboxStore>,
    pub clock: TokioClock,
    pub mapping: Mapping,
    pub collector: Collector,
}

impl Twins {
    pub fn new(toml: &str) -> Self {
        Self::with(toml, |_| {}, |_| {})
    }

    /// With other tables on the two sides.
    pub fn with(toml: &str, source: impl FnOnce(&mut Schema), target: impl FnOnce(&mut Schema)) -> Self {
        Self::set(toml, |settings| source(&mut settings.schema), |settings| target(&mut settings.schema))
    }

    /// With sides that are otherwise.
    pub fn set(toml: &str, source: impl FnOnce(&mut Settings), target: impl FnOnce(&mut Settings)) -> Self {
        let settings = |number: u128| {
            let mut settings = Settings::new(Uuid::from_u128(number << 96), sample_schema());
            settings.seed = 11 * u64::try_from(number).unwrap();
            settings.log_entries_max = 100_000;
            settings
        };
        let (mut at_source, mut at_target) = (settings(1), settings(2));
        source(&mut at_source);
        target(&mut at_target);
        let (source, target) = (Environment::new(at_source), Environment::new(at_target));
        let collector = Collector::default();
        for (n, table) in ["account", "contact", "salesorder", "product"].iter().enumerate() {
            let step = Step::new(Uuid::from_u128(100 + n as u128), table, Sink::Collect(collector.clone()));
            source.subscribe(step.image(Image::All));
        }
        let links = Step::new(Uuid::from_u128(900), "account", Sink::Collect(collector.clone()));
        source.subscribe(links.messages(&[Message::Associate, Message::Disassociate]));
        Self {
            source,
            target,
            ledger: Arc::new(MemoryStore::default()),
            inbox: Arc::new(InboxStore::default()),
            clock: TokioClock::new(0),
            mapping: config::file::compile("sync.toml", toml).unwrap(),
            collector,
        }
    }

    /// An instance of the handler.
    pub fn instance(&self) -> Engine {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.skewed(0));
        let limits = &self.mapping.limits;
        let environment = |name: &'static str, stand_in: &Environment| {
            let gate = Gate::new(Arc::clone(&clock), 8);
            let wire = Wire { to: stand_in.clone(), name, trace: Trace::new() };
            let gated = Gated::new(Arc::new(wire), gate.clone(), Arc::clone(&clock));
            let client_limits = ClientLimits { request_timeout: limits.request_timeout, ..ClientLimits::default() };
            let url = EnvironmentUrl::parse(&stand_in.world().base_url).unwrap();
            let client = Dataverse::new(url, Arc::new(NoToken), Arc::new(gated), Arc::clone(&clock), client_limits);
            SyncEnvironment::new(client, gate)
        };
        Engine::new(Parts {
            mapping: Arc::new(self.mapping.clone()),
            ledger: self.claims(),
            inbox: Some(Inbox::new(Arc::clone(&self.inbox) as Arc<dyn dataverse_sync::inbox::store::Store>)),
            system: Some(self.system()),
            target: environment("target", &self.target),
            source: Some(environment("source", &self.source)),
            clock: Arc::clone(&clock),
            tag: "dataverse-sync".to_owned(),
            organizations: None,
        })
    }

    pub fn claims(&self) -> Ledger {
        let limits = &self.mapping.limits;
        let store = Arc::clone(&self.ledger) as Arc<dyn Store>;
        let ledger_limits = LedgerLimits { lease: limits.lease, clock_skew: limits.clock_skew };
        Ledger::new(store, Arc::new(self.clock.skewed(0)), ledger_limits)
    }

    pub fn system(&self) -> System {
        let states = Arc::clone(&self.ledger) as Arc<dyn StateStore>;
        System::new(states, Arc::new(self.clock.skewed(0)), self.mapping.limits.clock_skew)
    }

    pub fn reconciler(&self) -> Reconciler {
        Reconciler::new(Arc::new(self.instance()), self.system())
    }

    /// A dry run.
    pub async fn compare(&self) -> Report {
        self.reconciler().compare(&options(), &|_| {}).await.unwrap()
    }

    /// All rows, mended.
    pub async fn mend_all(&self) -> Report {
        self.mend(&Options { full: true, ..options() }).await
    }

    pub async fn mend(&self, options: &Options) -> Report {
        self.reconciler().mend(options, &|_| {}).await.unwrap()
    }

    /// The same row on both sides, without an event.
    pub fn both(&self, table: &str, id: Uuid, body: Value) -> Uuid {
        self.at_source(table, id, body.clone());
        self.at_target(table, id, body);
        id
    }

    pub fn at_source(&self, table: &str, id: Uuid, body: Value) {
        put(&self.source, table, id, body);
    }

    pub fn at_target(&self, table: &str, id: Uuid, body: Value) {
        put(&self.target, table, id, body);
    }

    pub fn gone(&self, side: &Environment, table: &str, id: Uuid) {
        side.delete(&side.person(), table, id).unwrap();
    }

    /// What the ledger knows of a row.
    pub async fn known(&self, table: &str, id: Uuid) -> Option<RowState> {
        let partition = Partition::of(table, &RowRef::Id(id));
        let snapshot = self.ledger.read(partition.key(), "event:").await.unwrap();
        snapshot.row.map(|stored| stored.record.state)
    }

    /// Requests on rows of a table so far, at source and target: reads of many rows, reads of one, and writes.
    pub fn requests(&self, table: &str) -> [[u64; 3]; 2] {
        [&self.source, &self.target].map(|side| {
            let mut counts = [0; 3];
            for record in side.requests().last().iter().filter(|record| record.table.as_deref() == Some(table)) {
                let at = match record.method == http::Method::GET {
                    true if record.path.contains(&format!("{table}s?")) => 0,
                    true => 1,
                    false => 2,
                };
                counts[at] += 1;
            }
            counts
        })
    }

    /// Everything that is synchronised is equal.
    pub fn assert_equal(&self, tables: &[&str]) {
        let found = difference(&self.source, &self.target, tables, &["ownerid"]);
        assert!(found.is_empty(), "source and target differ: {found:#?}");
    }

    /// Sweeps every minute until nothing is owed.
    pub async fn sweep_up(&self) {
        let expiring = Arc::clone(&self.ledger) as Arc<dyn Expiring>;
        let sweeper = Sweeper::new(Arc::new(self.instance()), self.system(), expiring);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            sweeper.sweep("sweep").await.unwrap();
            if self.kept().await == 0 {
                return;
            }
        }
        panic!("still owed");
    }

    /// Entries of the inbox that are not due yet or parked.
    pub async fn kept(&self) -> usize {
        Inbox::new(Arc::clone(&self.inbox) as Arc<dyn dataverse_sync::inbox::store::Store>)
            .due(i64::MAX - 1, 1_000)
            .await
            .unwrap()
            .len()
    }
}

/// Small pages, no long waits.
pub fn options() -> Options {
    Options { page_rows: 7, second_look: Duration::from_secs(2), ..Options::default() }
}

/// Creates or changes a row by itself, as a person would.
pub fn put(side: &Environment, table: &str, id: Uuid, body: Value) {
    if side.row(table, id).is_some() {
        side.update(&side.person(), table, id, &body).unwrap();
        return;
    }
    let mut body = body;
    body[side.world().schema.tables[table].primary_id.as_str()] = json!(id);
    side.create(&side.person(), table, &body).unwrap();
}

/// A row id whose text order is not the service's order.
pub fn id(n: u32) -> Uuid {
    let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Builder::from_random_bytes(mixed.to_be_bytes()).into_uuid()
}

pub fn table<'a>(report: &'a Report, name: &str) -> &'a TableReport {
    report.tables.iter().find(|table| table.table == name).unwrap()
}

pub fn link<'a>(report: &'a Report, name: &str) -> &'a LinkReport {
    report.links.iter().find(|link| link.relationship == name).unwrap()
}
