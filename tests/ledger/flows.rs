//! Claims on ids: at most one holder at any time, one end, nothing lost to lost answers.

use super::cases::{SKEW, World};
use crate::support::clock::TestClock;
use async_trait::async_trait;
use dataverse_sync::clock::Clock;
use dataverse_sync::ledger::flow::{FlowRecord, FlowStore, Flows, Settled, Taken, Token};
use dataverse_sync::ledger::purge::{PurgeRequest, Purged, ScanStart, purge};
use dataverse_sync::ledger::store::{Etag, Expect, StoreError, Stored};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOLD: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

impl World {
    fn flows(&self) -> Flows {
        self.flows_on(Arc::clone(&self.flows), self.clock.clone())
    }

    fn flows_on(&self, store: Arc<dyn FlowStore>, clock: TestClock) -> Flows {
        Flows::new(store, Arc::new(clock), SKEW)
    }

    /// An id of this world.
    fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.row)
    }

    async fn forget(&self) -> Purged {
        let ago = |days: i64| self.clock.now().timestamp_millis() - days * 86_400_000;
        let (events_before_ms, rows_before_ms) = (ago(14), ago(180));
        let (start, scanned_max, deadline) = (ScanStart::Beginning, 1_000, Duration::MAX);
        let request = PurgeRequest { start, events_before_ms, rows_before_ms, scanned_max, deadline };
        purge(self.expiring.as_ref(), &self.clock, &request).await.unwrap()
    }
}

fn token(name: &str) -> Token {
    Token::new(name).unwrap()
}

fn is_held(taken: &Taken) -> bool {
    matches!(taken, Taken::Held { .. })
}

async fn must_take(flows: &Flows, id: &str, owner: &Token) -> u32 {
    match flows.take(id, owner, HOLD).await.unwrap() {
        Taken::Held { attempt, .. } => attempt,
        other => panic!("{owner:?}: {other:?}"),
    }
}

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// It works, the answer is lost.
    After,
    /// It never arrives, which nobody knows.
    Before,
    /// It arrives when nobody waits for it any more.
    Late,
}

/// Loses its next writes, or their answers.
#[derive(Debug)]
struct Lossy {
    inner: Arc<dyn FlowStore>,
    lost: Mutex<VecDeque<Lost>>,
    late: Mutex<Vec<(String, FlowRecord, Expect)>>,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Lossy {
    fn new(inner: &Arc<dyn FlowStore>, lost: &[Lost]) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            lost: Mutex::new(lost.iter().copied().collect()),
            late: Mutex::default(),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        })
    }

    fn round_trips(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::SeqCst), self.writes.swap(0, Ordering::SeqCst))
    }

    /// What was on its way arrives. How much of it still had an effect.
    async fn land(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let mut effects = 0;
        for (id, record, expect) in late {
            effects += usize::from(self.inner.put_flow(&id, &record, &expect).await.is_ok());
        }
        effects
    }
}

#[async_trait]
impl FlowStore for Lossy {
    async fn flow(&self, id: &str) -> Result<Option<Stored<FlowRecord>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.flow(id).await
    }

    async fn put_flow(&self, id: &str, record: &FlowRecord, expect: &Expect) -> Result<Etag, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let lost = self.lost.lock().unwrap().pop_front();
        match lost {
            None => return self.inner.put_flow(id, record, expect).await,
            Some(Lost::After) => drop(self.inner.put_flow(id, record, expect).await?),
            Some(Lost::Before) => {}
            Some(Lost::Late) => self.late.lock().unwrap().push((id.to_owned(), record.clone(), expect.clone())),
        }
        Err(StoreError::Unknown("answer lost".to_owned()))
    }
}

