//! What goes wrong: faults of the target and of the table storage, a throttled target, an absent one, a killed process. Seeded. Knows
//! no row.

use super::plan::{Plan, RETRY_AFTER, VICTIM};
use super::progress::Progress;
use super::story::Story;
use super::world::World;
use crate::sim::dataverse::{Effect, Rule, When};
use crate::sim::tables;
use anyhow::anyhow;
use std::time::Duration;
use tokio::time::sleep;

/// From now on: requests without an answer, effects that come late, errors that pass.
pub(super) fn faults(plan: &Plan, world: &World) {
    let status = |status: u16, code: &str| Effect::Status { status, code: code.to_owned(), retry_after: None };
    let late = Effect::Late { lands_after: Duration::from_millis(500), silent_for: Duration::from_secs(2) };
    let rules = [
        (0.020, Effect::HangupAfter),
        (0.010, Effect::HangupBefore),
        (0.020, status(503, "0x80072324")),
        (0.005, late),
    ];
    for (number, (chance, effect)) in (1_u64..).zip(rules) {
        let rule = Rule::new(When::Probability(chance), effect).writes();
        // each its own dice, or the same requests would be hit by all of them
        world.target.faults().add_seeded(rule, plan.seed ^ number.rotate_left(32));
    }
    let lost = tables::Rule::new(tables::When::Probability(0.01), tables::Fault::HangupAfter);
    world.tables.add_fault(lost);
}

/// The target refuses everything for a while, just when many changes come.
///
/// # Errors
/// As the story.
pub(super) async fn throttle(plan: &Plan, world: &World, story: &Story<'_>, progress: &Progress) -> anyhow::Result<()> {
    let (after, lasts) = plan.throttle;
    sleep(after).await;
    progress.say(&format!("The target is throttled for {} ms, and a rush of changes comes.", lasts.as_millis()));
    world.target.faults().throttle(lasts, RETRY_AFTER);
    story.rush().await
}

/// Nobody answers where the target was, for a while; then it is back.
pub(super) async fn outage(plan: &Plan, world: &World, progress: &Progress) {
    let (after, lasts) = plan.outage;
    sleep(after).await;
    progress.say(&format!("The target is gone for {} ms.", lasts.as_millis()));
    world.target.faults().outage(lasts);
}

/// One instance is gone from one moment to the next; the host starts another in its place.
///
/// # Errors
/// There is no such instance.
pub(super) async fn kill(plan: &Plan, world: &World, progress: &Progress) -> anyhow::Result<()> {
    sleep(plan.kill).await;
    progress.say(&format!("Instance {VICTIM} is killed (SIGKILL), with everything it was doing."));
    world.host.kill(VICTIM).await.map_err(|why| anyhow!("cannot kill: {why}"))
}
