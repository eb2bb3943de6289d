//! The instance dies at every await point there is. Each small story runs once per point: up to there on an instance that
//! is then dropped with everything it was doing, and from there on as its surroundings would go on: the broker brings
//! what was not acknowledged, the sweep comes back to what was kept, and nobody brings a webhook again that was kept.
//! Ledger and inbox have a point before and after the effect of every call, and what was sent to an environment lands
//! whether its sender lives or not.

use super::world::{PLAIN, World, account, decoded, delivery};
use super::worlds::verdict;
use crate::support::lossy_store::LossyStore;
use crate::support::process::killed_after;
use crate::support::rough::{Rough, Weather};
use crate::support::trace::Trace;
use dataverse_sync::domain::delivery::{Channel, Delivery};
use dataverse_sync::inbox::Inbox;
use dataverse_sync::ledger::purge::{Expiring, ScanStart};
use dataverse_sync::ledger::record::event_key;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::{StateStore, System};
use dataverse_sync::operate::sweep::Sweeper;
use dataverse_sync::sim::dataverse::{Effect, Image, RaisedEvent, Record, Rule, When};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use futures_util::future::{join, join_all};
use http::Method;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
/// Await points of the longest story; more means that a story never ends.
const POINTS_MAX: usize = 2_000;

/// What happens in one story.
#[derive(Default)]
struct Story {
    /// Delivered before, by an instance that lives.
    before: Vec<RaisedEvent>,
    /// Delivered to the instance that dies.
    doomed: Vec<RaisedEvent>,
    /// All of those at once instead of one after the other.
    together: bool,
    /// All of those in one batch: those of one row are folded.
    folded: bool,
    /// The instance that dies sweeps instead.
    sweeps: bool,
    /// Delivered at once after its death.
    after: Vec<RaisedEvent>,
    /// A row that somebody else creates in the target while the doomed work.
    beside: Option<Uuid>,
    /// Nothing in the payloads tells two events of one second apart.
    may_tie: bool,
    /// How many events end parked.
    parked: usize,
    /// What a story is about must have happened at one of the points at least.
    aims: Option<fn(&World) -> bool>,
}

/// What a story is played on.
struct Stage {
    world: World,
    rough: Arc<Rough>,
    channel: Channel,
}

impl Stage {
    fn new(toml: &str, channel: Channel, carry: Option<Image>) -> Self {
        let trace = Trace::new();
        let rough = Rough::new(Weather::CALM, 7, trace.clone());
        let unused = LossyStore::new(Arc::clone(&rough) as Arc<dyn Store>, &[]);
        let mut world = World::whose_events(carry, unused, toml, |settings| {
            settings.race_window = Duration::from_millis(150);
            settings.latency = (Duration::from_millis(20), Duration::from_millis(60));
        });
        world.trace = trace;
        world.inbox = Some(Arc::clone(&rough) as Arc<dyn dataverse_sync::inbox::store::Store>);
        world.states = Some(Arc::clone(&rough) as Arc<dyn StateStore>);
        world.watch_links();
        Self { world, rough, channel }
    }

    fn instance(&self) -> Arc<Engine> {
        Arc::new(self.world.instance_on(Arc::clone(&self.rough) as Arc<dyn Store>, 0))
    }

    fn delivery(&self, count: u32) -> Delivery {
        Delivery { channel: self.channel, ..delivery(count) }
    }

    async fn sweep(&self, engine: Arc<Engine>) {
        let states = Arc::clone(&self.rough) as Arc<dyn StateStore>;
        let clock = Arc::new(self.world.clock.clone());
        let system = System::new(states, clock, self.world.mapping.limits.clock_skew);
        let records = Arc::clone(&self.rough) as Arc<dyn Expiring>;
        Sweeper::new(engine, system, records).sweep("sweep").await.unwrap();
    }

    /// Deliveries until one is answered, at most ten.
    async fn brings(&self, engine: &Engine, event: &RaisedEvent, first: u32) {
        for count in first..=10 {
            if engine.handle(decoded(event), &self.delivery(count)).await.is_ok() {
                return;
            }
            tokio::time::sleep(SECOND).await;
        }
        panic!("dead-lettered: {} {:?}", event.table, event.message);
    }

    fn inbox(&self) -> Inbox {
        Inbox::new(Arc::clone(&self.rough.inbox) as Arc<dyn dataverse_sync::inbox::store::Store>)
    }

    async fn owed(&self) -> usize {
        self.inbox().due(i64::MAX - 1, 100).await.unwrap().len()
    }

