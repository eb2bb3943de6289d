//! A measurement against what settings name: what it will do there, said before; its own rows read back; and everything it made
//! removed. Speaks the Web API by hand: what verifies the handler must not share its mistakes.

use super::BenchArgs;
use super::folder::TABLE;
use super::world::World;
use crate::app::compose::Base;
use crate::app::trial::Trial;
use crate::cli::Trouble;
use crate::clock::SystemClock;
use crate::config;
use crate::sim::dataverse::Environment;
use crate::sim::http::Reply;
use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// What names of rows begin with.
pub(super) const MARK: &str = "dataverse-sync bench";
/// Columns that events set.
pub(super) const COLUMNS: [&str; 4] = ["name", "telephone1", "description", "numberofemployees"];
/// The tables' address in the Web API.
const ACCOUNTS: &str = "/api/data/v9.2/accounts";
/// Rows that are read back or removed at once.
const AT_ONCE: usize = 4;
/// Attempts of one request that is refused for now.
const ATTEMPTS_MAX: u32 = 10;
/// Pause where the environment names none.
const PAUSE: Duration = Duration::from_secs(1);

/// One run.
#[derive(Debug)]
pub(super) struct Live {
    /// What settings lead to; `None` if everything is a stand-in.
    pub(super) trial: Option<Trial>,
    /// The settings.
    pub(super) values: BTreeMap<String, String>,
    /// Decides the rows' ids: in an environment no two runs have the same.
    pub(super) seed: u64,
    run: String,
    keep: bool,
}

/// What was read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Rows that are not there.
    pub(super) missing: usize,
    /// Columns with other values.
    pub(super) different: usize,
}

impl Live {
    /// A new run by these settings.
    ///
    /// # Errors
    /// [`Trouble::Wrong`] for settings.
    pub(super) fn open(arguments: &BenchArgs, environment: &BTreeMap<String, String>) -> Result<Self, Trouble> {
        let id = Uuid::new_v4();
        let mut live = Self {
            trial: None,
            values: environment.clone(),
            seed: if arguments.target_by_settings() { id.as_u64_pair().0 } else { arguments.seed },
            run: id.simple().to_string(),
            keep: arguments.keep,
        };
        if !arguments.by_settings() {
            return Ok(live);
        }
        if let Some(file) = &arguments.settings {
            for (name, value) in config::local_settings(file).map_err(|problems| Trouble::Wrong(problems.into()))? {
                live.values.entry(name).or_insert(value);
            }
        }
        let mut values = live.values.clone();
        if !arguments.target_by_settings() {
            values.insert("TARGET_URL".to_owned(), "http://127.0.0.1:1".to_owned());
            values.insert("TARGET_AUTH".to_owned(), "none".to_owned());
        }
        if !arguments.ledger_by_settings() {
            values.insert("LEDGER_CONNECTION".to_owned(), "BenchStandIn".to_owned());
            values.insert("BenchStandIn".to_owned(), "UseDevelopmentStorage=true".to_owned());
        }
        // never the tables of a handler that runs
        values.insert("LEDGER_TABLE".to_owned(), live.ledger_table());
        values.insert("INBOX_TABLE".to_owned(), live.inbox_table());
        let base = Base::over_network(Arc::new(SystemClock::default()));
        live.trial = Some(Trial::open(base, &values).map_err(Trouble::Wrong)?);
        Ok(live)
    }

    /// The ledger's table.
    pub(super) fn ledger_table(&self) -> String {
        format!("benchledger{}", self.run)
    }

    /// The inbox's table.
    pub(super) fn inbox_table(&self) -> String {
        format!("benchinbox{}", self.run)
    }

    /// The settings of the ledger's connection by an identity, under another name.
    pub(super) fn connection(&self, name: &str) -> Vec<(String, String)> {
        let given = self.values.get("LEDGER_CONNECTION").map_or("AzureWebJobsStorage", String::as_str);
        let parts = ["tableServiceUri", "accountName", "clientId", "credential"];
        let part =
            |part: &str| Some((format!("{name}__{part}"), self.values.get(&format!("{given}__{part}"))?.clone()));
        parts.into_iter().filter_map(part).collect()
    }

    /// What the names of this run's rows begin with.
    pub(super) fn mark(&self, arguments: &BenchArgs) -> String {
        match arguments.target_by_settings() {
            true => format!("{MARK} {} ", self.run.get(..8).unwrap_or_default()),
            false => String::new(),
        }
    }

