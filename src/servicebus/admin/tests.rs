//! Descriptions as the service writes them, and what is none.

use super::*;
use crate::servicebus::client::BusLimits;
use crate::servicebus::script::{answer, queue};

/// In the form that the service gives (fields that are not read are left out here and there).
const ENTRY: &str = r#"<entry xmlns="http://www.w3.org/2005/Atom"><id>https://ns.servicebus.windows.net/q?api-version=2021-05</id><title type="text">q</title><content type="application/xml"><QueueDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><LockDuration>PT1M30S</LockDuration><MaxSizeInMegabytes>1024</MaxSizeInMegabytes><RequiresDuplicateDetection>true</RequiresDuplicateDetection><RequiresSession>false</RequiresSession><DefaultMessageTimeToLive>P10675199DT2H48M5.4775807S</DefaultMessageTimeToLive><DeadLetteringOnMessageExpiration>true</DeadLetteringOnMessageExpiration><DuplicateDetectionHistoryTimeWindow>P7D</DuplicateDetectionHistoryTimeWindow><MaxDeliveryCount>10</MaxDeliveryCount><SizeInBytes>2048</SizeInBytes><MessageCount>10</MessageCount><Status>Active</Status><AuthorizationRules></AuthorizationRules><CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus"><d2p1:ActiveMessageCount>5</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>2</d2p1:DeadLetterMessageCount><d2p1:ScheduledMessageCount>3</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount></CountDetails><MaxMessageSizeInKilobytes>256</MaxMessageSizeInKilobytes></QueueDescription></content></entry>"#;

#[tokio::test]
async fn a_description_is_asked_for_and_read() {
    let (client, script) = queue(BusLimits::default(), [answer(200, &[], ENTRY)]);
    let info = Admin::new(client).queue_info().await.unwrap();
    let expected = QueueInfo {
        status: QueueStatus::Active,
        lock_duration: Duration::from_secs(90),
        max_delivery_count: 10,
        requires_duplicate_detection: true,
        duplicate_window: Duration::from_secs(7 * 86_400),
        requires_session: false,
        dead_letters_expired: true,
        time_to_live: Duration::from_secs(10_675_199 * 86_400 + 2 * 3_600 + 48 * 60 + 5),
        message_kib_max: Some(256),
        active: 5,
        scheduled: 3,
        dead_letters: 2,
    };
    assert_eq!(info, expected);
    let requests = script.requests.lock().unwrap();
    assert_eq!(requests[0].url, "https://ns.servicebus.windows.net/q?api-version=2021-05");
}

#[tokio::test]
async fn a_missing_queue_and_a_missing_right_are_told_apart() {
    let feed =
        r#"<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Publicly Listed Services</title></feed>"#;
    let (client, _) = queue(
        BusLimits::default(),
        [answer(200, &[], feed), answer(404, &[], ""), answer(401, &[], ""), answer(503, &[], "")],
    );
    let admin = Admin::new(client);
    assert!(matches!(admin.queue_info().await, Err(ServiceBusError::NotFound)));
    assert!(matches!(admin.queue_info().await, Err(ServiceBusError::NotFound)));
    let refused = admin.queue_info().await.unwrap_err().to_string();
    assert!(refused.contains("Manage"), "{refused}");
    assert!(matches!(admin.queue_info().await, Err(ServiceBusError::Unknown { .. })));
}

#[test]
fn what_is_no_description_is_refused_with_the_part() {
    let check = |from: &str, to: &str, part: &str| {
        assert!(ENTRY.contains(from), "{from}");
        let error = read(ENTRY.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("service bus: {part} is not understood"), "{from} -> {to}");
    };
    check("<entry", "<!DOCTYPE entry [<!ENTITY a \"b\">]><entry", "a queue's description");
    check("</entry>", "", "a queue's description");
    check("<content", "<other", "a queue's description");
    check("<LockDuration>PT1M30S</LockDuration>", "", "LockDuration");
    check("PT1M30S", "90", "LockDuration");
    check(">10</MaxDeliveryCount>", ">-1</MaxDeliveryCount>", "MaxDeliveryCount");
    check(">true</RequiresDup", ">yes</RequiresDup", "RequiresDuplicateDetection");
    check(">Active<", ">Broken<", "Status");
    check("xmlns:d2p1=\"http://schemas", "xmlns:d2p1=\"http://other", "ActiveMessageCount");
    check("2010/10/servicebus/connect", "other", "a description that is no queue's");
    check("<d2p1:ScheduledMessageCount>3", "<d2p1:ScheduledMessageCount>", "ScheduledMessageCount");
    assert!(read(&[0xff]).is_err() && read(&vec![b' '; BYTES_MAX + 1]).is_err());
    assert!(read("<a>".repeat(80_000).as_bytes()).is_err(), "depth costs no stack");
    assert_eq!(
        read(ENTRY.replace("<MaxMessageSizeInKilobytes>256</MaxMessageSizeInKilobytes>", "").as_bytes())
            .unwrap()
            .message_kib_max,
        None
    );
}

#[test]
fn periods_are_read_or_refused() {
    let check =
        |text: &str, expected: Option<u64>| assert_eq!(duration(text), expected.map(Duration::from_secs), "{text}");
    check("PT1M", Some(60));
    check("P1DT2H3M4S", Some(93_784));
    check("P14D", Some(1_209_600));
    check("PT0S", Some(0));
    check("PT30.9S", Some(30));
    for wrong in ["", "P", "PT", "P1DT", "1M", "PTM", "PT1.5M", "PT-1S", "P1Y", "PT1S1M", "PT1", "PT1S ", "P1M", "PTxS"]
    {
        check(wrong, None);
    }
    assert_eq!(duration("P99999999999999999999D"), Some(Duration::MAX));
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(<entry xmlns=\"http://www.w3.org/2005/Atom\">|<content>|<a>|</a>|&|.){0,20}", period in "P?[0-9.DTHMS]{0,12}") {
        proptest::prop_assert!(read(text.as_bytes()).is_err());
        let _ = duration(&period);
    }
}
