//! Runs that mend. Of each table all rows, or what has changed since the delta link; which of the two, and where to go on, is
//! kept in the ledger.

use super::changes::{Expired, ids_only};
use super::feed::{FeedError, Feeder, one_per_row};
use super::lookups::Lookups;
use super::progress::{Meter, Watch};
use super::report::{Method, Report, TableReport};
use super::rows::{absence, decided};
use super::run::{Finding, Run, Stopped, fingerprint, new_report};
use super::saved::{Round, Saved, Step, Store, Unfinished};
use super::table::Table;
use super::tick::FULL_EVERY;
use super::walk::{Position, Walk, WalkError};
use super::{CannotReconcile, Options, Reconciler, dry, links};
use crate::chance;
use crate::dataverse::pages::Link;
use crate::dataverse::url::check_key;
use crate::domain::value::RowRef;
use crate::sync::compared::Adoption;
use futures_util::{StreamExt, stream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Rows that the ledger is asked about side by side.
const ADOPTIONS_AT_ONCE: usize = 16;

impl Reconciler {
    /// Mends what differs: of each table all rows, or what has changed since the last time.
    ///
    /// # Errors
    /// [`CannotReconcile`]; what fails for one table is in its report.
    pub async fn mend(&self, options: &Options, watch: Watch<'_>) -> Result<Report, CannotReconcile> {
        self.check(options)?;
        let parts = self.engine.parts();
        let deadline = options.budget.map(|budget| parts.clock.monotonic().saturating_add(budget));
        let (source, target) = self.readers(options, deadline)?;
        let lookups = Lookups::new(&parts.mapping, &source, &target);
        let at_once = parts.mapping.limits.max_in_flight;
        let run = Run {
            reconciler: self,
            options,
            lookups: &lookups,
            feeder: Feeder::new(self.engine.as_ref(), Arc::clone(&parts.clock), at_once, deadline)
                .until(options.stop.clone()),
            meter: Meter::new(watch, Arc::clone(&parts.clock)),
            deadline,
            totals: OnceLock::new(),
        };
        let mut report = Report::default();
        let tables = run.tables().await;
        if options.full || options.delete_extra {
            run.ask_totals(&tables).await;
        }
        let mut all_rows = true;
        let mut unfinished = run.unfinished().await;
        for (name, table) in &tables {
            let before = run.requests();
            let (mut of_table, mended) = match table {
                Ok(table) if unfinished.as_ref().is_some_and(|run| run.done.iter().any(|done| done == name)) => {
                    let because = Some("done before this run was interrupted".to_owned());
                    (TableReport { because, resumed: true, ..new_report(table) }, Ok(()))
                }
                Ok(table) => {
                    let mut of_table = new_report(table);
                    let mended = run.mend_table(table, &mut of_table).await;
                    if let (Some(unfinished), Ok(())) = (&mut unfinished, &mended)
                        && let Err(error) = unfinished.done(&self.system, name).await
                    {
                        tracing::warn!(%error, "an interruption of this run would begin with this table again");
                    }
                    (of_table, mended)
                }
                Err(error) => {
                    (TableReport { table: (*name).to_owned(), ..TableReport::default() }, Err(error.clone().into()))
                }
            };
            of_table.requests = dry::since(before, run.requests());
            all_rows &= of_table.method == Method::Full;
            let over = mended.as_ref().is_err_and(Stopped::is_out_of_time);
            of_table.trouble = mended.err().filter(|_| !over).map(|stopped| stopped.to_string());
            report.tables.push(of_table);
            if over {
                report.stopped = Some(format!("{}; the next run goes on there", run.told_of_stop(name)));
                return Ok(report);
            }
        }
        let loaded: Vec<&Table<'_>> = tables.iter().filter_map(|(_, table)| table.as_ref().ok()).collect();
        (report.links, report.stopped) = match all_rows {
            true => links::all(&run, &loaded, true, unfinished.as_mut()).await,
            false => (links::not_looked_at(&run, &loaded), None),
        };
        report.stopped = report.stopped.map(|why| format!("{why}; the next run goes on there"));
        if unfinished.is_some()
            && report.stopped.is_none()
            && report.links.iter().all(|link| link.trouble.is_none())
            && let Err(error) = Unfinished::end(&self.system).await
        {
            tracing::warn!(%error, "the next full run within a day would find nothing to do");
        }
        Ok(report)
    }
}

impl Run<'_> {
    /// For a full run: what an interrupted one has done already.
    async fn unfinished(&self) -> Option<Unfinished> {
        if !self.options.full {
            return None;
        }
        let asked = format!("{:?} {}", self.options.tables, self.options.delete_extra);
        let now_ms = self.reconciler.engine.parts().clock.now().timestamp_millis();
        // without it tables are compared once more, nothing else
        let found = Unfinished::load(&self.reconciler.system, asked, now_ms).await.ok()?;
        Some(if self.options.anew { Unfinished { began_ms: now_ms, done: Vec::new(), ..found } } else { found })
    }

    async fn mend_table(&self, table: &Table<'_>, report: &mut TableReport) -> Result<(), Stopped> {
        if table.refused() {
            return Err(Stopped::Refused("the table cannot be compared".to_owned()));
        }
        let store = self.take(&table.map.source).await?;
        let mended = tokio::select! {
            mended = self.mend_held(table, &store, report) => mended,
            never = self.hold(&store) => match never {},
        };
        store.release().await;
        mended
    }

    async fn mend_held(&self, table: &Table<'_>, store: &Store<'_>, report: &mut TableReport) -> Result<(), Stopped> {
        let mut saved = store.load().await?;
        let compared = fingerprint(table);
        let same = saved.compared == compared;
        if !same {
            saved = Saved { compared, full_ms: saved.full_ms, ..Saved::default() };
        }
        let usable = |round: &Round| match round.step {
            Step::Changes { .. } => !self.options.full && !self.options.delete_extra,
            Step::Tracking { .. } | Step::Full { .. } => round.delete_extra == self.options.delete_extra,
        };
        saved.round = saved.round.filter(|round| !self.options.anew && usable(round));
        report.resumed = saved.round.is_some();
        let mut full = self.options.full || self.options.delete_extra;
        if !full && saved.round.is_none() {
            report.because = self.why_all(table, &saved, same);
            full = report.because.is_some();
            if full && self.was_full_lately(table, &saved) {
                return Ok(());
            }
        }
        full |= saved.round.as_ref().is_some_and(|round| !matches!(round.step, Step::Changes { .. }));
        if !full {
            match self.mend_changes(table, store, &mut saved, report).await {
                Ok(Expired::No) => return Ok(()),
                Ok(Expired::Yes(why)) => {
                    let because = Some(format!("the delta link cannot be used any more: {why}"));
                    *report = TableReport { because, ..new_report(table) };
                    (saved.delta, saved.round) = (None, None);
                }
                Err(error) => return Err(error),
            }
        }
        self.mend_all(table, store, &mut saved, report).await
    }

    /// Why changes alone do not do.
    fn why_all(&self, table: &Table<'_>, saved: &Saved, same: bool) -> Option<String> {
        if !table.source_facts.change_tracking {
            return Some("the source's table does not track changes".to_owned());
        }
        match (&saved.delta, same) {
            (Some(_), true) => None,
            (_, false) if saved.full_ms.is_some() => Some("what is compared has changed".to_owned()),
            _ => Some("there is no delta link yet".to_owned()),
        }
    }

    /// Whether a table that tracks no changes was compared as a whole less than a day ago, and that is often enough.
    fn was_full_lately(&self, table: &Table<'_>, saved: &Saved) -> bool {
        let now_ms = self.reconciler.engine.parts().clock.now().timestamp_millis();
        let lately = saved.full_ms.is_some_and(|ms| {
            let ago = Duration::from_millis(u64::try_from(now_ms.saturating_sub(ms)).unwrap_or(0));
            ago < FULL_EVERY
        });
        self.options.rarely && !table.source_facts.change_tracking && lately
    }

    async fn mend_all(
        &self,
        table: &Table<'_>,
        store: &Store<'_>,
        saved: &mut Saved,
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        report.method = Method::Full;
        let mut round = saved.round.take().unwrap_or_else(|| Round {
            run: chance::token().simple().to_string(),
            step: if table.source_facts.change_tracking {
                Step::Tracking { next: None, rows: 0 }
            } else {
                Step::Full { delta: None, position: Position::default(), rows: (None, 0) }
            },
            delete_extra: self.options.delete_extra,
        });
        loop {
            round.step = match round.step.clone() {
                Step::Tracking { next, rows } => {
                    let step = self.track(table, next, rows).await?;
                    let round = Round { step: step.clone(), ..round.clone() };
                    self.save(store, &Saved { round: Some(round), ..saved.clone() }).await?;
                    step
                }
                Step::Full { delta, position, rows } => {
                    let keep = |position: Position, rows| Saved {
                        round: Some(Round {
                            step: Step::Full { delta: delta.clone(), position, rows },
                            ..round.clone()
                        }),
                        ..saved.clone()
                    };
                    match self.walk_and_mend(table, store, &round, position, rows, &keep, report).await {
                        Err(Stopped::Walk(WalkError::Unordered)) => {
                            *report = TableReport { resumed: report.resumed, ..new_report(table) };
                            let position = Position::looking_up();
                            Step::Full { delta, position, rows: (rows.0, 0) }
                        }
                        Err(error) => return Err(error),
                        Ok(()) => {
                            let now_ms = self.reconciler.engine.parts().clock.now().timestamp_millis();
                            saved.full_ms = Some(now_ms);
                            saved.delta = delta;
                            return self.save(store, saved).await;
                        }
                    }
                }
                Step::Changes { .. } => {
                    return Err(Stopped::Refused("changes are no comparison of all rows".to_owned()));
                }
            };
        }
    }

    pub(super) async fn save(&self, store: &Store<'_>, saved: &Saved) -> Result<(), Stopped> {
        match store.save(saved, self.monotonic()).await? {
            true => Ok(()),
            false => Err(Stopped::Busy { until_ms: None }),
        }
    }

    /// One page of the round that ends with a delta link. Only ids are read: what has changed is read when it is known.
    async fn track(&self, table: &Table<'_>, next: Option<Link>, rows: u64) -> Result<Step, Stopped> {
        if next.is_none() {
            self.meter.begin(&table.map.source, "tracking", rows, self.total_of(table));
        }
        let (selection, from) = (ids_only(table, self.options), next.as_ref());
        let (client, name) = (&self.lookups.source.environment.client, table.map.source.as_str());
        let page = self.lookups.source.ask(name, |call| async move { client.changes(&call, selection, from).await });
        let page = page.await?;
        let seen = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
        self.meter.add(seen);
        let rows = rows.saturating_add(seen);
        match (page.next, page.delta) {
            (Some(next), _) => Ok(Step::Tracking { next: Some(next), rows }),
            (None, Some(delta)) => {
                Ok(Step::Full { delta: Some(delta), position: Position::default(), rows: (Some(rows), 0) })
            }
            (None, None) => Err(Stopped::Refused("the source gave no delta link".to_owned())),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a run in all its surroundings")]
    async fn walk_and_mend(
        &self,
        table: &Table<'_>,
        store: &Store<'_>,
        round: &Round,
        position: Position,
        (total, before): (Option<u64>, u64),
        keep: &(dyn Fn(Position, (Option<u64>, u64)) -> Saved + Sync),
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        let total = total.or_else(|| self.total_of(table));
        self.meter.begin(&table.map.source, "comparing", before, total);
        let mut walk = Walk::new(table, self.lookups, position);
        while let Some(chunk) = walk.next().await? {
            let (rows, at) = (report.source_rows, self.seen_at(chunk.at));
            let findings = self.judge(table, &round.run, chunk, report).await?;
            for finding in &findings {
                self.count(report, finding);
            }
            self.mend_findings(table, round, findings, at, report).await?;
            self.meter.add(report.source_rows - rows);
            let position = walk.position().clone();
            self.save(store, &keep(position, (total, before.saturating_add(report.source_rows)))).await?;
            if self.is_over() {
                return Err(FeedError::OutOfTime.into());
            }
        }
        Ok(())
    }

    /// Hands over what was found, and has the ledger learn what is alike.
    pub(super) async fn mend_findings(
        &self,
        table: &Table<'_>,
        round: &Round,
        findings: Vec<Finding>,
        seen_at: chrono::DateTime<chrono::Utc>,
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        let (mut events, mut alike) = (Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                Finding::Equal(row) => alike.push(row),
                Finding::Differs(row) => events.push(row.event),
                Finding::Extra(row, known) if round.delete_extra => match known {
                    // the engine asks the source once more, and by this key it cannot
                    Some(RowRef::Key(key)) if check_key(&table.source, &key).is_err() => {
                        report.count_cannot("(row)", "key_not_at_source", row.id);
                    }
                    Some(_) if self.are_enough_deletes(table, report) => report.held += 1,
                    Some(known) => {
                        report.deletes += 1;
                        events.push(decided(absence(table, &round.run, row.id, known, seen_at)));
                    }
                    None => report.count_cannot("(row)", "key_mapped", row.id),
                },
                Finding::Extra(..) => {}
            }
        }
        let engine = &self.reconciler.engine;
        let adoptions = alike.into_iter().map(|row| async move {
            let target = row.target.unwrap_or(row.id);
            (engine.adopt(&row.event, target).await, row.event)
        });
        let mut adoptions = stream::iter(adoptions).buffer_unordered(ADOPTIONS_AT_ONCE);
        while let Some((adopted, event)) = adoptions.next().await {
            match adopted {
                Ok(Adoption::Learnt) => report.adopted += 1,
                Ok(Adoption::Behind) => events.push(event),
                Ok(Adoption::Known | Adoption::Ignored) => {}
                // the event itself is tried again, patiently, and teaches the ledger the same
                Err(error) => {
                    tracing::debug!(%error, "a row could not be learnt at once");
                    events.push(event);
                }
            }
        }
        drop(adoptions);
        Ok(self.feeder.feed(one_per_row(events), &mut report.done).await?)
    }
}

impl Run<'_> {
    /// Whether this run deletes no more of the table: the source could be the wrong environment, or have been emptied.
    fn are_enough_deletes(&self, table: &Table<'_>, report: &TableReport) -> bool {
        let max = self.options.deletes_max.unwrap_or(table.deletes_max);
        max != 0 && report.deletes >= u64::from(max)
    }
}
