//! Going through a table on both sides at once: pages of both, merged by primary key, so that memory holds one page of each
//! however many rows there are. Where the sides cannot be merged (rows known by an alternate key, or a service that does not
//! sort as expected), pages of one side are looked up in the other.

pub(super) use super::find::find;
use super::lookups::Lookups;
use super::read::{ReadError, Reader};
use super::rows::key_of;
use super::table::Table;
use crate::dataverse::order::server_order;
use crate::dataverse::pages::{Link, Page, Selection};
use crate::dataverse::row::TargetRow;
use crate::dataverse::url::KeyParts;
use crate::domain::mapping::Identity;
use crate::domain::partition::Partition;
use crate::domain::value::RowRef;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, VecDeque};
use uuid::Uuid;

/// Rows handed out at a time.
pub const CHUNK_ROWS: usize = 500;

/// What was seen of one row.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The source has it, the target does not.
    Missing(TargetRow),
    /// Both have it: the source's, the target's.
    Both(TargetRow, TargetRow),
    /// The target has it, the source does not; how the source would know it, if that can be told.
    Extra(TargetRow, Option<RowRef>),
    /// The source has it, and the target cannot know it: a part of its key is missing.
    Keyless(Uuid),
}

/// Some rows, in the order in which they were read.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The rows.
    pub seen: Vec<Seen>,
    /// When they were read, by the source's clock.
    pub at: Option<DateTime<Utc>>,
}

/// Where a walk is: everything before is done. Small enough for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The address of the source's page that is being worked on; `None`: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Link>,
    /// The same of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Link>,
    /// All rows of the source were seen; what has come since is newer than this walk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    source_ended: bool,
    /// All rows of the target were seen. Those that the walk itself has made since are not gone through again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    target_ended: bool,
    /// The last row that was done, in the order of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Uuid>,
    /// Looking up instead of merging.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    looking_up: bool,
    /// Looking up: the source's rows are done, the target's are next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    back: bool,
}

impl Position {
    /// From the beginning, by looking up.
    #[must_use]
    pub fn looking_up() -> Self {
        Self { looking_up: true, ..Self::default() }
    }
}

/// Why a walk stopped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalkError {
    /// Nothing could be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rows did not come in the order that merging needs: begin anew by looking up.
    #[error("the environment does not sort as expected")]
    Unordered,
}

/// A walk through one table.
#[derive(Debug)]
pub struct Walk<'a> {
    table: &'a Table<'a>,
    lookups: &'a Lookups<'a>,
    source: Side,
    target: Side,
    position: Position,
    done: bool,
}

/// One side's page.
#[derive(Debug, Default)]
struct Side {
    rows: VecDeque<TargetRow>,
    /// The address of the page that `rows` are from.
    here: Option<Link>,
    next: Option<Link>,
    started: bool,
    last: Option<[u8; 16]>,
    at: Option<DateTime<Utc>>,
}

impl Side {
    /// The page to go on with: a page that is done is not read again.
    fn place(&self) -> Option<Link> {
        let next = self.next.as_ref().filter(|_| self.rows.is_empty());
        next.or(self.here.as_ref()).cloned()
    }

    /// Whether there is nothing more of this side.
    fn is_over(&self) -> bool {
        self.started && self.next.is_none() && self.rows.is_empty()
    }

    fn is_dry(&self) -> bool {
        self.rows.is_empty() && (!self.started || self.next.is_some())
    }

