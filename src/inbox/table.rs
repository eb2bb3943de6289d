//! Entries in Azure Table Storage: partitions `due:{shard}` and `parked:{shard}`, one entity per entry.
//!
//! A raw payload lies beside its entry in entities of its own (`{key}~1`, ...), written and removed in one entity group
//! transaction with it: one entity holds 1 MiB with everything, so 1 MiB of bytes never fits into one. Listings
//! select the entry's text only, so that payloads are not read with them.

use super::error::InboxError;
use super::store::{Cursor, Move, Page, Place, Range, Removed, Shelf, Slip, Store, Stored};
use crate::tables::entity::{BINARY_BYTES_MAX, TEXT_CHARS_MAX};
use crate::tables::query::Continuation;
use crate::tables::{EdmValue, Entity, Etag, Filter, Key, Op, Query, TableClient, TablesError, When};
use async_trait::async_trait;

const TEXT: &str = "record";
const PIECES: &str = "pieces";
/// Between an entry's key and the number of a piece; sorts after everything in a key, and appears in none.
const PIECE_MARK: char = '~';
/// Properties of 64 KiB in one piece: 512 KiB, half of what an entity holds.
const PARTS_MAX: usize = 8;
/// Pages of reading one entry.
const PAGES_MAX: usize = 100;

/// An inbox in one table.
#[derive(Clone, Debug)]
pub struct TableStore {
    table: TableClient,
}

impl TableStore {
    /// An inbox in this table, which is created when it is first missed.
    #[must_use]
    pub fn new(table: TableClient) -> Self {
        Self { table }
    }
}

#[async_trait]
impl Store for TableStore {
    async fn put(&self, place: &Place, text: &str, payload: Option<&[u8]>) -> Result<Slip, InboxError> {
        if text.encode_utf16().count() > TEXT_CHARS_MAX {
            return Err(InboxError::TooLarge(format!("an entry of {} bytes", text.len())));
        }
        let (partition, row) = (partition(place.shelf, place.shard)?, key(&place.key)?);
        let entity = Entity::new(partition.clone(), row).with(TEXT, text);
        let Some(payload) = payload else {
            let etag = self.table.replace(entity, When::Always).await.map_err(write_error)?;
            return Ok(Slip { place: place.clone(), etag: etag.as_str().to_owned(), pieces: 0 });
        };
        let pieces = pieces(&partition, place, payload)?;
        let count = u8::try_from(pieces.len()).map_err(|_| InboxError::TooLarge(format!("{} bytes", payload.len())))?;
        let entity = entity.with(PIECES, i32::from(count));
        let ops = std::iter::once(entity).chain(pieces).map(|entity| Op::Replace(entity, When::Always)).collect();
        let etags = self.table.transact(&partition, ops).await.map_err(write_error)?;
        let etag = etags.into_iter().next().flatten();
        let etag =
            etag.ok_or_else(|| InboxError::Unknown("the answer to a transaction names no version".to_owned()))?;
        Ok(Slip { place: place.clone(), etag: etag.as_str().to_owned(), pieces: count })
    }

    async fn shift(&self, moves: &[Move]) -> Result<Option<Vec<Slip>>, InboxError> {
        let Some(first) = moves.first() else { return Ok(Some(Vec::new())) };
        let partition = partition(first.to.shelf, first.to.shard)?;
        let mut ops = Vec::with_capacity(moves.len() * 2);
        for Move { to, text, .. } in moves {
            if text.encode_utf16().count() > TEXT_CHARS_MAX {
                return Err(InboxError::TooLarge(format!("an entry of {} bytes", text.len())));
            }
            let entity = Entity::new(partition.clone(), key(&to.key)?).with(TEXT, text.as_str());
            ops.push(Op::Replace(entity, When::Always));
        }
        for Move { from, .. } in moves {
            ops.push(Op::Delete(partition.clone(), key(&from.place.key)?, When::Is(version(from)?)));
        }
        let etags = match self.table.transact(&partition, ops).await {
            Ok(etags) => etags,
            Err(TablesError::NotFound { .. } | TablesError::Stale { .. }) => return Ok(None),
            Err(error) => return Err(write_error(error)),
        };
        let slips = moves
            .iter()
            .zip(etags)
            .map(|(moved, etag)| Some(Slip { place: moved.to.clone(), etag: etag?.as_str().to_owned(), pieces: 0 }));
        let slips: Option<Vec<Slip>> = slips.collect();
        slips.map(Some).ok_or_else(|| InboxError::Unknown("the answer to a transaction names no versions".to_owned()))
    }

