//! Rows of one side by what they are known by, a list of ids or keys at a time.

use super::read::{ReadError, Reader};
use crate::dataverse::pages::{IDS_MAX, Selection};
use crate::dataverse::row::TargetRow;
use crate::dataverse::url::KeyParts;
use crate::domain::value::RowRef;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The rows that are known like that, in no order; `at` becomes the time of the first answer.
pub(super) async fn find(
    reader: &Reader<'_>,
    selection: Selection<'_>,
    wanted: &[RowRef],
    at: &mut Option<DateTime<Utc>>,
) -> Result<Vec<TargetRow>, ReadError> {
    let (client, name) = (&reader.environment.client, selection.schema.name.as_str());
    let mut found = Vec::new();
    let ids: Vec<Uuid> =
        wanted.iter().filter_map(|row| if let RowRef::Id(id) = row { Some(*id) } else { None }).collect();
    for ids in ids.chunks(IDS_MAX) {
        let page = reader.ask(name, |call| async move { client.rows_by_ids(&call, selection, ids).await }).await?;
        *at = at.or(page.at);
        found.extend(page.rows);
    }
    let keys: Vec<KeyParts> =
        wanted.iter().filter_map(|row| if let RowRef::Key(parts) = row { Some(parts.clone()) } else { None }).collect();
    let mut rest = keys.as_slice();
    while !rest.is_empty() {
        let (page, asked) =
            reader.ask(name, |call| async move { client.rows_by_keys(&call, selection, rest).await }).await?;
        *at = at.or(page.at);
        found.extend(page.rows);
        rest = rest.get(asked.max(1)..).unwrap_or_default();
    }
    Ok(found)
}