    fn take(&mut self, page: Page<TargetRow>, here: Option<Link>, after: Option<Uuid>) -> Result<(), WalkError> {
        (self.here, self.next, self.started, self.at) = (here, page.next, true, page.at.or(self.at));
        for row in page.rows {
            let place = server_order(row.id);
            if self.last.is_some_and(|last| place <= last) {
                return Err(WalkError::Unordered);
            }
            self.last = Some(place);
            if after.is_none_or(|after| place > server_order(after)) {
                self.rows.push_back(row);
            }
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// A walk that goes on from there.
    #[must_use]
    pub fn new(table: &'a Table<'a>, lookups: &'a Lookups<'a>, mut position: Position) -> Self {
        position.looking_up |= matches!(table.map.identity, Identity::Key(_));
        let side = |started| Side { started, ..Side::default() };
        let (source, target) = (side(position.source_ended), side(position.target_ended));
        Self { table, lookups, source, target, position, done: false }
    }

    /// Where it is: what was handed out before is taken for done.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// [`WalkError`]: the same chunk may be asked for again from the position.
    pub async fn next(&mut self) -> Result<Option<Chunk>, WalkError> {
        if self.done {
            return Ok(None);
        }
        if self.position.looking_up { self.look_up().await } else { self.merge().await }
    }

    async fn merge(&mut self) -> Result<Option<Chunk>, WalkError> {
        let mut chunk = Chunk::default();
        let size = usize::try_from(self.table.page_rows).unwrap_or(CHUNK_ROWS).min(CHUNK_ROWS);
        while chunk.seen.len() < size {
            self.fill().await?;
            let order = |side: &Side| side.rows.front().map(|row| server_order(row.id));
            let seen = match (order(&self.source), order(&self.target)) {
                (None, None) => {
                    self.done = true;
                    break;
                }
                (Some(source), Some(target)) if source == target => {
                    self.source.rows.pop_front().zip(self.target.rows.pop_front()).map(|(a, b)| Seen::Both(a, b))
                }
                (Some(source), target) if target.is_none_or(|target| source < target) => {
                    self.source.rows.pop_front().map(Seen::Missing)
                }
                _ => self.target.rows.pop_front().map(|row| {
                    let id = row.id;
                    Seen::Extra(row, Some(RowRef::Id(id)))
                }),
            };
            let Some(seen) = seen else { break };
            // the earliest page counts: what was not there then may be there now
            chunk.at = chunk.at.or(self.source.at);
            self.position.after = Some(match &seen {
                Seen::Missing(row) | Seen::Both(row, _) | Seen::Extra(row, _) => row.id,
                Seen::Keyless(id) => *id,
            });
            chunk.seen.push(seen);
        }
        self.position.source = self.source.place();
        self.position.target = self.target.place();
        self.position.source_ended = self.source.is_over();
        self.position.target_ended = self.target.is_over();
        Ok(if chunk.seen.is_empty() { None } else { Some(chunk) })
    }

    /// Makes sure that both sides have a row or have ended; both pages are read at once.
    async fn fill(&mut self) -> Result<(), WalkError> {
        while self.source.is_dry() || self.target.is_dry() {
            let from = |side: &Side, saved: &Option<Link>| {
                let link = if side.started { side.next.clone() } else { saved.clone() };
                side.is_dry().then_some(link)
            };
            let source = from(&self.source, &self.position.source);
            let target = from(&self.target, &self.position.target);
            let source_page = page(self.lookups.source, self.selection(true), &source);
            let target_page = page(self.lookups.target, self.selection(false), &target);
            let (source_page, target_page) = futures_util::future::join(source_page, target_page).await;
            if let (Some(page), Some(here)) = (source_page?, source) {
                self.source.take(page, here, self.position.after)?;
            }
            if let (Some(page), Some(here)) = (target_page?, target) {
                self.target.take(page, here, self.position.after)?;
            }
        }
        Ok(())
    }

    fn selection(&self, source: bool) -> Selection<'a> {
        let table = self.table;
        let (schema, columns) =
            if source { (&table.source, &table.source_columns) } else { (&table.target, &table.target_columns) };
        Selection { schema, columns, page_rows: table.page_rows }
    }

    /// Only what rows are known by: for the way back.
    fn keys_only(&self, source: bool) -> Selection<'a> {
        let table = self.table;
        let columns = if source { &table.source_keys } else { &table.target_keys };
        Selection { columns, ..self.selection(source) }
    }

