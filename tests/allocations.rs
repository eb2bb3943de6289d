//! What decoding copies: allocations and bytes for each recorded payload, as counted by an allocator that counts.

use allocation_counter::{AllocationInfo, measure};
use dataverse_sync::domain::decode::{DecodeLimits, Inbound, decode};
use std::collections::BTreeMap;

/// A recorded payload (tests/payloads/README.md says where they come from), and what decoding it may cost at most.
struct Payload {
    name: &'static str,
    text: &'static str,
    allocations: u64,
    bytes: u64,
}

/// Measured: 144, 228, 572 and 668 allocations of 15, 20, 67 and 76 KB, most of them the tree of the document. The contexts that
/// led to the event are not copied.
const PAYLOADS: [Payload; 4] = [
    Payload {
        name: "delete",
        text: include_str!("payloads/synthetic_delete_account_async.json"),
        allocations: 155,
        bytes: 16_000,
    },
    Payload {
        name: "update",
        text: include_str!("payloads/xes_update_account_sync_webhook.json"),
        allocations: 240,
        bytes: 21_000,
    },
    Payload {
        name: "create, all types",
        text: include_str!("payloads/aex_create_alltypes_async_webhook.json"),
        allocations: 600,
        bytes: 70_000,
    },
    Payload {
        name: "update, parties",
        text: include_str!("payloads/aex_update_customactivity_async_entitycollection_parties.json"),
        allocations: 700,
        bytes: 80_000,
    },
];

fn decoding(body: &[u8]) -> AllocationInfo {
    let headers = BTreeMap::new();
    let inbound = Inbound { content_type: Some("application/json"), headers: &headers, message_id: Some("m"), body };
    let mut event = None;
    let info = measure(|| event = decode(&inbound, &DecodeLimits::default()).ok());
    assert!(event.is_some());
    info
}

#[test]
fn decoding_copies_little_more_than_what_the_event_keeps() {
    for Payload { name, text, allocations, bytes } in PAYLOADS {
        let body = text.trim_start_matches('\u{feff}').as_bytes();
        // whatever is made once in a process is made before
        decoding(body);
        let found = decoding(body);
        assert!(found.count_total <= allocations, "{name}: {} allocations, {allocations} at most", found.count_total);
        assert!(found.bytes_total <= bytes, "{name}: {} bytes, {bytes} at most", found.bytes_total);
    }
}
