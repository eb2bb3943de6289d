//! One scenario, run and measured.

use super::BenchArgs;
use super::events::{PATIENCE, Posted, bytes, post, queue, raise, settled, warm};
use super::folder::TABLE;
use super::limit::{Limit, Measured};
use super::live::Live;
use super::measure::{cpu, machine, ms, per, percentile, scheduled};
use super::report::{Given, Report};
use super::scenario::Scenario;
use super::series::{Series, mean};
use super::target::Target;
use super::world::World;
use crate::sim::dataverse::{RaisedEvent, difference};
use anyhow::anyhow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// How often target and storage are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs it, and removes what it made where that is not a stand-in's.
///
/// # Errors
/// It does not run, or something could not be removed.
pub(super) async fn run(arguments: &BenchArgs, scenario: Scenario, live: &Live) -> anyhow::Result<Report> {
    let world = World::start(arguments, scenario, live).await?;
    let report = tokio::select! {
        report = measured(&world, arguments, scenario, live) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped before the end")),
    };
    let removed = tokio::select! {
        removed = live.remove(arguments, &world) => removed,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped before everything was removed")),
    };
    let report = report?;
    removed.map(|()| report)
}

/// What target and storage had at once.
#[derive(Debug, Default)]
struct Samples {
    target: Vec<usize>,
    storage: Vec<usize>,
}

async fn measured(world: &World, arguments: &BenchArgs, scenario: Scenario, live: &Live) -> anyhow::Result<Report> {
    let events = raise(world, arguments, scenario, live).await?;
    warm(world, arguments, live).await?;
    if let Target::StandIn { environment, .. } = &world.target {
        for (n, rule) in (0..).zip(scenario.faults()) {
            environment.faults().add_seeded(rule, arguments.seed.wrapping_add(n));
        }
    }
    world.target.forget();
    let _ = world.meter.as_ref().map(super::storage::Meter::take);
    let before = world.host.counts().took.get("queue").map_or(0, Vec::len);
    let (cpu_before, machine_before, scheduled_before) = (cpu(&world.pids()), machine(), scheduled(&world.pids()));
    let started = Instant::now();
    let work = async {
        let posted = if scenario.posts() {
            post(world, &events).await?
        } else {
            queue(world, &events, scenario.copies());
            Posted::default()
        };
        world.host.idle().await;
        let idle = started.elapsed();
        let (owed, waited) = settled(world).await?;
        anyhow::Ok((posted, owed, if waited { started.elapsed() } else { idle }))
    };
    let mut samples = Samples::default();
    let watch = async {
        loop {
            samples.target.push(world.target.under_way());
            samples.storage.push(world.at_storage());
            sleep(LOOK).await;
        }
    };
    let done = tokio::select! {
        done = timeout(PATIENCE, work) => done,
        never = watch => never,
    };
    let (posted, owed, took) = done.map_err(|_| anyhow!("{} does not end", scenario.name()))??;
    let (cpu_after, machine_after, scheduled_after) = (cpu(&world.pids()), machine(), scheduled(&world.pids()));
    let mut times = if scenario.posts() {
        posted.times
    } else {
        world.host.counts().took.get("queue").and_then(|times| times.get(before..)).unwrap_or_default().to_vec()
    };
    let cpu_used = cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before));
    let mut report = Report {
        scenario: scenario.name(),
        given: given(arguments, live),
        events: events.len(),
        sent: events.len() * scenario.copies(),
        event_bytes: bytes(&events),
        seconds: ms(took) / 1_000.0,
        events_per_second: per(u64::try_from(events.len())? * 1_000, usize::try_from(took.as_millis())?),
        p50_ms: ms(percentile(&mut times, 50)),
        p99_ms: ms(percentile(&mut times, 99)),
        cpu_ms_per_event: cpu_used
            .map(|used| per(u64::try_from(used.as_micros()).unwrap_or(u64::MAX), events.len()) / 1e3),
        machine_cpu: machine_before.zip(machine_after).map(|(before, after)| {
            per(after.0.saturating_sub(before.0), usize::try_from(after.1.saturating_sub(before.1)).unwrap_or(1))
        }),
        cpu_wait: scheduled_before.zip(scheduled_after).map(|(before, after)| {
            let (ran, waited) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
            per(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), micros(ran.saturating_add(waited)))
        }),
        advice: world.target.advice(arguments.target_advice),
        target_at_once: Series::of(&samples.target, LOOK),
        lost: owed.total() + posted.refused + world.queue.dead_letters().len(),
        ..Report::default()
    };
    of_the_storage(world, &samples, &mut report);
    of_the_target(world, live, &events, &mut report).await?;
    report.limit = Limit::of(&judged(arguments, scenario, &samples, &report));
    if !report.is_good() {
        for line in world.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            tracing::warn!(line, "a handler said");
        }
    }
    Ok(report)
}