    /// A page of one side, looked up in the other. First the source's: missing rows, and pairs; then the target's: extra rows.
    async fn look_up(&mut self) -> Result<Option<Chunk>, WalkError> {
        let back = self.position.back;
        let saved = if back { self.position.target.clone() } else { self.position.source.clone() };
        let reader = if back { self.lookups.target } else { self.lookups.source };
        let selection = if back { self.keys_only(false) } else { self.selection(true) };
        let Some(page) = page(reader, selection, &Some(saved)).await? else { return Ok(None) };
        let mut chunk = Chunk { at: page.at, ..Chunk::default() };
        if back {
            let counterparts = self.counterparts(&page.rows, true, &mut chunk.at).await?;
            for (row, (known, counterpart)) in page.rows.into_iter().zip(counterparts) {
                if counterpart.is_none() {
                    chunk.seen.push(Seen::Extra(row, known));
                }
            }
        } else {
            chunk.seen = self.pairs(page.rows).await?;
        }
        match (back, page.next) {
            (false, Some(next)) => self.position.source = Some(next),
            (false, None) => self.position.back = true,
            (true, Some(next)) => self.position.target = Some(next),
            (true, None) => self.done = true,
        }
        Ok(Some(chunk))
    }

    /// Rows of the source with their counterparts.
    pub(super) async fn pairs(&self, rows: Vec<TargetRow>) -> Result<Vec<Seen>, WalkError> {
        let counterparts = self.counterparts(&rows, false, &mut None).await?;
        let seen = rows.into_iter().zip(counterparts).map(|(row, (known, counterpart))| match (known, counterpart) {
            (None, _) => Seen::Keyless(row.id),
            (Some(_), Some(target)) => Seen::Both(row, target),
            (Some(_), None) => Seen::Missing(row),
        });
        Ok(seen.collect())
    }

    /// The rows of the target whose keys can be told to the source, and that the source does not have.
    pub(super) async fn unpaired(&self, rows: &[TargetRow]) -> Result<BTreeSet<Uuid>, WalkError> {
        let counterparts = self.counterparts(rows, true, &mut None).await?;
        let unpaired = rows.iter().zip(counterparts).filter(|(_, (known, there))| known.is_some() && there.is_none());
        Ok(unpaired.map(|(row, _)| row.id).collect())
    }

    /// Per row how the other side knows it, and its row there. `back`: the rows are the target's.
    async fn counterparts(
        &self,
        rows: &[TargetRow],
        back: bool,
        at: &mut Option<DateTime<Utc>>,
    ) -> Result<Vec<(Option<RowRef>, Option<TargetRow>)>, WalkError> {
        let known: Vec<Option<RowRef>> = rows
            .iter()
            .map(|row| match &self.table.map.identity {
                Identity::Id => Some(RowRef::Id(row.id)),
                Identity::Key(columns) if back => self.source_key(columns, row),
                Identity::Key(_) => key_of(self.table, self.lookups, row),
            })
            .collect();
        let reader = if back { self.lookups.source } else { self.lookups.target };
        let wanted: Vec<RowRef> = known.iter().flatten().cloned().collect();
        let selection = if back { self.keys_only(true) } else { self.selection(false) };
        let found = find(reader, selection, &wanted, at).await?;
        let name = |row: &RowRef| Partition::of("", row).key().to_owned();
        let mut by_name: HashMap<String, TargetRow> = HashMap::new();
        for row in found {
            let as_known = match &self.table.map.identity {
                Identity::Id => Some(RowRef::Id(row.id)),
                Identity::Key(columns) if back => self.own_key(columns, &row),
                Identity::Key(columns) => target_key(columns, &row),
            };
            if let Some(known) = as_known {
                by_name.insert(name(&known), row);
            }
        }
        Ok(known
            .into_iter()
            .map(|known| {
                let row = known.as_ref().and_then(|known| by_name.get(&name(known)).cloned());
                (known, row)
            })
            .collect())
    }

