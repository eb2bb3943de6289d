//! Which events are for us: pure.

use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::mapping::{Deletes, Mapping, OperationKind, TableMap};
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
