//! Settings from the environment, one struct per concern, parsed from a map (tests need no environment). Names and defaults are
//! CONTRACT's; [`SETTINGS`] lists them. Knows nothing of what is done with them.

mod docs;
mod environment;
mod read;
mod storage;
#[cfg(test)]
mod tests;

pub use docs::{GivenBy, SETTINGS, SettingDoc};
pub use environment::{Auth, Environment};
pub use storage::{BusConnection, LedgerSettings, LedgerStore, QueueSettings, TableConnection};

use super::problem::{ConfigProblems, Problem};
use crate::domain::mapping::{Mapping, ReadFrom};
use crate::secret::Secret;
use crate::telemetry::{self, LogFormat};
use read::Reader;
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// All settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SYNC_CONFIG`, relative to the app root: `FUNCTIONS_APP_ROOT_PATH`, which the host sets, or where we were started.
    pub mapping_file: PathBuf,
    /// `TARGET_*`.
    pub target: Environment,
    /// `SOURCE_*`, if `SOURCE_URL` is set.
    pub source: Option<Environment>,
    /// `SOURCE_ORGANIZATION_ID`; empty: the first seen is pinned.
    pub source_organizations: Vec<Uuid>,
    /// Ledger and inbox.
    pub ledger: LedgerSettings,
    /// Service Bus.
    pub queue: QueueSettings,
    /// What requests must carry.
    pub webhook: WebhookSettings,
    /// Logs.
    pub logging: LoggingSettings,
    /// Where tokens come from.
    pub identity: IdentitySettings,
    /// What the host tells its handler.
    pub handler: HandlerSettings,
}

/// What webhook requests must carry.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// `WEBHOOK_SECRETS`: any one of them in `x-webhook-secret`; empty: none is asked for.
    pub secrets: Vec<Secret>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingSettings {
    /// `LOG_FORMAT`; `None`: text if standard output is a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// `RUST_LOG`, a filter that was checked. Default [`telemetry::FILTER_DEFAULT`].
    pub filter: String,
    /// Whether traces and metrics go to an OpenTelemetry collector: `OTEL_EXPORTER_OTLP_ENDPOINT` is set and `OTEL_SDK_DISABLED` is
    /// not `true`. Everything else is read by OpenTelemetry's own library from its own variables.
    pub exports: bool,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// `AZURE_AUTHORITY_HOST`: scheme and host.
    pub authority_host: String,
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, where Azure gives the app an identity.
    pub endpoint: Option<IdentityEndpoint>,
}

/// Where the managed identity's tokens come from.
#[derive(Clone, Debug)]
pub struct IdentityEndpoint {
    /// Address to ask, with its path.
    pub url: String,
    /// What the request must carry in `X-IDENTITY-HEADER`.
    pub header: Secret,
}

/// What the host tells its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerSettings {
    /// `FUNCTIONS_CUSTOMHANDLER_PORT`. Default 8080.
    pub port: u16,
    /// Whether the host started this process, that is whether the variable is set.
    pub under_host: bool,
}

impl Settings {
    /// Parses all settings.
    ///
    /// # Errors
    /// Every problem of every setting at once.
    pub fn from_map(values: &BTreeMap<String, String>) -> Result<Self, ConfigProblems> {
        let mut reader = Reader::new(values);
        let target = environment::read("TARGET", &mut reader);
        if !reader.is_set("TARGET_URL") {
            reader.say("TARGET_URL", "is not set", "the target environment, like https://org.crm4.dynamics.com");
        }
        let source = environment::read("SOURCE", &mut reader);
        if let (Some(target), Some(source)) = (&target, &source)
            && target.url == source.url
        {
            reader.say("SOURCE_URL", "is the same environment as TARGET_URL", "source and target must differ");
        }
        let source_organizations = organizations(&mut reader);
        let app_root = PathBuf::from(reader.get_or("FUNCTIONS_APP_ROOT_PATH", ""));
        let mapping_file = app_root.join(reader.get_or("SYNC_CONFIG", "sync.toml"));
        let ledger = storage::ledger(&mut reader);
        let queue = storage::queue(&mut reader);
        let webhook =
            WebhookSettings { secrets: reader.list("WEBHOOK_SECRETS").into_iter().map(Secret::new).collect() };
        let logging = logging(&mut reader);
        let identity = identity(&mut reader);
        let handler = handler(&mut reader);
        // either part is only missing after its problem was noted; `or` then reports that
        let complete = target.zip(ledger).map(|(target, ledger)| Self {
            mapping_file,
            target,
            source,
            source_organizations,
            ledger,
            queue,
            webhook,
            logging,
            identity,
            handler,
        });
        reader
            .or(complete)?
            .ok_or_else(|| ConfigProblems { problems: vec![Problem::setting("TARGET_URL", "could not be read", None)] })
    }

