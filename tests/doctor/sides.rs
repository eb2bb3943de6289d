//! Tokens that are for somebody else, and what comes back of our own writes.

use super::{CLIENT, Setup, TENANT, checks, finds, good};
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::operate::doctor::Status::{self, Fail, Warn};
use serde_json::{Value, json};
use uuid::Uuid;

/// A target that wants tokens, and what those say.
fn with_token(setup: &mut Setup, mut claims: Value) {
    setup.set("TARGET_AUTH", "auto");
    setup.set("TARGET_TENANT_ID", TENANT);
    setup.set("TARGET_CLIENT_ID", CLIENT);
    setup.set("TARGET_CLIENT_SECRET", "s");
    let now = SystemClock::default().now().timestamp();
    let good = json!({"aud": "{target}", "tid": TENANT, "appid": CLIENT, "nbf": now - 60, "exp": now + 3_540});
    for (name, value) in good.as_object().unwrap() {
        claims.as_object_mut().unwrap().entry(name).or_insert(value.clone());
    }
    setup.claims = Some(claims);
}

#[tokio::test]
async fn tokens_that_are_for_somebody_else_are_found() {
    let mut setup = good();
    with_token(&mut setup, json!({}));
    let told = checks(setup).await;
    assert!(told.iter().all(|check| check.status == Status::Ok), "{told:#?}");
    let line = told.iter().find(|check| check.name == "target token").unwrap();
    assert!(line.detail.contains("for http://127.0.0.1") && line.detail.contains("more minutes"), "{line:?}");
    let other = |s: &mut Setup| with_token(s, json!({"aud": "https://other.crm4.dynamics.com/"}));
    finds(other, (Fail, "target token", "it is for https://other.crm4.dynamics.com/", "set TARGET_URL")).await;
    let tenant = |s: &mut Setup| with_token(s, json!({"tid": CLIENT}));
    finds(tenant, (Fail, "target token", "from the tenant 2222", "set TARGET_TENANT_ID")).await;
    let application = |s: &mut Setup| with_token(s, json!({"appid": TENANT}));
    finds(application, (Fail, "target token", "for the application 1111", "correct TARGET_CLIENT_ID")).await;
    finds(|s| with_token(s, json!({"exp": 1_000})), (Fail, "target token", "has expired", "NTP")).await;
}

#[tokio::test]
async fn a_target_that_sends_its_own_events_here_is_found() {
    const MARKER: &str = "loop marker";
    let back = |s: &mut Setup| s.other_way = Some("dataverse-events");
    finds(back, (Fail, MARKER, "bus.servicebus.windows.net/dataverse-events", "SOURCE_ORGANIZATION_ID")).await;
    let named = |s: &mut Setup| {
        back(s);
        s.set("SOURCE_ORGANIZATION_ID", &Uuid::from_u128(1).to_string());
    };
    finds(named, (Warn, MARKER, "each is ignored", "remove those steps from the target")).await;
}

#[tokio::test]
async fn a_sync_in_both_directions_is_told_and_wants_one_application() {
    const MARKER: &str = "loop marker";
    let mut setup = good();
    setup.other_way = Some("events-back");
    let told = checks(setup).await;
    assert!(told.iter().all(|check| check.status == Status::Ok), "{told:#?}");
    let line = told.iter().find(|check| check.name == MARKER).unwrap();
    assert!(line.detail.contains("both directions") && line.detail.contains("tag dataverse-sync"), "{line:?}");
    let other = |s: &mut Setup| {
        s.other_way = Some("events-back");
        s.after = Some(|source| {
            let user = source.service().user;
            let body = json!({"azureactivedirectoryobjectid": Uuid::from_u128(77)});
            source.update(&source.person(), "systemuser", user, &body).unwrap();
        });
    };
    finds(other, (Warn, MARKER, "by different applications", "one application in both environments")).await;
}

#[tokio::test]
async fn an_application_that_somebody_else_uses_in_the_source_is_found() {
    let shared = |s: &mut Setup| {
        s.after = Some(|source| {
            source.create(&source.service(), "account", &json!({"name": "From the ERP"})).unwrap();
        });
    };
    finds(shared, (Warn, "own user in the source", "changed rows of account", "an application of its own")).await;
}
