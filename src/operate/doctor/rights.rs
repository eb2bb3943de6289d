//! What our users may do in both environments, by table, and how their clocks compare with ours.

use super::environment::{Side, remedy, told};
use super::target::call;
use super::{Check, listed};
use crate::clock::Clock;
use crate::dataverse::client::Dataverse;
use crate::dataverse::metadata::privileges::Privileges;
use crate::domain::mapping::{Deletes, LookupRule, Mapping, OperationKind, TableMap};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// The header's resolution (1 s) and the way of the answer.
const DATE_BLUR: Duration = Duration::from_secs(2);

/// What a table of the mapping takes at the target.
fn needed(side: Side, table: &TableMap) -> Vec<&'static str> {
    let deletes = table.deletes == Deletes::Delete && table.operations.contains(&OperationKind::Delete);
    match side {
        Side::Source => vec!["Read"],
        Side::Target => {
            let mut needed = vec!["Create", "Read", "Write", "Append", "AppendTo"];
            needed.extend(deletes.then_some("Delete"));
            needed.extend(owned(table).is_some().then_some("Assign"));
            needed
        }
    }
}

/// The rule by which the table's rows get their owner, if they do.
fn owned(table: &TableMap) -> Option<&LookupRule> {
    table.lookups.get("ownerid").filter(|rule| matches!(rule, LookupRule::By { .. } | LookupRule::Map(_)))
}

/// One line: all privileges are held, or which are not.
pub async fn privileges(side: Side, client: &Dataverse, user: Uuid, mapping: &Mapping, clock: &dyn Clock) -> Check {
    let name = format!("{} privileges", side.name());
    let held = match client.held_privileges(&call(clock), user).await {
        Ok(held) => held,
        Err(error) => return Check::skipped(name, format!("could not be asked: {}", told(&error))),
    };
    let mut missing = Vec::new();
    for table in mapping.tables.values() {
        let logical = if side == Side::Source { &table.source } else { &table.target };
        // a table that is not there has a line of its own
        let Ok(asked) = client.table_privileges(&call(clock), logical).await else { continue };
        missing.extend(lacking(&needed(side, table), &asked, &held));
    }
    let looked_up = |table: &TableMap| matches!(owned(table), Some(LookupRule::By { .. }));
    if mapping.tables.values().any(looked_up)
        && let Ok(asked) = client.table_privileges(&call(clock), "systemuser").await
    {
        missing.extend(lacking(&["Read"], &asked, &held));
    }
    if missing.is_empty() {
        return Check::ok(name, "all that the mapping's tables need are held");
    }
    missing.sort();
    missing.dedup();
    let detail = format!("the user lacks {}", listed(missing.iter().map(String::as_str)));
    Check::fail(name, detail, "add them, for the organization, to a role of the application user")
}

fn lacking(needed: &[&str], asked: &Privileges, held: &BTreeSet<Uuid>) -> Vec<String> {
    let known = needed.iter().filter_map(|kind| asked.get(*kind));
    known.filter(|(_, id)| !held.contains(id)).map(|(name, _)| name.clone()).collect()
}

/// Our clock against the environment's.
pub async fn clock(side: Side, client: &Dataverse, clock: &dyn Clock, skew_max: Duration) -> Check {
    let name = format!("{} clock", side.name());
    let theirs = match client.server_time(&call(clock)).await {
        Ok(Some(theirs)) => theirs,
        Ok(None) => return Check::skipped(name, "the environment did not tell its time"),
        Err(error) => return Check::fail(name, told(&error), remedy(side, &error)),
    };
    let difference = clock.now().signed_duration_since(theirs);
    let apart = difference.abs().to_std().unwrap_or(Duration::MAX);
    if apart <= skew_max.saturating_add(DATE_BLUR) {
        return Check::ok(name, format!("differs by less than {} s", skew_max.saturating_add(DATE_BLUR).as_secs()));
    }
    let detail = format!("this machine's clock differs by {} s", difference.num_seconds());
    Check::warn(
        name,
        detail,
        "let it be set by NTP: leases and tokens rely on clocks that differ by less than clock_skew",
    )
}
