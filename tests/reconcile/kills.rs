//! Runs of the real binary that are killed at random moments and started again, from the command line and as the timer: the
//! same end as undisturbed, and no page is read again but the one at which a run was killed.

use super::world::{World, id, put};
use crate::support::handler::Handler;
use dataverse_sync::sim::dataverse::{Environment, Settings, difference};
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;

/// Short limits: what a dead process holds is free in seconds.
const TOML: &str = r#"version = 1
[limits]
lease = "3s"
settle = "1500ms"
request_timeout = "1s"
webhook_deadline = "1500ms"
queue_deadline = "1500ms"
duplicate_wait = "1s"
clock_skew = "300ms"
[tables.account]
[tables.contact]
"#;
const ROWS: u32 = 240;
const PAGE: u32 = 20;
/// Pages of each of the source's two tables.
const PAGES: u64 = 12;
const KILLS: usize = 3;

#[expect(clippy::disallowed_methods, reason = "a test's own knob")]
fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

async fn world() -> World {
    let slow = |settings: &mut Settings| {
        settings.log_entries_max = 100_000;
        settings.latency = (Duration::from_millis(2), Duration::from_millis(30));
    };
    let world = World::set(TOML, slow, slow).await;
    for n in 0..ROWS {
        put(&world.source, "account", id(n), json!({"name": format!("A{n}")}));
        // the target has two of three accounts, some of them otherwise, and no contact
        if n % 3 > 0 {
            let name = if n % 30 == 1 { "by hand".to_owned() } else { format!("A{n}") };
            put(&world.target, "account", id(n), json!({"name": name}));
        }
    }
    for n in 0..ROWS {
        let parent = format!("accounts({})", id(n * 7 % ROWS));
        let contact = json!({"lastname": format!("L{n}"), "parentcustomerid_account@odata.bind": parent});
        put(&world.source, "contact", id(1_000 + n), contact);
    }
    world
}

/// Pages that were asked for so far, and all writes.
fn asked(side: &Environment) -> (u64, u64) {
    let (mut pages, mut writes) = (0, 0);
    for record in side.requests().last().iter().filter(|record| record.table.is_some()) {
        if record.method != Method::GET {
            writes += 1;
        } else if (record.path.contains("accounts?") || record.path.contains("contacts?"))
            && !record.path.contains("$filter")
        {
            pages += 1;
        }
    }
    (pages, writes)
}

fn work(world: &World) -> u64 {
    [&world.source, &world.target].map(asked).into_iter().map(|(pages, writes)| pages + writes).sum()
}

/// Both sides are equal at last: what was deferred is swept.
async fn assert_equal(world: &World, handler: &Handler) {
    let tables = ["account", "contact"];
    for _ in 0..60 {
        if difference(&world.source, &world.target, &tables, &["ownerid"]).is_empty() {
            break;
        }
        handler.tick("sweep").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let found = difference(&world.source, &world.target, &tables, &["ownerid"]);
    assert!(found.is_empty(), "{found:#?}");
}

fn settings(world: &World) -> Vec<(&str, &str)> {
    let settings = world.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    settings.chain([("RUST_LOG", "off")]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_command_goes_on_where_it_was_and_reads_no_page_twice_but_one() {
    let (world, mut random) = (world().await, StdRng::seed_from_u64(seed()));
    let arguments = ["--full", "--json", "--page", &PAGE.to_string()];
    let mut kills = 0;
    while kills < KILLS {
        // so much later than the last time: somewhere in reading, learning or writing, and then at any moment
        let until = work(&world) + random.random_range(15..120);
        let child = world.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        match world.killed_when(child, || work(&world) >= until).await {
            None => kills += 1,
            Some(code) => panic!("SEED={}: ended with {code} after {kills} kills", seed()),
        }
    }
    let last = world.run(&arguments).await;
    assert_eq!(last.code, Some(0), "SEED={} {} {}", seed(), last.out, last.err);
    assert!(["account", "contact"].iter().any(|table| last.table(table)["resumed"] == true), "{}", last.out);
    let kills = u64::try_from(kills).unwrap();
    let ((source, _), (target, writes)) = (asked(&world.source), asked(&world.target));
    println!("SEED={}: {kills} kills; pages {source} and {target}, writes {writes}", seed());
    // undisturbed: the source twice because of the delta link, the target once: eight pages of accounts, no contacts
    assert!(source <= 4 * PAGES + kills, "{source}");
    // what was made since on the page that is read again pushes rows to the next one
    assert!(target <= 8 + 1 + 2 * kills, "{target}");
    let handler = Handler::start(&settings(&world)).await;
    assert_equal(&world, &handler).await;
    let equal = world.run(&["--dry-run", "--second-look", "0"]).await;
    assert_eq!(equal.code, Some(0), "{} {}", equal.out, equal.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_timer_goes_on_where_it_was() {
    let (world, mut random) = (world().await, StdRng::seed_from_u64(seed() ^ 0x7f));
    for _ in 0..2 {
        let handler = Handler::start(&settings(&world)).await;
        let until = work(&world) + random.random_range(40..150);
        let ticks = async {
            loop {
                handler.tick("reconcile").await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let time = async {
            while work(&world) < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = time => {}
            () = ticks => {}
        }
        drop(handler);
    }
    let handler = Handler::start(&settings(&world)).await;
    // the first ticks may find a table that the dead have still taken
    for _ in 0..60 {
        handler.tick("reconcile").await;
        if difference(&world.source, &world.target, &["account", "contact"], &["ownerid"]).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_equal(&world, &handler).await;
    let ((source, _), (target, _)) = (asked(&world.source), asked(&world.target));
    // pages of 5,000 rows: one per table, step and side, and once more for each kill; then rounds without changes
    println!("SEED={}: pages {source} and {target}", seed());
    assert!(target <= 2 + 2, "{target}");
    let equal = world.run(&["--dry-run", "--second-look", "0"]).await;
    assert_eq!(equal.code, Some(0), "{} {}", equal.out, equal.err);
}
