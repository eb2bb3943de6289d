//! The host stand-in with real processes: this test binary, started again, is the handler.

use super::{App, call, events, reply, success};
use crate::sim::host::*;
use crate::sim::http::serve;
use bytes::Bytes;
use http::Request;
use serde_json::json;
use std::path::Path;

/// The handler process of the tests below: this test binary again, told to run this one test.
#[tokio::test]
async fn the_handler_of_these_tests_listens_only_where_a_host_says() {
    let Some(port) = std::env::var_os("FUNCTIONS_CUSTOMHANDLER_PORT") else {
        let refused = Host::start(HostSettings::new(Path::new("/nonexistent"))).await;
        assert!(matches!(refused, Err(StartError::Manifest(_))));
        return;
    };
    let port = port.to_str().unwrap().parse().unwrap();
    let _server = serve(port, |request: Request<Bytes>| async move {
        match request.uri().path() {
            "/api/webhook/env" => {
                let env: BTreeMap<String, String> =
                    std::env::vars_os().map(|(k, v)| (k.into_string().unwrap(), v.into_string().unwrap())).collect();
                reply(200, "application/json", &json!(env).to_string())
            }
            "/api/webhook/exit" => std::process::exit(0),
            "/api/webhook/wait" => std::future::pending().await,
            _ => success(),
        }
    })
    .await
    .unwrap();
    std::future::pending::<()>().await;
}

fn processes(app: &App) -> HostSettings {
    let name = "sim::host::tests::processes::the_handler_of_these_tests_listens_only_where_a_host_says";
    let mut settings = app.settings();
    settings.handlers = Handlers::Program {
        executable: std::env::current_exe().unwrap(),
        arguments: vec!["--exact".into(), name.into(), "--nocapture".into()],
    };
    settings
}

#[tokio::test]
async fn a_handler_process_gets_its_environment_and_nothing_else() {
    let app = App::usual();
    let host = Host::start(processes(&app)).await.unwrap();
    let (status, body) = call(&host, "/api/webhook/env", "key").await;
    let env: BTreeMap<String, String> = serde_json::from_str(&body).unwrap();
    assert_eq!((status, env["SYNC_QUEUE"].as_str()), (200, "events"));
    assert_eq!(env["FUNCTIONS_CUSTOMHANDLER_PORT"], env["FUNCTIONS_HTTPWORKER_PORT"]);
    assert_eq!(env["FUNCTIONS_APP_ROOT_PATH"], app.0.to_str().unwrap());
    assert!(env.contains_key("FUNCTIONS_CUSTOMHANDLER_WORKER_ID") && !env.contains_key("PATH"));
    events(&host).send(NewMessage::new("a"));
    events(&host).idle().await;
    assert_eq!(host.counts().successes, 2);
    assert!(host.log().lines().iter().any(|l| l.source == log::Source::Console && l.text.contains("running 1 test")));
}

#[tokio::test]
async fn a_crashed_handler_fails_its_requests_and_is_replaced_until_the_third_time() {
    let app = App::usual();
    let host = Host::start(processes(&app)).await.unwrap();
    let before = host.pid(0);
    let (answer, ()) = tokio::join!(call(&host, "/api/webhook/wait", "key"), async {
        while host.counts().invocations.is_empty() {
            tokio::task::yield_now().await;
        }
        host.crash(0).await.unwrap();
    });
    assert_eq!(answer.0, 500);
    assert_eq!(call(&host, "/api/webhook/x", "key").await.0, 200);
    assert_ne!(host.pid(0), before);
    for _ in 0..2 {
        host.ready(0).await.unwrap();
        let deaths = host.deaths();
        host.crash(0).await.unwrap();
        while host.deaths() == deaths {
            tokio::task::yield_now().await;
        }
    }
    assert!(host.ready(0).await.is_err());
    assert!(host.log().contains("Exceeded http worker restart retry count") && host.log().contains("code 137"));
    assert_eq!(call(&host, "/api/webhook/x", "key").await.0, 503);
}

#[tokio::test]
async fn instances_take_turns_and_leave_and_come_back() {
    let app = App::usual();
    let mut settings = processes(&app);
    settings.instances = 2;
    let host = Host::start(settings).await.unwrap();
    let before = (host.pid(0), host.pid(1));
    host.kill(0).await.unwrap();
    host.ready(0).await.unwrap();
    assert_ne!(host.pid(0), before.0);
    assert_eq!(host.terminate(0, GRACE).await, Ok(Some(143)), "this handler does not know SIGTERM");
    assert_eq!(host.status(0), Some(Status::Down));
    for _ in 0..4 {
        assert_eq!(call(&host, "/api/webhook/x", "key").await.0, 200);
    }
    host.revive(0).await.unwrap();
    assert!(host.revive(1).await.is_err());
    host.pause(1).await.unwrap();
    host.resume(1).await.unwrap();
    assert_eq!(call(&host, "/api/webhook/x", "key").await.0, 200);
    host.stop(GRACE).await;
}

#[tokio::test]
async fn a_handler_that_left_with_code_0_is_not_restarted() {
    let app = App::usual();
    let host = Host::start(processes(&app)).await.unwrap();
    assert_eq!(call(&host, "/api/webhook/exit", "key").await.0, 500);
    while !matches!(host.status(0), Some(Status::Exited(_))) {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.deaths(), 1);
    assert!(matches!(host.fire("sweep").await, Ok(Ending::Failure(_))));
}

#[tokio::test]
async fn a_handler_that_cannot_start_is_tried_three_times() {
    let app = App::usual();
    let run = async |script: &str| {
        let mut settings = app.settings();
        let log = settings.log.clone();
        let arguments = vec!["-c".into(), format!("cd {}; echo start; {script}", app.0.display())];
        settings.handlers = Handlers::Program { executable: "/bin/sh".into(), arguments };
        let error = Host::start(settings).await.err().unwrap().to_string();
        (error, log.lines().iter().filter(|l| l.text == "start").count())
    };
    let (error, starts) = run("echo out of luck >&2; exit 3").await;
    assert!(error.contains("code 3") && error.contains("out of luck"), "{error}");
    assert_eq!(starts, 3);
    let (_, starts) = run("test -f once && exit 3; touch once; exit 200").await;
    assert_eq!(starts, 4, "code 200 asks for a restart and does not count");
}
