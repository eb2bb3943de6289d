//! `demo`: the whole story on one machine. Starts the stand-ins and several handler processes, sends traffic with
//! everything that goes wrong in reality, and compares both environments at the end. Decides nothing about events: the
//! handlers are this program's `serve`, or for comparison a naive handler.

mod counts;
mod delivery;
mod plan;
mod progress;
mod steps;
mod story;
mod trouble;
mod verdict;
mod world;

use self::plan::Plan;
use self::progress::{Progress, Shown};
use self::story::Story;
use self::trouble::Aimed;
use self::verdict::Verdict;
use self::world::World;
use super::Trouble;
use crate::sim::{dataverse::sample, naive};
use anyhow::{Context, anyhow};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// What can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct DemoArgs {
    /// Send the same traffic through a naive handler (look up, upsert, mark) and show what that loses and doubles
    #[arg(long)]
    naive: bool,
    /// Decides what is changed and what goes wrong; a random one if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Some seconds instead of half a minute
    #[arg(long)]
    fast: bool,
}

/// Runs the demo.
///
/// # Errors
/// It could not run, or the verdict is bad; the naive handler's verdict may be bad.
pub fn demo(arguments: &DemoArgs, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u16>()));
    let plan = if arguments.fast { Plan::fast(seed) } else { Plan::usual(seed) };
    let terminal = std::io::stdout().is_terminal();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let progress = Progress::new(terminal);
    let verdict = runtime.block_on(async {
        tokio::select! {
            verdict = run(&plan, arguments.naive, environment, &progress) => verdict,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped before the end")),
        }
    })?;
    let colours = terminal && !environment.contains_key("NO_COLOR");
    // a closed pipe changes no verdict
    let _ = writeln!(std::io::stdout(), "{}", verdict.text(colours));
    if verdict.naive || verdict.is_good() {
        return Ok(());
    }
    let fast = if arguments.fast { " --fast" } else { "" };
    Err(Trouble::Failed(anyhow!(
        "the run did not end as it should, see the verdict; run it again with `demo{fast} --seed {seed}`"
    )))
}

async fn run(
    plan: &Plan,
    naive: bool,
    environment: &BTreeMap<String, String>,
    progress: &Progress,
) -> anyhow::Result<Verdict> {
    let who = if naive { "the naive handler" } else { "dataverse-sync" };
    progress.say(&format!(
        "Two Dataverse stand-ins, a table storage, a queue, and {} processes of {who}; seed {}.",
        plan::INSTANCES,
        plan.seed
    ));
    let world = World::start(plan, naive, environment).await?;
    progress.say(&format!("`register` made in the source: {}.", world.registered));
    let told = async {
        loop {
            sleep(progress.every()).await;
            progress.show(shown(&world));
        }
    };
    let ended = tokio::select! {
        ended = story(plan, &world, progress, naive) => ended,
        () = told => Ok(Aimed::default()),
    };
    progress.end();
    Ok(Verdict::of(&world, naive, plan.seed, ended?))
}

/// Scenes that are repeated, and how often at most, until there was a race, a placeholder and a
/// duplicate that was told as one.
const ENCORE: Duration = Duration::from_millis(400);
const ENCORES_MAX: usize = 60;
/// How often it is looked whether something is still owed.
const LOOK: Duration = Duration::from_millis(200);

async fn story(plan: &Plan, world: &World, progress: &Progress, naive: bool) -> anyhow::Result<Aimed> {
    let mut story = Story::new(plan, &world.source, &world.deliveries, &world.currencies);
    progress.say("Accounts and products come into being.");
    story.opening().await?;
    world.source.idle().await;
    progress.say("Contacts and orders come, are changed by several people at once, and some are deleted.");
    trouble::faults(plan, world);
    let writers = try_join_all((0..plan.writers).map(|number| story.write(number)));
    let throttle = trouble::throttle(plan, world, &story, progress);
    let outage = trouble::outage(plan, world, &story, progress);
    let kills = trouble::kills(plan, world, &story, progress);
    let (_, throttle, outage, ()) = tokio::try_join!(writers, throttle, outage, kills)?;
    story.finale()?;
    for number in 0..ENCORES_MAX {
        let duplicates = world.counts.outcome("duplicate");
        if naive || world.races() > 0 && world.placeholders() > 0 && duplicates > 0 {
            break;
        }
        story.encore(number)?;
        sleep(ENCORE).await;
    }
    progress.say("No more changes. Waiting for the rest.");
    let rest = async {
        loop {
            world.source.idle().await;
            world.host.idle().await;
            world.target.idle().await;
            // what was kept for later is swept in a moment, and handed to the queue once more
            if verdict::owed(world) == 0 && world.queue.pending() == 0 {
                break;
            }
            sleep(LOOK).await;
        }
    };
    if timeout(plan.patience, rest).await.is_err() {
        progress.say("The rest takes too long.");
    }
    Ok(Aimed { throttle, outage })
}

fn shown(world: &World) -> Shown {
    let (counts, queue) = (&world.counts, world.queue.counts());
    let waiting = world.queue.pending();
    let [applied, duplicates, stale] = ["applied", "duplicate", "stale"].map(|outcome| counts.outcome(outcome));
    let text = format!(
        "applied {applied}, duplicates {duplicates}, older {stale}, raced {}, retries {}, waiting {waiting}",
        counts.detail("applied", "raced"),
        queue.redelivered
    );
    let webhooks = world.host.counts().invocations.get("webhook").copied().unwrap_or_default();
    Shown { done: queue.completed + webhooks, total: queue.sent + webhooks, text }
}

/// Runs the naive handler until it is killed, with the settings that the demo gives it.
///
/// # Errors
/// Settings that are missing; the port.
pub fn naive_handler(environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    let get = |name: &str| {
        let value = environment.get(name).cloned();
        value.ok_or_else(|| Trouble::Wrong(anyhow!("{name} is not set; `demo --naive` starts this handler")))
    };
    let port = get(super::PORT_VARIABLE)?.parse().context("the port")?;
    let currencies = get("NAIVE_CURRENCIES")?;
    let currencies = currencies.split(',').filter_map(|pair| {
        let (source, target) = pair.split_once('=')?;
        Some((Uuid::try_parse(source).ok()?, Uuid::try_parse(target).ok()?))
    });
    let settings = naive::Settings {
        port,
        target: get("TARGET_URL")?,
        tables: get("NAIVE_TABLES")?,
        bearer: get("NAIVE_BEARER")?,
        currencies: currencies.collect(),
        schema: sample::sample_schema(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let _server = naive::serve(settings).await.context("cannot listen")?;
        loop {
            sleep(Duration::from_secs(3_600)).await;
        }
    })
}
