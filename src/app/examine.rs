//! `doctor`: settings, files and environments brought to the checks of [`crate::operate::doctor`], in the order in which
//! they depend on each other. Checks nothing itself.

use super::compose::{self, Base, Records, TAG};
use crate::config::settings::{Auth, BusConnection, Environment as EnvironmentSettings, LedgerStore, QueueSettings};
use crate::config::{self, ConfigProblems, Settings};
use crate::dataverse::read::Identity;
use crate::domain::mapping::{Limits, Mapping};
use crate::operate::doctor::echo::{self, Directions, Sides};
use crate::operate::doctor::environment::{self, Side};
use crate::operate::doctor::token::{self, Wanted};
use crate::operate::doctor::{
    Check, Status, batches, host_json, ledger, manifests, queue as bus, rights, steps, target,
};
use crate::operate::register::{NAME_DEFAULT, Registrar};
use crate::servicebus::Admin;
use crate::sync::environment::Environment;
use crate::sync::strangers::Pinned;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What a failed check of the settings leaves undone.
const NO_SETTINGS: &str = "the settings must be mended first";
/// Why nothing is asked.
const OFFLINE: &str = "not asked: --offline";

/// How far is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At files and settings: nothing is asked over the network.
    Files,
    /// At everything.
    Network,
}

/// Every check, in order. `values`: the settings; `root`: the folder of host.json.
pub async fn examine(base: &Base, values: &BTreeMap<String, String>, root: &Path, reach: Reach) -> Vec<Check> {
    let settings = Settings::from_map(values);
    let file = values.get("SYNC_CONFIG").map(|file| file.trim()).filter(|file| !file.is_empty());
    let mapping = config::mapping(&root.join(file.unwrap_or("sync.toml")));
    let mut checks = written(&settings, &mapping);
    let (settings, mapping) = (settings.ok(), mapping.ok());
    checks.extend(host_json::host_json(root, mapping.as_ref().map(|mapping| &mapping.limits)));
    checks.extend(manifests::manifests(root, queue(values, settings.as_ref().map(|settings| &settings.queue))));
    let together = mapping.as_ref().map(|mapping| batches::batches(root, &mapping.limits)).unwrap_or_default();
    checks.extend(together.checks);
    checks.extend(match (reach, &settings) {
        (Reach::Network, Some(settings)) => reached(base, settings, mapping.as_ref(), together.lock).await,
        (Reach::Network, None) => unreached(mapping.as_ref(), NO_SETTINGS),
        (Reach::Files, _) => unreached(mapping.as_ref(), OFFLINE),
    });
    checks
}

fn unreached(mapping: Option<&Mapping>, why: &str) -> Vec<Check> {
    let names = ["ledger", "queue", "target token", "target connection", "organizations", "loop marker"];
    names.map(|name| Check::skipped(name, why)).into_iter().chain(target::skipped(mapping, why)).collect()
}

/// What people wrote: settings, mapping, and the two together.
fn written(settings: &Result<Settings, ConfigProblems>, mapping: &Result<Mapping, ConfigProblems>) -> Vec<Check> {
    let mut checks = Vec::new();
    match settings {
        Ok(_) => checks.push(Check::ok("settings", "all can be used")),
        Err(problems) => checks.extend(problems_of("settings", problems)),
    }
    match mapping {
        Ok(mapping) => checks.push(Check::ok("mapping", format!("{} tables", mapping.tables.len()))),
        Err(problems) => checks.extend(problems_of("mapping", problems)),
    }
    if let (Ok(settings), Ok(mapping)) = (settings, mapping)
        && let Err(problems) = settings.check_with(mapping)
    {
        checks.extend(problems_of("settings and mapping", &problems));
    }
    checks
}

fn problems_of(name: &str, problems: &ConfigProblems) -> Vec<Check> {
    let check = |problem: &config::Problem| {
        let detail = format!("{}: {}", problem.place, problem.problem);
        Check::fail(name, detail, problem.help.clone().unwrap_or_else(|| "correct it".to_owned()))
    };
    problems.problems.iter().map(check).collect()
}

/// The host resolves these two itself, so what counts is that they are set. Settings that could not be read count as set:
/// they have a line of their own.
fn queue(values: &BTreeMap<String, String>, settings: Option<&QueueSettings>) -> manifests::QueueSettings {
    let set = |name: &str| values.get(name).is_some_and(|value| !value.trim().is_empty());
    let named = set("ServiceBus") || set("ServiceBus__fullyQualifiedNamespace");
    manifests::QueueSettings {
        queue: set("SYNC_QUEUE"),
        connection: settings.map_or(named, |settings| settings.connection.is_some()),
    }
}

