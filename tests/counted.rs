//! What an event costs, counted on the wire: the real binary between the Table Storage and the Dataverse stand-in.
#![cfg(unix)]

use crate::support::handler::Handler;
use crate::support::sides::Sides;
use crate::support::table::connection;
use dataverse_sync::sim::dataverse::{Cell, Collector, Environment, RaisedEvent, serve};
use dataverse_sync::sim::host::envelope::{Call, messages};
use dataverse_sync::sim::host::{NewMessage, Queue, QueueSettings};
use dataverse_sync::sim::http::Server;
use dataverse_sync::sim::tables::{self, TableService};
use serde_json::json;
use uuid::Uuid;

struct World {
    source: Environment,
    raised: Collector,
    target: Environment,
    tables: TableService,
    served: (Server, Server),
}

impl World {
    async fn new() -> Self {
        let Sides { source, raised, target } = Sides::new();
        let tables = TableService::new(tables::Settings::default());
        let served = (serve(target.clone(), 0).await.unwrap(), tables::serve(tables.clone(), 0).await.unwrap());
        Self { source, raised, target, tables, served }
    }

    async fn handler(&self) -> Handler {
        let settings = [("TARGET_URL", self.served.0.url()), ("AzureWebJobsStorage", connection(&self.served.1.url()))];
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // nobody reads its lines, and there is no room for many
        Handler::start(&[settings.as_slice(), &[("TARGET_AUTH", "none"), ("RUST_LOG", "warn")]].concat()).await
    }

    fn changes(&self, name: &str, updates: usize) -> Vec<RaisedEvent> {
        let person = self.source.person();
        let id = self.source.create(&person, "account", &json!({ "name": name })).unwrap();
        for n in 0..updates {
            self.source.update(&person, "account", id, &json!({ "telephone1": n.to_string() })).unwrap();
        }
        self.raised.take()
    }

    /// Requests to the ledger's storage and to the target so far.
    fn cost(&self) -> (u64, u64) {
        (self.tables.round_trips(), self.target.requests().count())
    }
}

async fn by_queue(world: &World, handler: &Handler, event: &RaisedEvent) -> (u64, u64) {
    let (before, message) = (world.cost(), event.queue().unwrap());
    let body = json!(String::from_utf8(message.body.to_vec()).unwrap());
    let answer = handler.invoke(&Uuid::new_v4().to_string(), &body, &json!(message.properties)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = world.cost();
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test]
async fn queue_events_cost_two_plus_one_when_warm_three_plus_one_when_cold_and_duplicates_at_most_one() {
    let world = World::new().await;
    let (handler, other) = (world.handler().await, world.handler().await);
    // the first event of a process fetches metadata, that of a deployment makes the table
    for handler in [&handler, &other] {
        for event in world.changes("first", 0) {
            by_queue(&world, handler, &event).await;
        }
    }
    let events = world.changes("A", 3);
    assert_eq!(by_queue(&world, &handler, &events[0]).await, (3, 1), "cold");
    for event in &events[1..] {
        assert_eq!(by_queue(&world, &handler, event).await, (2, 1), "warm");
    }
    assert_eq!(by_queue(&world, &handler, &events[3]).await, (0, 0), "a duplicate that this process finished");
    assert_eq!(by_queue(&world, &other, &events[3]).await, (1, 0), "a duplicate that another finished");
}

#[tokio::test]
async fn a_batch_of_sixty_four_messages_of_one_row_costs_one_claim_one_write_and_one_finish() {
    let world = World::new().await;
    let handler = world.handler().await;
    for event in world.changes("first", 0) {
        by_queue(&world, &handler, &event).await;
    }
    let events = world.changes("A", 127);
    assert_eq!(together(&world, &handler, &events[..64]).await, (3, 1), "cold: the row is read, claimed, finished");
    assert_eq!(together(&world, &handler, &events[64..]).await, (2, 1), "warm: claimed, finished");
    let target = world.target.rows("account");
    let last = target.values().find(|row| row.get("name") == Some(&Cell::Text("A".to_owned()))).unwrap();
    assert_eq!(last.get("telephone1"), Some(&Cell::Text("126".to_owned())));
    assert_eq!(together(&world, &handler, &events[64..]).await, (0, 0), "duplicates that this process finished");
}

/// One invocation with all of them, as the host hands messages over with `cardinality: many`.
async fn together(world: &World, handler: &Handler, events: &[RaisedEvent]) -> (u64, u64) {
    let queue = Queue::new(QueueSettings::default());
    for event in events {
        let message = event.queue().unwrap();
        let mut new = NewMessage::new(message.body.clone());
        new.content_type = Some(message.content_type.to_owned());
        new.properties = message.properties.into_iter().map(|(name, value)| (name, value.into())).collect();
        queue.send(new).unwrap();
    }
    let received: Vec<_> = std::iter::from_fn(|| queue.try_receive()).collect();
    let call = Call { function: "queue", binding: "message", now: queue.now() };
    let envelope = messages(&call, &received, true).to_string();
    let invocation = Uuid::new_v4().to_string();
    let headers = [
        ("x-azure-functions-hostversion", "4.1037.0.0"),
        ("x-azure-functions-invocationid", invocation.as_str()),
        ("user-agent", "Azure-Functions-Host/4.1037.0.0"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let before = world.cost();
    let answer = handler.send("POST", "/queue", &headers, envelope).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = world.cost();
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test]
async fn a_webhook_costs_one_round_trip_more_for_being_owed() {
    let world = World::new().await;
    let handler = world.handler().await;
    let send = async |event: &RaisedEvent| {
        let (before, post) = (world.cost(), event.webhook());
        let mut headers: Vec<(&str, &str)> = post.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("x-ms-invocation-id", "3f6d2b1e-0000-4000-8000-000000000001"));
        let answer = handler.send("POST", "/api/webhook", &headers, post.body.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let after = world.cost();
        (after.0 - before.0, after.1 - before.1)
    };
    for event in world.changes("first", 0) {
        send(&event).await;
    }
    let events = world.changes("A", 1);
    assert_eq!(send(&events[0]).await, (4, 1), "cold");
    assert_eq!(send(&events[1]).await, (3, 1), "warm");
}
