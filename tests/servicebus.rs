//! The Service Bus client against the broker stand-in, over real sockets.

use crate::support::faulty::{Fault, Faulty};
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::identity::{Credential, TokenLimits, TokenSource};
use dataverse_sync::outbound::reqwest::ReqwestTransport;
use dataverse_sync::outbound::transport::{Response, Transport};
use dataverse_sync::secret::Secret;
use dataverse_sync::servicebus::{
    Admin, BusLimits, Connection, Message, Property, QueueClient, QueueStatus, Receiver, Sender, ServiceBusError,
};
use dataverse_sync::sim::host::{BrokerSettings, Queue, QueueSettings, serve_broker};
use dataverse_sync::sim::http::{Reply, Server, serve};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "dataverse-events";
const POLICY: &str = "sync";
const KEY: &str = "bm90IGEgc2VjcmV0IQ==";

struct World {
    queue: Queue,
    client: QueueClient,
    faulty: Arc<Faulty>,
    endpoint: String,
    clock: Arc<SystemClock>,
    _server: Server,
}

/// A queue with duplicate detection that gives a message up after two deliveries.
async fn world(settings: BrokerSettings) -> World {
    let clock = Arc::new(SystemClock::default());
    let queue = Queue::new(QueueSettings {
        max_delivery_count: 2,
        duplicate_window: Some(Duration::from_secs(600)),
        lock_duration: Duration::from_secs(300),
        start: clock.now(),
    });
    let settings = BrokerSettings { shared_key: Some((POLICY.to_owned(), KEY.to_owned())), ..settings };
    let server = serve_broker(BTreeMap::from([(NAME.to_owned(), queue.clone())]), settings, 0).await.unwrap();
    let endpoint = format!("sb://{}", server.address);
    let faulty = Faulty::new(Arc::new(ReqwestTransport::default()));
    let client = client(&endpoint, NAME, KEY, &faulty, &clock);
    World { queue, client, faulty, endpoint, clock, _server: server }
}

fn client(endpoint: &str, name: &str, key: &str, faulty: &Arc<Faulty>, clock: &Arc<SystemClock>) -> QueueClient {
    let text = format!("Endpoint={endpoint};SharedAccessKeyName={POLICY};SharedAccessKey={key}");
    let connection = Connection::parse(&format!("{text};UseDevelopmentEmulator=true")).unwrap();
    let auth = connection.auth(|| Err("no identity is configured")).unwrap();
    let transport = Arc::clone(faulty) as Arc<dyn Transport>;
    QueueClient::new(&connection, name, auth, transport, Arc::clone(clock) as _, BusLimits::default()).unwrap()
}

fn message(id: &str) -> Message {
    Message { message_id: Some(id.to_owned()), ..Message::new(format!("body of {id}")) }
}

fn bodies(queue: &Queue) -> Vec<String> {
    let next = || {
        let received = queue.try_receive()?;
        queue.complete(received.token).unwrap();
        Some(String::from_utf8(received.message.body.to_vec()).unwrap())
    };
    std::iter::from_fn(next).collect()
}

