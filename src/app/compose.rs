//! Settings and mapping become an engine. Touches no network: everything is fetched with the first event.

use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{
    Auth, BusConnection, Environment as EnvironmentSettings, IdentitySettings, LedgerStore, TableConnection,
};
use crate::dataverse::client::{ClientLimits, Dataverse};
use crate::dataverse::environment::EnvironmentUrl;
use crate::domain::disposition::Disposition;
use crate::domain::mapping::{Limits, Mapping};
use crate::identity::{Credential, IdentityError, TokenLimits, TokenSource};
use crate::inbox::Inbox;
use crate::ledger::claim::{Ledger, LedgerLimits};
use crate::ledger::flow::{FlowStore, Flows};
use crate::ledger::memory::MemoryStore;
use crate::ledger::purge::Expiring;
use crate::ledger::store::Store;
use crate::ledger::system::{StateStore, System};
use crate::ledger::table::TableStore;
use crate::operate::reconcile::Reconciler;
use crate::operate::sweep::Sweeper;
use crate::outbound::authorize::{Authorize, AuthorizeError, NoToken};
use crate::outbound::disposition::Disposition as CallDisposition;
use crate::outbound::gate::Gate;
use crate::outbound::gated::Gated;
use crate::outbound::reqwest::{ReqwestTransport, install_crypto};
use crate::outbound::transport::Transport;
use crate::secret::Secret;
use crate::servicebus::{self, BusLimits, QueueClient, Sender};
use crate::sync::engine::{Engine, Parts};
use crate::sync::environment::Environment;
use crate::tables::{Auth as TableAuth, Connection, Proof, TableClient, TableLimits};
use anyhow::Context;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The loop marker on our writes: events that carry it are our own echo.
pub const TAG: &str = "dataverse-sync";

/// The parts that do not depend on the mapping, made once and shared by serving and `doctor`.
#[derive(Clone, Debug)]
pub struct Base {
    /// How requests are sent.
    pub transport: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Base {
    /// What a process uses that speaks to the network. Installs the cryptography of TLS, once per process.
    #[must_use]
    pub fn over_network(clock: Arc<dyn Clock>) -> Self {
        install_crypto();
        Self { transport: Arc::new(ReqwestTransport::default()), clock }
    }
}

/// The ledger's records in each of their roles, on one store: a ledger in memory is this very object.
#[derive(Clone, Debug)]
pub struct Records {
    /// Claims.
    pub claims: Arc<dyn Store>,
    /// Leases with a name and small states.
    pub states: Arc<dyn StateStore>,
    /// What is forgotten with time.
    pub expiring: Arc<dyn Expiring>,
    /// Claims on ids.
    pub flows: Arc<dyn FlowStore>,
}

impl Records {
    /// The records that these settings name.
    ///
    /// # Errors
    /// A connection that cannot be used.
    pub fn open(base: &Base, settings: &Settings) -> anyhow::Result<Self> {
        Ok(match &settings.ledger.store {
            LedgerStore::Memory => Self::on(Arc::new(MemoryStore::default())),
            LedgerStore::Table(_) => Self::on(Arc::new(table_store(base, settings)?)),
        })
    }

    fn on<S: Store + StateStore + Expiring + FlowStore + 'static>(store: Arc<S>) -> Self {
        Self {
            claims: Arc::<S>::clone(&store),
            states: Arc::<S>::clone(&store),
            expiring: Arc::<S>::clone(&store),
            flows: store,
        }
    }

    /// Claims on ids; `clock_skew` is how far clocks may differ.
    #[must_use]
    pub fn flows(&self, base: &Base, clock_skew: Duration) -> Flows {
        Flows::new(Arc::clone(&self.flows), Arc::clone(&base.clock), clock_skew)
    }

    /// Leases with a name and small states; `clock_skew` is how far clocks may differ.
    #[must_use]
    pub fn system(&self, base: &Base, clock_skew: Duration) -> System {
        System::new(Arc::clone(&self.states), Arc::clone(&base.clock), clock_skew)
    }
}

