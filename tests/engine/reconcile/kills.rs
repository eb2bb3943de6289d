//! Runs that are killed at random points and started again.

use super::twins::{PLAIN, Twins, id, link, options, table};
use dataverse_sync::operate::reconcile::Options;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Worlds in a normal run.
const SEEDS: u64 = 6;

fn world() -> Twins {
    let twins = Twins::new(PLAIN);
    for n in 0..120 {
        if n % 3 == 0 {
            twins.at_source("account", id(n), json!({"name": format!("A{n}")}));
        } else {
            twins.both("account", id(n), json!({"name": format!("A{n}")}));
        }
    }
    for n in 0..120 {
        let parent = format!("accounts({})", id((n * 7) % 120));
        twins.at_source(
            "contact",
            id(1_000 + n),
            json!({"lastname": "L", "parentcustomerid_account@odata.bind": parent}),
        );
    }
    twins
}

/// A run that is never interrupted: what it costs.
async fn uninterrupted() -> u64 {
    let twins = world();
    assert!(twins.mend_all().await.is_done());
    twins.source.requests().count() + twins.target.requests().count()
}

#[tokio::test(start_paused = true)]
async fn a_killed_run_goes_on_where_it_was_and_ends_the_same() {
    let whole = uninterrupted().await;
    let mut all_kills = 0;
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let twins = world();
        let latency = dataverse_sync::sim::dataverse::Effect::Slow { before: SECOND / 20, after: SECOND / 20 };
        let always = dataverse_sync::sim::dataverse::When::Always;
        twins.target.faults().add(dataverse_sync::sim::dataverse::Rule::new(always, latency));
        let full = Options { full: true, ..options() };
        let mut kills = 0;
        let last = loop {
            let life = SECOND * random.random_range(3..12) / 2;
            match tokio::time::timeout(life, twins.mend(&full)).await {
                Ok(report) if report.is_done() => break report,
                Ok(report) => panic!("SEED={seed} {report:#?}"),
                Err(_) => kills += 1,
            }
            assert!(kills < 200, "SEED={seed}: it begins anew each time");
            // the leases of the dead run out
            tokio::time::sleep(200 * SECOND).await;
        };
        all_kills += kills;
        twins.target.faults().clear();
        assert!(last.tables.iter().any(|table| table.resumed), "SEED={seed} {last:#?}");
        twins.assert_equal(&["account", "contact"]);
        let spent = twins.source.requests().count() + twins.target.requests().count();
        // metadata and a page or two again for each kill, and whatever was under way
        assert!(spent < whole + kills * 60, "SEED={seed}: {spent} instead of {whole} after {kills} kills");
        let again = twins.compare().await;
        assert!(again.is_equal(), "SEED={seed} {again:#?}");
        assert_eq!(table(&again, "account").equal, 120);
    }
    assert!(all_kills > 2 * SEEDS, "{all_kills}");
}

const RELATIONSHIP: &str = "new_account_contact";

/// Links on one side or both; some of the target's are extra.
fn linked() -> Twins {
    let twins = Twins::new(PLAIN);
    for n in 0..40 {
        twins.both("account", id(n), json!({"name": "A"}));
        twins.both("contact", id(1_000 + n), json!({"lastname": "L"}));
    }
    let (here, there) = (twins.source.person(), twins.target.person());
    for n in 0..400_u32 {
        let (account, contact) = (id(n % 40), id(1_000 + (n % 40 + n / 40) % 40));
        if n % 4 != 0 {
            twins.source.associate(&here, RELATIONSHIP, "account", account, contact).unwrap();
        }
        if n % 4 != 1 {
            twins.target.associate(&there, RELATIONSHIP, "account", account, contact).unwrap();
        }
    }
    twins
}

#[tokio::test(start_paused = true)]
async fn a_killed_comparison_of_links_goes_on_within_its_relationship() {
    let whole = {
        let twins = linked();
        assert!(twins.mend_all().await.is_done());
        twins.source.requests().count() + twins.target.requests().count()
    };
    let (mut all_kills, mut resumed) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let twins = linked();
        let latency = dataverse_sync::sim::dataverse::Effect::Slow { before: SECOND / 40, after: SECOND / 40 };
        let always = dataverse_sync::sim::dataverse::When::Always;
        for side in [&twins.source, &twins.target] {
            side.faults().add(dataverse_sync::sim::dataverse::Rule::new(always, latency.clone()));
        }
        let full = Options { full: true, delete_extra: true, ..options() };
        let mut kills = 0;
        let last = loop {
            let life = SECOND * random.random_range(4..14) / 4;
            match tokio::time::timeout(life, twins.mend(&full)).await {
                Ok(report) if report.is_done() => break report,
                Ok(report) => panic!("SEED={seed} {report:#?}"),
                Err(_) => kills += 1,
            }
            assert!(kills < 60, "SEED={seed}: it begins anew each time");
            tokio::time::sleep(200 * SECOND).await;
        };
        all_kills += kills;
        resumed += u64::from(link(&last, RELATIONSHIP).resumed);
        let spent = twins.source.requests().count() + twins.target.requests().count();
        assert!(spent < whole + kills * 60, "SEED={seed}: {spent} instead of {whole} after {kills} kills");
        assert_eq!(twins.target.links(RELATIONSHIP), twins.source.links(RELATIONSHIP), "SEED={seed}");
    }
    assert!(all_kills > 2 * SEEDS && resumed > SEEDS / 2, "{all_kills} kills, {resumed} resumed");
}