    /// Whether somebody will come back to an event, or needs not.
    async fn keeps(&self, event: &RaisedEvent) -> bool {
        let key = event_key(&decoded(event).id);
        for (_, entry) in self.inbox().due(i64::MAX - 1, 100).await.unwrap() {
            let record = self.rough.ledger.read(&entry.partition, &entry.event_key).await.unwrap().event;
            if entry.event_key == key && record.is_some() {
                return true;
            }
        }
        for scanned in self.rough.ledger.scan(&ScanStart::Beginning, None, 1_000).await.unwrap().found {
            let record = self.rough.ledger.read(&scanned.partition, &key).await.unwrap().event;
            if record.is_some_and(|record| record.record.phase.is_ended()) {
                return true;
            }
        }
        false
    }
}

/// Plays a story with a death after so many polls; whether it ended before that, and what it is about happened.
async fn play(stage: &Stage, story: Story, polls: usize) -> (bool, bool) {
    let survivor = stage.instance();
    for event in &story.before {
        stage.brings(&survivor, event, 1).await;
    }
    let doomed = stage.instance();
    let answered = Mutex::new(vec![false; story.doomed.len()]);
    let work = async {
        if story.sweeps {
            return stage.sweep(Arc::clone(&doomed)).await;
        }
        let one = async |n: usize, event: &RaisedEvent| {
            if doomed.handle(decoded(event), &stage.delivery(1)).await.is_ok() {
                answered.lock().unwrap()[n] = true;
            }
        };
        if story.folded {
            let batch = story.doomed.iter().map(|event| (decoded(event), stage.delivery(1))).collect();
            let ended = doomed.handle_row(batch).await;
            *answered.lock().unwrap() = ended.iter().map(Result::is_ok).collect();
        } else if story.together {
            join_all(story.doomed.iter().enumerate().map(|(n, event)| one(n, event))).await;
        } else {
            for (n, event) in story.doomed.iter().enumerate() {
                one(n, event).await;
            }
        }
    };
    let other = async {
        let Some(id) = story.beside else { return };
        tokio::time::sleep(Duration::from_millis(200)).await;
        let body = json!({ "accountid": id, "name": "theirs" });
        let _ = stage.world.target.create(&stage.world.target.service(), "account", &body);
    };
    let (ended, ()) = join(killed_after(polls, work), other).await;
    drop(doomed);
    // nobody waits for the dead: what they were not answered comes again, what is newer comes at once
    let answered = answered.into_inner().unwrap();
    let again = story.doomed.iter().zip(answered).map(async |(event, answered)| {
        let kept = stage.keeps(event).await;
        assert!(kept || !answered, "acknowledged and not kept: {polls} polls");
        if !answered && (stage.channel == Channel::Queue || !kept) {
            stage.brings(&survivor, event, 2).await;
        }
    });
    let later = stage.instance();
    let after = story.after.iter().map(|event| stage.brings(&later, event, 1));
    join(join_all(again), join_all(after)).await;
    for _ in 0..600 {
        tokio::time::sleep(60 * SECOND).await;
        if stage.owed().await == 0 {
            break;
        }
        stage.sweep(stage.instance()).await;
    }
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(stage.owed().await, 0, "{polls} polls");
    if story.parked > 0 {
        let parked = stage.inbox().parked(&Default::default(), None, 10).await.unwrap().found;
        assert_eq!(parked.len(), story.parked, "{polls} polls: {parked:?}");
    } else {
        let all = story.before.iter().chain(&story.doomed).chain(&story.after);
        let folded = verdict::check(&stage.world, &stage.rough, all, story.may_tie).await;
        assert!(!story.folded || ended.is_none() || folded > 1 || story.aims.is_some(), "nothing was folded");
    }
    (ended.is_some(), story.aims.is_none_or(|aims| aims(&stage.world)))
}

/// Plays a story once per await point, on the queue and as webhooks.
fn at_every_point(toml: &str, carry: Option<Image>, tell: impl AsyncFn(&Stage) -> Story) {
    for channel in [Channel::Queue, Channel::Webhook] {
        let (mut points, mut reached) = (0, false);
        loop {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            dataverse_sync::chance::seed(7);
            let (ended, aim) = runtime.block_on(async {
                let stage = Stage::new(toml, channel, carry.clone());
                let story = tell(&stage).await;
                play(&stage, story, points).await
            });
            reached |= aim;
            if ended {
                break;
            }
            points += 1;
            assert!(points < POINTS_MAX, "a story without end");
        }
        println!("{channel:?}: {points} await points");
        assert!(points > 5 && reached, "{channel:?}: {points} await points, reached: {reached}");
    }
    dataverse_sync::chance::unseed();
}

