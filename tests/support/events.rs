//! Events made from little.

use dataverse_sync::domain::event::{ChangeEvent, Completeness, EventId, Operation, Origin};
use dataverse_sync::domain::value::{Columns, RowRef, Value};
use dataverse_sync::domain::version::Stamp;
use uuid::Uuid;

/// An update of an account with one text column.
pub fn update(id: &str, row: Uuid, column: &str, value: &str, second: i64) -> ChangeEvent {
    ChangeEvent {
        id: EventId::new(None, id).unwrap(),
        origin: Origin::default(),
        table: "account".to_owned(),
        row: RowRef::Id(row),
        operation: Operation::Update,
        columns: Columns::from([(column.to_owned(), Value::Text(value.to_owned()))]),
        image: Columns::new(),
        stamp: Stamp { at: Some(second * 1_000_000), ..Stamp::default() },
        completeness: Completeness::Full,
        synchronous: false,
    }
}
