//! Cases for the settings.

use super::*;
use crate::config::problem::Place;
use std::collections::BTreeSet;

const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

/// The smallest good settings and changes to them; an empty value removes one.
fn map(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [("TARGET_URL", "https://org.crm4.dynamics.com"), ("AzureWebJobsStorage", "UseDevelopmentStorage=true")];
    let mut map: BTreeMap<String, String> =
        base.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    map.retain(|_, value| !value.is_empty());
    map
}

fn good(changes: &[(&str, &str)]) -> Settings {
    Settings::from_map(&map(changes)).unwrap_or_else(|problems| panic!("{changes:?}: {problems}"))
}

fn check(changes: &[(&str, &str)], expected: &[&str]) {
    let problems = Settings::from_map(&map(changes)).expect_err("expected problems").problems;
    let found: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.place, p.problem)).collect();
    assert_eq!(found, expected, "{changes:?}");
}

#[test]
fn the_mapping_file_is_looked_for_in_the_app_root() {
    let check = |root: &str, file: &str, expected: &str| {
        let settings = good(&[("FUNCTIONS_APP_ROOT_PATH", root), ("SYNC_CONFIG", file)]);
        assert_eq!(settings.mapping_file, PathBuf::from(expected));
    };
    check("/app", "", "/app/sync.toml");
    check("/app", "maps/a.toml", "/app/maps/a.toml");
    check("/app", "/etc/sync.toml", "/etc/sync.toml");
    check("", "a.toml", "a.toml");
}

#[test]
fn the_smallest_settings_have_contracts_defaults() {
    let settings = good(&[]);
    assert_eq!(settings.mapping_file, PathBuf::from("sync.toml"));
    assert_eq!(settings.target.url, "https://org.crm4.dynamics.com");
    assert!(matches!(settings.target.auth, Auth::ManagedIdentity { client_id: None }));
    assert!(settings.source.is_none() && settings.source_organizations.is_empty());
    assert!(matches!(&settings.ledger.store, LedgerStore::Table(TableConnection::Text(_))));
    assert_eq!(
        (settings.ledger.ledger_table.as_str(), settings.ledger.inbox_table.as_str()),
        ("syncledger", "syncinbox")
    );
    assert_eq!(settings.queue.name, "dataverse-events");
    assert!(settings.queue.connection.is_none() && settings.webhook.secrets.is_empty());
    assert_eq!(settings.identity.authority_host, "https://login.microsoftonline.com");
    assert_eq!(
        settings.logging,
        LoggingSettings { format: None, filter: telemetry::FILTER_DEFAULT.to_owned(), exports: false }
    );
    assert_eq!(settings.handler, HandlerSettings { port: 8080, under_host: false });
}

#[test]
fn credentials_are_a_secret_or_an_identity() {
    let secret = [("TARGET_TENANT_ID", TENANT), ("TARGET_CLIENT_ID", CLIENT), ("TARGET_CLIENT_SECRET", "s3cret")];
    let Auth::ClientSecret { tenant_id, client_id, secret } = good(&secret).target.auth else { panic!("no secret") };
    assert_eq!((tenant_id.as_str(), client_id.to_string().as_str(), secret.expose()), (TENANT, CLIENT, "s3cret"));
    let user_assigned = good(&[("TARGET_CLIENT_ID", CLIENT)]).target.auth;
    assert!(matches!(user_assigned, Auth::ManagedIdentity { client_id: Some(_) }));
    let none = good(&[("TARGET_URL", "http://127.0.0.1:5000/"), ("TARGET_AUTH", "none")]).target;
    assert!(matches!(none.auth, Auth::None));
    assert_eq!(none.url, "http://127.0.0.1:5000");
    check(
        &[("TARGET_CLIENT_SECRET", "s")],
        &[
            "TARGET_CLIENT_ID: is not set, though TARGET_CLIENT_SECRET is",
            "TARGET_TENANT_ID: is not set, though TARGET_CLIENT_SECRET is",
        ],
    );
    check(&[("TARGET_AUTH", "none")], &["TARGET_AUTH: `none` is only allowed for loopback addresses"]);
    check(&[("TARGET_AUTH", "basic")], &["TARGET_AUTH: must be `auto` or `none`, not `basic`"]);
    check(&[("TARGET_CLIENT_ID", "me")], &["TARGET_CLIENT_ID: is not a GUID"]);
    check(&[("TARGET_TENANT_ID", "a/b")], &["TARGET_TENANT_ID: is neither a GUID nor a domain"]);
}

