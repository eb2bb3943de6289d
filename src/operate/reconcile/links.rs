//! Many-to-many links: the tables behind the relationships, merged like rows. Links have no time of their own, so their
//! events are as old as what was read, less a second: whatever happened to a link after that is newer.
//!
//! Their tables cannot track changes, so only a comparison of all rows looks at them. Where a run that mends is, is kept in the
//! ledger after every few hundred links, as for rows. What is not looked at is named, with the reason.

use super::feed::FeedError;
use super::linked::{LinkPosition, LinkWalk, Pair, SeenLink};
use super::read::ReadError;
use super::report::{LinkReport, example};
use super::rows::just_before;
use super::run::{Run, Stopped};
use super::saved::{LinkRound, Saved, Store, Unfinished};
use super::table::{Table, row_event};
use super::{dry, progress};
use crate::chance;
use crate::dataverse::metadata::facts::LinkFacts;
use crate::dataverse::pages::LinkTable;
use crate::domain::event::{ChangeEvent, Comparison, EventId, Link, Operation, Origin};
use crate::domain::mapping::{Identity, OperationKind};
use crate::domain::schema::LinkSchema;
use crate::domain::value::Columns;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// The column of a link, as the engine writes it down.
const LINKED: &str = "linked";
/// Links looked at between two notes of the position.
const CHUNK_LINKS: u64 = 500;

const CHANGES_ONLY: &str =
    "changes_only: links cannot be tracked, so this run did not look at them; `reconcile --full` compares them";
const ONE_SIDE: &str = "not_in_run: its other table is not compared in this run";
const NOT_IN_TARGET: &str = "not_in_target: the target has no such relationship";
const NO_TABLE: &str = "unknown: the metadata does not tell where its links are";
const NOT_CONFIGURED: &str = "not_configured: `operations` of one of its tables leaves links out";
const BY_KEY: &str =
    "known_by_key: the target knows rows of one of its tables by an alternate key, so GUIDs cannot be compared";

/// One relationship, ready to be compared.
struct Relationship<'a> {
    name: &'a str,
    first: &'a Table<'a>,
    second: &'a Table<'a>,
    source: LinkTable,
    target: LinkTable,
}

/// Both ends of a relationship between tables of the mapping, as far as they are in this run.
type Ends<'a> = (Option<&'a Table<'a>>, Option<&'a Table<'a>>);

/// The relationships of these tables with tables of the mapping, by name.
fn relationships<'a>(run: &Run<'_>, tables: &[&'a Table<'a>]) -> BTreeMap<&'a str, Ends<'a>> {
    let of = |name: &str| tables.iter().copied().find(|table| table.map.source == name);
    let mapped = |link: &&LinkSchema| {
        [&link.first.0, &link.second.0].iter().all(|name| run.mapping().tables.contains_key(*name))
    };
    let links = tables.iter().flat_map(|table| table.source.links.iter()).filter(mapped);
    links.map(|link| (link.name.as_str(), (of(&link.first.0), of(&link.second.0)))).collect()
}

/// Names the relationships that a run does not look at because it does not compare all rows.
pub(super) fn not_looked_at(run: &Run<'_>, tables: &[&Table<'_>]) -> Vec<LinkReport> {
    relationships(run, tables).into_keys().map(|name| not_compared(name, CHANGES_ONLY)).collect()
}

fn not_compared(name: &str, why: &str) -> LinkReport {
    let not_compared = Some(why.to_owned());
    LinkReport { relationship: name.to_owned(), not_compared, ..LinkReport::default() }
}