async fn raised(stage: &Stage) -> Vec<RaisedEvent> {
    stage.world.events().await
}

fn wait() -> tokio::time::Sleep {
    tokio::time::sleep(2 * SECOND)
}

#[test]
fn while_a_row_is_created() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        stage.world.create("account", account("A"));
        Story { doomed: raised(stage).await, ..Story::default() }
    });
}

#[test]
fn while_a_row_is_changed_twice_out_of_order() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        stage.world.update("account", id, json!({ "name": "B", "telephone1": "2" }));
        wait().await;
        stage.world.update("account", id, json!({ "name": "C", "description": null }));
        let mut doomed = raised(stage).await;
        doomed.reverse();
        Story { before, doomed, ..Story::default() }
    });
}

#[test]
fn while_changes_of_a_row_come_together() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        for (n, column) in ["name", "telephone1", "name", "description"].into_iter().enumerate() {
            wait().await;
            stage.world.update("account", id, json!({ column: format!("v{n}") }));
        }
        let mut doomed = raised(stage).await;
        doomed.reverse();
        wait().await;
        stage.world.update("account", id, json!({ "name": "last" }));
        Story { before, doomed, after: raised(stage).await, folded: true, ..Story::default() }
    });
}

#[test]
fn while_a_row_comes_together_with_its_changes_and_without_its_parent() {
    at_every_point("version = 1\n[tables.account]\nguard = \"etag\"\n", Some(Image::All), async |stage| {
        let parent = stage.world.create("account", account("parent"));
        let late = raised(stage).await;
        wait().await;
        let id = stage.world.create("account", account("A"));
        wait().await;
        let bind = format!("accounts({parent})");
        stage.world.update("account", id, json!({ "parentaccountid@odata.bind": bind, "name": "B" }));
        wait().await;
        stage.world.update("account", id, json!({ "statecode": 1, "statuscode": 2 }));
        Story { doomed: raised(stage).await, after: late, folded: true, ..Story::default() }
    });
}

#[test]
fn while_signals_of_a_row_come_together() {
    at_every_point("version = 1\n[tables.account]\nread = \"source\"\n", None, async |stage| {
        let id = stage.world.create("account", account("A"));
        for n in 0..3 {
            wait().await;
            stage.world.update("account", id, json!({ "name": format!("v{n}") }));
        }
        Story { doomed: raised(stage).await, folded: true, ..Story::default() }
    });
}

#[test]
fn while_a_write_of_several_changes_is_still_to_land() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        for n in 0..3 {
            wait().await;
            stage.world.update("account", id, json!({ "name": format!("v{n}") }));
        }
        let doomed = raised(stage).await;
        wait().await;
        stage.world.update("account", id, json!({ "name": "last" }));
        let late = Effect::Late { lands_after: 100 * SECOND, silent_for: 300 * SECOND };
        stage.world.target.faults().add(Rule::new(When::Nth(2), late).writes());
        let aims = |world: &World| world.target.faults().hits(0) == 1;
        Story { before, doomed, after: raised(stage).await, folded: true, aims: Some(aims), ..Story::default() }
    });
}

#[test]
fn while_a_row_is_changed_under_the_etag_guard() {
    at_every_point("version = 1\n[tables.account]\nguard = \"etag\"\n", Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        wait().await;
        stage.world.update("account", id, json!({ "name": "B" }));
        wait().await;
        stage.world.delete("account", id);
        let mut events = raised(stage).await;
        let after = events.split_off(2);
        Story { doomed: events, after, ..Story::default() }
    });
}

#[test]
fn while_a_row_is_deleted_and_born_again_in_the_wrong_order() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        wait().await;
        stage.world.delete("account", id);
        wait().await;
        stage.world.create("account", json!({ "accountid": id, "name": "again" }));
        let mut doomed = raised(stage).await;
        doomed.reverse();
        Story { before, doomed, ..Story::default() }
    });
}

#[test]
fn while_a_row_is_deleted_before_it_was_created() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        wait().await;
        stage.world.delete("account", id);
        let mut doomed = raised(stage).await;
        doomed.reverse();
        Story { doomed, ..Story::default() }
    });
}

