//! What is asked of the table storage, and what for. Reads requests as they pass on the wire: names of tables, keys and
//! phases, as the ledger and the inbox write them; knows nobody's code.

use bytes::Bytes;
use http::{Method, Request};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// The ledger: what is known of a row and an event.
    Look,
    /// The ledger: the transaction that makes a row ours.
    Claim,
    /// The ledger: the transaction that ends an event.
    Finish,
    /// The ledger: other writes about events and rows, such as putting off and renewing.
    Keep,
    /// What instances tell each other, what is paused, leases and cursors of timers.
    Shared,
    /// The inbox: an entry is written, moved or removed.
    Entry,
    /// The inbox: sweeps look for what is due, `status` counts.
    Sweep,
    /// The ledger: what is old is looked for.
    Purge,
    /// Anything else: tables are created.
    Other,
}

impl Purpose {
    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Claim => "claim",
            Self::Finish => "finish",
            Self::Keep => "keep",
            Self::Shared => "shared",
            Self::Entry => "entry",
            Self::Sweep => "sweep",
            Self::Purge => "purge",
            Self::Other => "other",
        }
    }

    /// Whether it is a round trip of the claim protocol.
    pub(super) fn is_of_the_ledger(self) -> bool {
        match self {
            Self::Look | Self::Claim | Self::Finish | Self::Keep => true,
            Self::Shared | Self::Entry | Self::Sweep | Self::Purge | Self::Other => false,
        }
    }

    /// What this request is for, where ledger and inbox have these tables.
    fn of(request: &Request<Bytes>, ledger: &str, inbox: &str) -> Self {
        let target = request.uri().path_and_query().map_or("", |path| path.as_str());
        let target = percent_encoding::percent_decode_str(target).decode_utf8_lossy();
        let body = String::from_utf8_lossy(request.body());
        let batch = request.uri().path().ends_with("$batch");
        let names = |table: &str| match batch {
            true => body.contains(&format!("/{table}")),
            false => target.contains(&format!("/{table}")),
        };
        let reads = request.method() == Method::GET;
        if names(inbox) {
            return if reads { Self::Sweep } else { Self::Entry };
        }
        if !names(ledger) {
            return Self::Other;
        }
        let key = "PartitionKey";
        let of_system = [format!("{key}='system"), format!("{key} eq 'system"), format!("\"{key}\":\"system")];
        if of_system.iter().any(|text| target.contains(text) || body.contains(text)) {
            return Self::Shared;
        }
        if reads {
            let one_row = target.contains(&format!("{key} eq")) || target.contains(&format!("{key}='"));
            return if one_row { Self::Look } else { Self::Purge };
        }
        let phase = |name: &str| body.contains(&format!("\"phase\":\"{name}\""));
        let writes = body.contains("PUT ") || body.contains("POST ") || !batch;
        match (phase("claimed"), phase("done")) {
            (true, _) => Self::Claim,
            (false, true) => Self::Finish,
            (false, false) if writes => Self::Keep,
            (false, false) => Self::Purge,
        }
    }
}

/// Counts requests by what they are for. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: String,
    inbox: String,
    counts: Mutex<BTreeMap<Purpose, u64>>,
    under_way: AtomicUsize,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Passing(Arc<Inner>);

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    /// A meter of these tables.
    pub(super) fn new(ledger: &str, inbox: &str) -> Self {
        let (ledger, inbox) = (ledger.to_owned(), inbox.to_owned());
        Self(Arc::new(Inner { ledger, inbox, counts: Mutex::default(), under_way: AtomicUsize::new(0) }))
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn begin(&self, request: &Request<Bytes>) -> Passing {
        let purpose = Purpose::of(request, &self.0.ledger, &self.0.inbox);
        *self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(purpose).or_default() += 1;
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Passing(Arc::clone(&self.0))
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::Relaxed)
    }

    /// What was counted since the last call.
    pub(super) fn take(&self) -> BTreeMap<Purpose, u64> {
        std::mem::take(&mut *self.0.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_table_key_and_phase() {
        let check = |method: &str, path: &str, body: &str, expected: Purpose| {
            let request = Request::builder().method(method).uri(format!("/acc/{path}"));
            let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
            assert_eq!(Purpose::of(&request, "ledger1", "inbox1"), expected, "{method} {path} {body}");
        };
        let row = "PartitionKey%20eq%20%27a1%3Aaccount%27%20and%20%28RowKey%20eq%20%27row%27%29";
        check("GET", &format!("ledger1()?$filter={row}"), "", Purpose::Look);
        check("GET", "ledger1(PartitionKey='a1%3Aaccount',RowKey='row')", "", Purpose::Look);
        check("GET", "ledger1(PartitionKey='system%3Apaused',RowKey='state')", "", Purpose::Shared);
        check("POST", "ledger1", r#"{"PartitionKey":"system:paused","RowKey":"state"}"#, Purpose::Shared);
        check("GET", "ledger1()?$filter=PartitionKey%20gt%20%27a%27&$top=100", "", Purpose::Purge);
        let batch = |what: &str, phase: &str| {
            format!(
                "{what} http://x/acc/ledger1(PartitionKey='a',RowKey='row') HTTP/1.1\r\n\r\n{{\"phase\":\"{phase}\"}}"
            )
        };
        check("POST", "$batch", &batch("PUT", "claimed"), Purpose::Claim);
        check("POST", "$batch", &batch("PUT", "done"), Purpose::Finish);
        check("POST", "$batch", &batch("PUT", "owed"), Purpose::Keep);
        check("POST", "$batch", "DELETE http://x/acc/ledger1(PartitionKey='a',RowKey='b') HTTP/1.1", Purpose::Purge);
        check("POST", "$batch", "PUT http://x/acc/inbox1(PartitionKey='due:1',RowKey='b') HTTP/1.1", Purpose::Entry);
        check("DELETE", "inbox1(PartitionKey='due%3A1',RowKey='b')", "", Purpose::Entry);
        check("GET", "inbox1()?$filter=PartitionKey%20ge%20%27due%3A%27", "", Purpose::Sweep);
        check("POST", "Tables", r#"{"TableName":"ledger1"}"#, Purpose::Other);
    }

    #[test]
    fn what_is_under_way_is_known_until_it_ends() {
        let (meter, request) = (Meter::new("l", "i"), Request::new(Bytes::new()));
        let passing = meter.begin(&request);
        assert_eq!(meter.under_way(), 1);
        drop(passing);
        assert_eq!((meter.under_way(), meter.take()), (0, [(Purpose::Other, 1)].into()));
        assert!(meter.take().is_empty());
    }
}