fn micros(time: Duration) -> usize {
    usize::try_from(time.as_micros()).unwrap_or(usize::MAX)
}

fn given(arguments: &BenchArgs, live: &Live) -> Given {
    let stand_in = || "stand-in".to_owned();
    let trial = live.trial.as_ref();
    Given {
        instances: arguments.instances,
        concurrency: arguments.at_once(),
        batch: arguments.batch(),
        max_in_flight: arguments.max_in_flight(),
        payload_bytes: arguments.payload_bytes,
        target: trial
            .filter(|_| arguments.target_by_settings())
            .map_or_else(stand_in, |trial| trial.target.origin().to_owned()),
        ledger: trial
            .filter(|_| arguments.ledger_by_settings())
            .map_or_else(stand_in, |trial| trial.ledger.name().to_owned()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn judged(arguments: &BenchArgs, scenario: Scenario, samples: &Samples, report: &Report) -> Measured {
    let instances = arguments.instances as f64;
    let requests = report.target_per_event * report.events as f64;
    Measured {
        at_target: mean(&samples.target),
        at_storage: report.storage_at_once.as_ref().map(|_| mean(&samples.storage)),
        places: f64::from(arguments.max_in_flight()) * instances,
        advised: report.advice.map(|advice| f64::from(advice) * instances),
        messages: (!scenario.posts()).then_some(arguments.at_once() as f64 * instances),
        rows: scenario.rows(report.events) as f64,
        refused: report.throttled as f64 / requests.max(1.0),
        starved: report.cpu_wait,
    }
}

/// What the storage was asked.
fn of_the_storage(world: &World, samples: &Samples, report: &mut Report) {
    let Some(meter) = &world.meter else { return };
    let counts = meter.take();
    let sum = |fits: &dyn Fn(super::storage::Purpose) -> bool| {
        counts.iter().filter(|(purpose, _)| fits(**purpose)).map(|(_, count)| count).sum::<u64>()
    };
    let events = report.events;
    report.storage_at_once = Some(Series::of(&samples.storage, LOOK));
    report.storage_per_event = Some(per(sum(&|_| true), events));
    report.ledger_per_event = Some(per(sum(&|purpose| purpose.is_of_the_ledger()), events));
    report.sweeps_per_event = Some(per(sum(&|purpose| purpose == super::storage::Purpose::Sweep), events));
    report.storage = counts.iter().map(|(purpose, count)| (purpose.name(), *count)).collect();
}

/// What the target saw, and what it has.
async fn of_the_target(world: &World, live: &Live, events: &[RaisedEvent], report: &mut Report) -> anyhow::Result<()> {
    let calls = world.target.calls();
    report.target_per_event = per(u64::try_from(calls.len())?, events.len());
    for call in &calls {
        report.throttled += u64::from(call.status == Some(429));
        report.unanswered += u64::from(call.status.is_none());
    }
    // a write without an answer is repeated, as it must be
    let unanswered: BTreeSet<Uuid> =
        calls.iter().filter(|call| call.status.is_none()).filter_map(|call| call.correlation).collect();
    let known: BTreeSet<Uuid> = events.iter().map(|event| event.correlation).collect();
    let writes: BTreeMap<Uuid, u64> = world.target.writes(&calls);
    for (event, count) in writes.into_iter().filter(|(event, _)| known.contains(event)) {
        let again = if unanswered.contains(&event) { &mut report.repeated } else { &mut report.doubled };
        *again += count - 1;
    }
    match &world.target {
        Target::StandIn { environment, .. } => {
            let ignored = ["ownerid", "transactioncurrencyid"];
            report.different = difference(&world.source, environment, &[TABLE], &ignored).len();
        }
        Target::Settings(_) => {
            let found = live.verify(world).await?;
            report.lost += found.missing;
            report.different = found.different;
        }
    }
    Ok(())
}
