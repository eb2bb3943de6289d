//! Planted differences of every kind: the dry run finds exactly these, one run mends them while live traffic goes on, and a
//! second dry run finds none; with as few requests as there are pages and differences.

use super::world::{World, id, put};
use crate::support::handler::Handler;
use dataverse_sync::sim::dataverse::{Image, Sink, Step, Webhook};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Rows in all, on each side, in a normal run; `ROWS` asks for another number.
const ROWS: u32 = 2_000;
/// Where contacts, products and live rows begin.
const CONTACTS: u32 = 1_000_000;
const PRODUCTS: u32 = 2_000_000;

#[expect(clippy::disallowed_methods, reason = "a test's own knob")]
fn rows() -> u32 {
    std::env::var("ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS)
}

fn account(n: u32) -> (Value, Value) {
    let both = |phone: &str, industry: u32, rating: &str| {
        let mut row = json!({
            "name": format!("Account {n}"), "numberofemployees": n, "creditonhold": n.is_multiple_of(2),
            "revenue": n, "new_segments": "100000003,100000001", "statecode": 0, "statuscode": 1,
            phone: format!("{n}"), "industrycode": industry,
        });
        row["new_rating"] = serde_json::from_str(rating).unwrap();
        row
    };
    let (mut source, mut target) = (both("telephone1", 1, "1.2345"), both("emailaddress1", 11, "1.23"));
    source["new_sequence"] = json!(n);
    source["description"] = json!("longer than the target holds");
    target["description"] = json!("longer tha");
    (source, target)
}

fn contact(n: u32) -> Value {
    json!({
        "firstname": format!("First {n}"), "lastname": format!("Last {n}"), "birthdate": "1985-05-24",
        "lastusedincampaign": "2020-01-02T03:04:05+02:00",
    })
}

/// What was planted.
#[derive(Debug, Default)]
struct Planted {
    accounts_missing: u64,
    accounts_extra: u64,
    columns: BTreeMap<&'static str, u64>,
    contacts_missing: u64,
    contact_columns: BTreeMap<&'static str, u64>,
    links: (u64, u64),
    too_long: u64,
}

fn seed(world: &World, rows: u32) -> (u32, u32) {
    let (accounts, contacts) = (rows * 6 / 10, rows * 3 / 10);
    for n in 0..accounts {
        let (source, target) = account(n);
        put(&world.source, "account", id(n), source);
        put(&world.target, "account", id(n), target);
    }
    for n in 0..contacts {
        for side in [&world.source, &world.target] {
            let mut row = contact(n);
            row["parentcustomerid_account@odata.bind"] = json!(format!("accounts({})", id(n % accounts)));
            put(side, "contact", id(CONTACTS + n), row);
        }
        if n % 10 == 0 {
            for side in [&world.source, &world.target] {
                let (account, contact) = (id(n % accounts), id(CONTACTS + n));
                side.associate(&side.person(), "new_account_contact", "account", account, contact).unwrap();
            }
        }
    }
    (accounts, contacts)
}

/// Plants one kind of difference in every so manieth row.
fn plant(world: &World, accounts: u32, contacts: u32) -> Planted {
    let mut planted = Planted::default();
    let (source, target) = (&world.source, &world.target);
    // rows without contacts and links, so that nothing else changes with them
    let free = |n: u32| n >= contacts;
    for n in (0..accounts).filter(|n| n % 100 < 14) {
        let row = id(n);
        let mut one = |column: &'static str| *planted.columns.entry(column).or_default() += 1;
        match n % 100 {
            0 if free(n) => {
                target.delete(&target.person(), "account", row).unwrap();
                planted.accounts_missing += 1;
                // its description could not be written either
                planted.too_long += 1;
            }
            1 if free(n) => {
                source.delete(&source.person(), "account", row).unwrap();
                planted.accounts_extra += 1;
            }
            2 => {
                put(target, "account", row, json!({"name": "by hand"}));
                one("name");
            }
            3 => {
                put(source, "account", row, json!({"numberofemployees": 77_777_777}));
                one("numberofemployees");
            }
            4 => {
                put(target, "account", row, json!({"revenue": 0.01, "creditonhold": null}));
                one("revenue");
                one("creditonhold");
            }
            5 => {
                put(source, "account", row, json!({"industrycode": 2}));
                one("industrycode");
            }
            6 => {
                put(source, "account", row, json!({"telephone1": "+41"}));
                one("emailaddress1");
            }
            7 => {
                put(target, "account", row, json!({"new_segments": "100000001"}));
                one("new_segments");
            }
            8 => {
                put(source, "account", row, json!({"statecode": 1, "statuscode": 2}));
                one("statecode");
                one("statuscode");
            }
            9 => {
                put(target, "account", row, json!({"new_rating": 1.24}));
                one("new_rating");
            }
            10 => {
                put(target, "account", row, json!({"description": "else"}));
                planted.too_long += 1;
            }
            11 => {
                put(source, "account", row, json!({"name": null}));
                one("name");
            }
            _ => {}
        }
    }
    for n in (0..contacts).filter(|n| n % 100 < 5) {
        let row = id(CONTACTS + n);
        let mut one = |column: &'static str| *planted.contact_columns.entry(column).or_default() += 1;
        match n % 100 {
            1 => {
                target.delete(&target.person(), "contact", row).unwrap();
                planted.contacts_missing += 1;
            }
            2 => {
                put(target, "contact", row, json!({"birthdate": "1985-05-25"}));
                one("birthdate");
            }
            3 => {
                put(source, "contact", row, json!({"lastusedincampaign": "2020-01-02T03:04:06+02:00"}));
                one("lastusedincampaign");
            }
            4 => {
                put(target, "contact", row, json!({"parentcustomerid_account@odata.bind": null}));
                one("parentcustomerid");
            }
            0 => {
                let pair = (id(n), row);
                target.disassociate(&target.person(), "new_account_contact", "account", pair.0, pair.1).unwrap();
                planted.links.0 += 1;
            }
            _ => {}
        }
    }
    let far = id(CONTACTS + 5);
    for n in 0..3 {
        let account = id(n + 20);
        target.associate(&target.person(), "new_account_contact", "account", account, far).unwrap();
        planted.links.1 += 1;
    }
    planted
}

fn assert_found(report: &super::world::Ended, planted: &Planted) {
    let (accounts, contacts) = (report.table("account"), report.table("contact"));
    assert_eq!(accounts["missing"], planted.accounts_missing, "{accounts:#}");
    assert_eq!(accounts["extra"], planted.accounts_extra, "{accounts:#}");
    assert_eq!(accounts["by_column"], json!(planted.columns), "{accounts:#}");
    assert_eq!(accounts["cannot"]["too_long: description"]["rows"], planted.too_long, "{accounts:#}");
    assert_eq!(contacts["missing"], planted.contacts_missing, "{contacts:#}");
    assert_eq!(contacts["by_column"], json!(planted.contact_columns), "{contacts:#}");
    let links = &report.json()["links"][0];
    assert_eq!((&links["missing"], &links["extra"]), (&json!(planted.links.0), &json!(planted.links.1)), "{links:#}");
    let named = accounts["not_compared"].as_array().unwrap();
    assert!(named.iter().any(|not| not["what"] == "new_sequence"), "{named:?}");
}

/// Requests for each thousand rows, rounded up to tenths.
fn per_thousand(requests: u64, rows: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let exact = requests as f64 * 1_000.0 / rows as f64;
    (exact * 10.0).ceil() / 10.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found_mended_and_gone_while_live_traffic_goes_on() {
    let world = World::new().await;
    let rows = rows();
    let (accounts, contacts) = seed(&world, rows);
    let quick = ["--dry-run", "--json", "--second-look", "1"];
    let equal = world.run(&quick).await;
    assert_eq!(equal.code, Some(0), "{} {}", equal.out, equal.err);
    let pages: u64 = [accounts, contacts, 0].iter().map(|n| u64::from(n / 5_000) + 1).sum();
    let [source, target] = world.requests();
    // and one for the currency, which has other ids on the two sides
    assert!(source["GET"] <= pages + 1 && target["GET"] <= pages + 1, "{source:?} {target:?}");
    println!("{rows} rows, compared in {:?} with {} KiB: {source:?} {target:?}", equal.took, equal.peak_kib);

    let planted = plant(&world, accounts, contacts);
    let different = world.run(&quick).await;
    assert_eq!(different.code, Some(1), "{different:?}");
    assert_found(&different, &planted);
    let text = world.run(&["--dry-run", "--second-look", "0", "--table", "account"]).await;
    assert!(text.code == Some(1) && text.out.ends_with("not equal\n") && text.err.contains("error: "), "{text:?}");
    println!("{}", text.out);

    // live: products, and accounts that nothing was planted in
    let settings: Vec<(&str, &str)> =
        world.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // nobody reads its log
    let settings: Vec<_> = settings.into_iter().chain([("RUST_LOG", "off")]).collect();
    let handler = Handler::start(&settings).await;
    for (n, table) in ["account", "product"].iter().enumerate() {
        let webhook = Arc::new(Webhook::new(&format!("{}/api/webhook", handler.url())));
        let step = Step::new(Uuid::from_u128(100 + n as u128), table, Sink::Webhook(webhook));
        world.source.subscribe(step.image(Image::All));
    }
    let before = world.requests();
    let stop = Arc::new(AtomicBool::new(false));
    let live = {
        let (source, stop) = (world.source.clone(), Arc::clone(&stop));
        async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                // every seventeenth product goes, and does not come back
                let product = n / 17 * 20 + n % 17 / 2;
                if n % 17 == 16 {
                    let _ = source.delete(&source.person(), "product", id(PRODUCTS + product - 8));
                } else {
                    let body = json!({"productnumber": format!("P{product}"), "name": format!("v{n}")});
                    put(&source, "product", id(PRODUCTS + product), body);
                }
                put(&source, "account", id((n % 5) * 100 + 60), json!({"name": format!("live {n}")}));
                n += 1;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            n
        }
    };
    let mend = async {
        let mended = world.run(&["--full", "--delete-extra", "--json"]).await;
        stop.store(true, Ordering::Relaxed);
        mended
    };
    let (mended, changes) = futures_util::future::join(mend, live).await;
    assert_eq!(mended.code, Some(0), "{} {}", mended.out, mended.err);
    let after = world.requests();
    println!("mended in {:?} with {} KiB beside {changes} live changes of two rows", mended.took, mended.peak_kib);
    // a page of each side, whatever the table holds
    assert!(equal.peak_kib.max(mended.peak_kib) < 250 * 1_024, "{} {}", equal.peak_kib, mended.peak_kib);
    println!("before {before:?}\nafter {after:?}");
    assert_eq!(mended.table("account")["done"]["applied: deleted"], planted.accounts_extra);

    // what is still owed is swept; then nothing is left
    world.source.idle().await;
    let mut last = world.run(&quick).await;
    for _ in 0..20 {
        if last.code == Some(0) {
            break;
        }
        handler.tick("sweep").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        last = world.run(&quick).await;
    }
    assert_eq!(last.code, Some(0), "{} {}", last.out, last.err);
    let reads = |side: usize| after[side]["GET"] - before[side]["GET"];
    println!(
        "requests per 1,000 rows: source {}, target {} reads",
        per_thousand(reads(0), rows.into()),
        per_thousand(reads(1), rows.into())
    );
}
