//! Requests and what their answers mean, on a script.

use super::*;
use crate::servicebus::client::BusLimits;
use crate::servicebus::message::Property;
use crate::servicebus::script::{Script, Scripted, answer, lost, queue};
use std::sync::Arc;

const TOKEN: &str = "7da9cfd5-40d5-4bb1-8d64-ec5a52e1c547";

/// As in the documentation of Peek-Lock Message.
fn locked() -> Scripted {
    let broker = format!(
        r#"{{"DeliveryCount":1,"EnqueuedTimeUtc":"Wed, 02 Jul 2014 01:32:27 GMT","Label":"M1","LockToken":"{TOKEN}",
            "LockedUntilUtc":"Wed, 02 Jul 2014 01:33:27 GMT","MessageId":"31907572164743c38741631acd554d6f",
            "SequenceNumber":2,"State":"Active","TimeToLive":10}}"#
    )
    .replace('\n', "");
    let headers = [
        ("brokerproperties", broker.as_str()),
        ("content-type", "application/atom+xml"),
        ("location", "https://evil.example/q/messages/2/x"),
        ("priority", "\"High\""),
        ("count", "12"),
        ("deadletterreason", "\"MaxDeliveryCountExceeded\""),
        ("server", "Microsoft-HTTPAPI/2.0"),
        ("date", "Wed, 02 Jul 2014 01:32:27 GMT"),
    ];
    answer(201, &headers, "This is a message.")
}

fn dead_letters(answers: impl IntoIterator<Item = Scripted>) -> (Receiver, Arc<Script>) {
    let (client, script) = queue(BusLimits::default(), answers);
    (Receiver::of_dead_letters(client), script)
}

fn lines(script: &Script) -> Vec<String> {
    let base = "https://ns.servicebus.windows.net/q";
    let line = |request: &crate::outbound::transport::Request| {
        format!("{} {}", request.method, request.url.strip_prefix(base).unwrap())
    };
    script.requests.lock().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_dead_letter_is_read_with_all_it_says_and_settled_at_our_own_address() {
    let fine = || answer(200, &[], "");
    let (receiver, script) = dead_letters([locked(), fine(), fine(), fine()]);
    let Locked { message, lock } = receiver.lock_next(Duration::from_millis(2_900)).await.unwrap().unwrap();
    assert_eq!((message.body.as_ref(), message.sequence_number), (b"This is a message.".as_ref(), 2));
    assert_eq!(message.message_id.as_deref(), Some("31907572164743c38741631acd554d6f"));
    assert_eq!((message.label.as_deref(), message.delivery_count), (Some("M1"), 1));
    assert_eq!(message.enqueued.unwrap().to_rfc3339(), "2014-07-02T01:32:27+00:00");
    assert_eq!(message.dead_letter_reason.as_deref(), Some("MaxDeliveryCountExceeded"));
    let properties: Vec<_> = message.properties.clone().into_iter().collect();
    assert_eq!(properties, [("count".into(), Property::Integer(12)), ("priority".into(), Property::from("High"))]);
    assert_eq!(lock.until.unwrap().to_rfc3339(), "2014-07-02T01:33:27+00:00");
    assert!(!format!("{message:?}").contains("This is"), "content is shown");
    receiver.renew(&lock).await.unwrap();
    receiver.unlock(&lock).await.unwrap();
    receiver.complete(&lock).await.unwrap();
    let settled = format!("/$DeadLetterQueue/messages/2/{TOKEN}");
    let expected = ["POST /$DeadLetterQueue/messages/head?timeout=2".to_owned()].into_iter();
    let expected = expected.chain(["POST", "PUT", "DELETE"].map(|method| format!("{method} {settled}")));
    assert_eq!(lines(&script), expected.collect::<Vec<_>>());
    assert_eq!(script.requests.lock().unwrap()[0].timeout, Duration::from_secs(12), "waits longer than the service");
}

#[tokio::test]
async fn an_empty_queue_gives_nothing_and_the_wait_is_bounded() {
    let (receiver, script) = dead_letters([answer(204, &[], ""), answer(204, &[], "")]);
    assert!(receiver.lock_next(Duration::MAX).await.unwrap().is_none());
    assert!(receiver.take_next(Duration::ZERO).await.unwrap().is_none());
    let head = "/$DeadLetterQueue/messages/head?timeout";
    assert_eq!(lines(&script), [format!("POST {head}=60"), format!("DELETE {head}=0")]);
}

#[tokio::test]
async fn a_lost_lock_is_told_from_a_missing_queue_and_a_lost_answer_from_both() {
    let (receiver, _) = dead_letters([
        locked(),
        answer(404, &[], ""),
        answer(410, &[], ""),
        lost(),
        answer(410, &[], ""),
        answer(401, &[], ""),
    ]);
    let lock = receiver.lock_next(Duration::ZERO).await.unwrap().unwrap().lock;
    assert!(matches!(receiver.complete(&lock).await, Err(ServiceBusError::LockLost)));
    assert!(matches!(receiver.unlock(&lock).await, Err(ServiceBusError::LockLost)));
    assert!(matches!(receiver.complete(&lock).await, Err(ServiceBusError::Unknown { .. })));
    assert!(matches!(receiver.lock_next(Duration::ZERO).await, Err(ServiceBusError::NotFound)));
    let refused = receiver.take_next(Duration::ZERO).await;
    assert!(matches!(refused, Err(ServiceBusError::Unauthorized { right: "Listen", .. })), "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_an_error_that_names_the_part() {
    for (headers, part) in [
        (vec![], "an answer without BrokerProperties"),
        (vec![("brokerproperties", "{")], "BrokerProperties"),
        (vec![("brokerproperties", "[]")], "BrokerProperties"),
        (vec![("brokerproperties", "{}")], "SequenceNumber"),
        (vec![("brokerproperties", r#"{"SequenceNumber":-1}"#)], "SequenceNumber"),
        (vec![("brokerproperties", r#"{"SequenceNumber":1}"#)], "LockToken"),
        (vec![("brokerproperties", r#"{"SequenceNumber":1,"LockToken":"../../x"}"#)], "LockToken"),
    ] {
        let (receiver, _) = dead_letters([answer(201, &headers, "")]);
        let error = receiver.lock_next(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.to_string(), format!("service bus: {part} is not understood"));
    }
}
