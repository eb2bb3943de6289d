//! Looking, and carrying out what was found: one request per row, in an order that leaves no event without an endpoint.
//! Interrupted anywhere, it goes on when run again.

use super::compare::{self, Act, Change, Plan};
use super::found::{self, Found};
use super::plan::{self, Sides, StepWish};
use super::receiver::{Receiver, Sort};
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::dataverse::error::DataverseError;
use crate::dataverse::metadata::MetadataError;
use crate::domain::mapping::Mapping;
use crate::domain::schema::TableSchema;
use crate::operate::doctor::target::call;
use crate::sync::environment::Environment;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What came of `--remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nothing of ours is left.
    All,
    /// Steps of others are bound to our endpoint, which therefore stays.
    AllButEndpoint,
}

/// Why nothing, or not all, was done.
#[derive(Debug, thiserror::Error)]
pub enum CannotRegister {
    /// There is no endpoint yet, and no address for one.
    #[error(
        "there is no endpoint yet: set DATAVERSE_SEND_CONNECTION to the connection string of the policy that may send \
             to the queue, or give --webhook"
    )]
    NoAddress,
    /// The table does not raise that message, or takes no steps on it.
    #[error("the source takes no step on {message} of {}: remove the table from the mapping, or the operation from its \
             `operations`", table.as_deref().unwrap_or("links"))]
    NoMessage {
        /// The message.
        message: String,
        /// The table.
        table: Option<String>,
    },
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A request failed.
    #[error("{what}: {}", crate::operate::doctor::environment::told(error))]
    Request {
        /// What it was about.
        what: String,
        /// Why.
        error: DataverseError,
    },
}

/// Registers what a mapping needs in a source environment.
#[derive(Debug)]
pub struct Registrar<'a> {
    /// Which tables.
    pub mapping: &'a Mapping,
    /// Where events come from.
    pub source: &'a Environment,
    /// What of them counts.
    pub target: &'a Environment,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Which of several installations on this source.
    pub installation: &'a str,
}

fn reading(error: DataverseError) -> CannotRegister {
    CannotRegister::Request { what: "the registered steps cannot be read".to_owned(), error }
}

impl Registrar<'_> {
    /// What is not as it should be. `renew`: secrets are sent again, for nobody can read whether they changed. `None`:
    /// nothing of ours is registered, and `receiver` says no address ([`Receiver::AsFound`]).
    ///
    /// # Errors
    /// [`CannotRegister`].
    pub async fn look(&self, receiver: &Receiver, renew: bool) -> Result<Option<Plan>, CannotRegister> {
        let wishes = self.wishes().await?;
        let mut found = self.found(&wishes).await?;
        let sort = match receiver {
            Receiver::Queue(_) => Sort::Queue,
            Receiver::Webhook(_) => Sort::Webhook,
            Receiver::AsFound => match Sort::BOTH.into_iter().find(|sort| found.endpoints.contains_key(sort)) {
                Some(sort) => sort,
                None => return Ok(None),
            },
        };
        if matches!(receiver, Receiver::Queue(None)) && !found.endpoints.contains_key(&sort) {
            return Err(CannotRegister::NoAddress);
        }
        let call = || call(self.clock);
        found::messages(&self.source.client, call, &wishes, &mut found).await.map_err(reading)?;
        compare::compare(self.installation, (sort, receiver), &wishes, &found, renew)
            .map(Some)
            .map_err(|(message, table)| CannotRegister::NoMessage { message, table })
    }

    /// What `--remove` would remove.
    ///
    /// # Errors
    /// [`CannotRegister`].
    pub async fn look_for_removal(&self) -> Result<(Plan, Removed), CannotRegister> {
        let wishes = self.wishes().await.unwrap_or_default();
        let plan = compare::remove_all(self.installation, &self.found(&wishes).await?);
        let removed = if plan.foreign.is_empty() { Removed::All } else { Removed::AllButEndpoint };
        Ok((plan, removed))
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// The first request that failed; what came before it is done.
    pub async fn apply(&self, plan: Plan) -> Result<(), CannotRegister> {
        for change in plan.changes {
            let what = change.what.clone();
            self.carry_out(change).await.map_err(|error| CannotRegister::Request { what, error })?;
        }
        Ok(())
    }

    async fn carry_out(&self, change: Change) -> Result<(), DataverseError> {
        let (client, call): (_, Call) = (&self.source.client, call(self.clock));
        let Some(registry) = change.registry else { return Ok(()) };
        match change.act {
            Act::Create => client.register(&call, registry, change.body.0).await,
            Act::Change => client.reregister(&call, registry, change.id, change.body.0).await,
            Act::Remove => client.unregister(&call, registry, change.id).await,
        }
    }

    async fn found(&self, wishes: &[StepWish]) -> Result<Found, CannotRegister> {
        found::ours(&self.source.client, || call(self.clock), self.installation, wishes).await.map_err(reading)
    }

    async fn wishes(&self) -> Result<Vec<StepWish>, CannotRegister> {
        let mut schemas: BTreeMap<&str, (Arc<TableSchema>, Arc<TableSchema>)> = BTreeMap::new();
        for map in self.mapping.tables.values() {
            let source = self.source.schemas.get(&call(self.clock), &map.source).await?;
            let target = self.target.schemas.get(&call(self.clock), &map.target).await?;
            schemas.insert(&map.source, (source, target));
        }
        let sides = schemas.iter().map(|(name, (source, target))| (*name, Sides { source, target })).collect();
        Ok(plan::steps(self.installation, self.mapping, &sides))
    }
}
