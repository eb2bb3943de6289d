//! A table client for tests: from a connection string, with the shared key that stand-in and Azurite have.

use dataverse_sync::clock::SystemClock;
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::outbound::transport::Transport;
use dataverse_sync::sim;
use dataverse_sync::tables::{Auth, Connection, Proof, TableClient, TableLimits};
use std::sync::Arc;

/// The connection string of the stand-in that serves at `url`.
pub fn connection(url: &str) -> String {
    let (account, key) = (sim::tables::DEVELOPMENT_ACCOUNT, sim::tables::DEVELOPMENT_KEY);
    format!("AccountName={account};AccountKey={key};TableEndpoint={url}/{account}")
}

/// The table `name` behind a connection string; nothing is created yet.
pub fn client(connection: &str, name: &str) -> TableClient {
    client_over(connection, name, Arc::new(ReqwestTransport::default()))
}

/// The same over a transport of the test's own.
pub fn client_over(connection: &str, name: &str, transport: Arc<dyn Transport>) -> TableClient {
    let connection = Connection::parse(connection).unwrap();
    let Proof::SharedKey(key) = connection.proof else { panic!("no shared key") };
    client_as(&connection.endpoint, name, Auth::SharedKey(key), transport)
}

/// The same with any proof.
pub fn client_as(endpoint: &str, name: &str, auth: Auth, transport: Arc<dyn Transport>) -> TableClient {
    TableClient::new(endpoint, name, auth, transport, Arc::new(SystemClock::default()), TableLimits::default()).unwrap()
}