pub async fn an_id_is_taken_finished_and_told_as_done_with_its_result(world: World) {
    let (flows, id, mine) = (world.flows(), world.id("order"), token("mine"));
    let until_ms = world.clock.now().timestamp_millis() + 60_000;
    assert_eq!(flows.take(&id, &mine, HOLD).await.unwrap(), Taken::Held { until_ms, attempt: 1 });
    let busy = world.flows().take(&id, &token("other"), HOLD).await.unwrap();
    assert_eq!(busy, Taken::Busy { free_in: HOLD + SKEW, until_ms });
    let result = "{\"n\":1.50}";
    assert_eq!(flows.finish(&id, &mine, Some(result)).await.unwrap(), Settled::Settled);
    let done_ms = world.clock.now().timestamp_millis();
    world.clock.advance(DAY * 13);
    for owner in ["other", "mine"] {
        let told = world.flows().take(&id, &token(owner), HOLD).await.unwrap();
        assert_eq!(told, Taken::Done { result: Some(result.to_owned()), done_ms }, "{owner}");
    }
}

pub async fn what_is_done_stays_as_it_is(world: World) {
    let (flows, id, mine) = (world.flows(), world.id("order"), token("mine"));
    must_take(&flows, &id, &mine).await;
    assert_eq!(flows.finish(&id, &mine, Some("1")).await.unwrap(), Settled::Settled);
    assert_eq!(flows.finish(&id, &mine, Some("1")).await.unwrap(), Settled::Settled, "asking again changes nothing");
    assert_eq!(flows.finish(&id, &mine, None).await.unwrap(), Settled::Finished);
    assert_eq!(flows.give_up(&id, &mine).await.unwrap(), Settled::Finished);
    assert_eq!(flows.finish(&id, &token("other"), Some("1")).await.unwrap(), Settled::Overtaken);
    assert_eq!(flows.give_up(&id, &token("other")).await.unwrap(), Settled::Overtaken);
    let told = flows.take(&id, &mine, HOLD).await.unwrap();
    assert!(matches!(told, Taken::Done { result: Some(one), .. } if one == "1"));
}

pub async fn what_is_given_back_is_free_at_once(world: World) {
    let (flows, id, mine) = (world.flows(), world.id("order"), token("mine"));
    assert_eq!(flows.finish(&id, &mine, None).await.unwrap(), Settled::Missing);
    assert_eq!(flows.give_up(&id, &mine).await.unwrap(), Settled::Missing);
    must_take(&flows, &id, &mine).await;
    assert_eq!(flows.give_up(&id, &token("other")).await.unwrap(), Settled::Overtaken);
    assert!(!is_held(&flows.take(&id, &token("other"), HOLD).await.unwrap()), "only its owner gives it back");
    assert_eq!(flows.give_up(&id, &mine).await.unwrap(), Settled::Settled);
    assert_eq!(flows.give_up(&id, &mine).await.unwrap(), Settled::Settled, "asking again changes nothing");
    assert_eq!(flows.finish(&id, &mine, None).await.unwrap(), Settled::GivenUp);
    assert_eq!(must_take(&flows, &id, &token("other")).await, 2, "somebody may have begun before");
    assert_eq!(flows.finish(&id, &mine, None).await.unwrap(), Settled::Overtaken);
}

pub async fn a_lease_that_ended_is_taken_over_after_the_skew_and_not_before(world: World) {
    let id = world.id("order");
    // the holder's clock is behind, the taker's ahead, by less than the skew together
    let holder = world.flows_on(Arc::clone(&world.flows), world.clock.skewed(-2_000));
    let taker = world.flows_on(Arc::clone(&world.flows), world.clock.skewed(2_000));
    must_take(&holder, &id, &token("holder")).await;
    world.clock.advance(HOLD);
    assert!(!is_held(&taker.take(&id, &token("taker"), HOLD).await.unwrap()), "the holder may still rely on it");
    world.clock.advance(SKEW - Duration::from_secs(4) - MS);
    assert!(!is_held(&taker.take(&id, &token("taker"), HOLD).await.unwrap()));
    world.clock.advance(MS);
    assert_eq!(must_take(&taker, &id, &token("taker")).await, 2);
}