#[test]
fn addresses_are_https_or_loopback_and_nothing_but_an_origin() {
    for (given, url) in [
        ("https://Org.CRM4.dynamics.com/", "https://org.crm4.dynamics.com"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ] {
        assert_eq!(good(&[("TARGET_URL", given)]).target.url, url);
    }
    for (given, problem) in [
        ("org.crm4.dynamics.com", "is not an address"),
        ("https:// x", "is not an address"),
        ("http://org.crm4.dynamics.com", "plain http is only allowed for loopback addresses"),
        ("http://localhost.evil.example", "plain http is only allowed for loopback addresses"),
        ("http://127.0.0.1.evil.example", "plain http is only allowed for loopback addresses"),
        ("https://org.crm4.dynamics.com/api/data", "must not contain a path or query"),
        ("https://org.crm4.dynamics.com/?a", "must not contain a path or query"),
        ("https://user:pw@org.crm4.dynamics.com", "must not contain credentials"),
        ("ftp://org.crm4.dynamics.com", "is neither https nor http"),
    ] {
        check(&[("TARGET_URL", given)], &[&format!("TARGET_URL: {problem}")]);
    }
}

#[test]
fn the_source_is_whole_or_absent_and_not_the_target() {
    let source = good(&[("SOURCE_URL", "https://other.crm.dynamics.com"), ("SOURCE_AUTH", "auto")]).source;
    assert_eq!(source.unwrap().url, "https://other.crm.dynamics.com");
    check(&[("SOURCE_CLIENT_ID", CLIENT)], &["SOURCE_URL: is not set, though other SOURCE_ settings are"]);
    check(&[("SOURCE_URL", "https://ORG.crm4.dynamics.com")], &["SOURCE_URL: is the same environment as TARGET_URL"]);
    let organizations = good(&[("SOURCE_ORGANIZATION_ID", &format!("{TENANT}, {CLIENT}"))]).source_organizations;
    assert_eq!(organizations.len(), 2);
    check(
        &[("SOURCE_ORGANIZATION_ID", "x,")],
        &["SOURCE_ORGANIZATION_ID: has an empty item", "SOURCE_ORGANIZATION_ID: is not a GUID"],
    );
}

#[test]
fn misspelt_names_are_found() {
    let mut values = map(&[("TARGET_URL", ""), ("TARGET_ULR", "https://org.crm4.dynamics.com")]);
    let problems = Settings::from_map(&values).unwrap_err().problems;
    let help = problems.iter().find(|p| p.place == Place::Setting("TARGET_ULR".to_owned())).unwrap().help.clone();
    assert_eq!(help.as_deref(), Some("did you mean `TARGET_URL`?"));
    assert!(problems.iter().any(|p| p.problem == "is not set"));
    check(&[("TARGET_CLIENT_SECRT", "x")], &["TARGET_CLIENT_SECRT: is no setting"]);
    // variables of others stay out of it
    for other in ["SOURCE_DATE_EPOCH", "TARGET_CC", "PATH", "LOG_LEVEL", "ServiceBus__queueName"] {
        values = map(&[(other, "1")]);
        assert!(Settings::from_map(&values).is_ok(), "{other}");
    }
}

#[test]
fn connections_are_resolved_as_functions_does() {
    let store = |changes: &[(&str, &str)]| match good(changes).ledger.store {
        LedgerStore::Table(connection) => connection,
        LedgerStore::Memory => panic!("memory"),
    };
    let none = ("AzureWebJobsStorage", "");
    let uri = [none, ("AzureWebJobsStorage__tableServiceUri", "https://a.table.core.windows.net/")];
    let TableConnection::ServiceUri { uri, client_id: None } = store(&uri) else { panic!("no uri") };
    assert_eq!(uri, "https://a.table.core.windows.net");
    let account = [none, ("AzureWebJobsStorage__accountName", "acct1"), ("AzureWebJobsStorage__clientId", CLIENT)];
    let TableConnection::Account { name, client_id } = store(&account) else { panic!("no account") };
    assert_eq!((name.as_str(), client_id.is_some()), ("acct1", true));
    let named = [none, ("LEDGER_CONNECTION", "Ledger"), ("Ledger", "UseDevelopmentStorage=true")];
    let TableConnection::Text(text) = store(&named) else { panic!("no text") };
    assert_eq!(text.expose(), "UseDevelopmentStorage=true");
    check(
        &[none],
        &["AzureWebJobsStorage: is not set, and neither is AzureWebJobsStorage__tableServiceUri nor \
         AzureWebJobsStorage__accountName"],
    );
    check(
        &[("LEDGER_CONNECTION", "AccountName=a;AccountKey=b")],
        &["LEDGER_CONNECTION: is the name of a setting, not the connection itself"],
    );
    check(
        &[none, ("AzureWebJobsStorage__accountName", "A_b")],
        &["AzureWebJobsStorage__accountName: is not a storage account name"],
    );
    assert!(matches!(good(&[none, ("LEDGER_STORE", "memory")]).ledger.store, LedgerStore::Memory));
}

#[test]
fn tables_queue_and_bus_have_valid_names() {
    check(&[("LEDGER_TABLE", "sync-ledger")], &["LEDGER_TABLE: is not a table name"]);
    check(&[("INBOX_TABLE", "SyncLedger")], &["INBOX_TABLE: is the same table as LEDGER_TABLE"]);
    check(&[("SYNC_QUEUE", "a b")], &["SYNC_QUEUE: is not a queue name"]);
    let bus = good(&[("ServiceBus__fullyQualifiedNamespace", "x.servicebus.windows.net")]).queue.connection;
    assert!(matches!(bus, Some(BusConnection::Namespace { host, .. }) if host == "x.servicebus.windows.net"));
    check(
        &[("ServiceBus__fullyQualifiedNamespace", "sb://x.servicebus.windows.net/")],
        &["ServiceBus__fullyQualifiedNamespace: is not a host name"],
    );
}

#[test]
fn logs_port_and_identity_are_checked() {
    assert_eq!(good(&[("LOG_FORMAT", "text")]).logging.format, Some(LogFormat::Text));
    check(&[("LOG_FORMAT", "xml")], &["LOG_FORMAT: must be `json` or `text`, not `xml`"]);
    let report = Settings::from_map(&map(&[("RUST_LOG", "a=loud")])).unwrap_err();
    assert!(report.problems[0].problem.starts_with("is not a log filter"), "{report}");
    let handler = good(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "50123")]).handler;
    assert_eq!(handler, HandlerSettings { port: 50_123, under_host: true });
    check(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")], &["FUNCTIONS_CUSTOMHANDLER_PORT: is not a port"]);
    let identity = good(&[("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi/token"), ("IDENTITY_HEADER", "h")]).identity;
    assert_eq!(identity.endpoint.unwrap().url, "http://127.0.0.1:41/msi/token");
    check(&[("IDENTITY_HEADER", "h")], &["IDENTITY_ENDPOINT: goes with IDENTITY_HEADER, but only one of them is set"]);
    let host = good(&[("AZURE_AUTHORITY_HOST", "login.microsoftonline.us")]).identity.authority_host;
    assert_eq!(host, "https://login.microsoftonline.us");
}