    async fn get(&self, place: &Place) -> Result<Option<(Stored, Option<Vec<u8>>)>, InboxError> {
        let filter = Filter::partition(&partition(place.shelf, place.shard)?)
            .row_from(&key(&place.key)?)
            .row_before(&key(&format!("{}{PIECE_MARK}{PIECE_MARK}", place.key))?);
        let (query, mut entities, mut from) = (Query::new(filter), Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.table.query(&query, from.as_ref()).await.map_err(read_error)?;
            entities.extend(page.entities);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let Some((first, rest)) = entities.split_first().filter(|(first, _)| first.row.as_str() == place.key) else {
            return Ok(None);
        };
        let stored = stored(place.shelf, first)?;
        if stored.slip.pieces == 0 {
            return Ok(Some((stored, None)));
        }
        if rest.len() != usize::from(stored.slip.pieces) {
            return Err(InboxError::Corrupt(format!("{}: a piece of the payload is missing", place.key)));
        }
        let mut payload = Vec::new();
        for piece in rest {
            for part in 0..PARTS_MAX {
                match piece.properties.get(&format!("p{part}")) {
                    Some(EdmValue::Binary(bytes)) => payload.extend_from_slice(bytes),
                    None => break,
                    Some(_) => return Err(InboxError::Corrupt(format!("{}: a piece is not binary", place.key))),
                }
            }
        }
        Ok(Some((stored, Some(payload))))
    }

    async fn list(&self, range: &Range, from: Option<&Cursor>, top: usize) -> Result<Page, InboxError> {
        let mut filter = match range.shard {
            Some(shard) => Filter::partition(&partition(range.shelf, shard)?),
            // ';' follows ':' in every order the service may use
            None => Filter::all()
                .partition_from(&key(&format!("{}:", range.shelf.name()))?)
                .partition_before(&key(&format!("{};", range.shelf.name()))?),
        };
        if let Some(after) = &range.after {
            // no key is the beginning of another, so this is exactly everything after it
            filter = filter.row_from(&key(&format!("{after}!"))?);
        }
        if let Some(before) = &range.before {
            filter = filter.row_before(&key(before)?);
        }
        let top = Some(u32::try_from(top).unwrap_or(u32::MAX));
        let query = Query { filter, select: vec![TEXT.to_owned(), PIECES.to_owned()], top };
        let from = from.map(|from| Continuation { partition: from.partition.clone(), row: from.row.clone() });
        let page = self.table.query(&query, from.as_ref()).await.map_err(read_error)?;
        // one that cannot even be named must not hide the others
        let entries = page.entities.iter().filter(|entity| !entity.row.as_str().contains(PIECE_MARK));
        let entries = entries.filter_map(|entity| {
            stored(range.shelf, entity).inspect_err(|error| tracing::error!(%error, "not an inbox entry")).ok()
        });
        Ok(Page {
            found: entries.collect(),
            next: page.next.map(|next| Cursor { partition: next.partition, row: next.row }),
        })
    }

    async fn remove(&self, slip: &Slip) -> Result<(), InboxError> {
        let place = &slip.place;
        let (partition, row) = (partition(place.shelf, place.shard)?, key(&place.key)?);
        let when = When::Is(version(slip)?);
        let removed = if slip.pieces == 0 {
            self.table.delete(&partition, &row, when).await
        } else {
            let mut ops = vec![Op::Delete(partition.clone(), row, when)];
            for number in 1..=slip.pieces {
                ops.push(Op::Delete(partition.clone(), piece_key(&place.key, number)?, When::Always));
            }
            self.table.transact(&partition, ops).await.map(drop)
        };
        match removed {
            Ok(()) | Err(TablesError::NotFound { .. } | TablesError::Stale { .. }) => Ok(()),
            Err(error) => Err(write_error(error)),
        }
    }

    async fn remove_all(&self, slips: &[Slip]) -> Result<Removed, InboxError> {
        let Some(first) = slips.first() else { return Ok(Removed::All) };
        let partition = partition(first.place.shelf, first.place.shard)?;
        let mut ops = Vec::with_capacity(slips.len());
        for slip in slips {
            ops.push(Op::Delete(partition.clone(), key(&slip.place.key)?, When::Is(version(slip)?)));
        }
        match self.table.transact(&partition, ops).await {
            Ok(_) => Ok(Removed::All),
            Err(TablesError::NotFound { index } | TablesError::Stale { index }) => Ok(Removed::None { but: index }),
            Err(error) => Err(write_error(error)),
        }
    }
}

fn version(slip: &Slip) -> Result<Etag, InboxError> {
    Etag::new(slip.etag.as_str()).map_err(|error| InboxError::Corrupt(error.to_string()))
}

/// The partition of a shard.
fn partition(shelf: Shelf, shard: u8) -> Result<Key, InboxError> {
    key(&format!("{}:{shard:02}", shelf.name()))
}

fn key(text: &str) -> Result<Key, InboxError> {
    Key::new(text).map_err(|error| InboxError::Corrupt(error.to_string()))
}

fn piece_key(entry: &str, number: u8) -> Result<Key, InboxError> {
    key(&format!("{entry}{PIECE_MARK}{number:03}"))
}

fn pieces(partition: &Key, place: &Place, payload: &[u8]) -> Result<Vec<Entity>, InboxError> {
    // an empty payload is a payload too
    let chunks: Vec<&[u8]> =
        if payload.is_empty() { vec![payload] } else { payload.chunks(PARTS_MAX * BINARY_BYTES_MAX).collect() };
    let mut pieces = Vec::new();
    for (number, chunk) in (1u8..).zip(chunks) {
        let mut piece = Entity::new(partition.clone(), piece_key(&place.key, number)?);
        for (part, bytes) in chunk.chunks(BINARY_BYTES_MAX).enumerate() {
            piece = piece.with(&format!("p{part}"), bytes.to_vec());
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

fn stored(shelf: Shelf, entity: &Entity) -> Result<Stored, InboxError> {
    let corrupt = |what: &str| InboxError::Corrupt(format!("{}: {what}", entity.row.as_str()));
    let shard = entity.partition.as_str().rsplit(':').next().and_then(|shard| shard.parse().ok());
    let shard = shard.ok_or_else(|| corrupt("is in no shard"))?;
    let etag = entity.etag.as_ref().ok_or_else(|| corrupt("came without an etag"))?.as_str().to_owned();
    let pieces = u8::try_from(entity.integer(PIECES).unwrap_or(0)).map_err(|_| corrupt("has too many pieces"))?;
    let place = Place { shelf, shard, key: entity.row.as_str().to_owned() };
    Ok(Stored { slip: Slip { place, etag, pieces }, text: entity.text(TEXT).map(str::to_owned) })
}

fn read_error(error: TablesError) -> InboxError {
    match write_error(error) {
        // nothing was to be changed, so not knowing is the same as not having
        InboxError::Unknown(reason) => InboxError::Unavailable { reason, after: None },
        other => other,
    }
}

fn write_error(error: TablesError) -> InboxError {
    match error {
        TablesError::Busy { after } => InboxError::Unavailable { reason: "table storage is busy".to_owned(), after },
        TablesError::Unknown { reason } => InboxError::Unknown(reason),
        TablesError::Decode { .. } => InboxError::Corrupt(error.to_string()),
        TablesError::Rejected { ref code, .. } if code.ends_with("TooLarge") => InboxError::TooLarge(error.to_string()),
        TablesError::Conflict { .. }
        | TablesError::NotFound { .. }
        | TablesError::Stale { .. }
        | TablesError::NotSent { .. }
        | TablesError::Rejected { .. }
        | TablesError::Invalid { .. } => InboxError::Unavailable { reason: error.to_string(), after: None },
    }
}
