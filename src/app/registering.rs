//! `register` from the command line: settings become the two environments and the address that events go to.

use super::compose::{self, Base};
use crate::config::{self, Settings};
use crate::domain::mapping::Mapping;
use crate::operate::register::{CannotRegister, Plan, QueueAddress, Receiver, Registrar, WebhookAddress};
use crate::secret::Secret;
use crate::sync::environment::Environment;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// The connection string of the queue's policy for Dataverse: read by `register` alone, the handler never has it.
pub const SEND_CONNECTION: &str = "DATAVERSE_SEND_CONNECTION";
/// The key of the function `webhook`: read by `register` alone.
pub const FUNCTION_KEY: &str = "FUNCTION_KEY";

/// What `register` works with.
#[derive(Debug)]
pub struct Registering {
    /// Tables.
    pub mapping: Mapping,
    /// Where events come from.
    pub source: Environment,
    /// Where rows go.
    pub target: Environment,
    /// Where events go.
    pub receiver: Receiver,
}

impl Registering {
    /// Who registers it, as one of several installations on the source.
    #[must_use]
    pub fn registrar<'a>(&'a self, base: &'a Base, installation: &'a str) -> Registrar<'a> {
        let Self { mapping, source, target, .. } = self;
        Registrar { mapping, source, target, clock: base.clock.as_ref(), installation }
    }

    /// Looks what is not as it should be, and mends it; what that was.
    ///
    /// # Errors
    /// [`CannotRegister`].
    pub async fn bring_in(&self, base: &Base, installation: &str) -> Result<Plan, CannotRegister> {
        let registrar = self.registrar(base, installation);
        let plan = registrar.look(&self.receiver, false).await?.unwrap_or_default();
        registrar.apply(plan.clone()).await?;
        Ok(plan)
    }
}

/// Source, target and receiver by these settings; `root` is the app's folder.
///
/// # Errors
/// Settings or mapping are wrong, there is no source, or the address cannot be used.
pub fn open(
    base: &Base,
    values: &BTreeMap<String, String>,
    root: &Path,
    webhook: Option<&str>,
) -> anyhow::Result<Registering> {
    let settings = Settings::from_map(values)?;
    let file = values.get("SYNC_CONFIG").map(|file| file.trim()).filter(|file| !file.is_empty());
    let mapping = config::mapping(&root.join(file.unwrap_or("sync.toml")))?;
    settings.check_with(&mapping)?;
    let Some(source) = &settings.source else { bail!("SOURCE_URL is not set: there is nowhere to register") };
    let given = |name: &str| values.get(name).map(|text| text.trim()).filter(|text| !text.is_empty()).map(Secret::new);
    let receiver = match webhook {
        Some(url) => {
            let (key, secret) = (given(FUNCTION_KEY), settings.webhook.secrets.first());
            Receiver::Webhook(WebhookAddress::new(url, key.as_ref(), secret).context("--webhook")?)
        }
        None => {
            let queue = given(SEND_CONNECTION).map(|text| QueueAddress::parse(&text, &settings.queue.name));
            Receiver::Queue(queue.transpose().context(SEND_CONNECTION)?)
        }
    };
    let open = |environment| compose::environment(base, environment, &settings.identity, &mapping.limits);
    Ok(Registering { source: open(source)?, target: open(&settings.target)?, receiver, mapping })
}