#[test]
fn no_secret_is_shown() {
    let key_vault = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/hidden)";
    check(&[("TARGET_CLIENT_SECRET", key_vault)], &["TARGET_CLIENT_SECRET: the Key Vault reference was not resolved"]);
    let settings = good(&[
        ("TARGET_TENANT_ID", TENANT),
        ("TARGET_CLIENT_ID", CLIENT),
        ("TARGET_CLIENT_SECRET", "hidden1"),
        ("WEBHOOK_SECRETS", "hidden2, hidden3"),
        ("ServiceBus", "hidden4"),
        ("AzureWebJobsStorage", "hidden5"),
    ]);
    assert_eq!(settings.webhook.secrets.len(), 2);
    assert!(settings.webhook.secrets[1].matches("hidden3"));
    assert!(!format!("{settings:?}").contains("hidden"));
}

#[test]
fn all_problems_come_in_one_report() {
    let report =
        Settings::from_map(&map(&[("TARGET_URL", ""), ("LEDGER_STORE", "sql"), ("SYNC_QUEUE", "?")])).unwrap_err();
    assert_eq!(report.problems.len(), 3);
    assert_eq!(report.to_string().lines().count(), 1 + 5, "{report}");
}

#[test]
fn a_mapping_that_reads_from_the_source_needs_one() {
    let mapping = crate::config::file::compile("f", "version = 1\n[tables.account]\nread = \"source\"\n").unwrap();
    let problems = good(&[]).check_with(&mapping).unwrap_err().problems;
    assert_eq!(problems[0].place, Place::Setting("SOURCE_URL".to_owned()));
    assert!(good(&[("SOURCE_URL", "https://s.crm.dynamics.com")]).check_with(&mapping).is_ok());
}

