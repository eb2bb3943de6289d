//! What an environment is before anybody writes: its settings, its ids, who acts in it. Knows no request.

use super::protection::Protection;
use super::schema::Schema;
use chrono::{DateTime, TimeZone, Utc};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Answers whether a bearer token is good.
pub type TokenCheck = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Who may call.
#[derive(Clone, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    None,
    /// Those whose bearer token passes.
    Bearer(TokenCheck),
}

impl Auth {
    /// One fixed token.
    #[must_use]
    pub fn token(token: &str) -> Self {
        let token = token.to_owned();
        Self::Bearer(Arc::new(move |given| given == token))
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// How an environment is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Organization id, also in every event.
    pub organization: Uuid,
    /// `https://source.crm4.dynamics.com`: used where a request does not say by which address it came.
    pub base_url: String,
    /// Decides ids, delays and faults.
    pub seed: u64,
    /// The time at the start; later it is this plus what tokio's clock counted.
    pub epoch: DateTime<Utc>,
    /// Between "no such row" and the insert of an upsert or create: the wider, the more races.
    pub race_window: Duration,
    /// Least and longest time of a request, half of it before and half after its effect.
    pub latency: (Duration, Duration),
    /// Least and longest time until an event of a step that was registered over the Web API is sent: jobs wait their turn.
    pub step_delay: (Duration, Duration),
    /// Who may call.
    pub auth: Auth,
    /// Service protection, off unless given.
    pub protection: Option<Protection>,
    /// What every answer advises as requests at once (`x-ms-dop-hint`).
    pub dop_hint: u32,
    /// How many requests the log keeps.
    pub log_entries_max: usize,
    /// How long a delta link is good (`ExpireChangeTrackingInDays`).
    pub changes_kept: Duration,
    /// Privileges that the application user lacks, like `prvWriteAccount`.
    pub privileges_lacking: BTreeSet<String>,
    /// Rows come in the order of their ids as text, and not as SQL Server sorts GUIDs: nobody documents which.
    pub sorts_as_text: bool,
    /// The tables.
    pub schema: Schema,
}

impl Settings {
    /// An environment without delays, limits and authentication, at the start of 2026-01-05.
    #[must_use]
    pub fn new(organization: Uuid, schema: Schema) -> Self {
        Self {
            organization,
            base_url: format!("https://org{:08x}.crm.dynamics.com", organization.as_u128() >> 96),
            seed: 1,
            epoch: Utc.with_ymd_and_hms(2026, 1, 5, 8, 0, 0).single().unwrap_or_default(),
            race_window: Duration::ZERO,
            latency: (Duration::ZERO, Duration::ZERO),
            step_delay: (Duration::ZERO, Duration::ZERO),
            auth: Auth::None,
            protection: None,
            dop_hint: 8,
            log_entries_max: 1_000,
            changes_kept: Duration::from_secs(7 * 86_400),
            privileges_lacking: BTreeSet::new(),
            sorts_as_text: false,
            schema,
        }
    }
}

/// What stays the same while an environment lives.
#[derive(Clone, Debug)]
pub struct World {
    /// The tables.
    pub schema: Schema,
    /// Organization id.
    pub organization: Uuid,
    /// Address without path.
    pub base_url: String,
    /// The root business unit.
    pub business_unit: Uuid,
    /// A person who works in the environment.
    pub person: User,
    /// The application user: who calls the Web API.
    pub service: User,
    /// A team.
    pub team: Uuid,
    /// The organization's currency.
    pub base_currency: Uuid,
    /// Privileges that the application user lacks.
    pub privileges_lacking: BTreeSet<String>,
    /// Whether rows come in the order of their ids as text.
    pub sorts_as_text: bool,
}

/// Somebody who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// `systemuserid`.
    pub id: Uuid,
    /// Entra object id, the same in every environment.
    pub object_id: Uuid,
}

impl World {
    /// `org6eadd181.crm.dynamics.com`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.base_url.split_once("://").map_or(self.base_url.as_str(), |(_, host)| host)
    }

    /// `unq` and part of the organization id.
    #[must_use]
    pub fn organization_name(&self) -> String {
        let id = self.organization.simple().to_string();
        format!("unq{}", id.get(..29).unwrap_or(&id))
    }
}

/// On whose behalf and in which way something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `systemuserid` of the writer.
    pub user: Uuid,
    /// Their Entra object id.
    pub object_id: Uuid,
    /// `?tag=`, carried in SharedVariables.
    pub tag: Option<String>,
    /// From 1.
    pub depth: u32,
    /// `InitiatingUserAgent`.
    pub agent: String,
    /// Correlation id; a new one per write unless given.
    pub correlation: Option<Uuid>,
    /// No asynchronous steps (`MSCRM.BypassBusinessLogicExecution: CustomAsync`).
    pub bypass_async: bool,
    /// These steps do not run (`MSCRM.BypassBusinessLogicExecutionStepIds`).
    pub bypass_steps: BTreeSet<Uuid>,
}

impl Origin {
    /// That user, directly, with no marks.
    #[must_use]
    pub fn of(user: User) -> Self {
        Self {
            user: user.id,
            object_id: user.object_id,
            tag: None,
            depth: 1,
            agent: String::new(),
            correlation: None,
            bypass_async: false,
            bypass_steps: BTreeSet::new(),
        }
    }
}