    /// Logs alone, for before everything else is checked: what is wrong falls back to the default.
    #[must_use]
    pub fn logging_only(values: &BTreeMap<String, String>) -> LoggingSettings {
        logging(&mut Reader::new(values))
    }

    /// What the mapping needs of the settings.
    ///
    /// # Errors
    /// Tables that read from a source that is not configured.
    pub fn check_with(&self, mapping: &Mapping) -> Result<(), ConfigProblems> {
        let mut problems = ConfigProblems::default();
        let needing = mapping.tables.values().filter(|table| table.read == ReadFrom::Source);
        let names: Vec<&str> = needing.map(|table| table.source.as_str()).collect();
        if self.source.is_none() && !names.is_empty() {
            let problem = format!("is not set, but the mapping says read = \"source\" for {}", names.join(", "));
            let help = "set SOURCE_URL and its credentials, or use read = \"event\"".to_owned();
            problems.problems.push(Problem::setting("SOURCE_URL", problem, Some(help)));
        }
        problems.or(())
    }
}

fn organizations(reader: &mut Reader<'_>) -> Vec<Uuid> {
    const NAME: &str = "SOURCE_ORGANIZATION_ID";
    reader.list(NAME).into_iter().filter_map(|text| reader.guid(NAME, text)).collect()
}

fn logging(reader: &mut Reader<'_>) -> LoggingSettings {
    let format = reader
        .is_set("LOG_FORMAT")
        .then(|| reader.one_of("LOG_FORMAT", [("json", LogFormat::Json), ("text", LogFormat::Text)]));
    let filter = reader.get_or("RUST_LOG", telemetry::FILTER_DEFAULT);
    let filter = match telemetry::check_filter(filter) {
        Ok(()) => filter,
        Err(error) => {
            reader.say(
                "RUST_LOG",
                error.to_string(),
                "write a level, or target=level pairs: info,dataverse_sync=debug",
            );
            telemetry::FILTER_DEFAULT
        }
    };
    LoggingSettings { format, filter: filter.to_owned(), exports: exports(reader) }
}

fn exports(reader: &mut Reader<'_>) -> bool {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    let disabled = reader.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let Some(endpoint) = reader.get(ENDPOINT).filter(|_| !disabled) else { return false };
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let is_url = host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':', '?']));
    if !is_url {
        reader.say(ENDPOINT, "is not a URL", "the collector's address for OTLP over HTTP, like http://localhost:4318");
    }
    let speaks = reader.get(PROTOCOL).is_none_or(|protocol| protocol == "http/protobuf");
    if !speaks {
        reader.say(PROTOCOL, "must be `http/protobuf`", "gRPC is not spoken; collectors take HTTP on port 4318");
    }
    is_url && speaks
}

fn identity(reader: &mut Reader<'_>) -> IdentitySettings {
    const HOST: &str = "AZURE_AUTHORITY_HOST";
    const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";
    let given =
        reader.get(HOST).map(|text| if text.contains("://") { text.to_owned() } else { format!("https://{text}") });
    let authority_host = given.and_then(|text| environment::origin(HOST, &text, reader));
    let endpoint = reader.get("IDENTITY_ENDPOINT").map(str::to_owned);
    let header = reader.secret("IDENTITY_HEADER");
    if endpoint.is_some() != header.is_some() {
        let help = "Azure sets both; locally, unset both";
        reader.say("IDENTITY_ENDPOINT", "goes with IDENTITY_HEADER, but only one of them is set", help);
    }
    IdentitySettings {
        authority_host: authority_host.unwrap_or_else(|| PUBLIC_CLOUD.to_owned()),
        endpoint: endpoint.zip(header).map(|(url, header)| IdentityEndpoint { url, header }),
    }
}

fn handler(reader: &mut Reader<'_>) -> HandlerSettings {
    const NAME: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    let given = reader.get(NAME);
    let port = given.map_or(Some(8080), |text| text.parse::<u16>().ok().filter(|port| *port > 0));
    if port.is_none() {
        reader.say(NAME, "is not a port", "the Functions host sets it; locally, unset it for 8080");
    }
    HandlerSettings { port: port.unwrap_or(8080), under_host: given.is_some() }
}
