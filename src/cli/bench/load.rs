//! One scenario, run and measured.

use super::BenchArgs;
use super::measure::{cpu, ms, peaks, per, percentile};
use super::report::Report;
use super::scenario::Scenario;
use super::world::{KEY, TABLE, World};
use crate::sim::dataverse::{RaisedEvent, difference};
use crate::sim::host::NewMessage;
use crate::sim::http::Sender;
use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Webhooks that are posted at once, as Dataverse's asynchronous service does from several machines.
const POSTS_AT_ONCE: usize = 64;
/// How often the target is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Parts of the run that are told of.
const PARTS: usize = 12;
/// Longest wait for the end of a scenario, and for what is kept for later after it.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often it is asked whether something is still owed.
const ASK: Duration = Duration::from_millis(500);

/// Runs it.
pub(super) async fn run(arguments: &BenchArgs, scenario: Scenario) -> anyhow::Result<Report> {
    let world = World::start(arguments, scenario).await?;
    let events = events(&world, arguments, scenario).await?;
    warm(&world, arguments).await?;
    for (n, rule) in (0..).zip(scenario.faults()) {
        world.target.faults().add_seeded(rule, arguments.seed.wrapping_add(n));
    }
    world.target.requests().clear();
    let _ = world.written.take();
    if let Some(tables) = &world.tables {
        tables.reset_counts();
    }
    let before = world.host.counts().took.get("queue").map_or(0, Vec::len);
    let cpu_before = cpu(&world.pids());
    let started = Instant::now();
    let work = async {
        let posted = if scenario.posts() { post(&world, &events).await? } else { queue(&world, &events, scenario) };
        world.host.idle().await;
        let idle = started.elapsed();
        let (owed, waited) = settled(&world).await?;
        anyhow::Ok((posted, owed, if waited { started.elapsed() } else { idle }))
    };
    let mut samples = Vec::new();
    let watch = async {
        loop {
            samples.push(world.target.gate().under_way());
            sleep(LOOK).await;
        }
    };
    let (posted, owed, took) = tokio::select! {
        done = timeout(PATIENCE, work) => done.map_err(|_| anyhow!("{} does not end", scenario.name()))??,
        () = watch => (Posted::default(), Owed::default(), Duration::ZERO),
    };
    let used = cpu(&world.pids());
    let mut times = if scenario.posts() {
        posted.times
    } else {
        world.host.counts().took.get("queue").and_then(|times| times.get(before..)).unwrap_or_default().to_vec()
    };
    let cpu_used = cpu_before.zip(used).map(|(before, after)| after.saturating_sub(before));
    let mut report = Report {
        scenario: scenario.name(),
        events: events.len(),
        sent: events.len() * scenario.copies(),
        seconds: ms(took) / 1_000.0,
        events_per_second: per(u64::try_from(events.len())? * 1_000, usize::try_from(took.as_millis())?),
        p50_ms: ms(percentile(&mut times, 50)),
        p99_ms: ms(percentile(&mut times, 99)),
        cpu_ms_per_event: cpu_used
            .map(|used| per(u64::try_from(used.as_micros()).unwrap_or(u64::MAX), events.len()) / 1e3),
        at_once: peaks(&samples, PARTS),
        lost: owed.total() + posted.refused + world.queue.dead_letters().len(),
        ..Report::default()
    };
    if let Some(tables) = &world.tables {
        report.storage_per_event = Some(per(tables.round_trips(), events.len()));
        report.storage =
            tables.counts().into_iter().map(|(what, count)| (format!("{what:?}").to_lowercase(), count)).collect();
    }
    of_the_target(&world, &events, &mut report);
    if !report.is_good() {
        for line in world.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            tracing::warn!(line, "a handler said");
        }
    }
    Ok(report)
}

fn row(arguments: &BenchArgs, n: usize) -> Json {
    let text = "x".repeat(usize::try_from(arguments.payload_bytes).unwrap_or(1));
    json!({ "name": format!("A{n}"), "telephone1": n.to_string(), "description": text, "numberofemployees": n })
}

/// The events, raised by the source. Rows that are only updated exist on both sides by then.
async fn events(world: &World, arguments: &BenchArgs, scenario: Scenario) -> anyhow::Result<Vec<RaisedEvent>> {
    let count = usize::try_from(arguments.events)?;
    let (person, rows) = (world.source.person(), scenario.rows(count));
    let refused = |error| anyhow!("the stand-in refuses a row: {error:?}");
    let mut ids = Vec::new();
    for n in 0..rows {
        ids.push(world.source.create(&person, TABLE, &row(arguments, n)).map_err(refused)?);
    }
    let mut events = collected(world).await;
    if scenario == Scenario::HotRows {
        queue(world, &events, scenario);
        timeout(PATIENCE, world.host.idle()).await.context("the rows do not come into being")?;
        events.clear();
    }
    let wanted = count / scenario.copies();
    for n in events.len()..wanted {
        let id = ids.get(n % rows).context("no row")?;
        world.source.update(&person, TABLE, *id, &json!({ "telephone1": format!("u{n}") })).map_err(refused)?;
    }
    events.append(&mut collected(world).await);
    if scenario == Scenario::Races {
        // a row's create and update stand side by side
        events.sort_by_key(|event| (event.id, event.sequence));
    }
    Ok(events)
}