/// The engine behind the functions.
///
/// # Errors
/// A setting that looks right and cannot work: a connection string, a client credential.
pub fn engine(base: &Base, settings: &Settings, records: &Records, mapping: Mapping) -> anyhow::Result<Engine> {
    let limits = mapping.limits.clone();
    let ledger_limits = LedgerLimits { lease: limits.lease, clock_skew: limits.clock_skew };
    let ledger = Ledger::new(Arc::clone(&records.claims), Arc::clone(&base.clock), ledger_limits);
    let target = environment(base, &settings.target, &settings.identity, &limits).context("TARGET_URL")?;
    let source = settings.source.as_ref();
    let source = source.map(|source| environment(base, source, &settings.identity, &limits)).transpose();
    let organizations = &settings.source_organizations;
    Ok(Engine::new(Parts {
        mapping: Arc::new(mapping),
        ledger,
        inbox: Some(inbox(base, settings)?),
        system: Some(records.system(base, limits.clock_skew)),
        target,
        source: source.context("SOURCE_URL")?,
        clock: Arc::clone(&base.clock),
        tag: TAG.to_owned(),
        organizations: (!organizations.is_empty()).then(|| organizations.iter().copied().collect()),
    }))
}

/// What comes back to what this engine owes; `records` are the engine's own.
///
/// # Errors
/// A connection to the queue that cannot be used.
pub fn sweeper(base: &Base, settings: &Settings, records: &Records, engine: Arc<Engine>) -> anyhow::Result<Sweeper> {
    let parts = engine.parts();
    let system = parts.system.clone().unwrap_or_else(|| records.system(base, parts.mapping.limits.clock_skew));
    let sweeper = Sweeper::new(engine, system, Arc::clone(&records.expiring));
    Ok(match queue_client(base, settings)? {
        Some(queue) => sweeper.handing_over(Sender::new(queue)),
        None => sweeper,
    })
}

/// What compares both sides of this engine, if it has a source.
#[must_use]
pub fn reconciler(base: &Base, records: &Records, engine: &Arc<Engine>) -> Option<Reconciler> {
    let parts = engine.parts();
    parts.source.as_ref()?;
    let system = parts.system.clone().unwrap_or_else(|| records.system(base, parts.mapping.limits.clock_skew));
    Some(Reconciler::new(Arc::clone(engine), system))
}

/// The queue, if a connection to it is set.
///
/// # Errors
/// A connection that cannot be used.
pub fn queue_client(base: &Base, settings: &Settings) -> anyhow::Result<Option<QueueClient>> {
    let (connection, client_id) = match &settings.queue.connection {
        None => return Ok(None),
        Some(BusConnection::Text(text)) => (servicebus::Connection::parse(text.expose()), None),
        Some(BusConnection::Namespace { host, client_id }) => (servicebus::Connection::namespace(host), *client_id),
    };
    let connection = connection.context("ServiceBus")?;
    let auth = connection.auth(|| {
        let client_id = client_id.map(|id| id.to_string());
        Ok::<_, IdentityError>(tokens(base, managed_identity(&settings.identity, client_id.as_deref())?))
    })?;
    let (transport, clock) = (Arc::clone(&base.transport), Arc::clone(&base.clock));
    let client = QueueClient::new(&connection, &settings.queue.name, auth, transport, clock, BusLimits::default());
    Ok(Some(client.context("SYNC_QUEUE")?))
}

/// The inbox, beside the ledger.
///
/// # Errors
/// A connection that cannot be used.
pub fn inbox(base: &Base, settings: &Settings) -> anyhow::Result<Inbox> {
    let store: Arc<dyn crate::inbox::store::Store> = match &settings.ledger.store {
        LedgerStore::Memory => Arc::new(crate::inbox::memory::MemoryStore::default()),
        LedgerStore::Table(_) => {
            let table = table(base, settings, &settings.ledger.inbox_table).context("LEDGER_CONNECTION")?;
            Arc::new(crate::inbox::table::TableStore::new(table))
        }
    };
    Ok(Inbox::new(store))
}

/// The ledger's table.
///
/// # Errors
/// A connection that cannot be used, or a ledger in memory.
pub fn table_store(base: &Base, settings: &Settings) -> anyhow::Result<TableStore> {
    let table = table(base, settings, &settings.ledger.ledger_table).context("LEDGER_CONNECTION")?;
    Ok(TableStore::new(table))
}

/// One of the tables of ledger and inbox.
///
/// # Errors
/// A connection that cannot be used, or a ledger in memory.
pub(super) fn table(base: &Base, settings: &Settings, name: &str) -> anyhow::Result<TableClient> {
    let LedgerStore::Table(connection) = &settings.ledger.store else {
        anyhow::bail!("the ledger is in memory");
    };
    let connection = match connection {
        TableConnection::Text(text) => Connection::parse(text.expose()).map_err(anyhow::Error::msg)?,
        // the table client reads the settings of a Functions connection, so it gets them back in that form
        TableConnection::ServiceUri { uri, client_id } => named("tableServiceUri", uri, *client_id)?,
        TableConnection::Account { name, client_id } => named("accountName", name, *client_id)?,
    };
    let auth = match connection.proof {
        Proof::SharedKey(key) => TableAuth::SharedKey(key),
        Proof::Sas(signature) => TableAuth::Sas(signature),
        Proof::Identity { client_id } => {
            let credential = managed_identity(&settings.identity, client_id.as_deref())?;
            TableAuth::Bearer(tokens(base, credential))
        }
    };
    let (transport, clock) = (Arc::clone(&base.transport), Arc::clone(&base.clock));
    Ok(TableClient::new(&connection.endpoint, name, auth, transport, clock, TableLimits::default())?)
}

