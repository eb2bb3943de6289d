//! Settings of the ledger's and inbox's storage and of the queue: connections in the manner of Functions. Takes connection
//! strings as they are; who connects parses them.

use super::read::Reader;
use crate::secret::Secret;
use uuid::Uuid;

/// Where ledger and inbox are.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// `LEDGER_STORE` with its connection.
    pub store: LedgerStore,
    /// `LEDGER_TABLE`.
    pub ledger_table: String,
    /// `INBOX_TABLE`.
    pub inbox_table: String,
}

/// What keeps ledger and inbox.
#[derive(Clone, Debug)]
pub enum LedgerStore {
    /// Azure Table Storage.
    Table(TableConnection),
    /// This process's memory: for tests and single processes.
    Memory,
}

/// A connection to Table Storage.
#[derive(Clone, Debug)]
pub enum TableConnection {
    /// A connection string, `UseDevelopmentStorage=true` too.
    Text(Secret),
    /// The table endpoint, with the managed identity.
    ServiceUri {
        /// The endpoint, `https://account.table.core.windows.net`.
        uri: String,
        /// Client id of the user-assigned identity.
        client_id: Option<Uuid>,
    },
    /// The account's name, with the managed identity.
    Account {
        /// 3 to 24 lower-case letters and digits.
        name: String,
        /// Client id of the user-assigned identity.
        client_id: Option<Uuid>,
    },
}

/// The queue.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// `SYNC_QUEUE`.
    pub name: String,
    /// `ServiceBus`; `None`: no queue is used by this process itself.
    pub connection: Option<BusConnection>,
}

/// A connection to Service Bus.
#[derive(Clone, Debug)]
pub enum BusConnection {
    /// A connection string.
    Text(Secret),
    /// The namespace's host name, with the managed identity.
    Namespace {
        /// `name.servicebus.windows.net`.
        host: String,
        /// Client id of the user-assigned identity.
        client_id: Option<Uuid>,
    },
}

pub(super) fn ledger(reader: &mut Reader<'_>) -> Option<LedgerSettings> {
    let memory = reader.one_of("LEDGER_STORE", [("table", false), ("memory", true)]);
    let ledger_table = table_name("LEDGER_TABLE", "syncledger", reader);
    let inbox_table = table_name("INBOX_TABLE", "syncinbox", reader);
    if ledger_table.eq_ignore_ascii_case(&inbox_table) {
        reader.say("INBOX_TABLE", "is the same table as LEDGER_TABLE", "give them different names");
    }
    let store = if memory { Some(LedgerStore::Memory) } else { connection(reader).map(LedgerStore::Table) };
    store.map(|store| LedgerSettings { store, ledger_table, inbox_table })
}

fn connection(reader: &mut Reader<'_>) -> Option<TableConnection> {
    let name = reader.get_or("LEDGER_CONNECTION", "AzureWebJobsStorage");
    if name.contains(['=', ';', '/']) {
        let help = "put the connection string into a setting of its own and name that here";
        reader.say("LEDGER_CONNECTION", "is the name of a setting, not the connection itself", help);
        return None;
    }
    if let Some(text) = reader.secret(name) {
        return Some(TableConnection::Text(text));
    }
    let (uri_name, account_name) = (format!("{name}__tableServiceUri"), format!("{name}__accountName"));
    let client_id = client_id(name, reader);
    if let Some(text) = reader.get(&uri_name) {
        let uri = super::environment::origin(&uri_name, text, reader)?;
        return Some(TableConnection::ServiceUri { uri, client_id });
    }
    if let Some(account) = reader.get(&account_name) {
        let valid =
            (3..=24).contains(&account.len()) && account.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !valid {
            reader.say(&account_name, "is not a storage account name", "3 to 24 lower-case letters and digits");
            return None;
        }
        return Some(TableConnection::Account { name: account.to_owned(), client_id });
    }
    if !reader.is_set(name) {
        let problem = format!("is not set, and neither is {uri_name} nor {account_name}");
        reader.say(name, problem, "set one of them; UseDevelopmentStorage=true is Azurite on this machine");
    }
    None
}

pub(super) fn queue(reader: &mut Reader<'_>) -> QueueSettings {
    let name = reader.get_or("SYNC_QUEUE", "dataverse-events");
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if name.len() > 260 || !name.chars().all(allowed) || name.starts_with('/') || name.ends_with('/') {
        reader.say("SYNC_QUEUE", "is not a queue name", "letters, digits, `-`, `_`, `.` and `/`, at most 260");
    }
    let connection = match reader.secret("ServiceBus") {
        Some(text) => Some(BusConnection::Text(text)),
        None => namespace(reader),
    };
    QueueSettings { name: name.to_owned(), connection }
}

fn namespace(reader: &mut Reader<'_>) -> Option<BusConnection> {
    const NAME: &str = "ServiceBus__fullyQualifiedNamespace";
    let host = reader.get(NAME)?;
    let client_id = client_id("ServiceBus", reader);
    if !host.contains('.') || !host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
        reader.say(NAME, "is not a host name", "write name.servicebus.windows.net, without scheme and path");
        return None;
    }
    Some(BusConnection::Namespace { host: host.to_ascii_lowercase(), client_id })
}

fn client_id(connection: &str, reader: &mut Reader<'_>) -> Option<Uuid> {
    let name = format!("{connection}__clientId");
    let text = reader.get(&name)?;
    reader.guid(&name, text)
}

/// A table's name (Table Storage: 3 to 63 letters and digits, a letter first, not `tables`).
fn table_name(name: &str, default: &'static str, reader: &mut Reader<'_>) -> String {
    let given = reader.get(name).unwrap_or(default);
    let valid = (3..=63).contains(&given.len())
        && given.starts_with(|c: char| c.is_ascii_alphabetic())
        && given.chars().all(|c| c.is_ascii_alphanumeric())
        && !given.eq_ignore_ascii_case("tables");
    if !valid {
        reader.say(name, "is not a table name", "3 to 63 letters and digits, a letter first");
    }
    given.to_owned()
}
