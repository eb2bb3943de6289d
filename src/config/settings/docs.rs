//! Every setting by name, for `doctor`, the README and the tests that hold code, example and documentation together.

/// Who gives a setting its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// The user, as an app setting or in `local.settings.json`.
    User,
    /// The user, as the other form of a connection; not in `local.settings.json.example`, which uses the first form.
    UserInstead,
    /// Azure or the Functions host.
    Host,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingDoc {
    /// Name in the environment.
    pub name: &'static str,
    /// What it is for, with its form.
    pub meaning: &'static str,
    /// Default; empty if there is none.
    pub default: &'static str,
    /// Whether nothing starts without it.
    pub required: bool,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Who sets it.
    pub given_by: GivenBy,
}

const fn doc(name: &'static str, default: &'static str, meaning: &'static str) -> SettingDoc {
    SettingDoc { name, meaning, default, required: false, secret: false, given_by: GivenBy::User }
}

const fn required(doc: SettingDoc) -> SettingDoc {
    SettingDoc { required: true, ..doc }
}

const fn secret(doc: SettingDoc) -> SettingDoc {
    SettingDoc { secret: true, ..doc }
}

const fn instead(doc: SettingDoc) -> SettingDoc {
    SettingDoc { given_by: GivenBy::UserInstead, ..doc }
}

const fn by_host(doc: SettingDoc) -> SettingDoc {
    SettingDoc { given_by: GivenBy::Host, ..doc }
}

/// All settings that the binary reads. `LEDGER_CONNECTION` can name another connection than `AzureWebJobsStorage`.
pub const SETTINGS: &[SettingDoc] = &[
    doc("SYNC_CONFIG", "sync.toml", "the mapping file, relative to the app root"),
    required(doc("TARGET_URL", "", "target environment, https://org.crm4.dynamics.com; plain http only for loopback")),
    doc("TARGET_TENANT_ID", "", "tenant of the target's application registration"),
    doc("TARGET_CLIENT_ID", "", "its client id; without a secret, the user-assigned managed identity"),
    secret(doc("TARGET_CLIENT_SECRET", "", "its client secret; without it the managed identity is used")),
    doc("TARGET_AUTH", "auto", "auto, or none (only for loopback)"),
    doc("SOURCE_URL", "", "source environment: for oversized events, ties, read = \"source\", reconcile, register"),
    doc("SOURCE_TENANT_ID", "", "as TARGET_TENANT_ID"),
    doc("SOURCE_CLIENT_ID", "", "as TARGET_CLIENT_ID"),
    secret(doc("SOURCE_CLIENT_SECRET", "", "as TARGET_CLIENT_SECRET")),
    doc("SOURCE_AUTH", "auto", "as TARGET_AUTH"),
    doc(
        "SOURCE_ORGANIZATION_ID",
        "",
        "organisations whose events are ours, comma-separated; unset: the first seen is pinned",
    ),
    doc("LEDGER_STORE", "table", "table, or memory (tests, single process)"),
    doc("LEDGER_CONNECTION", "AzureWebJobsStorage", "name of the setting that holds the storage connection"),
    secret(doc(
        "AzureWebJobsStorage",
        "",
        "connection string of the storage account; UseDevelopmentStorage=true for Azurite",
    )),
    instead(doc("AzureWebJobsStorage__tableServiceUri", "", "its table endpoint, with the managed identity")),
    instead(doc("AzureWebJobsStorage__accountName", "", "or its account name, with the managed identity")),
    instead(doc("AzureWebJobsStorage__clientId", "", "client id of the user-assigned managed identity")),
    doc("LEDGER_TABLE", "syncledger", "table of claims and versions: 3 to 63 letters and digits"),
    doc("INBOX_TABLE", "syncinbox", "table of what is owed and parked: 3 to 63 letters and digits"),
    doc("SYNC_QUEUE", "dataverse-events", "the Service Bus queue"),
    secret(doc("ServiceBus", "", "connection string of the Service Bus namespace")),
    doc(
        "ServiceBus__fullyQualifiedNamespace",
        "",
        "or its host name, name.servicebus.windows.net, with the managed identity",
    ),
    instead(doc("ServiceBus__clientId", "", "client id of the user-assigned managed identity")),
    secret(doc("WEBHOOK_SECRETS", "", "comma-separated; if set, requests must carry one in x-webhook-secret")),
    doc("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com", "where tokens come from"),
    doc("LOG_FORMAT", "", "text or json; default json under the host, text in a terminal"),
    doc("RUST_LOG", "warn,dataverse_sync=info", "log filter, like info,dataverse_sync=debug"),
    doc(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OpenTelemetry collector (OTLP over HTTP) for traces and metrics; off if unset",
    ),
    doc("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "http/protobuf, nothing else is spoken"),
    doc("OTEL_SDK_DISABLED", "false", "true switches the export off"),
    by_host(doc("FUNCTIONS_CUSTOMHANDLER_PORT", "8080", "the port to listen on")),
    by_host(doc("FUNCTIONS_APP_ROOT_PATH", "", "the folder of host.json; relative files are looked for there")),
    by_host(doc("IDENTITY_ENDPOINT", "", "where the managed identity's tokens come from")),
    by_host(secret(doc("IDENTITY_HEADER", "", "what a request to it must carry"))),
];

/// Names that begin like settings of ours: a near miss among them is a mistake rather than somebody else's variable.
pub(super) const PREFIXES: [&str; 7] = ["TARGET_", "SOURCE_", "LEDGER_", "INBOX_", "SYNC_", "WEBHOOK_", "LOG_"];