/// All relationships between these tables, and where it stopped, if that was before the last of them. A run that mends passes
/// over those that it had done before it was interrupted.
pub(super) async fn all(
    run: &Run<'_>,
    tables: &[&Table<'_>],
    mend: bool,
    mut unfinished: Option<&mut Unfinished>,
) -> (Vec<LinkReport>, Option<String>) {
    let mut reports = Vec::new();
    for (name, ends) in relationships(run, tables) {
        let (before, state) = (run.requests(), state_of(name));
        let mut report = LinkReport { relationship: name.to_owned(), ..LinkReport::default() };
        let is_done = unfinished.as_ref().is_some_and(|unfinished| unfinished.done.contains(&state));
        let ended = match (ends, is_done) {
            (_, true) => {
                report.resumed = true;
                Ok(())
            }
            ((Some(first), Some(second)), false) => match prepare(run, name, first, second).await {
                Ok(Ok(relationship)) if mend => self::mend(run, &relationship, &mut report).await,
                Ok(Ok(relationship)) => compare(run, &relationship, &mut report).await,
                Ok(Err(why)) => {
                    reports.push(not_compared(name, why));
                    continue;
                }
                Err(error) => Err(error),
            },
            (_, false) => {
                reports.push(not_compared(name, ONE_SIDE));
                continue;
            }
        };
        if let (Some(unfinished), true) = (&mut unfinished, ended.is_ok() && !is_done)
            && let Err(error) = unfinished.done(&run.reconciler.system, &state).await
        {
            tracing::warn!(%error, "an interruption of this run would begin with this relationship again");
        }
        report.requests = dry::since(before, run.requests());
        let over = ended.as_ref().is_err_and(Stopped::is_out_of_time);
        report.trouble = ended.err().filter(|_| !over).map(|stopped| stopped.to_string());
        reports.push(report);
        if over {
            return (reports, Some(run.told_of_stop(name)));
        }
    }
    (reports, None)
}

/// What a relationship's state is kept under, beside those of tables.
fn state_of(name: &str) -> String {
    format!("links:{}", name.to_lowercase())
}

/// What is needed to compare a relationship, or why it is not.
async fn prepare<'a>(
    run: &Run<'_>,
    name: &'a str,
    first: &'a Table<'a>,
    second: &'a Table<'a>,
) -> Result<Result<Relationship<'a>, &'static str>, Stopped> {
    let both = [first, second];
    if both.iter().any(|table| !table.map.operations.contains(&OperationKind::Link)) {
        return Ok(Err(NOT_CONFIGURED));
    }
    if both.iter().any(|table| table.map.identity != Identity::Id) {
        return Ok(Err(BY_KEY));
    }
    let Some(known) = first.target.links.iter().find(|link| link.name.eq_ignore_ascii_case(name)) else {
        return Ok(Err(NOT_IN_TARGET));
    };
    let (Some(source), Some(target)) = (first.source_facts.links.get(name), first.target_facts.links.get(&known.name))
    else {
        return Ok(Err(NO_TABLE));
    };
    // the target may name the two tables the other way round
    let target = if known.first.0 == first.map.target {
        target.clone()
    } else {
        LinkFacts { first: target.second.clone(), second: target.first.clone(), ..target.clone() }
    };
    let source = link_table(run, true, source).await?;
    let target = link_table(run, false, &target).await?;
    Ok(Ok(Relationship { name, first, second, source, target }))
}

async fn link_table(run: &Run<'_>, source: bool, facts: &LinkFacts) -> Result<LinkTable, ReadError> {
    let reader = if source { run.lookups.source } else { run.lookups.target };
    let (names, schemas) = (&BTreeSet::from([facts.table.clone()]), &reader.environment.schemas);
    let sets = reader.ask_metadata(&facts.table, |call| async move { schemas.entity_sets(&call, names).await }).await?;
    let entity_set = sets.get(&facts.table).cloned().unwrap_or_else(|| format!("{}set", facts.table));
    let (name, first, second) = (facts.table.clone(), facts.first.clone(), facts.second.clone());
    Ok(LinkTable { name, entity_set, first, second })
}

fn walk<'a>(run: &'a Run<'_>, relationship: &'a Relationship<'_>, position: LinkPosition) -> LinkWalk<'a> {
    let readers = (run.lookups.source, run.lookups.target);
    run.meter.begin(relationship.name, "links", 0, None);
    LinkWalk::new(readers, (&relationship.source, &relationship.target), run.options.page_rows, position)
}

