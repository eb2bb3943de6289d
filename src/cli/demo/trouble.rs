//! What goes wrong: faults of the target and of the table storage, a throttled target, an absent one, killed processes.
//! Seeded. Knows no row.

use super::plan::{Plan, RETRY_AFTER, VICTIMS};
use super::progress::Progress;
use super::story::Story;
use super::world::World;
use crate::sim::dataverse::{Effect, Rule, When};
use crate::sim::tables;
use anyhow::anyhow;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// While processes are killed a write takes that long, so that they are in the middle of something.
const SLOW: Duration = Duration::from_millis(350);
/// Between the beginning of that rush and the kill.
const RUSHED: Duration = Duration::from_millis(250);
/// Webhooks that come in the outage, and when the first process is killed.
const WEBHOOKS: usize = 4;
/// How long a kill waits for webhooks that were cut off by the one before: they are sent once more, and only once.
const ANSWERED: Duration = Duration::from_secs(20);

/// Which rules of the target's faults are the throttling and the outage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aimed {
    pub(super) throttle: usize,
    pub(super) outage: usize,
}

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
pub(super) async fn throttle(
    plan: &Plan,
    world: &World,
    story: &Story<'_>,
    progress: &Progress,
) -> anyhow::Result<usize> {
    let (after, lasts) = plan.throttle;
    sleep(after).await;
    progress.say(&format!("The target is throttled for {} s, and a rush of changes comes.", seconds(lasts)));
    let rule = world.target.faults().throttle(lasts, RETRY_AFTER);
    story.rush(0).await?;
    Ok(rule)
}

/// Nobody answers where the target was, for a while; webhooks come all the same. Then it is back.
///
/// # Errors
/// As the story.
pub(super) async fn outage(
    plan: &Plan,
    world: &World,
    story: &Story<'_>,
    progress: &Progress,
) -> anyhow::Result<usize> {
    let (after, lasts) = plan.outage;
    sleep(after).await;
    progress.say(&format!("The target is gone for {} s; webhooks and messages go on.", seconds(lasts)));
    let rule = world.target.faults().outage(lasts);
    story.prices(WEBHOOKS, 1)?;
    sleep(lasts).await;
    progress.say("The target is back.");
    Ok(rule)
}

/// Instances are gone from one moment to the next, in the middle of a rush; the host starts others in their places.
///
/// # Errors
/// There is no such instance; as the story.
pub(super) async fn kills(plan: &Plan, world: &World, story: &Story<'_>, progress: &Progress) -> anyhow::Result<()> {
    let mut at = Duration::ZERO;
    for (number, (victim, kill)) in (1_u64..).zip(VICTIMS.into_iter().zip(plan.kills)) {
        sleep(kill.saturating_sub(at)).await;
        at = kill;
        let answered = async {
            while world.unanswered() > 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(ANSWERED, answered).await;
        let slow = Effect::Slow { before: SLOW, after: Duration::ZERO };
        let lasts = RUSHED + SLOW;
        world.target.faults().add(Rule::new(When::Always, slow).writes().during(Duration::ZERO, lasts));
        if number == 1 {
            story.prices(WEBHOOKS, 2)?;
        }
        let kill = async {
            sleep(RUSHED).await;
            progress.say(&format!("Process {victim} is killed (SIGKILL) in the middle of its work."));
            world.host.kill(victim).await.map_err(|why| anyhow!("cannot kill: {why}"))
        };
        tokio::try_join!(story.rush(number), kill)?;
    }
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