fn named(part: &str, value: &str, client_id: Option<uuid::Uuid>) -> anyhow::Result<Connection> {
    let mut values = BTreeMap::from([(format!("ledger__{part}"), value.to_owned())]);
    if let Some(client_id) = client_id {
        values.insert("ledger__clientId".to_owned(), client_id.to_string());
    }
    Ok(Connection::from_settings("ledger", &values)?)
}

/// A client of one Dataverse environment, with its own gate.
///
/// # Errors
/// A credential that cannot be used.
pub fn environment(
    base: &Base,
    settings: &EnvironmentSettings,
    identity: &IdentitySettings,
    limits: &Limits,
) -> anyhow::Result<Environment> {
    let url = EnvironmentUrl::parse(&settings.url)?;
    let authorize = authorize(base, settings, identity, &url)?;
    let in_flight = u32::try_from(limits.max_in_flight).unwrap_or(u32::MAX);
    let gate = Gate::of(url.host(), Arc::clone(&base.clock), in_flight, limits.request_timeout);
    let transport = Gated::new(Arc::clone(&base.transport), gate.clone(), Arc::clone(&base.clock));
    let client_limits = ClientLimits { request_timeout: limits.request_timeout, ..ClientLimits::default() };
    let client = Dataverse::new(url, authorize, Arc::new(transport), Arc::clone(&base.clock), client_limits);
    Ok(Environment::new(client, gate))
}

/// What hands out an environment's tokens.
///
/// # Errors
/// A credential that cannot be used.
pub(super) fn authorize(
    base: &Base,
    settings: &EnvironmentSettings,
    identity: &IdentitySettings,
    url: &EnvironmentUrl,
) -> anyhow::Result<Arc<dyn Authorize>> {
    Ok(match credential(settings, identity)? {
        None => Arc::new(NoToken),
        Some(credential) => {
            Arc::new(EnvironmentTokens { tokens: tokens(base, credential), resource: url.origin().to_owned() })
        }
    })
}

fn credential(settings: &EnvironmentSettings, identity: &IdentitySettings) -> anyhow::Result<Option<Credential>> {
    Ok(match &settings.auth {
        Auth::None => None,
        Auth::ClientSecret { tenant_id, client_id, secret } => Some(Credential::client_secret(
            Some(&identity.authority_host),
            tenant_id,
            &client_id.to_string(),
            secret.clone(),
        )?),
        Auth::ManagedIdentity { client_id } => {
            Some(managed_identity(identity, client_id.map(|id| id.to_string()).as_deref())?)
        }
    })
}

fn managed_identity(identity: &IdentitySettings, client_id: Option<&str>) -> Result<Credential, IdentityError> {
    let endpoint = identity.endpoint.as_ref();
    let header = endpoint.map(|endpoint| endpoint.header.clone());
    Credential::managed_identity(endpoint.map(|endpoint| endpoint.url.as_str()), header, client_id)
}

fn tokens(base: &Base, credential: Credential) -> TokenSource {
    TokenSource::new(credential, Arc::clone(&base.transport), Arc::clone(&base.clock), TokenLimits::default())
}

/// The tokens of one environment: its URL is the audience.
#[derive(Debug)]
struct EnvironmentTokens {
    tokens: TokenSource,
    resource: String,
}

#[async_trait]
impl Authorize for EnvironmentTokens {
    async fn token(&self) -> Result<Option<Secret>, AuthorizeError> {
        self.tokens.token(&self.resource).await.map_err(|error| {
            let disposition = match error.disposition() {
                CallDisposition::Repeat { after } => Disposition::Retry { after },
                CallDisposition::Uncertain | CallDisposition::Reread => Disposition::Retry { after: None },
                CallDisposition::Stop => Disposition::Defer { after: None },
            };
            AuthorizeError { reason: error.to_string(), disposition }
        })
    }

    async fn renew(&self) {
        self.tokens.renew(&self.resource).await;
    }

    fn drop_token(&self, refused: &Secret) {
        // whether a fresh one is worth a try is the answer to the next call
        let _ = self.tokens.drop_token(&self.resource, refused);
    }
}