#[test]
fn while_a_child_makes_its_parents_placeholder() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let parent = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        let bound = format!("accounts({parent})");
        stage.world.create("contact", json!({ "lastname": "C", "parentcustomerid_account@odata.bind": bound }));
        let aims = |world: &World| {
            let accounts =
                |record: &&Record| record.method == Method::PATCH && record.table.as_deref() == Some("account");
            world.target.requests().last().iter().filter(accounts).count() > 1
        };
        Story { doomed: raised(stage).await, after: before, aims: Some(aims), ..Story::default() }
    });
}

#[test]
fn while_parent_and_children_come_at_once() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let parent = stage.world.create("account", account("A"));
        for name in ["C", "D"] {
            let bound = format!("accounts({parent})");
            stage.world.create("contact", json!({ "lastname": name, "parentcustomerid_account@odata.bind": bound }));
        }
        wait().await;
        stage.world.delete("account", parent);
        let mut doomed = raised(stage).await;
        let after = doomed.split_off(3);
        Story { doomed, together: true, after, ..Story::default() }
    });
}

#[test]
fn while_two_create_the_same_row() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", json!({ "name": "A" }));
        let aims = |world: &World| world.target.requests().last().iter().any(|asked| asked.status == Some(412));
        Story { doomed: raised(stage).await, beside: Some(id), aims: Some(aims), ..Story::default() }
    });
}

#[test]
fn while_the_source_decides_a_tie() {
    at_every_point(PLAIN, None, async |stage| {
        let id = stage.world.create("account", account("A"));
        wait().await;
        stage.world.update("account", id, json!({ "name": "B" }));
        stage.world.update("account", id, json!({ "name": "C" }));
        let mut doomed = raised(stage).await;
        doomed.reverse();
        let aims = |world: &World| !world.source.requests().last().is_empty();
        Story { doomed, may_tie: true, aims: Some(aims), ..Story::default() }
    });
}

#[test]
fn while_rows_are_linked() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let world = &stage.world;
        let (one, other) = (world.create("account", account("A")), world.create("contact", json!({ "lastname": "C" })));
        let rows = raised(stage).await;
        let person = world.source.person();
        for linked in [true, false, true] {
            wait().await;
            match linked {
                true => world.source.associate(&person, "new_account_contact", "account", one, other).unwrap(),
                false => world.source.disassociate(&person, "new_account_contact", "contact", other, one).unwrap(),
            }
        }
        let mut doomed = raised(stage).await;
        doomed.reverse();
        Story { doomed, after: rows, ..Story::default() }
    });
}

#[test]
fn while_the_target_is_away() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        stage.world.update("account", id, json!({ "name": "B" }));
        stage.world.target.faults().add(
            Rule::new(When::Always, Effect::Down).writes().during(Duration::from_secs(5), Duration::from_secs(300)),
        );
        let doomed = raised(stage).await;
        wait().await;
        wait().await;
        wait().await;
        Story { before, doomed, ..Story::default() }
    });
}

#[test]
fn while_an_event_is_parked() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        stage.world.create("account", account("A"));
        let no = Effect::Status { status: 400, code: "0x80040265".to_owned(), retry_after: None };
        stage.world.target.faults().add(Rule::new(When::Always, no).writes());
        Story { doomed: raised(stage).await, parked: 1, ..Story::default() }
    });
}

#[test]
fn while_the_sweep_works_off_what_was_deferred() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        wait().await;
        stage.world.update("account", id, json!({ "name": "B" }));
        stage
            .world
            .target
            .faults()
            .add(Rule::new(When::Always, Effect::Down).during(Duration::ZERO, Duration::from_secs(1_000)));
        let before = raised(stage).await;
        let survivor = stage.instance();
        for event in &before {
            stage.brings(&survivor, event, 1).await;
        }
        assert_eq!(stage.owed().await, 2, "both wait");
        tokio::time::sleep(1_200 * SECOND).await;
        Story { sweeps: true, ..Story::default() }
    });
}

#[test]
fn while_a_request_is_still_to_land() {
    at_every_point(PLAIN, Some(Image::All), async |stage| {
        let id = stage.world.create("account", account("A"));
        let before = raised(stage).await;
        stage.world.update("account", id, json!({ "name": "old" }));
        wait().await;
        let doomed = raised(stage).await;
        stage.world.update("account", id, json!({ "name": "new" }));
        let late = Effect::Late { lands_after: 90 * SECOND, silent_for: 600 * SECOND };
        stage.world.target.faults().add(Rule::new(When::Nth(2), late).writes());
        let aims = |world: &World| world.target.faults().hits(0) == 1;
        Story { before, doomed, after: raised(stage).await, aims: Some(aims), ..Story::default() }
    });
}