#[tokio::test]
async fn a_message_arrives_with_everything_it_was_sent_with() {
    let world = world(BrokerSettings::default()).await;
    let properties = [
        ("ce_subject", Property::from("Zoë \"quoted\" 🎉\n")),
        ("count", Property::Integer(-3)),
        ("flag", Property::Boolean(true)),
    ];
    let sent = Message {
        content_type: Some("application/json".into()),
        correlation_id: Some("corr-é".into()),
        label: Some("inbox".into()),
        session_id: Some("s".into()),
        time_to_live: Some(Duration::from_secs(3_600)),
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
        message_id: Some("é1".into()),
        ..Message::new(vec![0, 0xff, b'\n'])
    };
    Sender::new(world.client.clone()).send(&sent).await.unwrap();
    let received = Receiver::of_queue(world.client).take_next(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((received.body, received.content_type), (sent.body, sent.content_type));
    assert_eq!((received.message_id, received.correlation_id), (sent.message_id, sent.correlation_id));
    assert_eq!((received.label, received.session_id), (sent.label, sent.session_id));
    assert_eq!((received.properties, received.delivery_count), (sent.properties, 1));
    assert_eq!((world.queue.present(), world.queue.counts().completed), ((0, 0), 1));
}

#[tokio::test]
async fn a_lost_answer_may_be_sent_again_because_the_id_is_known() {
    let world = world(BrokerSettings::default()).await;
    let sender = Sender::new(world.client.clone());
    world.faulty.plan([Fault::LoseAnswer, Fault::Pass, Fault::NotSent, Fault::Pass]);
    assert!(matches!(sender.send(&message("a")).await, Err(ServiceBusError::Unknown { .. })));
    sender.send(&message("a")).await.unwrap();
    assert!(matches!(sender.send(&message("b")).await, Err(ServiceBusError::NotSent { .. })));
    sender.send(&message("b")).await.unwrap();
    assert_eq!((world.queue.counts().sent, world.queue.counts().dropped), (3, 1));
    assert_eq!(bodies(&world.queue), ["body of a", "body of b"]);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_sent_again_without_doubling() {
    let world = world(BrokerSettings::default()).await;
    let sender = Sender::new(world.client.clone());
    let all: Vec<_> = (0..250).map(|n| message(&format!("m{n:03}"))).collect();
    world.faulty.plan([Fault::Pass, Fault::LoseAnswer]);
    let partly = sender.send_all(&all).await.unwrap_err();
    assert_eq!((partly.sent, world.queue.counts().sent), (100, 200), "the second hundred is there, but nobody knows");
    sender.send_all(&all[partly.sent..]).await.unwrap();
    assert_eq!(world.faulty.calls(), 4);
    let expected: Vec<_> = (0..250).map(|n| format!("body of m{n:03}")).collect();
    assert_eq!((bodies(&world.queue), world.queue.counts().dropped), (expected, 100));
}

#[tokio::test]
async fn a_scheduled_message_is_not_there_before_its_time() {
    let world = world(BrokerSettings::default()).await;
    let (sender, receiver) = (Sender::new(world.client.clone()), Receiver::of_queue(world.client.clone()));
    let later = Message { scheduled_enqueue: Some(world.clock.now() + Duration::from_secs(3_000)), ..message("later") };
    let past = Message { scheduled_enqueue: Some(world.clock.now() - Duration::from_secs(3_000)), ..message("past") };
    sender.send_all(&[later, past]).await.unwrap();
    assert_eq!(world.queue.present(), (1, 1));
    assert_eq!(receiver.take_next(Duration::ZERO).await.unwrap().unwrap().body, "body of past");
    assert!(receiver.take_next(Duration::ZERO).await.unwrap().is_none());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2_990)).await;
    assert_eq!(world.queue.present(), (0, 1));
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(receiver.take_next(Duration::ZERO).await.unwrap().unwrap().body, "body of later");
}

