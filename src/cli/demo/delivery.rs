//! What happens to events between the source and the queue: some come late, some twice, some twice at the same moment.
//! And another program that creates some of the new rows in the target, too. Knows no handler.

use super::plan::{DUPLICATES, LATE, LATE_PARENT, Plan, TWINS};
use crate::sim::dataverse::{Environment, Message, RaisedEvent};
use crate::sim::host::{NewMessage, Queue};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Usual time of a delivery, at most.
const SOON: Duration = Duration::from_millis(120);
/// Between a first delivery and the rival's write: about when the handler is between looking and inserting.
const RIVAL_AFTER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(180));
/// The same on a machine that has much else to do, for some of them.
const RIVAL_MUCH_LATER: (Duration, Duration) = (Duration::from_millis(120), Duration::from_millis(900));
const MUCH_LATER: f64 = 0.35;

/// The way from the source to the queue.
#[derive(Debug)]
pub(super) struct Deliveries {
    seed: u64,
    late_max: Duration,
    queue: Queue,
    target: Environment,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many events each row has had.
    events: BTreeMap<Uuid, u64>,
    /// New rows as a rival would create them.
    rivals: BTreeMap<Uuid, (&'static str, Json)>,
    /// New rows whose events come after those that refer to them.
    late_parents: BTreeSet<Uuid>,
    correlations: BTreeSet<Uuid>,
    messages: BTreeMap<&'static str, u64>,
    posted: u64,
    duplicates: u64,
    late: u64,
}

impl Deliveries {
    pub(super) fn new(plan: &Plan, queue: Queue, target: Environment) -> Self {
        Self { seed: plan.seed, late_max: plan.late_max, queue, target, state: Mutex::default() }
    }

    /// Another program creates this row in the target as well, as soon as its event is under way.
    pub(super) fn rival(&self, table: &'static str, id: Uuid, row: Json) {
        self.lock().rivals.insert(id, (table, row));
    }

    /// The event of this new row comes late.
    pub(super) fn late_parent(&self, id: Uuid) {
        self.lock().late_parents.insert(id);
    }

    /// Sends an event to the queue, in its manner. Ends when the rival, if there is one, is done.
    pub(super) async fn deliver(&self, event: RaisedEvent) -> Result<(), String> {
        let mut random = self.random_of(&event);
        let message = event.queue().ok_or("too large for the queue")?;
        let properties = message.properties.into_iter().map(|(name, value)| (name, Json::String(value))).collect();
        let content_type = Some(message.content_type.to_owned());
        let message = NewMessage { body: message.body, properties, content_type, ..NewMessage::default() };
        let is_parent = event.message == Message::Create && self.lock().late_parents.remove(&event.id);
        let delay = if is_parent { between(LATE_PARENT, &mut random) } else { self.delay(&mut random) };
        self.queue.send(message.clone().delayed(delay));
        // a second message of a late parent would not be late
        if random.random_bool(DUPLICATES) && !is_parent {
            self.lock().duplicates += 1;
            let delay = if random.random_bool(TWINS) { delay } else { self.delay(&mut random) };
            self.queue.send(message.delayed(delay));
        }
        if event.message == Message::Create {
            let about = if random.random_bool(MUCH_LATER) { RIVAL_MUCH_LATER } else { RIVAL_AFTER };
            self.compete(event.id, delay + between(about, &mut random)).await;
        }
        Ok(())
    }

    /// Events that were sent twice.
    pub(super) fn duplicates(&self) -> u64 {
        self.lock().duplicates
    }

    /// Deliveries that were late.
    pub(super) fn late(&self) -> u64 {
        self.lock().late
    }

    /// How many events of this kind there were.
    pub(super) fn count(&self, message: Message) -> u64 {
        self.lock().messages.get(message.name()).copied().unwrap_or_default()
    }

    /// The correlations of all events.
    pub(super) fn correlations(&self) -> BTreeSet<Uuid> {
        self.lock().correlations.clone()
    }

    /// Notes an event that goes to the webhook.
    pub(super) fn note(&self, correlation: Uuid) {
        let mut state = self.lock();
        state.correlations.insert(correlation);
        state.posted += 1;
    }

    /// How many events went to the webhook.
    pub(super) fn posted(&self) -> u64 {
        self.lock().posted
    }

    /// The same for the n-th event of a row, whatever else happens at that moment.
    fn random_of(&self, event: &RaisedEvent) -> StdRng {
        let mut state = self.lock();
        state.correlations.insert(event.correlation);
        *state.messages.entry(event.message.name()).or_default() += 1;
        let count = state.events.entry(event.id).or_default();
        *count += 1;
        let (high, low) = event.id.as_u64_pair();
        StdRng::seed_from_u64(self.seed ^ high ^ low.rotate_left(17) ^ count.rotate_left(40))
    }

    fn delay(&self, random: &mut StdRng) -> Duration {
        if random.random_bool(LATE) {
            self.lock().late += 1;
            return self.late_max.mul_f64(random.random());
        }
        SOON.mul_f64(random.random())
    }

    async fn compete(&self, id: Uuid, after: Duration) {
        let Some((table, row)) = self.lock().rivals.remove(&id) else { return };
        tokio::time::sleep(after).await;
        // refused if we were first, or if the row's parent is not there yet: then there is no race
        let _ = self.target.create(&self.target.person(), table, &row);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn between((least, longest): (Duration, Duration), random: &mut StdRng) -> Duration {
    least + (longest - least).mul_f64(random.random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::dataverse::{Collector, Settings, Sink, Step, sample};
    use crate::sim::host::QueueSettings;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn every_event_arrives_and_about_every_tenth_twice() {
        let environment = || Environment::new(Settings::new(Uuid::from_u128(1), sample::sample_schema()));
        let (source, target, collector) = (environment(), environment(), Collector::default());
        source.subscribe(Step::new(Uuid::from_u128(2), "account", Sink::Collect(collector.clone())));
        for number in 0..300 {
            source.create(&source.person(), "account", &json!({"name": format!("{number}")})).unwrap();
        }
        let queue = Queue::new(QueueSettings::default());
        let deliveries = Deliveries::new(&Plan::fast(1), queue.clone(), target);
        for event in collector.take() {
            deliveries.deliver(event).await.unwrap();
        }
        let mut bodies = BTreeSet::new();
        let mut received = 0;
        while queue.pending() > 0 {
            let message = queue.receive().await;
            bodies.insert(message.message.body.to_vec());
            queue.complete(message.token).unwrap();
            received += 1;
        }
        assert_eq!((bodies.len(), received), (300, 300 + deliveries.duplicates()));
        assert!((10..60).contains(&deliveries.duplicates()) && deliveries.late() > 30);
        assert_eq!(deliveries.correlations().len(), 300);
    }
}
