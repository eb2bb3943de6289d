//! The world in small: a source and a target with sample tables, and a table storage in memory. The source sends its
//! events to the local queue. Knows no function.

use crate::app::compose::Base;
use crate::app::registering;
use crate::domain::mapping::Mapping;
use crate::operate::register::NAME_DEFAULT;
use crate::sim::dataverse::{self, AsPerson, Environment, RaisedEvent, sample};
use crate::sim::host::{NewMessage, Queue};
use crate::sim::http::Server;
use crate::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const SOURCE: Uuid = Uuid::from_u128(0x50c0_0000_0000_4000_8000_0000_0000_0001);
const TARGET: Uuid = Uuid::from_u128(0x7a60_0000_0000_4000_8000_0000_0000_0002);
/// The namespace under which the source finds the local queue.
const NAMESPACE: &str = "local.servicebus.windows.net";
/// The policy that may send there.
pub(super) const SEND: &str =
    "Endpoint=sb://local.servicebus.windows.net/;SharedAccessKeyName=dataverse-send;SharedAccessKey=bG9jYWw=";
/// Requests that the log keeps; nobody reads it here.
const LOG_ENTRIES_MAX: usize = 100;

/// What runs. It ends when dropped.
#[derive(Debug)]
pub(super) struct StandIns {
    source: Environment,
    servers: [Server; 3],
}

impl StandIns {
    /// Starts them on the three ports after `port`, or on free ones if it is 0.
    ///
    /// # Errors
    /// Ports that are taken.
    pub(super) async fn start(port: u16, now: DateTime<Utc>) -> anyhow::Result<Self> {
        let environment = |organization, seed| {
            Environment::new(dataverse::Settings {
                seed,
                epoch: now,
                log_entries_max: LOG_ENTRIES_MAX,
                ..dataverse::Settings::new(organization, sample::sample_schema())
            })
        };
        let (source, target) = (environment(SOURCE, 1), environment(TARGET, 2));
        let number = |offset| if port == 0 { 0 } else { port.saturating_add(offset) };
        let taken = |what: &'static str, offset| {
            move |error| {
                anyhow!("cannot listen on port {} for {what}: {error}; choose others with --port", number(offset))
            }
        };
        let storage = TableService::new(tables::Settings { start: now, ..tables::Settings::default() });
        let servers = [
            serve(source.clone(), number(1)).await.map_err(taken("the source", 1))?,
            serve(target, number(2)).await.map_err(taken("the target", 2))?,
            tables::serve(storage, number(3)).await.map_err(taken("the table storage", 3))?,
        ];
        Ok(Self { source, servers })
    }

    /// The settings that lead to them.
    pub(super) fn values(&self) -> BTreeMap<String, String> {
        let [source, target, storage] = self.servers.each_ref().map(Server::url);
        let endpoint = format!("{storage}/{DEVELOPMENT_ACCOUNT}");
        let connection =
            format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY};TableEndpoint={endpoint}");
        let values = [
            ("AzureWebJobsStorage", connection),
            ("TARGET_URL", target),
            ("TARGET_AUTH", "none".to_owned()),
            ("SOURCE_URL", source),
            ("SOURCE_AUTH", "none".to_owned()),
            ("SOURCE_ORGANIZATION_ID", SOURCE.to_string()),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What people should know of them.
    pub(super) fn text(&self, known: &[String], unknown: &[String]) -> String {
        let [source, target, storage] = self.servers.each_ref().map(Server::url);
        let mut text = format!("\nSource      {source}/api/data/v9.2   sends events of {}\n", known.join(", "));
        text.push_str(&format!("Target      {target}/api/data/v9.2\nStorage     {storage}\n"));
        if !unknown.is_empty() {
            text.push_str(&format!("            not among the sample tables: {}\n", unknown.join(", ")));
        }
        text.push_str(&format!(
            "\nMake a row in the source and find it in the target:\n  \
             curl {source}/api/data/v9.2/accounts -d '{{\"name\": \"Contoso\"}}'\n  \
             curl '{target}/api/data/v9.2/accounts?$select=name'\n"
        ));
        text
    }

    /// Events of registered steps go to this queue from now on.
    pub(super) fn connect(&self, queue: &Queue, name: &str) {
        let queue = queue.clone();
        let receive = move |event| {
            let sent = send(&queue, &event);
            Box::pin(async move { sent }) as futures_util::future::BoxFuture<'static, Result<(), String>>
        };
        self.source.connect_queue(NAMESPACE, name, Arc::new(receive));
    }

    /// Registers the steps of the mapping in the source, as the command does; what that changed, in words.
    ///
    /// # Errors
    /// The mapping, or a step that the source refuses.
    pub(super) async fn register(
        &self,
        base: &Base,
        values: &BTreeMap<String, String>,
    ) -> anyhow::Result<Option<String>> {
        let mut values = values.clone();
        values.insert(registering::SEND_CONNECTION.to_owned(), SEND.to_owned());
        // the mapping's path is absolute here
        let mut parts = registering::open(base, &values, Path::new("."), None)?;
        let (known, _) = split(&parts.mapping);
        parts.mapping.tables.retain(|table, _| known.contains(table));
        let plan = parts.bring_in(base, NAME_DEFAULT).await.context("register")?;
        Ok((!plan.is_settled()).then(|| format!("register made, changed or removed {} in the source", plan.sorts())))
    }
}

/// Serves an environment to people with curl as well. Who sends none of the headers of OData gets them, as the service
/// itself does without (the stand-in is stricter, so that the handler's requests are looked at), and writes as a person: what
/// the app's own user writes is an echo to the handler.
async fn serve(environment: Environment, port: u16) -> std::io::Result<Server> {
    crate::sim::http::serve(port, move |mut request| {
        let environment = environment.clone();
        let headers = request.headers_mut();
        if !headers.contains_key("odata-version") && !headers.contains_key("odata-maxversion") {
            for (name, value) in [
                ("odata-version", "4.0"),
                ("odata-maxversion", "4.0"),
                ("accept", "application/json"),
                ("content-type", "application/json"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            request.extensions_mut().insert(AsPerson);
        }
        async move { environment.handle(request).await }
    })
    .await
}

fn send(queue: &Queue, event: &RaisedEvent) -> Result<(), String> {
    let message = event.queue().ok_or("too large for the queue")?;
    let properties = message.properties.into_iter().map(|(name, value)| (name, Json::String(value))).collect();
    let content_type = Some(message.content_type.to_owned());
    queue.send(NewMessage { body: message.body, properties, content_type, ..NewMessage::default() });
    Ok(())
}

/// The mapping's tables that the samples have, and the others.
pub(super) fn split(mapping: &Mapping) -> (Vec<String>, Vec<String>) {
    let schema = sample::sample_schema();
    mapping.tables.keys().cloned().partition(|table| schema.tables.contains_key(table))
}
