//! Events on their way: webhooks, queues, and requests over real sockets.

use super::*;
use crate::sim::dataverse::{RaisedEvent, Sink, Step, Webhook, serve};
use crate::sim::http::{self as wire, Sender, status};
use http::StatusCode;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A receiver that answers with these statuses in turn, the last one for ever; and how often it was asked.
async fn receiver(statuses: &'static [u16]) -> (wire::Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let server = wire::serve(0, move |request| {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(request.headers().contains_key("x-ms-dynamics-organization"));
            assert_eq!(request.headers()["x-webhook-secret"], "s");
            let code = statuses.get(n).or(statuses.last()).copied().unwrap();
            Reply::Answer(status(StatusCode::from_u16(code).unwrap()))
        }
    })
    .await
    .unwrap();
    (server, asked)
}

#[tokio::test]
async fn a_webhook_is_tried_once_more_only_after_a_gateway_error() {
    for (statuses, attempts, failed) in
        [(&[202][..], 1, 0), (&[500][..], 1, 1), (&[429][..], 1, 1), (&[503, 200][..], 2, 0), (&[502, 504][..], 2, 1)]
    {
        let (server, asked) = receiver(statuses).await;
        let env = environment();
        let mut webhook = Webhook::new(&format!("{}/api/webhook?code=x", server.url())).header("x-webhook-secret", "s");
        webhook.retry = Duration::ZERO;
        env.subscribe(Step::new(id(0xe), "account", Sink::Webhook(Arc::new(webhook))));
        account(&env, 1).await;
        env.idle().await;
        assert_eq!((asked.load(Ordering::Relaxed), env.failed_jobs().len()), (attempts, failed), "{statuses:?}");
    }
}

#[tokio::test]
async fn a_webhook_that_nobody_answers_is_lost() {
    let (server, _) = receiver(&[200]).await;
    let url = server.url();
    drop(server);
    let env = environment();
    env.subscribe(Step::new(id(0xe), "account", Sink::Webhook(Arc::new(Webhook::new(&url)))));
    account(&env, 1).await;
    env.idle().await;
    assert_eq!(env.failed_jobs()[0].step, id(0xe));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_is_tried_again_and_delays_mix_the_order() {
    let env = environment();
    let got: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&got);
    let first = Arc::new(AtomicUsize::new(0));
    let receive = move |event: RaisedEvent| -> futures_util::future::BoxFuture<'static, Result<(), String>> {
        let (seen, refuse) = (Arc::clone(&seen), first.fetch_add(1, Ordering::Relaxed) == 0);
        Box::pin(async move {
            if refuse {
                return Err("down".to_owned());
            }
            seen.lock().unwrap().push(event.sequence);
            Ok(())
        })
    };
    let step = Step::new(id(0xe), "account", Sink::Call(Arc::new(receive)));
    env.subscribe(step.delay(Duration::ZERO, Duration::from_secs(5)));
    for n in 0..20 {
        account(&env, n).await;
    }
    env.idle().await;
    let got = got.lock().unwrap().clone();
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 20);
    assert!(!got.is_sorted());
    assert!(env.failed_jobs().is_empty());
}

#[tokio::test]
async fn a_served_environment_answers_and_hangs_up_over_sockets() {
    let env = environment();
    let server = serve(env.clone(), 0).await.unwrap();
    let sender = Sender::default();
    let patch = || {
        Request::patch(format!("{}/api/data/v9.2/accounts({})?tag=x", server.url(), id(1)))
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("odata-version", "4.0")
            .header("odata-maxversion", "4.0")
            .body(Bytes::from(r#"{"name":"x"}"#))
            .unwrap()
    };
    let answer = sender.send(patch()).await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["odata-entityid"], format!("{}/api/data/v9.2/accounts({})", server.url(), id(1)));
    env.faults().outage(Duration::from_secs(60));
    assert!(sender.send(patch()).await.is_err());
    env.faults().clear();
    assert_eq!(sender.send(patch()).await.unwrap().status(), 204);
    assert_eq!(env.requests().last()[0].tag.as_deref(), Some("x"));
}
