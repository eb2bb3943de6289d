//! The table client against Azurite: a table of its own for every test.

mod access;
mod faults;
mod pages;
mod single;
mod transactions;

use crate::support::azurite::Azurite;
use crate::support::faulty::Faulty;
use crate::support::table::client_over;
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::tables::{Entity, Etag, Key, TableClient};
use std::sync::Arc;

/// A client for a table of its own, which does not exist yet.
struct World {
    table: TableClient,
    faulty: Arc<Faulty>,
    /// `p`, where most entities are.
    partition: Key,
    _azurite: Arc<Azurite>,
}

fn world(table: &str) -> World {
    let azurite = Azurite::shared();
    let faulty = Faulty::new(Arc::new(ReqwestTransport::default()));
    let table = client_over(&azurite.connection(), table, Arc::clone(&faulty) as _);
    World { table, faulty, partition: key("p"), _azurite: azurite }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn entity(partition: &str, row: &str) -> Entity {
    Entity::new(key(partition), key(row))
}

fn other_etag() -> Etag {
    Etag::new("W/\"datetime'2001-01-01T00%3A00%3A00.0000000Z'\"").unwrap()
}

impl World {
    async fn get(&self, partition: &str, row: &str) -> Option<Entity> {
        self.table.get(&key(partition), &key(row)).await.unwrap()
    }
}
