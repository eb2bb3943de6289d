//! Many-to-many links: one link is one thing with one version, whichever side the event came from (PROTOCOL R6, R10).
//!
//! A link has a ledger partition of its own, named by the relationship and both rows with the relationship's first table
//! first, so an Associate seen from one side and a Disassociate seen from the other meet there. What the merge sees is one
//! column, `linked`. Links are lookups: missing rows get placeholders, and a row that was deleted after the link was
//! set is not brought back. A row that the target knows by key is named by the source's GUID all the same; which row of the
//! target that is, the ledger knows, else the source and the target together; else the link waits for the row.

use super::failure::Failure;
use super::keyed::Keyed;
use super::lookups::{Sources, known_by_key};
use super::parents;
use super::pause::before_next;
use super::work::Work;
use super::write::RowToWrite;
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::link::{LinkRequest, Linked};
use crate::domain::disposition::Disposition;
use crate::domain::mapping::{Identity, TableMap};
use crate::domain::outcome::Applied;
use crate::domain::row::LINKED;
use crate::domain::schema::{LinkSchema, TableSchema};
use crate::domain::value::{Columns, KeyPart, RowRef, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// One end of a link; `id` is the source's.
#[derive(Clone, Debug)]
pub(super) struct End<'a> {
    pub(super) table: &'a TableMap,
    pub(super) schema: Arc<TableSchema>,
    pub(super) id: Uuid,
}

impl End<'_> {
    /// The row's GUID in the target; `None`: it was deleted after the link was set.
    async fn target(&self, work: &mut Work<'_>, at: i64, sources: &Sources<'_>) -> Result<Option<Uuid>, Failure> {
        if self.table.identity == Identity::Id {
            return Ok(Some(self.id));
        }
        match known_by_key(work, self.table, self.id, at, sources).await? {
            Keyed::Is(target) => Ok(Some(target)),
            Keyed::Deleted => Ok(None),
            Keyed::Missing | Keyed::Absent(_) => Err(Failure::not_now(format!(
                "parent_missing: a link names a row of {} that the target does not have yet; it is known by key there, \
                 so its own event must come first",
                self.table.target
            ))),
        }
    }
}

/// One link, the relationship's first table first.
#[derive(Debug)]
pub(super) struct LinkJob<'a> {
    first: End<'a>,
    second: End<'a>,
    navigation: String,
    relationship: String,
    pub(super) present: bool,
}

impl<'a> LinkJob<'a> {
    /// The link between the event's row and another, in the relationship's own order.
    pub(super) fn new(own: End<'a>, other: End<'a>, relationship: &str, present: bool) -> Result<Self, Failure> {
        let named = |link: &&LinkSchema| link.name.eq_ignore_ascii_case(relationship);
        let found = own.schema.links.iter().chain(&other.schema.links).find(named).cloned();
        let Some(link) = found else {
            return Err(Failure::never(format!(
                "relationship_missing: the target has no many-to-many relationship {relationship} of {}",
                own.schema.name
            )));
        };
        let own_first = link.first.0 == own.schema.name;
        let (first, second) = if own_first { (own, other) } else { (other, own) };
        if link.first.0 != first.schema.name || link.second.0 != second.schema.name {
            return Err(Failure::never(format!(
                "relationship_missing: {relationship} links other tables in the target"
            )));
        }
        Ok(Self { first, second, navigation: link.first.1.clone(), relationship: link.name.clone(), present })
    }

    /// The link's identity, for its ledger partition.
    pub(super) fn identity(&self) -> (String, RowRef) {
        let ends = [("first", self.first.id), ("second", self.second.id)];
        let parts: BTreeMap<String, KeyPart> =
            ends.into_iter().map(|(end, id)| (end.to_owned(), KeyPart::Guid(id))).collect();
        (format!("link.{}", self.relationship.to_lowercase()), RowRef::Key(parts))
    }

    pub(super) fn columns(&self) -> Columns {
        Columns::from([(LINKED.to_owned(), Value::Bool(self.present))])
    }

    fn request<'r>(&'r self, (first, second): (Uuid, Uuid), tag: &'r str) -> LinkRequest<'r> {
        LinkRequest {
            table: &self.first.schema.name,
            entity_set: &self.first.schema.entity_set,
            id: first,
            navigation: &self.navigation,
            other_set: &self.second.schema.entity_set,
            other_id: second,
            tag: Some(tag),
        }
    }
}

/// Makes the link as the event says. `None`: one of the rows was deleted after the link was set.
pub(super) async fn apply(
    work: &mut Work<'_>,
    link: &LinkJob<'_>,
    tag: &str,
    at: i64,
    sources: &Sources<'_>,
) -> Result<Option<Applied>, Failure> {
    let (mut attempts, mut ensured) = (0, false);
    let first = link.first.target(work, at, sources).await?;
    let second = link.second.target(work, at, sources).await?;
    let Some(ends) = first.zip(second) else {
        // no row, no link
        return Ok((!link.present).then_some(Applied::Unlinked));
    };
    loop {
        let (call, permit) = work.ready().await?;
        work.sending();
        let client = &work.target.client;
        let request = link.request(ends, tag);
        let answer = if link.present {
            client.associate(&call, request).await
        } else {
            client.disassociate(&call, request).await
        };
        drop(permit);
        attempts += 1;
        let error = match answer {
            Ok(Linked::Changed | Linked::AlreadySo) => {
                return Ok(Some(if link.present { Applied::Linked } else { Applied::Unlinked }));
            }
            Err(error) => error,
        };
        match (error.kind(), error.disposition()) {
            // no row, no link
            (Kind::RowMissing | Kind::ParentMissing { .. }, _) if !link.present => return Ok(Some(Applied::Unlinked)),
            (Kind::RowMissing | Kind::ParentMissing { .. }, _) if !ensured => {
                ensured = true;
                // a row known by key has no placeholder: its own event has to come
                for end in [&link.first, &link.second].into_iter().filter(|end| end.table.identity == Identity::Id) {
                    if !ensure(work, end, tag, at, sources).await? {
                        return Ok(None);
                    }
                }
            }
            (Kind::Unknown, _) => unanswered(work, attempts, error).await?,
            (_, Disposition::Retry { after }) => before_next(work, attempts, after, error).await?,
            (_, Disposition::Defer { .. } | Disposition::Park | Disposition::Stop) => return Err(error.into()),
        }
    }
}

async fn ensure(
    work: &mut Work<'_>,
    end: &End<'_>,
    tag: &str,
    at: i64,
    sources: &Sources<'_>,
) -> Result<bool, Failure> {
    // the link itself is the child: it is no row of either table
    let child = RowToWrite {
        table: end.table,
        schema: &end.schema,
        row: &RowRef::Id(Uuid::nil()),
        known_id: None,
        exists: false,
        tag,
        may_create: true,
        at,
        folded: None,
    };
    let there = parents::ensure(work, &child, end.table, end.id, at).await?;
    if there {
        sources.known.learn(&end.schema.name, end.id);
    }
    Ok(there)
}

async fn unanswered(work: &mut Work<'_>, attempts: u32, error: DataverseError) -> Result<(), Failure> {
    work.unanswered();
    let after = work.limits.settle + work.limits.clock_skew;
    before_next(work, attempts, None, error)
        .await
        .map_err(|_| Failure::Unsettled { reason: "a link without an answer may still take effect".to_owned(), after })
}
