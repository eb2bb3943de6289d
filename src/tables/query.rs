//! What to read of a table: filters that cannot be injected into, selected columns, pages. Knows no transport.

use crate::tables::entity::Entity;
use crate::tables::keys::{Key, KeyError, URL_RESERVED, encode};
use percent_encoding::utf8_percent_encode;

/// Largest page the service gives.
pub const PAGE_ENTITIES_MAX: u32 = 1000;

/// A condition on entities, always joined by `and`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl Filter {
    /// Every entity.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// One partition.
    #[must_use]
    pub fn partition(key: &Key) -> Self {
        Self::all().compared("PartitionKey", "eq", key)
    }

    /// Partitions from `low` on, in key order.
    #[must_use]
    pub fn partition_from(self, low: &Key) -> Self {
        self.compared("PartitionKey", "ge", low)
    }

    /// Partitions after `low`, this one not among them.
    #[must_use]
    pub fn partition_after(self, low: &Key) -> Self {
        self.compared("PartitionKey", "gt", low)
    }

    /// Partitions before `high`.
    #[must_use]
    pub fn partition_before(self, high: &Key) -> Self {
        self.compared("PartitionKey", "lt", high)
    }

    /// Rows from `low` on.
    #[must_use]
    pub fn row_from(self, low: &Key) -> Self {
        self.compared("RowKey", "ge", low)
    }

    /// Rows before `high`.
    #[must_use]
    pub fn row_before(self, high: &Key) -> Self {
        self.compared("RowKey", "lt", high)
    }

    /// This row, as a filter (`get` is cheaper for one).
    #[must_use]
    pub fn row(self, key: &Key) -> Self {
        self.compared("RowKey", "eq", key)
    }

    /// Any of these rows. Within one partition the service scans for it; it saves a round trip, not work.
    #[must_use]
    pub fn rows(mut self, keys: &[&Key]) -> Self {
        let any: Vec<String> = keys.iter().map(|key| format!("RowKey eq {}", key.filter_literal())).collect();
        self.0.push(format!("({})", any.join(" or ")));
        self
    }

    /// Rows made by [`Key::join`] from `kind` and at least one more part: `event` finds `event:1`, not `eventual:1`.
    ///
    /// # Errors
    /// [`KeyError::TooLong`].
    pub fn rows_of(self, kind: &str) -> Result<Self, KeyError> {
        let kind = encode(kind);
        // ';' follows ':' in every order the service may use
        Ok(self.row_from(&Key::new(format!("{kind}:"))?).row_before(&Key::new(format!("{kind};"))?))
    }

    fn compared(mut self, property: &str, operator: &str, key: &Key) -> Self {
        self.0.push(format!("{property} {operator} {}", key.filter_literal()));
        self
    }

    fn text(&self) -> String {
        self.0.join(" and ")
    }
}

/// One query: filter, columns, page size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which entities.
    pub filter: Filter,
    /// Which properties; empty for all. Keys and ETag always come.
    pub select: Vec<String>,
    /// Entities per page, 1 to [`PAGE_ENTITIES_MAX`]; `None`: the service decides.
    pub top: Option<u32>,
}

impl Query {
    /// All properties of what the filter finds.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// The query part of the URL, without `?`, possibly empty.
    pub(super) fn url_query(&self, from: Option<&Continuation>) -> String {
        let mut pairs = Vec::new();
        let filter = self.filter.text();
        if !filter.is_empty() {
            pairs.push(("$filter", filter));
        }
        if !self.select.is_empty() {
            let keys = ["PartitionKey", "RowKey"].into_iter().filter(|key| self.select.iter().all(|name| name != key));
            let names: Vec<&str> = keys.chain(self.select.iter().map(String::as_str)).collect();
            pairs.push(("$select", names.join(",")));
        }
        if let Some(top) = self.top {
            pairs.push(("$top", top.clamp(1, PAGE_ENTITIES_MAX).to_string()));
        }
        if let Some(Continuation { partition, row }) = from {
            pairs.push(("NextPartitionKey", partition.clone()));
            pairs.extend(row.clone().map(|row| ("NextRowKey", row)));
        }
        let pair = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, URL_RESERVED));
        pairs.iter().map(pair).collect::<Vec<_>>().join("&")
    }
}

/// Where the next page begins; opaque, but it may be stored as a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// `x-ms-continuation-NextPartitionKey`.
    pub partition: String,
    /// `x-ms-continuation-NextRowKey`.
    pub row: Option<String>,
}

/// A part of what was found. It may be empty and still have a `next`.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In key order.
    pub entities: Vec<Entity>,
    /// Where to go on; `None` at the end.
    pub next: Option<Continuation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_keys_stay_inside_their_literal() {
        let key = Key::new("a' or 'b' eq 'b").unwrap();
        let query = Query::new(Filter::partition(&key).row_from(&Key::new("x").unwrap()));
        assert_eq!(
            query.url_query(None),
            "$filter=PartitionKey%20eq%20%27a%27%27%20or%20%27%27b%27%27%20eq%20%27%27b%27%20and%20RowKey%20ge%20%27x%27"
        );
    }

    #[test]
    fn keys_are_selected_always_and_the_page_is_bounded() {
        let query = Query { select: vec!["a".into(), "RowKey".into()], top: Some(5000), ..Query::default() };
        let from = Continuation { partition: "1!8!a=".into(), row: None };
        assert_eq!(
            query.url_query(Some(&from)),
            "$select=PartitionKey%2Ca%2CRowKey&$top=1000&NextPartitionKey=1%218%21a%3D"
        );
        assert_eq!(Query::default().url_query(None), "");
    }
}
