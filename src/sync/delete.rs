//! Deleting a row, setting it inactive, and clearing what a late delete took away.

use super::compared::is_decided;
use super::engine::Engine;
use super::failure::Failure;
use super::fuse::Fused;
use super::job::Job;
use super::lookups::Sources;
use super::pause::before_next;
use super::work::Work;
use super::write::{RowToWrite, write};
use crate::dataverse::error::Kind;
use crate::dataverse::read::Match;
use crate::dataverse::url::Address;
use crate::dataverse::write::{DeleteRequest, Deleted};
use crate::domain::disposition::Disposition;
use crate::domain::mapping::{Deletes, Guard};
use crate::domain::outcome::Applied;
use crate::domain::schema::ColumnKind;
use crate::domain::value::{Columns, RowRef, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

impl Engine {
    /// Deletes the row, or sets it inactive: as far as the fuse allows.
    pub(super) async fn remove(
        &self,
        job: &Job<'_>,
        work: &mut Work<'_>,
        row: &mut RowToWrite<'_>,
        sources: &Sources<'_>,
    ) -> Result<Applied, Failure> {
        let fused = Fused { mapping: &self.parts.mapping, system: self.parts.system.as_ref(), table: job.table };
        if !work.claim.is_replay() && !is_decided(job.event) {
            self.fuse.pass(&fused, work.clock).await?;
        }
        let removed = match job.table.deletes {
            Deletes::Deactivate => {
                row.may_create = false;
                deactivate(work, row, sources).await
            }
            Deletes::Delete | Deletes::Ignore => delete(work, row).await,
        };
        if !matches!(removed, Ok(true)) {
            self.fuse.return_one(&job.table.target);
        }
        Ok(if removed? && job.table.deletes == Deletes::Deactivate { Applied::Deactivated } else { Applied::Deleted })
    }
}

/// Deletes the row; whether it was there. A row that is not there is deleted.
pub(super) async fn delete(work: &mut Work<'_>, row: &RowToWrite<'_>) -> Result<bool, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (call, permit) = work.ready().await?;
        let client = &work.target.client;
        let id = match (row.known_id, row.row) {
            (Some(id), _) => Some(id),
            (None, RowRef::Id(id)) => Some(*id),
            (None, RowRef::Key(parts)) => match client.resolve_key(&call, row.schema, parts).await? {
                Match::Found(id) => Some(id),
                Match::Missing => None,
                Match::Ambiguous => {
                    return Err(Failure::never("key_ambiguous: several rows of the target have this key"));
                }
            },
        };
        let Some(id) = id else { return Ok(false) };
        let etag = match row.table.guard {
            Guard::Lease => None,
            Guard::Etag => match client.read(&call, row.schema, &Address::Id(id), &BTreeSet::new()).await? {
                Some(existing) => existing.etag,
                None => return Ok(false),
            },
        };
        drop(permit);
        // reading took time: the lease is looked at again before the delete (R4)
        let (call, permit) = work.ready().await?;
        work.sending();
        let request = DeleteRequest { schema: row.schema, id, etag, tag: Some(row.tag) };
        let answer = work.target.client.delete(&call, request).await;
        drop(permit);
        let error = match answer {
            Ok(deleted) => return Ok(deleted == Deleted::Deleted),
            Err(error) => error,
        };
        match (error.kind(), error.disposition()) {
            (Kind::VersionMismatch, _) => work.renew().await?,
            (Kind::Unknown, _) => {
                work.unanswered();
                before_next(work, attempts, None, error).await.map_err(|_| Failure::Unsettled {
                    reason: "a delete without an answer may still take effect".to_owned(),
                    after: work.limits.settle + work.limits.clock_skew,
                })?;
            }
            (_, Disposition::Retry { after }) => before_next(work, attempts, after, error).await?,
            (_, Disposition::Defer { .. } | Disposition::Park | Disposition::Stop) => return Err(error.into()),
        }
    }
}

/// Sets the row inactive instead: state 1, status 2, the standard pair. Whether it was there.
pub(super) async fn deactivate(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    sources: &Sources<'_>,
) -> Result<bool, Failure> {
    let pair = [("statecode", 1), ("statuscode", 2)].map(|(name, choice)| (name.to_owned(), Value::Choice(choice)));
    let done = write(work, row, &Columns::from(pair), sources).await?;
    Ok(!done.missing)
}

/// Clears columns that a delete took away before a newer write revived the row. What cannot be empty stays.
pub(super) async fn clear(
    work: &mut Work<'_>,
    row: &RowToWrite<'_>,
    columns: &BTreeSet<String>,
    sources: &Sources<'_>,
) -> Result<Option<Uuid>, Failure> {
    let clearable = |name: &&String| {
        row.schema.columns.get(*name).is_some_and(|column| {
            !matches!(column.kind, ColumnKind::State | ColumnKind::Status | ColumnKind::Owner | ColumnKind::Unsupported)
        })
    };
    let nulls: Columns = columns.iter().filter(clearable).map(|name| (name.clone(), Value::Null)).collect();
    if nulls.is_empty() {
        return Ok(row.known_id);
    }
    let done = write(work, row, &nulls, sources).await?;
    Ok(done.written.id.or(row.known_id))
}
