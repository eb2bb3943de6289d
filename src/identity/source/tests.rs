//! The cache on paused time, with an authority that hands out numbered tokens.

use super::*;
use crate::clock::SystemClock;
use crate::outbound::transport::{Request, Response, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const RESOURCE: &str = "https://storage.azure.com";

/// Answers after a second, with `token-1`, `token-2`, ... of an hour each.
#[derive(Debug, Default)]
struct Authority {
    asked: AtomicU32,
    ill: AtomicBool,
}

#[async_trait]
impl Transport for Authority {
    async fn send(&self, _request: Request) -> Result<Response, TransportError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (status, body) = if self.ill.load(Ordering::SeqCst) {
            (StatusCode::BAD_REQUEST, r#"{"error":"invalid_client"}"#.to_owned())
        } else {
            (StatusCode::OK, format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#))
        };
        Ok(Response { status, headers: HeaderMap::new(), body: Bytes::from(body) })
    }
}

fn source() -> (TokenSource, Arc<Authority>) {
    let authority = Arc::new(Authority::default());
    let credential = Credential::client_secret(None, "tenant", "client", Secret::new("hidden")).unwrap();
    let clock = Arc::new(SystemClock::default());
    let transport = Arc::clone(&authority) as Arc<dyn Transport>;
    (TokenSource::new(credential, transport, clock, TokenLimits::default()), authority)
}

async fn text(source: &TokenSource) -> String {
    source.token(RESOURCE).await.unwrap().unwrap().expose().to_owned()
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn many_who_need_a_token_ask_once() {
    let (source, authority) = source();
    let all = futures_util::future::join_all((0..50).map(|_| text(&source))).await;
    assert!(all.iter().all(|token| token == "token-1"));
    assert_eq!(authority.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_ahead_and_the_others_go_on_with_the_old_one() {
    let (source, authority) = source();
    assert_eq!(text(&source).await, "token-1");
    pass(2800).await;
    assert_eq!(text(&source).await, "token-1");
    pass(200).await;
    let begun = tokio::time::Instant::now();
    let all = futures_util::future::join_all((0..50).map(|_| async {
        let (token, ()) = tokio::join!(text(&source), source.renew(RESOURCE));
        token
    }));
    assert!(all.await.iter().all(|token| token == "token-1"), "the old one still works");
    assert_eq!((authority.asked.load(Ordering::SeqCst), begun.elapsed()), (2, Duration::from_secs(1)));
    assert_eq!(text(&source).await, "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_dropped_or_fails_is_not_tried_again_at_once() {
    let (source, authority) = source();
    assert_eq!(text(&source).await, "token-1");
    pass(3000).await;
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(100), source.renew(RESOURCE)).await;
    }
    assert_eq!(authority.asked.load(Ordering::SeqCst), 2);
    pass(5).await;
    source.renew(RESOURCE).await;
    assert_eq!((text(&source).await.as_str(), authority.asked.load(Ordering::SeqCst)), ("token-3", 3));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_is_no_error_while_the_old_token_works() {
    let (source, authority) = source();
    assert_eq!(text(&source).await, "token-1");
    authority.ill.store(true, Ordering::SeqCst);
    pass(3000).await;
    for _ in 0..2 {
        source.renew(RESOURCE).await; // and does not ask again at once
        assert_eq!(text(&source).await, "token-1");
    }
    assert_eq!(authority.asked.load(Ordering::SeqCst), 2);
    pass(600).await;
    assert!(source.token(RESOURCE).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failure_answers_for_all_who_wait_and_is_soon_forgotten() {
    let (source, authority) = source();
    authority.ill.store(true, Ordering::SeqCst);
    let all = futures_util::future::join_all((0..20).map(|_| source.token(RESOURCE))).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(authority.asked.load(Ordering::SeqCst), 1);
    authority.ill.store(false, Ordering::SeqCst);
    pass(3).await;
    assert_eq!(text(&source).await, "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_refresher_that_is_dropped_leaves_the_door_open() {
    let (source, _) = source();
    let dropped = tokio::time::timeout(Duration::from_millis(10), source.token(RESOURCE)).await;
    assert!(dropped.is_err());
    assert_eq!(text(&source).await, "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dropped_once_and_not_by_latecomers() {
    let (source, authority) = source();
    let first = source.token(RESOURCE).await.unwrap().unwrap();
    assert!(source.drop_token(RESOURCE, &first));
    let second = source.token(RESOURCE).await.unwrap().unwrap();
    assert_eq!(second.expose(), "token-2");
    assert!(source.drop_token(RESOURCE, &first), "a latecomer with the old token may repeat with the new one");
    assert_eq!(text(&source).await, "token-2");
    assert!(!source.drop_token(RESOURCE, &second), "a new token that is refused too is not the token's fault");
    assert_eq!(authority.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn resources_have_tokens_of_their_own_and_not_endlessly_many() {
    let (source, _) = source();
    assert_eq!(text(&source).await, "token-1");
    assert_eq!(source.token("https://other").await.unwrap().unwrap().expose(), "token-2");
    for number in 0..RESOURCES_MAX - 2 {
        assert!(source.token(&format!("https://{number}")).await.is_ok());
    }
    assert!(matches!(source.token("https://more").await, Err(IdentityError::Misconfigured { .. })));
}

#[tokio::test(start_paused = true)]
async fn nothing_secret_is_in_the_debug_output() {
    let (source, _) = source();
    assert_eq!(text(&source).await, "token-1");
    let shown = format!("{source:?}");
    assert!(!shown.contains("token-1") && !shown.contains("hidden"), "{shown}");
}
