//! What the events of a fold write together: planned by the merge, read from the source once where only that can tell,
//! written once, and how each of them ended. Knows no inbox and gives nothing back.
//!
//! Whatever the merge would ask the source about one event (a signal, a tie, a group of which a member is missing) it asks
//! about the whole fold: the row read under the lease says all that any of its events could say ([`super::super::witness`]).

use super::Member;
use crate::domain::event::{ChangeEvent, Completeness};
use crate::domain::merge::fold::{End, Fold, fold};
use crate::domain::merge::{Change, Done, advance};
use crate::domain::outcome::{Applied, Outcome};
use crate::domain::row::RowState;
use crate::domain::value::Columns;
use crate::domain::version::Version;
use crate::sync::apply::{change, version};
use crate::sync::engine::Engine;
use crate::sync::failure::Failure;
use crate::sync::job::Job;
use crate::sync::keys;
use crate::sync::lookups::Sources;
use crate::sync::witness::is_signal;
use crate::sync::work::Work;
use crate::sync::write::{RowToWrite, write};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A job and the arrival that counts for its version.
type Arrived<'a, 'b> = (&'b Job<'a>, i64);

impl Engine {
    /// The columns that these events may write together, for the claim to note.
    pub(super) fn touched_by(&self, state: &RowState, members: &[&Member<'_>]) -> BTreeSet<String> {
        let jobs: Vec<Arrived<'_, '_>> = members.iter().map(|m| (&m.job, m.delivery.arrival_ms)).collect();
        let (Some(planned), Some((job, _))) = (planned(state, &jobs, &BTreeSet::new()), jobs.first()) else {
            return BTreeSet::new();
        };
        if self.asks_source(&planned, &jobs) {
            // which of them will be known when the source has answered
            return job.schema.columns.keys().cloned().collect();
        }
        planned.send.into_keys().collect()
    }

    fn asks_source(&self, planned: &Fold, jobs: &[Arrived<'_, '_>]) -> bool {
        let signal = jobs.iter().any(|(job, _)| is_signal(job.table, job.event));
        self.parts.source.is_some() && (signal || !planned.ties.is_empty() || !planned.missing.is_empty())
    }

    /// Does what the merge says of all of them, and says what the row is then and how each ended.
    pub(super) async fn apply_fold(
        &self,
        members: &[&mut Member<'_>],
        work: &mut Work<'_>,
    ) -> Result<(RowState, Vec<Outcome>), Failure> {
        let state = work.claim.state_before();
        let jobs: Vec<Arrived<'_, '_>> = members.iter().map(|m| (&m.job, m.delivery.arrival_ms)).collect();
        let (Some(planned), Some((first, _))) = (planned(&state, &jobs, &BTreeSet::new()), jobs.first()) else {
            return Err(Failure::AskSource { reason: "not to be folded" });
        };
        if !self.asks_source(&planned, &jobs) {
            return self.write_fold(&jobs, &state, planned, work).await;
        }
        let Some((row, hidden)) = self.ask_source(first, work).await? else {
            // gone at the source: its delete is an event of its own
            return Ok((gone(&state, &jobs), vec![Outcome::Stale; jobs.len()]));
        };
        // what column security hides is left to each event, in its own order
        if jobs.iter().any(|(job, _)| job.event.columns.keys().any(|name| hidden.contains(name))) {
            return Err(Failure::AskSource { reason: "hidden" });
        }
        let seen = |job: &Job<'_>| ChangeEvent {
            columns: row.columns.clone(),
            image: Columns::new(),
            stamp: row.stamp.clone(),
            completeness: Completeness::Full,
            ..job.event.clone()
        };
        let seen: Vec<(ChangeEvent, i64)> = jobs.iter().map(|(job, arrival_ms)| (seen(job), *arrival_ms)).collect();
        let mut witnesses = Vec::with_capacity(jobs.len());
        for (event, arrival_ms) in &seen {
            match self.job(event, first.table, Arc::clone(&first.schema))? {
                Ok(job) if job.partition == first.partition => {
                    witnesses.push((Job { witness: true, ..job }, *arrival_ms));
                }
                Ok(_) | Err(_) => return Err(Failure::AskSource { reason: "not to be folded" }),
            }
        }
        let witnesses: Vec<Arrived<'_, '_>> = witnesses.iter().map(|(job, arrival_ms)| (job, *arrival_ms)).collect();
        let columns: BTreeSet<String> = row_columns(&witnesses);
        if !columns.is_subset(&work.claim.state.touched) {
            work.touch(&columns).await?;
        }
        match self::planned(&state, &witnesses, &BTreeSet::new()) {
            Some(planned) => self.write_fold(&witnesses, &state, planned, work).await,
            None => Err(Failure::AskSource { reason: "not to be folded" }),
        }
    }

    async fn write_fold(
        &self,
        jobs: &[Arrived<'_, '_>],
        state: &RowState,
        planned: Fold,
        work: &mut Work<'_>,
    ) -> Result<(RowState, Vec<Outcome>), Failure> {
        let newest = planned.order.first().and_then(|n| jobs.get(*n));
        let Some((newest, arrival_ms)) = newest.filter(|_| planned.writes()) else {
            return Ok((planned.state, vec![Outcome::Stale; jobs.len()]));
        };
        if planned.send.is_empty() && state.exists {
            let mut next = planned.state.clone();
            newest.is_there(&mut next, state.target, state.key.clone());
            next.placeholder_ms = None;
            return Ok((next, outcomes(&planned, Applied::Unchanged)));
        }
        let sources = Sources { source: self.parts.source.as_ref(), mapping: &self.parts.mapping, known: &self.known };
        let mut row = RowToWrite {
            table: newest.table,
            schema: &newest.schema,
            row: &newest.row,
            known_id: state.target,
            exists: state.exists,
            tag: &self.parts.tag,
            may_create: true,
            at: version(state, newest.event, *arrival_ms).at,
            folded: Some(&planned.state),
        };
        let key = keys::before_write(work, newest, state, &planned.send).await?;
        let written = write(work, &row, &planned.send, &sources).await?;
        row.known_id = written.written.id.or(row.known_id);
        let known_id = row.known_id;
        work.claim.state.target_etag.clone_from(&written.written.etag);
        let applied = written.applied();
        let mut next = match self::planned(state, jobs, &written.changed.cleared) {
            Some(again) if !written.changed.cleared.is_empty() => again.state,
            _ => planned.state.clone(),
        };
        written.changed.forget_omitted(&mut next);
        newest.is_there(&mut next, known_id, key);
        next.target_etag.clone_from(&work.claim.state.target_etag);
        next.placeholder_ms = None;
        Ok((next, outcomes(&planned, applied)))
    }
}

fn row_columns(jobs: &[Arrived<'_, '_>]) -> BTreeSet<String> {
    jobs.first().map(|(job, _)| job.mapped.columns.keys().cloned().collect()).unwrap_or_default()
}

/// The row with the scale that the first of these chooses, if it has none, and their versions on it.
fn on_its_scale(state: &RowState, jobs: &[Arrived<'_, '_>]) -> (RowState, Vec<Version>) {
    let offered = || jobs.iter().find_map(|(job, _)| job.event.stamp.best_scale());
    let state = RowState { scale: state.scale.or_else(offered), ..state.clone() };
    let versions = jobs.iter().map(|(job, arrival_ms)| version(&state, job.event, *arrival_ms)).collect();
    (state, versions)
}

fn planned(state: &RowState, jobs: &[Arrived<'_, '_>], cleared: &BTreeSet<String>) -> Option<Fold> {
    let (first, _) = jobs.first()?;
    let (state, versions) = on_its_scale(state, jobs);
    let changes: Vec<Change<'_>> = jobs.iter().zip(&versions).map(|((job, _), version)| change(version, job)).collect();
    fold(&state, &changes, cleared, &first.groups)
}

/// The row's memory when the source has no such row any more.
fn gone(state: &RowState, jobs: &[Arrived<'_, '_>]) -> RowState {
    let (mut state, versions) = on_its_scale(state, jobs);
    for ((job, _), version) in jobs.iter().zip(&versions) {
        state = advance(&state, version, &Done::Stale { ties: &BTreeSet::new() }, &job.groups);
    }
    state
}

/// How each ended. A row is created once: by the oldest of those that had a part in it.
fn outcomes(planned: &Fold, applied: Applied) -> Vec<Outcome> {
    let sent = planned.ends.contains(&End::Sent);
    let wrote = |n: usize| planned.ends.get(n).is_some_and(|end| *end == End::Sent || !sent && *end == End::Known);
    let oldest = planned.order.iter().rev().find(|n| wrote(**n));
    let outcome = |(n, end): (usize, &End)| match end {
        End::Stale => Outcome::Stale,
        End::Known if sent => Outcome::Applied(Applied::Unchanged),
        End::Known | End::Sent if applied == Applied::Created && oldest != Some(&n) => {
            Outcome::Applied(Applied::Updated)
        }
        End::Known | End::Sent => Outcome::Applied(applied),
    };
    planned.ends.iter().enumerate().map(outcome).collect()
}