pub async fn a_stale_owner_finishes_nothing_and_frees_nothing(world: World) {
    let (flows, id, (slow, quick)) = (world.flows(), world.id("order"), (token("slow"), token("quick")));
    must_take(&flows, &id, &slow).await;
    world.clock.advance(HOLD + SKEW);
    must_take(&flows, &id, &quick).await;
    assert_eq!(flows.finish(&id, &slow, Some("1")).await.unwrap(), Settled::Overtaken);
    assert_eq!(flows.give_up(&id, &slow).await.unwrap(), Settled::Overtaken);
    assert!(!is_held(&flows.take(&id, &slow, HOLD).await.unwrap()));
    assert_eq!(flows.finish(&id, &quick, Some("2")).await.unwrap(), Settled::Settled);
    let told = flows.take(&id, &slow, HOLD).await.unwrap();
    assert!(matches!(told, Taken::Done { result: Some(two), .. } if two == "2"));
}

pub async fn an_owner_whose_lease_ended_without_a_taker_may_finish(world: World) {
    let (flows, id, mine) = (world.flows(), world.id("order"), token("mine"));
    must_take(&flows, &id, &mine).await;
    world.clock.advance(HOLD * 100);
    assert_eq!(flows.finish(&id, &mine, None).await.unwrap(), Settled::Settled);
}

pub async fn taking_again_with_the_same_token_extends_the_lease(world: World) {
    let (flows, id, mine) = (world.flows(), world.id("order"), token("mine"));
    must_take(&flows, &id, &mine).await;
    for _ in 0..3 {
        world.clock.advance(HOLD - MS);
        let until_ms = world.clock.now().timestamp_millis() + 60_000;
        let again = world.flows().take(&id, &mine, HOLD).await.unwrap();
        assert_eq!(again, Taken::Held { until_ms, attempt: 1 }, "it is the same attempt");
    }
    assert!(!is_held(&flows.take(&id, &token("other"), HOLD).await.unwrap()));
}

pub async fn lost_answers_are_found_to_be_ours(world: World) {
    use Lost::{After, Before, Late};
    for lost in [&[After][..], &[Before], &[After, Before, After], &[Before, Before], &[Late, Before]] {
        let (id, mine) = (world.id(&format!("lost {lost:?}")), token("mine"));
        let take = Lossy::new(&world.flows, lost);
        let flows = world.flows_on(take.clone(), world.clock.clone());
        assert_eq!(must_take(&flows, &id, &mine).await, 1, "{lost:?}");
        assert_eq!(take.round_trips(), (lost.len() + 1, lost.len() + 1));
        let finish = world.flows_on(Lossy::new(&world.flows, lost), world.clock.clone());
        assert_eq!(finish.finish(&id, &mine, Some("1")).await.unwrap(), Settled::Settled, "{lost:?}");
        assert!(matches!(world.flows().take(&id, &mine, HOLD).await.unwrap(), Taken::Done { .. }));
        let id = world.id(&format!("given {lost:?}"));
        must_take(&world.flows(), &id, &mine).await;
        let give_up = world.flows_on(Lossy::new(&world.flows, lost), world.clock.clone());
        assert_eq!(give_up.give_up(&id, &mine).await.unwrap(), Settled::Settled, "{lost:?}");
        assert_eq!(must_take(&world.flows(), &id, &token("other")).await, 2, "{lost:?}");
    }
}

pub async fn taking_and_settling_cost_two_round_trips_and_a_refusal_one(world: World) {
    let (store, id, mine) = (Lossy::new(&world.flows, &[]), world.id("order"), token("mine"));
    let flows = world.flows_on(store.clone(), world.clock.clone());
    must_take(&flows, &id, &mine).await;
    assert_eq!(store.round_trips(), (1, 1));
    flows.take(&id, &token("other"), HOLD).await.unwrap();
    assert_eq!(store.round_trips(), (1, 0));
    flows.finish(&id, &mine, None).await.unwrap();
    assert_eq!(store.round_trips(), (1, 1));
    flows.take(&id, &mine, HOLD).await.unwrap();
    assert_eq!(store.round_trips(), (1, 0));
}