    /// The key of a target row in the source's names; `None` if a value map stands between the two.
    fn source_key(&self, columns: &[String], row: &TargetRow) -> Option<RowRef> {
        let part = |column: &String| {
            let source = self.table.map.columns.source_name(column)?;
            if self.table.map.columns.values.contains_key(column) {
                return None;
            }
            Some((source.to_owned(), super::keys::part(row.columns.get(column)?)?))
        };
        columns.iter().map(part).collect::<Option<KeyParts>>().map(RowRef::Key)
    }

    /// The key of a source row in its own names.
    fn own_key(&self, columns: &[String], row: &TargetRow) -> Option<RowRef> {
        let part = |column: &String| {
            let source = self.table.map.columns.source_name(column)?;
            Some((source.to_owned(), super::keys::part(row.columns.get(source)?)?))
        };
        columns.iter().map(part).collect::<Option<KeyParts>>().map(RowRef::Key)
    }
}

pub(super) fn target_key(columns: &[String], row: &TargetRow) -> Option<RowRef> {
    let part = |column: &String| Some((column.clone(), super::keys::part(row.columns.get(column)?)?));
    columns.iter().map(part).collect::<Option<KeyParts>>().map(RowRef::Key)
}

/// The page at an address, if one is wanted.
async fn page(
    reader: &Reader<'_>,
    selection: Selection<'_>,
    from: &Option<Option<Link>>,
) -> Result<Option<Page<TargetRow>>, ReadError> {
    let Some(from) = from else { return Ok(None) };
    let client = &reader.environment.client;
    let page =
        reader.ask(&selection.schema.name, |call| async move { client.rows(&call, selection, from.as_ref()).await });
    page.await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::Columns;

    #[test]
    fn rows_that_do_not_come_in_the_services_order_are_not_merged() {
        let row = |n: u128| TargetRow { id: Uuid::from_u128(n), etag: None, columns: Columns::new() };
        let page = |ids: &[u128]| Page {
            rows: ids.iter().map(|id| row(*id)).collect(),
            deleted: Vec::new(),
            next: None,
            delta: None,
            at: None,
        };
        let mut side = Side::default();
        side.take(page(&[1, 2, 3]), None, None).unwrap();
        assert_eq!(side.rows.len(), 3);
        assert!(matches!(side.take(page(&[3]), None, None), Err(WalkError::Unordered)));
        // the first byte of the text counts least: in the order of texts these two are the other way round
        let mut side = Side::default();
        assert!(side.take(page(&[1 << 120 | 1, 2]), None, None).is_ok());
        let mut side = Side::default();
        side.take(page(&[1, 2, 3]), None, Some(Uuid::from_u128(2))).unwrap();
        assert_eq!(side.rows.len(), 1, "what was done before is not handed out again");
    }

    #[test]
    fn a_page_that_is_done_and_a_side_that_has_ended_are_not_read_again() {
        let row = |n: u128| TargetRow { id: Uuid::from_u128(n), etag: None, columns: Columns::new() };
        let link = |text: &str| -> Link { serde_json::from_value(text.into()).unwrap() };
        let page = |ids: &[u128], next: Option<&str>| Page {
            rows: ids.iter().map(|id| row(*id)).collect(),
            deleted: Vec::new(),
            next: next.map(link),
            delta: None,
            at: None,
        };
        let mut side = Side::default();
        side.take(page(&[1, 2], Some("two")), Some(link("one")), None).unwrap();
        side.rows.pop_front();
        assert_eq!((side.place(), side.is_over()), (Some(link("one")), false), "a row of it is left");
        side.rows.pop_front();
        assert_eq!((side.place(), side.is_over()), (Some(link("two")), false));
        side.take(page(&[3], None), Some(link("two")), None).unwrap();
        side.rows.pop_front();
        assert_eq!((side.place(), side.is_over()), (Some(link("two")), true));
    }
}