/// What is reached over the network.
async fn reached(base: &Base, settings: &Settings, mapping: Option<&Mapping>, lock: Option<Duration>) -> Vec<Check> {
    let mut checks = vec![ledger_of(base, settings).await];
    let limits = mapping.map_or_else(Limits::default, |mapping| mapping.limits.clone());
    checks.push(queue_of(base, settings, &limits, lock).await);
    let open = |environment: &EnvironmentSettings| {
        (compose::environment(base, environment, &settings.identity, &limits), wanted(environment))
    };
    let target = Some(open(&settings.target));
    let (found, target) = connect(base, Side::Target, target, &limits).await;
    checks.extend(found);
    let (found, source) = connect(base, Side::Source, settings.source.as_ref().map(open), &limits).await;
    checks.extend(found);
    let identity = |connected: &Option<(Environment, Identity)>| connected.as_ref().map(|(_, identity)| *identity);
    let (to, from, ours) = (identity(&target), identity(&source), &settings.source_organizations);
    checks.push(environment::organizations(to, from, ours));
    if let (LedgerStore::Table(_), Ok(records)) = (&settings.ledger.store, Records::open(base, settings)) {
        let pinned = Pinned::read(&records.system(base, limits.clock_skew)).await;
        checks.push(environment::pinned(&pinned, ours, from, to));
    }
    for (side, connected) in [(Side::Target, &target), (Side::Source, &source)] {
        let Some((environment, identity)) = connected else { continue };
        let (client, clock) = (&environment.client, base.clock.as_ref());
        checks.push(rights::clock(side, client, clock, limits.clock_skew).await);
        if let Some(mapping) = mapping {
            checks.push(rights::privileges(side, client, identity.user, mapping, clock).await);
        }
    }
    checks.extend(echoes(base, settings, mapping, target.as_ref(), source.as_ref()).await);
    checks.extend(match (mapping, &target) {
        (Some(mapping), Some((target, _))) => {
            let (source, clock) = (source.as_ref().map(|(source, _)| source), base.clock.as_ref());
            let mut checks = target::tables(mapping, target, source, clock).await;
            if let Some(source) = source {
                let registrar = Registrar { mapping, source, target, clock, installation: NAME_DEFAULT };
                checks.push(steps::steps(&registrar).await);
            }
            checks
        }
        (None, _) => target::skipped(None, "the mapping must be mended first"),
        (mapping, None) => target::skipped(mapping, "the target must be reached first"),
    });
    checks
}

/// What comes back of our own writes, and whether our user is nobody else's.
async fn echoes(
    base: &Base,
    settings: &Settings,
    mapping: Option<&Mapping>,
    target: Option<&(Environment, Identity)>,
    source: Option<&(Environment, Identity)>,
) -> Vec<Check> {
    let (Some((target, to)), Some((source, from))) = (target, source) else {
        return vec![Check::skipped("loop marker", "both environments must be reached for it")];
    };
    let clock = base.clock.as_ref();
    let sides = Sides { target: (target, *to), source: (source, *from), clock };
    let named = !settings.source_organizations.is_empty();
    let (marker, directions) = echo::echo(&sides, queue_address(&settings.queue), named, TAG).await;
    let mut checks = vec![marker];
    if let (Directions::OneWay, Some(mapping)) = (directions, mapping) {
        checks.push(echo::own_user(mapping, (source, *from), clock).await);
    }
    checks
}

/// Where events are taken from, as `register` writes it.
fn queue_address(queue: &QueueSettings) -> Option<String> {
    let host = match queue.connection.as_ref()? {
        BusConnection::Namespace { host, .. } => host.clone(),
        BusConnection::Text(text) => {
            let mut parts = text.expose().split(';').filter_map(|part| part.split_once('='));
            parts
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("Endpoint"))
                .map(|(_, host)| host.trim().to_owned())?
        }
    };
    Some(echo::queue_address(&host, &queue.name))
}

/// What the settings say of an environment's token.
fn wanted(settings: &EnvironmentSettings) -> Wanted {
    match &settings.auth {
        Auth::None => Wanted::default(),
        Auth::ClientSecret { tenant_id, client_id, .. } => {
            Wanted { tenant: Some(tenant_id.clone()), application: Some(*client_id) }
        }
        Auth::ManagedIdentity { client_id } => Wanted { tenant: None, application: *client_id },
    }
}

async fn queue_of(base: &Base, settings: &Settings, limits: &Limits, lock: Option<Duration>) -> Check {
    match compose::queue_client(base, settings) {
        Ok(client) => bus::queue(client.map(Admin::new).as_ref(), limits.deliveries_max, lock).await,
        Err(error) => Check::fail("queue", format!("{error:#}"), "correct the connection"),
    }
}

async fn ledger_of(base: &Base, settings: &Settings) -> Check {
    match &settings.ledger.store {
        LedgerStore::Memory => ledger::ledger(None).await,
        LedgerStore::Table(_) => match compose::table_store(base, settings) {
            Ok(table) => ledger::ledger(Some(&table)).await,
            Err(error) => Check::fail("ledger", format!("{error:#}"), "correct the connection"),
        },
    }
}

/// Token and `WhoAmI` of one environment, and its client if both worked. `None`: it is not configured.
async fn connect(
    base: &Base,
    side: Side,
    environment: Option<(anyhow::Result<Environment>, Wanted)>,
    limits: &Limits,
) -> (Vec<Check>, Option<(Environment, Identity)>) {
    let (token, connection) = (format!("{} token", side.name()), format!("{} connection", side.name()));
    let (environment, wanted) = match environment {
        None => return (vec![Check::skipped(connection, "SOURCE_URL is not set")], None),
        Some((Err(error), _)) => {
            let failed = Check::fail(token, format!("{error:#}"), format!("correct the {}_ settings", side.prefix()));
            return (vec![failed, Check::skipped(connection, "there is no token")], None);
        }
        Some((Ok(environment), wanted)) => (environment, wanted),
    };
    let token = token::token(side, &environment.client, &wanted, base.clock.now(), limits.clock_skew).await;
    if token.status == Status::Fail {
        return (vec![token, Check::skipped(connection, "there is no token")], None);
    }
    let call = target::call(base.clock.as_ref());
    let (connected, identity) = environment::whoami(side, &environment.client, &call).await;
    (vec![token, connected], identity.map(|identity| (environment, identity)))
}