pub async fn of_many_at_once_one_holds_an_id(world: World) {
    let id = world.id("order");
    let asked = (0..8).map(|n| {
        let (flows, id) = (world.flows(), id.clone());
        async move { is_held(&flows.take(&id, &token(&format!("t{n}")), HOLD).await.unwrap()) }
    });
    assert_eq!(join_all(asked).await.into_iter().filter(|held| *held).count(), 1);
}

pub async fn a_write_that_lands_when_its_author_has_given_up_is_what_was_asked_for_or_nothing(world: World) {
    let (id, slow, quick) = (world.id("order"), token("slow"), token("quick"));
    // asked until the author gave up: then the first of the writes lands, and no other
    let store = Lossy::new(&world.flows, &[Lost::Late; 8]);
    let flows = world.flows_on(store.clone(), world.clock.clone());
    assert!(flows.take(&id, &slow, HOLD).await.is_err());
    assert_eq!(store.land().await, 1);
    assert!(!is_held(&world.flows().take(&id, &quick, HOLD).await.unwrap()), "it is taken, though nobody was told");
    assert_eq!(must_take(&world.flows(), &id, &slow).await, 1, "whoever asks again with its token has it");
    // a finish that lands after somebody took over
    store.lost.lock().unwrap().extend([Lost::Late; 8]);
    assert!(flows.finish(&id, &slow, Some("1")).await.is_err());
    world.clock.advance(HOLD + SKEW);
    assert_eq!(must_take(&world.flows(), &id, &quick).await, 2);
    assert_eq!(store.land().await, 0);
    assert_eq!(world.flows().finish(&id, &quick, Some("2")).await.unwrap(), Settled::Settled);
}

/// How often an id was taken and finished, for one seed. Each claimant has a clock of its own, stalls past its lease, loses
/// answers, gives up, or finishes; writes land late.
async fn race(world: &World, seed: u64) -> (u32, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let id = world.id(&format!("race {seed}"));
    let claimants: Vec<(Token, Flows, TestClock, Arc<Lossy>)> = (0..5)
        .map(|n| {
            let clock = world.clock.skewed(random.random_range(-2_400..=2_400));
            let store = Lossy::new(&world.flows, &[]);
            (token(&format!("t{n}")), world.flows_on(store.clone(), clock.clone()), clock, store)
        })
        .collect();
    // until when each believes to hold it, by the shared time
    let mut holds = [0_i64; 5];
    let (mut finished, mut attempts) = (0, 0);
    for _ in 0..40 {
        world.clock.advance(Duration::from_millis(random.random_range(0..25_000)));
        let n = random.random_range(0..claimants.len());
        let (owner, flows, clock, store) = &claimants[n];
        if random.random_bool(0.3) {
            let lost = [Lost::After, Lost::Before, Lost::Late][random.random_range(0..3)];
            store.lost.lock().unwrap().push_back(lost);
        }
        if random.random_bool(0.3) {
            claimants[random.random_range(0..claimants.len())].3.land().await;
        }
        let now_ms = world.clock.now().timestamp_millis();
        match random.random_range(0..10) {
            0..6 => match flows.take(&id, owner, HOLD).await.unwrap() {
                Taken::Held { until_ms, attempt } => {
                    assert_eq!(finished, 0, "seed {seed}: taken although it is done");
                    let other = holds.iter().enumerate().find(|(m, until)| *m != n && **until > now_ms);
                    assert_eq!(other, None, "seed {seed}: {n} took what another holds");
                    holds[n] = until_ms - (clock.now().timestamp_millis() - now_ms);
                    attempts = attempt;
                }
                Taken::Busy { .. } => holds[n] = 0,
                Taken::Done { .. } => assert_eq!(finished, 1, "seed {seed}: told as done"),
            },
            6..8 => {
                let had = holds[n] > now_ms;
                let settled = flows.give_up(&id, owner).await.unwrap();
                assert!(!had || settled == Settled::Settled || finished > 0, "seed {seed}: {settled:?}");
                holds[n] = 0;
            }
            _ => {
                let holder = holds[n] > now_ms;
                let result = format!("\"{owner:?}\"");
                let settled = flows.finish(&id, owner, Some(&result)).await.unwrap();
                assert!(!holder || settled == Settled::Settled, "seed {seed}: a holder could not finish: {settled:?}");
                if settled == Settled::Settled && finished == 0 {
                    finished = 1;
                }
                if settled == Settled::Settled {
                    let Taken::Done { result: told, .. } = flows.take(&id, owner, HOLD).await.unwrap() else {
                        panic!()
                    };
                    assert_eq!(told, Some(result), "seed {seed}: another result than the one who finished gave");
                }
            }
        }
    }
    (attempts, finished)
}