async fn collected(world: &World) -> Vec<RaisedEvent> {
    world.source.idle().await;
    world.raised.take()
}

/// Metadata and tables are there before anything is measured.
async fn warm(world: &World, arguments: &BenchArgs) -> anyhow::Result<()> {
    for n in 0..arguments.instances * 4 {
        let created = world.source.create(&world.source.person(), TABLE, &row(arguments, n));
        created.map_err(|error| anyhow!("the stand-in refuses a row: {error:?}"))?;
    }
    let events = collected(world).await;
    queue(world, &events, Scenario::NewRows);
    timeout(PATIENCE, world.host.idle()).await.context("the handlers do not warm up")
}

/// What was posted.
#[derive(Default)]
struct Posted {
    times: Vec<Duration>,
    /// Answers other than 2xx.
    refused: usize,
}

fn queue(world: &World, events: &[RaisedEvent], scenario: Scenario) -> Posted {
    for _ in 0..scenario.copies() {
        for message in events.iter().filter_map(RaisedEvent::queue) {
            let properties = message.properties.into_iter().map(|(name, value)| (name, Json::String(value))).collect();
            let content_type = Some(message.content_type.to_owned());
            world.queue.send(NewMessage { body: message.body, properties, content_type, ..NewMessage::default() });
        }
    }
    Posted::default()
}

async fn post(world: &World, events: &[RaisedEvent]) -> anyhow::Result<Posted> {
    let (sender, url) = (Sender::default(), format!("{}/api/webhook?code={KEY}", world.host.url()));
    let (sender, url) = (&sender, url.as_str());
    let answers = stream::iter(events).map(|event| async move {
        let post = event.webhook();
        let mut request = http::Request::post(url);
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let begun = Instant::now();
        let answer = sender.send(request.body(post.body)?).await.map_err(anyhow::Error::msg)?;
        anyhow::Ok((begun.elapsed(), answer.status().is_success()))
    });
    let mut answers = answers.buffer_unordered(POSTS_AT_ONCE);
    let mut posted = Posted::default();
    while let Some(answer) = answers.next().await {
        let (took, accepted) = answer?;
        posted.times.push(took);
        posted.refused += usize::from(!accepted);
    }
    Ok(posted)
}

/// What is not done.
#[derive(Default)]
struct Owed {
    owed: usize,
    parked: usize,
}

impl Owed {
    fn total(&self) -> usize {
        self.owed + self.parked
    }
}

/// Waits until nothing is owed any more, as `status` tells it; whether it had to.
async fn settled(world: &World) -> anyhow::Result<(Owed, bool)> {
    let (sender, url) = (Sender::default(), format!("{}/api/status?code={KEY}", world.host.url()));
    let until = Instant::now() + PATIENCE;
    let mut waited = false;
    loop {
        let request = http::Request::get(&url).body(Bytes::new())?;
        let answer = sender.send(request).await.map_err(anyhow::Error::msg)?;
        ensure!(answer.status().is_success(), "status answers {}", answer.status());
        let status: Json = serde_json::from_slice(answer.body())?;
        let count = |name: &str| status.get(name).and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok());
        let owed = Owed { owed: count("owed").context("owed")?, parked: count("parked").context("parked")? };
        if owed.owed == 0 || Instant::now() >= until {
            return Ok((owed, waited));
        }
        waited = true;
        sleep(ASK).await;
    }
}

/// What the target saw, and what it has.
fn of_the_target(world: &World, events: &[RaisedEvent], report: &mut Report) {
    let log = world.target.requests();
    report.target_per_event = per(log.count(), events.len());
    for ((_, _, status), count) in log.counts() {
        match status {
            Some(429) => report.throttled += count,
            None => report.unanswered += count,
            Some(_) => {}
        }
    }
    // a write without an answer is repeated, as it must be
    let correlation = |record: &crate::sim::dataverse::Record| {
        Uuid::try_parse(record.headers.get("x-ms-correlation-request-id")?).ok()
    };
    let unanswered: BTreeSet<Uuid> =
        log.last().iter().filter(|record| record.status.is_none()).filter_map(correlation).collect();
    let known: BTreeSet<Uuid> = events.iter().map(|event| event.correlation).collect();
    let mut writes: BTreeMap<Uuid, u64> = BTreeMap::new();
    for event in world.written.take().iter().filter(|event| known.contains(&event.correlation)) {
        *writes.entry(event.correlation).or_default() += 1;
    }
    for (event, count) in writes {
        let again = if unanswered.contains(&event) { &mut report.repeated } else { &mut report.doubled };
        *again += count - 1;
    }
    report.different = difference(&world.source, &world.target, &[TABLE], &["ownerid", "transactioncurrencyid"]).len();
}
