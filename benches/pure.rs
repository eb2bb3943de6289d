//! How long the pure parts take: decoding a payload, deciding what to write, advancing the row, encoding keys.
//! `cargo bench --bench pure`; compiled by clippy, run by nobody but people.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a program for people, like a test")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataverse_sync::domain::decode::{DecodeLimits, Inbound, decode};
use dataverse_sync::domain::merge::{Change, Done, Plan, Ungrouped, advance, plan};
use dataverse_sync::domain::partition::Partition;
use dataverse_sync::domain::row::RowState;
use dataverse_sync::domain::value::{Columns, RowRef, Value};
use dataverse_sync::domain::version::{Rank, Stamp, Version};
use dataverse_sync::tables::keys;
use std::collections::BTreeMap;
use std::hint::black_box;
use uuid::Uuid;

/// Recorded payloads of several sizes (tests/payloads/README.md says where they come from).
const PAYLOADS: [(&str, &str); 4] = [
    ("delete", include_str!("../tests/payloads/synthetic_delete_account_async.json")),
    ("update", include_str!("../tests/payloads/xes_update_account_sync_webhook.json")),
    ("create, all types", include_str!("../tests/payloads/aex_create_alltypes_async_webhook.json")),
    (
        "update, parties",
        include_str!("../tests/payloads/aex_update_customactivity_async_entitycollection_parties.json"),
    ),
];

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let headers = BTreeMap::new();
    for (name, text) in PAYLOADS {
        let body = text.trim_start_matches('\u{feff}').as_bytes();
        let inbound =
            Inbound { content_type: Some("application/json"), headers: &headers, message_id: Some("m"), body };
        assert!(decode(&inbound, &DecodeLimits::default()).is_ok(), "{name} cannot be decoded");
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_with_input(BenchmarkId::from_parameter(name), &inbound, |bencher, inbound| {
            bencher.iter(|| decode(black_box(inbound), &DecodeLimits::default()));
        });
    }
    group.finish();
}

fn version(second: i64) -> Version {
    let stamp = Stamp { at: Some(second * 1_000_000), row_version: Some(second), ..Stamp::default() };
    Version::of(&stamp, None, Rank::Update, 0, "e")
}

fn columns(count: usize, value: &str) -> Columns {
    (0..count).map(|n| (format!("new_column{n:04}"), Value::Text(value.to_owned()))).collect()
}

/// A row whose columns were all written by earlier events.
fn row(count: usize) -> RowState {
    let (state, version, columns, image) = (RowState::default(), version(1), columns(count, "before"), Columns::new());
    let change = Change { version: &version, columns: &columns, image: &image, witness: false, differs: None };
    match plan(&state, &change, &Ungrouped) {
        Plan::Write(write) => advance(&state, &version, &Done::Written(&write), &Ungrouped),
        other => panic!("{other:?}"),
    }
}

fn merging(criterion: &mut Criterion) {
    let (mut planned, image) = (criterion.benchmark_group("plan"), Columns::new());
    for count in [5, 50, 500] {
        let (state, version, columns) = (row(count), version(2), columns(count, "after"));
        let change = Change { version: &version, columns: &columns, image: &image, witness: false, differs: None };
        planned.bench_with_input(BenchmarkId::new("columns", count), &change, |bencher, change| {
            bencher.iter(|| plan(black_box(&state), change, &Ungrouped));
        });
    }
    planned.finish();
    let mut merged = criterion.benchmark_group("merge");
    for count in [5, 50, 500] {
        let (state, version, columns) = (row(count), version(2), columns(count, "after"));
        let change = Change { version: &version, columns: &columns, image: &image, witness: false, differs: None };
        merged.bench_with_input(BenchmarkId::new("plan and advance", count), &change, |bencher, change| {
            bencher.iter(|| match plan(black_box(&state), change, &Ungrouped) {
                Plan::Write(write) => advance(&state, &version, &Done::Written(&write), &Ungrouped),
                other => panic!("{other:?}"),
            });
        });
    }
    merged.finish();
}

fn encoding_of_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    let id = RowRef::Id(Uuid::from_u128(0x6a1e_e5f0_0001_4b3c_9d2e_0000_0000_0001));
    group.bench_function("partition of a row", |bencher| bencher.iter(|| Partition::of("account", black_box(&id))));
    for (name, text) in
        [("plain", "account:6a1ee5f0-0001-4b3c-9d2e-000000000001"), ("odd", "Straße/#?\\ 100 % \u{1f600}")]
    {
        let encoded = keys::encode(text);
        group.bench_function(format!("encode, {name}"), |bencher| bencher.iter(|| keys::encode(black_box(text))));
        group.bench_function(format!("decode, {name}"), |bencher| bencher.iter(|| keys::decode(black_box(&encoded))));
    }
    group.finish();
}

criterion_group!(benches, decoding, merging, encoding_of_keys);
criterion_main!(benches);
