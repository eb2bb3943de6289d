//! Many-to-many links: the tables behind the relationships, merged like rows. Links have no time of their own, so their
//! events are as old as what was read, less a second: whatever happened to a link after that is newer.

use super::read::ReadError;
use super::report::{LinkReport, example};
use super::rows::just_before;
use super::run::{Run, Stopped};
use super::table::{Table, links_of, row_event};
use super::{dry, progress};
use crate::chance;
use crate::dataverse::metadata::facts::LinkFacts;
use crate::dataverse::order::server_order;
use crate::dataverse::pages::{Link as PageLink, LinkTable, Page};
use crate::domain::event::{ChangeEvent, Comparison, EventId, Link, Operation, Origin};
use crate::domain::mapping::{Identity, OperationKind};
use crate::domain::value::Columns;
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, VecDeque};
use uuid::Uuid;

/// The column of a link, as the engine writes it down.
const LINKED: &str = "linked";
/// Links handed over at a time.
const CHUNK_LINKS: usize = 500;

/// One relationship, ready to be compared.
struct Relationship<'a> {
    name: &'a str,
    first: &'a Table<'a>,
    second: &'a Table<'a>,
    source: LinkTable,
    target: LinkTable,
}

/// All relationships between these tables.
pub(super) async fn all(run: &Run<'_>, tables: &[&Table<'_>], mend: bool) -> Vec<LinkReport> {
    let mut reports = Vec::new();
    for &first in tables {
        for (link, second) in links_of(first, run.mapping()) {
            let before = run.requests();
            let mut report = LinkReport { relationship: link.name.clone(), ..LinkReport::default() };
            let Some(&second) = tables.iter().find(|table| table.map.source == second) else { continue };
            let ended = match prepare(run, &link.name, first, second).await {
                Ok(Some(relationship)) => compare(run, &relationship, mend, &mut report).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            report.trouble = ended.err().map(|stopped| stopped.to_string());
            report.requests = dry::since(before, run.requests());
            reports.push(report);
        }
    }
    reports
}

/// What is needed to compare a relationship; `None` if it is not synchronised.
async fn prepare<'a>(
    run: &Run<'_>,
    name: &'a str,
    first: &'a Table<'a>,
    second: &'a Table<'a>,
) -> Result<Option<Relationship<'a>>, Stopped> {
    let synchronised =
        |table: &Table<'_>| table.map.operations.contains(&OperationKind::Link) && table.map.identity == Identity::Id;
    let Some(known) = first.target.links.iter().find(|link| link.name.eq_ignore_ascii_case(name)) else {
        return Ok(None);
    };
    let (Some(source), Some(target)) = (first.source_facts.links.get(name), first.target_facts.links.get(&known.name))
    else {
        return Ok(None);
    };
    if !synchronised(first) || !synchronised(second) {
        return Ok(None);
    }
    // the target may name the two tables the other way round
    let target = if known.first.0 == first.map.target {
        target.clone()
    } else {
        LinkFacts { first: target.second.clone(), second: target.first.clone(), ..target.clone() }
    };
    let source = link_table(run, true, source).await?;
    let target = link_table(run, false, &target).await?;
    Ok(Some(Relationship { name, first, second, source, target }))
}

async fn link_table(run: &Run<'_>, source: bool, facts: &LinkFacts) -> Result<LinkTable, ReadError> {
    let reader = if source { run.lookups.source } else { run.lookups.target };
    let (names, schemas) = (&BTreeSet::from([facts.table.clone()]), &reader.environment.schemas);
    let sets = reader.ask_metadata(&facts.table, |call| async move { schemas.entity_sets(&call, names).await }).await?;
    let entity_set = sets.get(&facts.table).cloned().unwrap_or_else(|| format!("{}set", facts.table));
    let (name, first, second) = (facts.table.clone(), facts.first.clone(), facts.second.clone());
    Ok(LinkTable { name, entity_set, first, second })
}

/// One side's page of links.
#[derive(Default)]
struct Side {
    links: VecDeque<(Uuid, Uuid)>,
    next: Option<PageLink>,
    started: bool,
    last: Option<Place>,
    at: Option<DateTime<Utc>>,
}

type Place = ([u8; 16], [u8; 16]);

fn place((first, second): (Uuid, Uuid)) -> Place {
    (server_order(first), server_order(second))
}

impl Side {
    async fn fill(&mut self, run: &Run<'_>, source: bool, table: &LinkTable, count: &mut u64) -> Result<(), Stopped> {
        let reader = if source { run.lookups.source } else { run.lookups.target };
        while self.links.is_empty() && (!self.started || self.next.is_some()) {
            let (client, next) = (&reader.environment.client, self.next.as_ref());
            let page: Page<(Uuid, Uuid)> = reader
                .ask(&table.name, |call| async move { client.links(&call, table, run.options.page_rows, next).await })
                .await?;
            (self.next, self.started, self.at) = (page.next, true, page.at);
            *count += u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
            for link in page.rows {
                if self.last.is_some_and(|last| place(link) <= last) {
                    let why = format!("{}: its links are not sorted as expected", table.name);
                    return Err(Stopped::Refused(why));
                }
                self.last = Some(place(link));
                self.links.push_back(link);
            }
        }
        Ok(())
    }
}

async fn compare(
    run: &Run<'_>,
    relationship: &Relationship<'_>,
    mend: bool,
    report: &mut LinkReport,
) -> Result<(), Stopped> {
    let (mut source, mut target) = (Side::default(), Side::default());
    let (mut events, name) = (Vec::new(), chance::token().simple().to_string());
    let meter: &progress::Meter<'_> = &run.meter;
    meter.begin(relationship.name, "links", 0, None);
    loop {
        source.fill(run, true, &relationship.source, &mut report.source_links).await?;
        target.fill(run, false, &relationship.target, &mut report.target_links).await?;
        let (here, there) = (source.links.front().copied(), target.links.front().copied());
        let (link, present) = match (here, there) {
            (None, None) => break,
            (Some(here), Some(there)) if here == there => {
                source.links.pop_front();
                target.links.pop_front();
                meter.add(1);
                continue;
            }
            (Some(here), there) if there.is_none_or(|there| place(here) < place(there)) => {
                source.links.pop_front();
                report.missing += 1;
                example(&mut report.missing_examples, here);
                (here, true)
            }
            (_, Some(there)) => {
                target.links.pop_front();
                report.extra += 1;
                example(&mut report.extra_examples, there);
                (there, false)
            }
            (Some(_), None) => break,
        };
        meter.add(1);
        if mend && (present || run.options.delete_extra) {
            let seen_at = run.seen_at(source.at);
            events.push(event(relationship, &name, link, present, seen_at));
        }
        if events.len() >= CHUNK_LINKS {
            run.feeder.feed(std::mem::take(&mut events), &mut report.done).await?;
        }
    }
    Ok(run.feeder.feed(events, &mut report.done).await?)
}

fn event(
    relationship: &Relationship<'_>,
    run: &str,
    (first, second): (Uuid, Uuid),
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
