//! What a seed decides before anything happens: the mapping, who may be asked, how bad the weather is.

use super::super::world::World;
use crate::support::lossy_store::LossyStore;
use crate::support::rough::{Rough, Weather};
use crate::support::trace::Trace;
use dataverse_sync::ledger::store::Store;
use dataverse_sync::ledger::system::StateStore;
use dataverse_sync::sim::dataverse::{Effect, Environment, Image, Rule, When};
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;

/// One world's settings.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    toml: String,
    /// With an inbox webhooks come once and messages ten times at most, and sweeps do the rest.
    pub inbox: bool,
    /// Sweeps hand what is due to the queue instead of working it off.
    pub hands_over: bool,
    /// Whether the source can be asked.
    pub source: bool,
    /// Whether events carry post-images; without them only the source tells what came last within a second.
    pub images: bool,
    /// Whether anything goes wrong outside.
    pub weather: f64,
    /// How likely each poll of a piece of work stands still for minutes.
    pub stalls: f64,
    /// How likely a delivery is dropped at some await.
    pub deaths: f64,
    /// How likely a message comes in a batch with others.
    pub batches: f64,
    /// Longest time between a commit and the first delivery of its event.
    pub late_ms: u64,
}

impl Plan {
    pub fn draw(seed: u64, random: &mut StdRng) -> Self {
        let mut one_of = |words: &[&str]| words[random.random_range(0..words.len())].to_owned();
        let (account, contact) = (one_of(&["lease", "lease", "etag"]), one_of(&["lease", "etag"]));
        let duplicate = one_of(&["same-source", "multi-source"]);
        let parents = one_of(&["on-missing", "on-missing", "always"]);
        let read = one_of(&["event", "event", "event", "source"]);
        let toml = format!(
            "version = 1\n[defaults]\nduplicate_key = \"{duplicate}\"\nparents = \"{parents}\"\n\
             [tables.account]\nguard = \"{account}\"\n\
             [tables.contact]\nguard = \"{contact}\"\nread = \"{read}\"\n\
             [tables.salesorder]\n"
        );
        let source = read == "source" || random.random_bool(0.7);
        Self {
            seed,
            toml,
            inbox: seed % 2 == 1,
            hands_over: random.random_bool(0.4),
            source,
            images: !source || random.random_bool(0.7),
            weather: [0.0, 0.01, 0.03, 0.06][random.random_range(0..4)],
            stalls: [0.0, 0.0, 0.002, 0.01][random.random_range(0..4)],
            deaths: [0.0, 0.05, 0.2][random.random_range(0..3)],
            batches: [0.0, 0.5, 0.9][random.random_range(0..3)],
            late_ms: [500, 4_000, 60_000][random.random_range(0..3)],
        }
    }

    pub fn build(&self, random: &mut StdRng) -> (World, Arc<Rough>) {
        let trace = Trace::new();
        let half_call = Duration::from_millis(random.random_range(0..40));
        let weather = Weather { lost: self.weather, late: self.weather / 4.0, half_call };
        let rough = Rough::new(weather, random.random(), trace.clone());
        let unused = LossyStore::new(Arc::clone(&rough) as Arc<dyn Store>, &[]);
        let carry = self.images.then_some(Image::All);
        let seed: u64 = random.random();
        let mut world = World::whose_events(carry, unused, &self.toml, |settings| {
            settings.seed = seed;
            settings.race_window = Duration::from_millis(80);
            settings.latency = (Duration::from_millis(5), Duration::from_millis(120));
        });
        world.trace = trace;
        world.has_source = self.source;
        if self.inbox {
            world.inbox = Some(Arc::clone(&rough) as Arc<dyn dataverse_sync::inbox::store::Store>);
        }
        world.states = Some(Arc::clone(&rough) as Arc<dyn StateStore>);
        world.watch_links();
        (world, rough)
    }

    /// What goes wrong at the environments: number of the rule of requests that land late.
    pub fn faults(&self, world: &World, random: &mut StdRng) -> Vec<usize> {
        let mut late = Vec::new();
        if self.weather == 0.0 {
            return late;
        }
        let share = self.weather * 0.7;
        let mut hit = |of: &Environment, share: f64, effect: Effect, writes: bool| {
            let rule = Rule::new(When::Probability(share), effect);
            of.faults().add_seeded(if writes { rule.writes() } else { rule }, random.random())
        };
        let status = |status, seconds| Effect::Status {
            status,
            code: if status == 429 { "0x80072322".to_owned() } else { String::new() },
            retry_after: (status == 429).then_some(Duration::from_secs(seconds)),
        };
        for lands_after in [31, 90, 140].map(Duration::from_secs) {
            let effect = Effect::Late { lands_after, silent_for: Duration::from_secs(300) };
            late.push(hit(&world.target, share / 3.0, effect, true));
        }
        for of in [&world.target, &world.source] {
            for effect in [Effect::HangupBefore, Effect::HangupAfter, Effect::StatusAfter(502), status(503, 0)] {
                hit(of, share, effect, false);
            }
            hit(of, share, status(429, 3), false);
        }
        if random.random_bool(0.3) {
            let (from, lasts) = (random.random_range(0..20), random.random_range(1..200));
            let down = Rule::new(When::Always, Effect::Down);
            world.target.faults().add(down.during(Duration::from_secs(from), Duration::from_secs(lasts)));
        }
        late
    }
}
