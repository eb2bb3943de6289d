//! Going through the links of a relationship on both sides at once: pages of both, merged by both ids, so that memory holds one
//! page of each. Knows no event and no report.

use super::read::Reader;
use super::run::Stopped;
use crate::dataverse::order::server_order;
use crate::dataverse::pages::{Link as PageLink, LinkTable, Page};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use uuid::Uuid;

/// The two rows of a link, the relationship's first table first.
pub type Pair = (Uuid, Uuid);

/// Where a walk through links is: everything before is done. Small enough for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPosition {
    /// The address of the source's page that is being worked on; `None`: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<PageLink>,
    /// The same of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<PageLink>,
    /// The last link that was done, in the order of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Pair>,
}

/// What was seen of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenLink {
    Both,
    Missing(Pair),
    Extra(Pair),
}

/// One side's page.
#[derive(Debug, Default)]
struct Side {
    links: VecDeque<Pair>,
    here: Option<PageLink>,
    next: Option<PageLink>,
    started: bool,
    last: Option<Place>,
    count: u64,
    at: Option<DateTime<Utc>>,
}

type Place = ([u8; 16], [u8; 16]);

fn place((first, second): Pair) -> Place {
    (server_order(first), server_order(second))
}

impl Side {
    fn take(
        &mut self,
        name: &str,
        page: Page<Pair>,
        here: Option<PageLink>,
        after: Option<Pair>,
    ) -> Result<(), Stopped> {
        (self.here, self.next, self.started, self.at) = (here, page.next, true, page.at);
        for link in page.rows {
            if self.last.is_some_and(|last| place(link) <= last) {
                return Err(Stopped::Refused(format!("{name}: its links are not sorted as expected")));
            }
            self.last = Some(place(link));
            if after.is_none_or(|after| place(link) > place(after)) {
                self.count += 1;
                self.links.push_back(link);
            }
        }
        Ok(())
    }

    async fn fill(
        &mut self,
        (reader, table, page_rows): (&Reader<'_>, &LinkTable, u32),
        (saved, after): (&Option<PageLink>, Option<Pair>),
    ) -> Result<(), Stopped> {
        while self.links.is_empty() && (!self.started || self.next.is_some()) {
            let from = if self.started { self.next.clone() } else { saved.clone() };
            let (client, asked) = (&reader.environment.client, from.as_ref());
            let page = reader
                .ask(&table.name, |call| async move { client.links(&call, table, page_rows, asked).await })
                .await?;
            self.take(&table.name, page, from, after)?;
        }
        Ok(())
    }
}

/// A walk through the links of one relationship.
#[derive(Debug)]
pub(super) struct LinkWalk<'a> {
    readers: (&'a Reader<'a>, &'a Reader<'a>),
    tables: (&'a LinkTable, &'a LinkTable),
    page_rows: u32,
    source: Side,
    target: Side,
    position: LinkPosition,
}

impl<'a> LinkWalk<'a> {
    /// A walk that goes on from there. Readers and tables: the source's, the target's.
    pub(super) fn new(
        readers: (&'a Reader<'a>, &'a Reader<'a>),
        tables: (&'a LinkTable, &'a LinkTable),
        page_rows: u32,
        position: LinkPosition,
    ) -> Self {
        Self { readers, tables, page_rows, source: Side::default(), target: Side::default(), position }
    }

    /// Where it is: what was handed out before is taken for done.
    pub(super) fn position(&self) -> LinkPosition {
        let here = |side: &Side, saved: &Option<PageLink>| if side.started { side.here.clone() } else { saved.clone() };
        LinkPosition {
            source: here(&self.source, &self.position.source),
            target: here(&self.target, &self.position.target),
            after: self.position.after,
        }
    }

    /// Links seen so far: at the source, at the target.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.source.count, self.target.count)
    }

    /// When the source's page was read, by its clock.
    pub(super) fn at(&self) -> Option<DateTime<Utc>> {
        self.source.at
    }

    /// The next link; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<SeenLink>, Stopped> {
        let (after, rows) = (self.position.after, self.page_rows);
        self.source.fill((self.readers.0, self.tables.0, rows), (&self.position.source, after)).await?;
        self.target.fill((self.readers.1, self.tables.1, rows), (&self.position.target, after)).await?;
        let (here, there) = (self.source.links.front().copied(), self.target.links.front().copied());
        let (seen, pair) = match (here, there) {
            (None, None) => return Ok(None),
            (Some(here), Some(there)) if here == there => {
                self.target.links.pop_front();
                self.source.links.pop_front();
                (SeenLink::Both, here)
            }
            (Some(here), there) if there.is_none_or(|there| place(here) < place(there)) => {
                self.source.links.pop_front();
                (SeenLink::Missing(here), here)
            }
            (_, Some(there)) => {
                self.target.links.pop_front();
                (SeenLink::Extra(there), there)
            }
            (Some(here), None) => (SeenLink::Missing(here), here),
        };
        self.position.after = Some(pair);
        Ok(Some(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u128) -> Pair {
        (Uuid::from_u128(n), Uuid::from_u128(1))
    }

    fn page(links: &[u128]) -> Page<Pair> {
        let rows = links.iter().map(|n| pair(*n)).collect();
        Page { rows, deleted: Vec::new(), next: None, delta: None, at: None }
    }

    #[test]
    fn links_that_are_done_are_not_handed_out_again_and_others_only_in_order() {
        let mut side = Side::default();
        side.take("l", page(&[1, 2, 3]), None, Some(pair(2))).unwrap();
        assert_eq!((side.links.len(), side.count), (1, 1));
        assert!(matches!(side.take("l", page(&[3]), None, None), Err(Stopped::Refused(_))));
        // the first byte of the text counts least
        let mut side = Side::default();
        assert!(side.take("l", page(&[1 << 120 | 1, 2]), None, None).is_ok());
    }
}