#[tokio::test]
async fn a_dead_letter_is_looked_at_given_back_and_removed() {
    let world = world(BrokerSettings::default()).await;
    Sender::new(world.client.clone()).send(&message("poison")).await.unwrap();
    let live = Receiver::of_queue(world.client.clone());
    for _ in 0..2 {
        let locked = live.lock_next(Duration::ZERO).await.unwrap().unwrap();
        live.unlock(&locked.lock).await.unwrap();
    }
    assert!(live.lock_next(Duration::ZERO).await.unwrap().is_none(), "its deliveries are used up");
    let dead = Receiver::of_dead_letters(world.client.clone());
    let first = dead.lock_next(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(first.message.dead_letter_reason.as_deref(), Some("MaxDeliveryCountExceeded"));
    assert_eq!(
        (first.message.message_id.as_deref(), first.message.body.as_ref()),
        (Some("poison"), &b"body of poison"[..])
    );
    assert!(dead.lock_next(Duration::ZERO).await.unwrap().is_none(), "it is locked");
    dead.renew(&first.lock).await.unwrap();
    dead.unlock(&first.lock).await.unwrap();
    assert!(matches!(dead.complete(&first.lock).await, Err(ServiceBusError::LockLost)));
    let second = dead.lock_next(Duration::ZERO).await.unwrap().unwrap();
    world.faulty.plan([Fault::LoseAnswer]);
    assert!(matches!(dead.complete(&second.lock).await, Err(ServiceBusError::Unknown { .. })));
    assert!(matches!(dead.complete(&second.lock).await, Err(ServiceBusError::LockLost)), "the first one worked");
    assert!(world.queue.dead_letters().is_empty());
}

#[tokio::test]
async fn a_queue_says_how_it_is_set_up_and_how_full_it_is() {
    let world = world(BrokerSettings::default()).await;
    let sender = Sender::new(world.client.clone());
    let later = Message { scheduled_enqueue: Some(world.clock.now() + Duration::from_secs(3_000)), ..message("later") };
    sender.send_all(&[message("a"), message("b"), later]).await.unwrap();
    let locked = world.queue.try_receive().unwrap();
    world.queue.dead_letter(locked.token, "test").unwrap();
    let info = Admin::new(world.client.clone()).queue_info().await.unwrap();
    assert_eq!((info.active, info.scheduled, info.dead_letters), (1, 1, 1));
    assert_eq!((info.status, info.max_delivery_count), (QueueStatus::Active, 2));
    assert!(info.requires_duplicate_detection && !info.requires_session);
    assert_eq!((info.lock_duration, info.duplicate_window), (Duration::from_secs(300), Duration::from_secs(600)));
    let other = client(&world.endpoint, "other", KEY, &world.faulty, &world.clock);
    assert!(matches!(Admin::new(other.clone()).queue_info().await, Err(ServiceBusError::NotFound)));
    assert!(matches!(Sender::new(other).send(&message("a")).await, Err(ServiceBusError::NotFound)));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let world = world(BrokerSettings { manage: false, ..BrokerSettings::default() }).await;
    let stranger = client(&world.endpoint, NAME, "d3Jvbmc=", &world.faulty, &world.clock);
    let refused = Sender::new(stranger).send(&message("a")).await;
    assert!(matches!(refused, Err(ServiceBusError::Unauthorized { right: "Send", .. })), "{refused:?}");
    let refused = Admin::new(world.client.clone()).queue_info().await;
    assert!(matches!(refused, Err(ServiceBusError::Unauthorized { right: "Manage", .. })), "{refused:?}");
    let sender = Sender::new(world.client.clone());
    let large = Message::new(vec![b'x'; 256 << 10]);
    assert!(matches!(sender.send(&large).await, Err(ServiceBusError::TooLarge { .. })));
    let mut busy = Response {
        status: http::StatusCode::SERVICE_UNAVAILABLE,
        headers: http::HeaderMap::new(),
        body: "Error code : 50009".into(),
    };
    busy.headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("4"));
    world.faulty.plan([Fault::Answer(busy)]);
    let refused = sender.send(&message("a")).await;
    assert!(
        matches!(refused, Err(ServiceBusError::Throttled { after: Some(after) }) if after.as_secs() == 4),
        "{refused:?}"
    );
    assert_eq!(world.queue.counts().sent, 0);
}

#[tokio::test]
async fn an_identity_sends_and_receives_and_a_refused_token_is_replaced() {
    let settings = BrokerSettings { bearer: Some("t2".to_owned()), shared_access: false, ..BrokerSettings::default() };
    let world = world(settings).await;
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let identity = serve(0, move |request| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let fine = request.uri().query().unwrap_or("").contains("resource=https%3A%2F%2Fservicebus.azure.net");
        let text = format!(r#"{{"access_token":"t{number}","expires_in":"3600"}}"#);
        let status = if fine { 200 } else { 400 };
        async move { Reply::Answer(http::Response::builder().status(status).body(text.into()).unwrap()) }
    })
    .await
    .unwrap();
    let credential =
        Credential::managed_identity(Some(&format!("{}/msi", identity.url())), Some(Secret::new("h")), None).unwrap();
    let transport = Arc::clone(&world.faulty) as Arc<dyn Transport>;
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let tokens = TokenSource::new(credential, Arc::clone(&transport), Arc::clone(&clock), TokenLimits::default());
    let host = Connection::namespace("ns.servicebus.windows.net").unwrap();
    let connection = Connection { endpoint: world.endpoint.replace("sb://", "http://"), ..host };
    let auth = connection.auth(|| Ok::<_, ServiceBusError>(tokens)).unwrap();
    let client = QueueClient::new(&connection, NAME, auth, transport, clock, BusLimits::default()).unwrap();
    Sender::new(client.clone()).send(&message("a")).await.unwrap();
    let received = Receiver::of_queue(client).take_next(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((received.body.as_ref(), asked.load(std::sync::atomic::Ordering::SeqCst)), (&b"body of a"[..], 2));
    let keyed = Sender::new(world.client).send(&message("b")).await;
    assert!(matches!(keyed, Err(ServiceBusError::Unauthorized { .. })), "{keyed:?}");
}