    /// What will be done, for people; and whether they must agree first, because it is not this machine.
    pub(super) fn plan(&self, arguments: &BenchArgs, scenarios: usize) -> Option<(String, bool)> {
        let trial = self.trial.as_ref()?;
        let (mut text, mut away) = (String::new(), false);
        if arguments.target_by_settings() {
            away |= !trial.target.is_loopback();
            let rows = u64::from(arguments.events).saturating_mul(u64::try_from(scenarios).unwrap_or(u64::MAX));
            text.push_str(&format!(
                "Target    {}: up to {rows} rows of the table {TABLE} are created and updated, with up to {} requests at once;\n\
                 \x20         its plug-ins, flows and audit see them. Their names begin with '{MARK}'.\n",
                trial.target.origin(),
                usize::try_from(arguments.max_in_flight()).unwrap_or(usize::MAX).saturating_mul(arguments.instances),
            ));
            text.push_str(match self.keep {
                true => "          They stay there (--keep); to remove them, delete the rows whose names begin so.\n",
                false => "          They are deleted at the end. Should that not be reached, delete the rows whose names begin so.\n",
            });
        }
        if arguments.ledger_by_settings() {
            away |= match &trial.ledger {
                crate::app::trial::Ledger::Text { upstream, .. } => !upstream.is_loopback(),
                crate::app::trial::Ledger::Identity { .. } => true,
            };
            let remove = if self.keep { "stay there (--keep)" } else { "are deleted at the end" };
            text.push_str(&format!(
                "Ledger    {}: two tables for each scenario, named benchledger... and benchinbox..., {remove}\n",
                trial.ledger.name(),
            ));
        }
        Some((text, away))
    }

    /// Reads back every row that the source has, and compares what events set.
    ///
    /// # Errors
    /// The environment does not let itself be read.
    pub(super) async fn verify(&self, world: &World) -> anyhow::Result<Found> {
        let Some(trial) = &self.trial else { return Ok(Found::default()) };
        let rows = stream::iter(world.source.rows(TABLE).into_keys()).map(|id| async move {
            let path = format!("{ACCOUNTS}({id})?$select={}", COLUMNS.join(","));
            let (wanted, there) = (of_source(&world.source, &path).await?, self.ask(trial, Method::GET, &path).await?);
            if there.status() == StatusCode::NOT_FOUND {
                return Ok(Found { missing: 1, different: 0 });
            }
            let (wanted, there) = (row(&wanted)?, row(&there)?);
            let different = COLUMNS.iter().filter(|column| wanted.get(**column) != there.get(**column)).count();
            anyhow::Ok(Found { missing: 0, different })
        });
        rows.buffer_unordered(AT_ONCE)
            .try_fold(Found::default(), |sum, found| async move {
                Ok(Found { missing: sum.missing + found.missing, different: sum.different + found.different })
            })
            .await
    }

    /// Removes what this run made: rows and tables. Goes on after a failure, and tells the first.
    ///
    /// # Errors
    /// Something could not be removed.
    pub(super) async fn remove(&self, arguments: &BenchArgs, world: &World) -> anyhow::Result<()> {
        let Some(trial) = self.trial.as_ref().filter(|_| !self.keep) else { return Ok(()) };
        let mut removed = Ok(());
        if arguments.target_by_settings() {
            let rows = stream::iter(world.source.rows(TABLE).into_keys());
            let answers = rows.map(|id| async move {
                let answer = self.ask(trial, Method::DELETE, &format!("{ACCOUNTS}({id})")).await?;
                if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND {
                    return Ok(());
                }
                Err(anyhow!("{TABLE} {id}: {}", answer.status()))
            });
            let answers: Vec<anyhow::Result<()>> = answers.buffer_unordered(AT_ONCE).collect().await;
            removed = answers.into_iter().collect();
        }
        if arguments.ledger_by_settings() {
            removed = removed.and(trial.remove_tables().await);
        }
        removed.with_context(|| format!("not everything could be removed; rows that are left have names with '{MARK}'"))
    }

    /// Asks the target, again after its pauses.
    async fn ask(&self, trial: &Trial, method: Method, path: &str) -> anyhow::Result<Response<Bytes>> {
        for _ in 0..ATTEMPTS_MAX {
            let answer = match trial.target.pass(request(&method, path)?).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(%error, "asked again");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                return Ok(answer);
            }
            let asked = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.trim().parse().ok());
            sleep(asked.map_or(PAUSE, Duration::from_secs)).await;
        }
        bail!("{method} {path}: refused {ATTEMPTS_MAX} times")
    }
}

fn request(method: &Method, path: &str) -> anyhow::Result<Request<Bytes>> {
    let request = Request::builder().method(method.clone()).uri(path);
    let request = request.header("odata-version", "4.0").header("odata-maxversion", "4.0");
    Ok(request.header("accept", "application/json").body(Bytes::new())?)
}

async fn of_source(source: &Environment, path: &str) -> anyhow::Result<Response<Bytes>> {
    match source.handle(request(&Method::GET, path)?).await {
        Reply::Answer(answer) => Ok(answer),
        Reply::Hangup => bail!("the source hung up"),
    }
}

fn row(answer: &Response<Bytes>) -> anyhow::Result<Json> {
    if !answer.status().is_success() {
        bail!("a row cannot be read back: {}", answer.status());
    }
    Ok(serde_json::from_slice(answer.body())?)
}
