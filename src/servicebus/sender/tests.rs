//! Requests and what their answers mean, on a script.

use super::*;
use crate::identity::{Credential, TokenLimits, TokenSource};
use crate::outbound::disposition::Disposition;
use crate::secret::Secret;
use crate::servicebus::auth::Auth;
use crate::servicebus::client::BusLimits;
use crate::servicebus::script::{Scripted, StillClock, answer, lost, queue, with_auth};
use serde_json::Value;
use std::sync::Arc;

fn sent() -> Scripted {
    answer(201, &[], "")
}

#[tokio::test]
async fn a_message_is_posted_with_a_signature_for_the_queue() {
    let (client, script) = queue(BusLimits::default(), [sent()]);
    let message = Message { message_id: Some("m".into()), content_type: Some("text/x".into()), ..Message::new("body") };
    Sender::new(client).send(&message).await.unwrap();
    let requests = script.requests.lock().unwrap();
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "https://ns.servicebus.windows.net/q/messages")
    );
    assert_eq!(request.headers["brokerproperties"], r#"{"MessageId":"m"}"#);
    assert_eq!(
        (&request.headers["content-type"], request.body.as_ref()),
        (&"text/x".parse().unwrap(), b"body".as_ref())
    );
    let signature = request.headers["authorization"].to_str().unwrap();
    let resource = "SharedAccessSignature sr=https%3A%2F%2Fns.servicebus.windows.net%2Fq&sig=";
    assert!(signature.starts_with(resource) && signature.ends_with("&se=1768474800&skn=n"), "{signature}");
    assert!(!format!("{request:?}").contains("sig="), "the signature is shown");
}

#[tokio::test]
async fn an_identitys_token_is_for_service_bus() {
    let (tokens, asked) = with_auth(
        Auth::Signature(Secret::new("sr=a&sig=b&se=1")),
        BusLimits::default(),
        [answer(200, &[], r#"{"access_token":"t","expires_in":3600}"#)],
    );
    drop(tokens);
    let credential = Credential::client_secret(None, "tenant", "client", Secret::new("s")).unwrap();
    let transport = Arc::clone(&asked) as Arc<dyn crate::outbound::transport::Transport>;
    let source = TokenSource::new(credential, transport, Arc::new(StillClock), TokenLimits::default());
    let (client, script) = with_auth(Auth::Bearer(source), BusLimits::default(), [sent()]);
    Sender::new(client).send(&Message::new("a")).await.unwrap();
    assert_eq!(script.requests.lock().unwrap()[0].headers["authorization"], "Bearer t");
    let body = asked.requests.lock().unwrap()[0].body.clone();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.ends_with("&scope=https%3A%2F%2Fservicebus.azure.net%2F.default"), "{body}");
}

#[tokio::test]
async fn each_answer_has_one_meaning_and_nothing_is_repeated() {
    let check = async |scripted: Scripted, expected: &str, disposition: Disposition| {
        let (client, script) = queue(BusLimits::default(), [scripted]);
        let error = Sender::new(client).send(&Message::new("body")).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        assert_eq!((error.disposition(), script.requests.lock().unwrap().len()), (disposition, 1), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    };
    let ten = Disposition::Repeat { after: Some(Duration::from_secs(10)) };
    check(lost(), "Unknown", Disposition::Uncertain).await;
    check(answer(500, &[], "secret"), "Unknown", Disposition::Uncertain).await;
    check(answer(429, &[], ""), "Throttled", ten).await;
    let seven = Disposition::Repeat { after: Some(Duration::from_secs(7)) };
    check(answer(503, &[("retry-after", "7")], "Error code : 50009"), "Throttled", seven).await;
    check(answer(403, &[], "SubCode=40300 quota"), "QueueFull", ten).await;
    check(answer(401, &[], "secret"), "Unauthorized { status: 401, right: \"Send\" }", Disposition::Stop).await;
    check(answer(410, &[], ""), "NotFound", Disposition::Stop).await;
    check(answer(413, &[], ""), "TooLarge", Disposition::Stop).await;
    check(answer(400, &[], "secret"), "Rejected", Disposition::Stop).await;
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let limits = BusLimits { message_bytes_max: 100, ..BusLimits::default() };
    let (client, script) = queue(limits, []);
    let error = Sender::new(client).send(&Message::new(vec![b'x'; 100])).await.unwrap_err();
    assert!(matches!(error, ServiceBusError::TooLarge { bytes: 101.. }), "{error:?}");
    assert!(script.requests.lock().unwrap().is_empty());
}

fn numbered(count: usize) -> Vec<Message> {
    (0..count).map(|n| Message { message_id: Some(n.to_string()), ..Message::new("body") }).collect()
}

/// How many messages each request carried; 0 for a single one.
async fn sizes(limits: BusLimits, messages: &[Message], requests: usize) -> Vec<usize> {
    let (client, script) = queue(limits, (0..requests).map(|_| sent()));
    Sender::new(client).send_all(messages).await.unwrap();
    let requests = script.requests.lock().unwrap();
    let size = |request: &crate::outbound::transport::Request| {
        if request.headers[CONTENT_TYPE] != BATCH {
            return 0;
        }
        assert!(request.body.len() <= limits.message_bytes_max && !request.headers.contains_key("brokerproperties"));
        serde_json::from_slice::<Vec<Value>>(&request.body).unwrap().len()
    };
    requests.iter().map(size).collect()
}

#[tokio::test]
async fn many_messages_go_in_as_few_requests_as_fit() {
    let limits = BusLimits { batch_max: 4, ..BusLimits::default() };
    assert_eq!(sizes(limits, &numbered(0), 0).await, [0; 0]);
    assert_eq!(sizes(limits, &numbered(9), 3).await, [4, 4, 0]);
    // one entry is {"BrokerProperties":{"MessageId":"0"},"Body":"body"}: 51 bytes
    let limits = BusLimits { message_bytes_max: 160, ..BusLimits::default() };
    assert_eq!(sizes(limits, &numbered(7), 3).await, [3, 3, 0]);
    let mut mixed = numbered(6);
    mixed[2].content_type = Some("application/json".into());
    mixed[5].session_id = Some("s".into());
    assert_eq!(sizes(BusLimits::default(), &mixed, 4).await, [2, 0, 2, 0]);
}

#[tokio::test]
async fn what_was_sent_before_a_failure_is_known() {
    let limits = BusLimits { batch_max: 2, ..BusLimits::default() };
    let (client, script) = queue(limits, [sent(), lost()]);
    let PartlySent { sent: count, error } = Sender::new(client).send_all(&numbered(6)).await.unwrap_err();
    assert_eq!((count, script.requests.lock().unwrap().len()), (2, 2));
    assert!(matches!(error, ServiceBusError::Unknown { .. }), "{error:?}");
    let mut wrong = numbered(3);
    wrong[2].message_id = Some(String::new());
    let (client, _) = queue(BusLimits::default(), [sent()]);
    let PartlySent { sent: count, error } = Sender::new(client).send_all(&wrong).await.unwrap_err();
    assert!(count == 2 && matches!(error, ServiceBusError::Invalid { .. }), "{count} {error:?}");
}

#[test]
fn a_limit_of_zero_is_refused() {
    let (connection, transport) =
        (crate::servicebus::Connection::namespace("a.b").unwrap(), queue(BusLimits::default(), []).1);
    let limits = BusLimits { batch_max: 0, ..BusLimits::default() };
    let auth = Auth::Signature(Secret::new("s"));
    assert!(QueueClient::new(&connection, "q", auth, transport, Arc::new(StillClock), limits).is_err());
}
