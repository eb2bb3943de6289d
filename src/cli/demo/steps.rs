//! How the source comes to send events: `register`, by the code of the command. Most tables go through the queue, one to the
//! webhook, so there are two registrations, told apart by name. Knows no handler.

use super::delivery::Deliveries;
use super::world::{KEY, QUEUE};
use crate::app::compose::Base;
use crate::app::registering;
use crate::clock::SystemClock;
use crate::sim::dataverse::{Environment, RaisedEvent, Sink, Step};
use crate::sim::host::Host;
use anyhow::Context;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The namespace under which the source finds the queue.
const NAMESPACE: &str = "demo.servicebus.windows.net";
/// The table whose events go to the webhook.
pub(super) const POSTED: &str = "product";

/// What is registered for the queue; owners are other people on the other side. Links need both their tables.
pub(super) const BY_QUEUE: (&str, &str) = (
    "queue.toml",
    r#"version = 1
[tables.account.columns]
exclude = ["ownerid"]
[tables.contact.columns]
exclude = ["ownerid"]
[tables.salesorder.columns]
exclude = ["ownerid"]
[tables.product]
operations = ["link"]
"#,
);

/// What is registered for the webhook.
pub(super) const BY_WEBHOOK: (&str, &str) = (
    "webhook.toml",
    r#"version = 1
[tables.product]
operations = ["create", "update", "delete"]
[tables.product.columns]
exclude = ["ownerid"]
"#,
);

/// Who takes part in it.
#[derive(Debug)]
pub(super) struct Registration<'a> {
    /// Where source and target are.
    pub(super) settings: BTreeMap<String, String>,
    /// The folder with both files.
    pub(super) root: &'a Path,
    pub(super) source: &'a Environment,
    pub(super) deliveries: &'a Arc<Deliveries>,
}

impl Registration<'_> {
    /// Registers everything; what that made, in words.
    ///
    /// # Errors
    /// The source refuses something.
    pub(super) async fn register(&self, host: &Host) -> anyhow::Result<String> {
        let deliveries = Arc::clone(self.deliveries);
        let receive = move |event: RaisedEvent| {
            let deliveries = Arc::clone(&deliveries);
            Box::pin(async move { deliveries.deliver(event).await }) as BoxFuture<'static, Result<(), String>>
        };
        self.source.connect_queue(NAMESPACE, QUEUE, Arc::new(receive));
        self.watch_posts();
        let webhook = format!("{}/api/webhook", host.url());
        let (by_queue, by_webhook) = tokio::try_join!(
            self.run(BY_QUEUE.0, "demo", None),
            self.run(BY_WEBHOOK.0, "demo-webhook", Some(&webhook))
        )?;
        Ok(format!("{by_queue} for the queue; {by_webhook} for the webhook"))
    }

    async fn run(&self, mapping: &str, installation: &str, webhook: Option<&str>) -> anyhow::Result<String> {
        let send = format!("Endpoint=sb://{NAMESPACE}/;SharedAccessKeyName=dataverse-send;SharedAccessKey=ZGVtbw==");
        let mut settings = self.settings.clone();
        for (name, value) in [
            ("SYNC_CONFIG", mapping),
            ("SYNC_QUEUE", QUEUE),
            (registering::SEND_CONNECTION, &send),
            (registering::FUNCTION_KEY, KEY),
        ] {
            settings.insert(name.to_owned(), value.to_owned());
        }
        let base = Base::over_network(Arc::new(SystemClock::default()));
        let parts = registering::open(&base, &settings, self.root, webhook)?;
        Ok(parts.bring_in(&base, installation).await.context("register")?.sorts())
    }

    /// The demo's own ear: how many events are on their way to the webhook.
    fn watch_posts(&self) {
        let deliveries = Arc::clone(self.deliveries);
        let noted = Sink::Call(Arc::new(move |event| {
            deliveries.note(event.correlation);
            Box::pin(async { Ok(()) })
        }));
        self.source.subscribe(Step::new(Uuid::from_u128(51), POSTED, noted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::compile;

    #[test]
    fn the_two_registrations_take_every_table_once() {
        let (queue, webhook) = (compile(BY_QUEUE.0, BY_QUEUE.1).unwrap(), compile(BY_WEBHOOK.0, BY_WEBHOOK.1).unwrap());
        let mut tables: Vec<&String> = queue.tables.keys().filter(|table| *table != POSTED).collect();
        tables.extend(webhook.tables.keys());
        tables.sort();
        let mut all = super::super::world::TABLES;
        all.sort_unstable();
        assert_eq!(tables, all);
    }
}
