//! Events that are not for us: of other organisations, and our own echo.

use super::keeping::{Keeping, MINUTE, bring};
use super::world::{PLAIN, account, decoded, delivery};
use dataverse_sync::domain::event::ChangeEvent;
use dataverse_sync::domain::outcome::{Ignored, Outcome};
use dataverse_sync::ledger::store::Store;
use dataverse_sync::sim::dataverse::{Effect, Rule, When};
use dataverse_sync::sync::HandleEvent;
use dataverse_sync::sync::engine::Engine;
use dataverse_sync::sync::strangers::Pinned;
use std::sync::Arc;
use uuid::Uuid;

const SOURCE: Uuid = Uuid::from_u128(1);
const COPY: Uuid = Uuid::from_u128(0xC0);

async fn handle(instance: &Engine, event: ChangeEvent) -> Outcome {
    instance.handle(event, &delivery(1)).await.unwrap().outcome
}

fn of(organization: Option<Uuid>, event: &ChangeEvent) -> ChangeEvent {
    let mut event = event.clone();
    event.origin.organization = organization;
    event
}

#[tokio::test(start_paused = true)]
async fn the_first_organisation_is_pinned_for_every_instance_and_the_copy_of_it_is_ignored() {
    let keeping = Keeping::new(PLAIN);
    let (one, two) = (keeping.world.instance(), keeping.world.instance());
    keeping.world.create("account", account("A"));
    keeping.world.create("account", account("B"));
    let events: Vec<ChangeEvent> = keeping.world.events().await.iter().map(decoded).collect();
    // neither what is not for us nor what names nobody pins anything
    let other = ChangeEvent { table: "lead".to_owned(), ..of(Some(COPY), &events[0]) };
    assert_eq!(handle(&one, other).await, Outcome::Ignored(Ignored::TableNotConfigured));
    assert_eq!(Pinned::read(&keeping.system()).await.unwrap(), None);
    assert_eq!(handle(&one, events[0].clone()).await.name(), "applied");
    assert_eq!(Pinned::read(&keeping.system()).await.unwrap().unwrap().organization, SOURCE);
    let before = keeping.world.target.requests().count();
    for instance in [&one, &two] {
        let foreign = Outcome::Ignored(Ignored::ForeignOrganization);
        assert_eq!(handle(instance, of(Some(COPY), &events[1])).await, foreign);
        assert_eq!(instance.foreign(), 1);
    }
    assert_eq!(keeping.world.target.requests().count(), before);
    assert_eq!(handle(&two, of(None, &events[1])).await.name(), "applied");
    keeping.world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn of_two_organisations_at_the_same_moment_one_is_pinned() {
    let keeping = Keeping::new(PLAIN);
    keeping.world.create("account", account("A"));
    keeping.world.create("account", account("B"));
    let events: Vec<ChangeEvent> = keeping.world.events().await.iter().map(decoded).collect();
    let instances: Vec<Engine> = (0..4).map(|_| keeping.world.instance()).collect();
    let all = instances.iter().enumerate().map(|(n, instance)| {
        let (from, event) = if n % 2 == 0 { (SOURCE, &events[0]) } else { (COPY, &events[1]) };
        handle(instance, of(Some(from), event))
    });
    let outcomes = futures_util::future::join_all(all).await;
    let ignored = |n: usize| outcomes[n] == Outcome::Ignored(Ignored::ForeignOrganization);
    assert!(ignored(0) == ignored(2) && ignored(1) == ignored(3) && ignored(0) != ignored(1), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn what_our_application_user_did_in_the_source_is_an_echo_even_without_its_tag() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    let source = &keeping.world.source;
    let id = source.create(&source.service(), "account", &account("A")).unwrap();
    keeping.world.update("account", id, account("B"));
    let events = keeping.world.events().await;
    let outcome = bring(&instance, &events[0]).await.unwrap().outcome;
    assert_eq!(outcome, Outcome::Ignored(Ignored::OwnEcho));
    assert_eq!(bring(&instance, &events[1]).await.unwrap().outcome.name(), "applied");
    let whoami = source.requests().last().iter().filter(|record| record.path.contains("WhoAmI")).count();
    assert_eq!(whoami, 1, "asked once per process");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_say_who_we_are_stops_no_event() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.source.faults().add(Rule::new(When::Always, Effect::Slow { before: MINUTE, after: MINUTE }));
    for n in 0..20 {
        keeping.world.create("account", account(&format!("A{n}")));
    }
    let events = keeping.world.events().await;
    let started = tokio::time::Instant::now();
    for event in &events {
        assert_eq!(bring(&instance, event).await.unwrap().outcome.name(), "applied");
    }
    assert!(started.elapsed().as_secs() < 20, "each event waited: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_stranger_reaches_the_ledger() {
    let keeping = Keeping::new(PLAIN);
    let instance = keeping.world.instance();
    keeping.world.create("account", account("A"));
    let event = decoded(&keeping.world.events().await[0]);
    assert_eq!(handle(&instance, event.clone()).await.name(), "applied");
    let mut echo = ChangeEvent { id: dataverse_sync::domain::event::EventId::new(None, "echo").unwrap(), ..event };
    echo.origin.tags.push("dataverse-sync".to_owned());
    assert_eq!(handle(&instance, echo.clone()).await, Outcome::Ignored(Ignored::OwnEcho));
    let partition = dataverse_sync::domain::partition::Partition::of("account", &echo.row);
    let store: Arc<dyn Store> = keeping.ledger.clone();
    assert_eq!(store.history(partition.key(), 10).await.unwrap().1.len(), 1);
}
