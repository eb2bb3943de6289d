//! Pages of an answer: where the next one begins. Rows that are ordered by their primary key continue behind the last row
//! that was shown, as paging cookies do; every other order counts rows. Knows no request.

use super::errors::{self, ApiError};
use super::exchange::Exchange;
use super::literal::guid;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the beginning.
    #[default]
    First,
    /// After that many rows.
    After(usize),
    /// Behind this row, in the order of primary keys.
    Behind(Uuid),
    /// Behind these two rows, in the order of links.
    BehindPair(Uuid, Uuid),
    /// Behind this version.
    BehindVersion(i64),
}

impl Start {
    /// Reads a `$skiptoken`.
    ///
    /// # Errors
    /// What was not given out here.
    pub fn read(token: Option<&str>) -> Result<Self, ApiError> {
        let Some(token) = token else { return Ok(Self::First) };
        let wrong = || errors::uri("The $skiptoken is not valid.");
        let inner = token.strip_prefix("<cookie ").and_then(|rest| rest.strip_suffix("/>")).ok_or_else(wrong)?;
        let (name, value) = inner.split_once('=').ok_or_else(wrong)?;
        let value = value.trim_matches('"');
        let found = match name {
            "page" => value.parse().ok().map(Self::After),
            "last" => guid(value).map(Self::Behind),
            "pair" => value.split_once('|').and_then(|(a, b)| Some(Self::BehindPair(guid(a)?, guid(b)?))),
            "version" => value.parse().ok().map(Self::BehindVersion),
            _ => None,
        };
        found.ok_or_else(wrong)
    }

    /// The `$skiptoken` that leads here, percent-encoded.
    #[must_use]
    pub fn token(self) -> String {
        let inner = match self {
            Self::First => return String::new(),
            Self::After(rows) => format!("page=\"{rows}\""),
            Self::Behind(id) => format!("last=\"{id}\""),
            Self::BehindPair(first, second) => format!("pair=\"{first}|{second}\""),
            Self::BehindVersion(version) => format!("version=\"{version}\""),
        };
        encode(&format!("<cookie {inner}/>"))
    }
}

/// Percent-encodes everything but letters and digits.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The address of the page that begins there, with the options of this one.
#[must_use]
pub fn next_link(exchange: &Exchange, set: &str, start: Start) -> String {
    let query = &exchange.address.query;
    let mut link = format!("{}?$skiptoken={}", exchange.link(set), start.token());
    let select = query.select.as_ref().map(|names| names.join(","));
    let options =
        [("$select", &select), ("$filter", &query.filter), ("$orderby", &query.orderby), ("$deltatoken", &query.delta)];
    for (name, value) in options {
        if let Some(value) = value {
            link.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    link
}

/// The first `size` items by key, in order, of those behind `start`; and whether there are more.
pub fn page<T, K: Ord>(mut items: Vec<T>, size: usize, key: impl Fn(&T) -> K) -> (Vec<T>, bool) {
    let more = items.len() > size;
    if more {
        items.select_nth_unstable_by_key(size, &key);
        items.truncate(size);
    }
    items.sort_unstable_by_key(key);
    (items, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::dataverse::types::guid_order;

    #[test]
    fn what_was_given_out_is_read_back_and_nothing_else() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for start in [Start::First, Start::After(7), Start::Behind(a), Start::BehindPair(a, b), Start::BehindVersion(9)]
        {
            let token = start.token();
            let decoded = percent_encoding::percent_decode_str(&token).decode_utf8().unwrap();
            let decoded = Some(decoded.as_ref()).filter(|text| !text.is_empty());
            assert_eq!(Start::read(decoded).unwrap(), start);
        }
        for wrong in ["7", "<cookie page=x/>", "<cookie other=\"1\"/>", "%3Ccookie"] {
            assert!(Start::read(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn guids_are_ordered_from_their_last_group() {
        let id = |text: &str| guid(text).unwrap();
        // SqlGuid.CompareTo: the sixth group of bytes counts most, the first least
        let ordered = [
            id("ff000000-0000-0000-0000-000000000001"),
            id("00000000-0000-0000-0100-000000000001"),
            id("00000001-0000-0000-0000-000000000002"),
            id("01000000-0000-0000-0000-000000000002"),
            id("00000000-0000-0100-0000-000000000002"),
            id("00000000-0000-0001-0000-000000000002"),
        ];
        let mut sorted = ordered;
        sorted.reverse();
        sorted.sort_by_key(|id| guid_order(*id));
        let place = ordered.map(guid_order);
        assert!(place[1] > place[0] && place[2] > place[1]);
        assert_eq!(sorted[0], ordered[0]);
    }
}
