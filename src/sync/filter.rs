//! Which events are for us: pure.

use super::failure::Failure;
use crate::domain::event::{ChangeEvent, Completeness, Operation};
use crate::domain::mapping::{Deletes, Mapping, OperationKind, ReadFrom, TableMap};
use crate::domain::outcome::Ignored;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The event's table, or why it is not for us.
pub(super) fn judge<'a>(
    mapping: &'a Mapping,
    event: &ChangeEvent,
    tag: &str,
    organizations: Option<&BTreeSet<Uuid>>,
) -> Result<&'a TableMap, Ignored> {
    if event.origin.tags.iter().any(|given| given == tag) {
        return Err(Ignored::OwnEcho);
    }
    if let (Some(allowed), Some(from)) = (organizations, event.origin.organization)
        && !allowed.contains(&from)
    {
        return Err(Ignored::ForeignOrganization);
    }
    let table = mapping.tables.get(&event.table).ok_or(Ignored::TableNotConfigured)?;
    let has = |kind| table.operations.contains(&kind);
    let configured = match event.operation {
        Operation::Create => has(OperationKind::Create),
        Operation::Update => has(OperationKind::Update),
        Operation::Upsert => has(OperationKind::Create) || has(OperationKind::Update),
        Operation::Delete => has(OperationKind::Delete) && table.deletes != Deletes::Ignore,
        Operation::Link(_) | Operation::Unlink(_) => has(OperationKind::Link),
    };
    if configured { Ok(table) } else { Err(Ignored::OperationNotConfigured) }
}

/// Whether this version can bring the event to its end; what it can't is left with the sender.
pub(super) fn supported(event: &ChangeEvent) -> Result<(), Failure> {
    match (&event.operation, event.completeness) {
        (Operation::Delete, _) | (_, Completeness::Full) => Ok(()),
        (_, Completeness::Stripped) => Err(Failure::never(
            "payload_stripped: the message was too large and the source is not read by this version",
        )),
    }
}

/// `read = "source"` is refused until the source can be read.
pub(super) fn readable(table: &TableMap) -> Result<(), Failure> {
    match table.read {
        ReadFrom::Event => Ok(()),
        ReadFrom::Source => Err(Failure::never("read_source: this version does not read rows from the source")),
    }
}
