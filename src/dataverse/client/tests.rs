//! One call: its headers, its deadline, its token, and what a missing answer means.

use super::*;
use crate::dataverse::script::{Bench, TIMEOUT, answer, every_kind, guid, header, lost, not_sent, refusal};
use crate::dataverse::write::{DeleteRequest, WriteRequest};
use serde_json::{Map, json};

const WHO: &str = r#"{"UserId":"11111111-1111-1111-1111-111111111111",
    "BusinessUnitId":"22222222-2222-2222-2222-222222222222",
    "OrganizationId":"33333333-3333-3333-3333-333333333333"}"#;

#[tokio::test]
async fn every_request_carries_the_documented_headers_and_the_traces() {
    let bench = Bench::new([answer(200, &[], WHO)]);
    let call = Call {
        correlation: Some("c-1".to_owned()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..bench.call()
    };
    let who = bench.client.whoami(&call).await.unwrap();
    assert_eq!((who.user, who.business_unit, who.organization), (guid(1), guid(2), guid(3)));
    let requests = bench.requests();
    let request = &requests[0];
    assert_eq!(bench.lines(), ["GET WhoAmI"]);
    assert_eq!(request.timeout, TIMEOUT);
    for (name, expected) in [
        ("accept", "application/json"),
        ("odata-version", "4.0"),
        ("odata-maxversion", "4.0"),
        ("authorization", "Bearer token-0"),
        ("x-ms-correlation-request-id", "c-1"),
        ("x-ms-client-request-id", "c-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ] {
        assert_eq!(header(request, name), Some(expected), "{name}");
    }
    assert!(header(request, "prefer").unwrap().contains("Microsoft.PowerApps.CDS.ErrorDetails*"));
    assert!(request.headers["authorization"].is_sensitive());
}

#[tokio::test]
async fn a_trace_that_is_no_header_value_is_not_passed_on() {
    let bench = Bench::new([answer(200, &[], WHO)]);
    let call = Call { correlation: Some("a\r\nx: y".to_owned()), traceparent: Some("x".repeat(129)), ..bench.call() };
    bench.client.whoami(&call).await.unwrap();
    assert_eq!(header(&bench.requests()[0], "x-ms-correlation-request-id"), None);
    assert_eq!(header(&bench.requests()[0], "traceparent"), None);
}

#[tokio::test]
async fn nothing_is_sent_that_could_outlive_its_permission() {
    let bench = Bench::new([]);
    for latest_end in [Duration::ZERO, TIMEOUT - Duration::from_millis(1)] {
        let error = bench.client.whoami(&Call::until(latest_end)).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::OutOfTime);
    }
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn time_that_the_token_took_counts() {
    let bench = Bench::new([]);
    *bench.tokens.takes.lock().unwrap() = Some((Arc::clone(&bench.clock), Duration::from_secs(1)));
    let error = bench.client.whoami(&bench.call()).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::OutOfTime);
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let bench = Bench::new([answer(401, &[], ""), answer(200, &[], WHO)]);
    bench.client.whoami(&bench.call()).await.unwrap();
    let tokens: Vec<_> = bench.requests().iter().map(|r| header(r, "authorization").unwrap().to_owned()).collect();
    assert_eq!(tokens, ["Bearer token-0", "Bearer token-1"]);

    let bench = Bench::new([answer(401, &[], ""), refusal(401, "0x8005F101", "expired")]);
    let error = bench.client.whoami(&bench.call()).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Unauthorized);
    assert_eq!(bench.answers_left(), 0);
}

#[tokio::test]
async fn a_missing_answer_of_a_change_is_unknown_and_of_a_read_transient() {
    let schema = every_kind();
    for (scripted, write, read) in
        [(lost as fn() -> _, Kind::Unknown, Kind::Transient), (not_sent as fn() -> _, Kind::NotSent, Kind::NotSent)]
    {
        let bench = Bench::new([scripted(), scripted()]);
        let delete = DeleteRequest { schema: &schema, id: guid(1), etag: None, tag: None };
        let error = bench.client.delete(&bench.call(), delete).await.unwrap_err();
        assert_eq!(*error.kind(), write);
        assert_eq!(error.may_have_worked(), write == Kind::Unknown);
        assert_eq!(*bench.client.whoami(&bench.call()).await.unwrap_err().kind(), read);
    }
}

#[tokio::test]
async fn what_is_too_long_to_be_accepted_is_not_sent() {
    let bench = Bench::new([]);
    let schema = every_kind();
    let address = Address::Id(guid(1));
    let tag = "t".repeat(URL_BYTES_MAX);
    let request = |body: Map<String, serde_json::Value>, tag| WriteRequest {
        schema: &schema,
        address: &address,
        body,
        precondition: Precondition::None,
        tag,
        return_representation: false,
    };
    let error = bench.client.write(&bench.call(), request(Map::new(), Some(&tag))).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (&Kind::Invalid, "the URL is longer than the service accepts"));
    let body = Map::from_iter([("name".to_owned(), json!("x".repeat(5 * 1024 * 1024)))]);
    let error = bench.client.write(&bench.call(), request(body, None)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (&Kind::Invalid, "the body is longer than the limit"));
}

#[tokio::test]
async fn a_throttled_answer_tells_how_long_to_pause() {
    let body = r#"{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit"}}"#;
    let bench = Bench::new([answer(429, &[("retry-after", "17")], body)]);
    let error = bench.client.whoami(&bench.call()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (&Kind::Throttled, Some(Duration::from_secs(17))));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for (disposition, kind, pause) in [
        (Disposition::Retry { after: Some(TIMEOUT) }, Kind::NotSent, Some(TIMEOUT)),
        (Disposition::Park, Kind::Unauthorized, None),
    ] {
        let bench = Bench::new([]);
        *bench.tokens.fails.lock().unwrap() = Some(disposition);
        let error = bench.client.whoami(&bench.call()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (&kind, pause));
        assert!(bench.requests().is_empty());
    }
}