#[test]
fn the_example_lists_exactly_the_users_settings_and_is_valid() {
    let example: serde_json::Value =
        serde_json::from_str(include_str!("../../../local.settings.json.example")).unwrap();
    let values: BTreeMap<String, String> = serde_json::from_value(example["Values"].clone()).unwrap();
    let listed: BTreeSet<&str> =
        values.keys().map(String::as_str).filter(|name| *name != "FUNCTIONS_WORKER_RUNTIME").collect();
    let known: BTreeSet<&str> =
        SETTINGS.iter().filter(|doc| doc.given_by == GivenBy::User).map(|doc| doc.name).collect();
    assert_eq!(listed, known);
    let settings = Settings::from_map(&values).unwrap();
    assert!(settings.source.is_none());
    for doc in SETTINGS.iter().filter(|doc| !doc.default.is_empty() && doc.given_by == GivenBy::User) {
        assert_eq!(values[doc.name], doc.default, "{}", doc.name);
    }
}

#[test]
fn every_setting_that_is_read_is_listed_and_the_other_way_round() {
    let code = [include_str!("mod.rs"), include_str!("environment.rs"), include_str!("storage.rs")].concat();
    for doc in SETTINGS {
        let (_, rest) = doc.name.split_once('_').unwrap_or(("", doc.name));
        let suffix = doc.name.split_once("__").map(|(_, suffix)| format!("{{name}}__{suffix}"));
        let read = code.contains(&format!("\"{}\"", doc.name))
            || code.contains(&format!("name(\"{rest}\")"))
            || suffix.is_some_and(|suffix| code.contains(&suffix))
            || code.contains("{connection}__clientId") && doc.name.ends_with("__clientId");
        assert!(read, "{} is listed, but not read", doc.name);
    }
    let names: BTreeSet<&str> = SETTINGS.iter().map(|doc| doc.name).collect();
    assert_eq!(names.len(), SETTINGS.len());
    for literal in code.split('"').skip(1).step_by(2) {
        let is_name =
            literal.len() > 4 && literal.contains('_') && literal.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let part = ["TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"].contains(&literal);
        assert!(!is_name || part || names.contains(literal), "{literal} is read, but not listed");
    }
}