pub async fn whatever_the_order_one_holds_it_at_a_time_and_one_finishes_it(world: World) {
    let (mut taken_over, mut finished) = (0, 0);
    for seed in 0..12 {
        let (attempts, done) = race(&world, seed).await;
        taken_over += usize::from(attempts > 1);
        finished += done;
    }
    assert!(taken_over > 4 && finished > 3, "the races reach what they aim at: {taken_over}, {finished}");
}

pub async fn claims_are_forgotten_when_nobody_needs_them_and_not_before(world: World) {
    let (flows, mine) = (world.flows(), token("mine"));
    for name in ["done", "free", "dead", "held", "late"] {
        must_take(&flows, &world.id(name), &mine).await;
    }
    flows.finish(&world.id("done"), &mine, Some("1")).await.unwrap();
    flows.give_up(&world.id("free"), &mine).await.unwrap();
    let (hold, held) = (DAY * 20, world.id("held"));
    assert!(is_held(&flows.take(&held, &mine, hold).await.unwrap()));
    world.clock.advance(DAY * 13);
    flows.finish(&world.id("late"), &mine, None).await.unwrap();
    assert_eq!(world.forget().await.events, 0);
    world.clock.advance(DAY * 2);
    assert_eq!(world.forget().await.events, 3, "done, free, and whose owner died");
    for name in ["done", "free", "dead"] {
        assert_eq!(flows.finish(&world.id(name), &mine, Some("1")).await.unwrap(), Settled::Missing, "{name}");
        assert_eq!(must_take(&flows, &world.id(name), &token("next")).await, 1, "{name}");
    }
    assert!(matches!(flows.take(&world.id("late"), &mine, HOLD).await.unwrap(), Taken::Done { .. }));
    assert!(!is_held(&flows.take(&held, &token("other"), HOLD).await.unwrap()), "a lease that lasts is no old claim");
}

pub async fn odd_ids_are_different_claims_and_keep_their_results(world: World) {
    let long = "x".repeat(1_000);
    let flows = world.flows();
    let ids = ["A", "a", "a b", "a:b", "é", "#?%", "'", &long, &format!("{long}y")].map(|name| world.id(name));
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(must_take(&flows, id, &token("mine")).await, 1, "{id}");
        flows.finish(id, &token("mine"), Some(&n.to_string())).await.unwrap();
    }
    let large = format!("\"{}\"", "é".repeat(4_000));
    must_take(&flows, &world.id("large"), &token("mine")).await;
    flows.finish(&world.id("large"), &token("mine"), Some(&large)).await.unwrap();
    let results = ids.iter().enumerate().map(|(n, id)| (id.clone(), n.to_string()));
    for (id, expected) in results.chain([(world.id("large"), large.clone())]) {
        let told = world.flows().take(&id, &token("other"), HOLD).await.unwrap();
        assert!(matches!(told, Taken::Done { result: Some(result), .. } if result == expected), "{id}");
    }
}
