//! Lost answers, refusals and pauses: what the client repeats, and what it never repeats.

use super::{entity, key, world};
use crate::support::faulty::Fault;
use bytes::Bytes;
use dataverse_sync::outbound::transport::Response;
use dataverse_sync::tables::{Op, TablesError, When};
use http::{HeaderMap, StatusCode};

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_sent_once() {
    let world = world("lost");
    world.table.create_table_if_missing().await.unwrap();
    world.faulty.calls();

    world.faulty.plan([Fault::LoseAnswer]);
    let error = world.table.insert(entity("p", "r").with("owner", "me")).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 1);
    let seen = world.get("p", "r").await.unwrap();
    assert_eq!(seen.text("owner"), Some("me"), "reading back tells whose write it was");
    world.faulty.calls();

    world.faulty.plan([Fault::LoseAnswer]);
    let merge = Op::Merge(entity("p", "r").with("owner", "me again"), When::Is(seen.etag.unwrap()));
    let error = world.table.transact(&key("p"), vec![merge.clone(), Op::Insert(entity("p", "s"))]).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 1);
    assert_eq!(world.get("p", "r").await.unwrap().text("owner"), Some("me again"));
    let again = world.table.transact(&key("p"), vec![merge, Op::Insert(entity("p", "s"))]).await.unwrap_err();
    assert!(matches!(again, TablesError::Stale { index: Some(0) }), "{again:?}");

    world.faulty.plan([Fault::LoseAnswer]);
    assert!(world.table.delete(&key("p"), &key("s"), When::Exists).await.is_err());
    assert_eq!(world.get("p", "s").await, None);
}

#[tokio::test]
async fn a_write_that_was_not_sent_had_no_effect() {
    let world = world("notsent");
    world.table.create_table_if_missing().await.unwrap();
    world.faulty.plan([Fault::NotSent]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::NotSent { .. }), "{error:?}");
    assert_eq!(world.get("p", "r").await, None);
}

fn answered(status: StatusCode, headers: &[(&'static str, &str)]) -> Fault {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Fault::Answer(Response { status, headers, body: Bytes::new() })
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered_but_not_for_ever() {
    let world = world("reads");
    world.table.insert(entity("p", "r")).await.unwrap();
    world.faulty.calls();
    let busy = || answered(StatusCode::SERVICE_UNAVAILABLE, &[("x-ms-error-code", "ServerBusy")]);
    world.faulty.plan([Fault::LoseAnswer, busy()]);
    assert!(world.get("p", "r").await.is_some());
    assert_eq!(world.faulty.calls(), 3);
    world.faulty.plan([Fault::NotSent, Fault::NotSent, busy()]);
    let error = world.table.get(&key("p"), &key("r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Busy { .. }), "{error:?}");
    assert_eq!(world.faulty.calls(), 3);
}

#[tokio::test]
async fn a_busy_service_says_how_long_and_a_broken_gateway_says_nothing() {
    let world = world("busy");
    let busy = answered(StatusCode::SERVICE_UNAVAILABLE, &[("x-ms-error-code", "ServerBusy"), ("retry-after", "7")]);
    world.faulty.plan([busy]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Busy { after: Some(after) } if after.as_secs() == 7), "{error:?}");
    world.faulty.plan([answered(StatusCode::BAD_GATEWAY, &[])]);
    let error = world.table.insert(entity("p", "r")).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "{error:?}");
    world.faulty.plan([answered(StatusCode::ACCEPTED, &[])]);
    let error = world.table.transact(&key("p"), vec![Op::Insert(entity("p", "r"))]).await.unwrap_err();
    assert!(matches!(error, TablesError::Unknown { .. }), "an empty success is none: {error:?}");
}