/// Compares and counts.
async fn compare(run: &Run<'_>, relationship: &Relationship<'_>, report: &mut LinkReport) -> Result<(), Stopped> {
    let mut walk = walk(run, relationship, LinkPosition::default());
    while let Some(seen) = walk.next().await? {
        count(seen, report);
        (report.source_links, report.target_links) = walk.counts();
        run.meter.add(1);
    }
    Ok(())
}

/// Notes what was seen; the link to mend, and whether it should be there.
fn count(seen: SeenLink, report: &mut LinkReport) -> Option<(Pair, bool)> {
    match seen {
        SeenLink::Both => None,
        SeenLink::Missing(link) => {
            report.missing += 1;
            example(&mut report.missing_examples, link);
            Some((link, true))
        }
        SeenLink::Extra(link) => {
            report.extra += 1;
            example(&mut report.extra_examples, link);
            Some((link, false))
        }
    }
}

/// Mends, from where an interrupted run was.
async fn mend(run: &Run<'_>, relationship: &Relationship<'_>, report: &mut LinkReport) -> Result<(), Stopped> {
    let store = run.take(&state_of(relationship.name)).await?;
    let mended = tokio::select! {
        mended = mend_held(run, relationship, &store, report) => mended,
        never = run.hold(&store) => match never {},
    };
    store.release().await;
    mended
}

async fn mend_held(
    run: &Run<'_>,
    relationship: &Relationship<'_>,
    store: &Store<'_>,
    report: &mut LinkReport,
) -> Result<(), Stopped> {
    let delete_extra = run.options.delete_extra;
    let begun = store.load().await?.links.filter(|round| round.delete_extra == delete_extra && !run.options.anew);
    report.resumed = begun.is_some();
    let mut round = begun.unwrap_or_else(|| {
        let (run, position) = (chance::token().simple().to_string(), LinkPosition::default());
        LinkRound { run, delete_extra, position }
    });
    let mut walk = walk(run, relationship, round.position.clone());
    let chunk = u64::from(run.options.page_rows).min(CHUNK_LINKS);
    let (mut events, mut looked_at) = (Vec::new(), 0);
    let meter: &progress::Meter<'_> = &run.meter;
    while let Some(seen) = walk.next().await? {
        (report.source_links, report.target_links) = walk.counts();
        looked_at += 1;
        meter.add(1);
        if let Some((link, present)) = count(seen, report).filter(|(_, present)| *present || delete_extra) {
            events.push(event(relationship, &round.run, link, present, run.seen_at(walk.at())));
        }
        if looked_at < chunk {
            continue;
        }
        looked_at = 0;
        run.feeder.feed(std::mem::take(&mut events), &mut report.done).await?;
        round.position = walk.position();
        run.save(store, &Saved { links: Some(round.clone()), ..Saved::default() }).await?;
        if run.is_over() {
            return Err(FeedError::OutOfTime.into());
        }
    }
    run.feeder.feed(events, &mut report.done).await?;
    run.save(store, &Saved::default()).await
}

fn event(
    relationship: &Relationship<'_>,
    run: &str,
    (first, second): Pair,
    present: bool,
    seen_at: DateTime<Utc>,
) -> ChangeEvent {
    let link = Link {
        relationship: relationship.name.to_owned(),
        related: vec![(relationship.second.map.source.clone(), second)],
    };
    let bare = row_event(&relationship.first.map.source, first, Columns::new());
    let text = format!("{run}:{}:{first}:{second}:{present}", relationship.name);
    let differs = BTreeSet::from([LINKED.to_owned()]);
    ChangeEvent {
        id: EventId::new(Some("reconcile"), &text).unwrap_or_else(|_| bare.id.clone()),
        operation: if present { Operation::Link(link) } else { Operation::Unlink(link) },
        stamp: just_before(seen_at),
        origin: Origin {
            comparison: Some(Comparison { differs, missing: true, ..Comparison::default() }),
            ..Origin::default()
        },
        ..bare
    }
}
