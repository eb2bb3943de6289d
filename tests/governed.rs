//! A good neighbour, outside in: three processes of the built binary, a target that throttles or is gone, and what it saw of
//! each of them, by its own log. They share a table storage and nothing else.
//!
//! The margins are for a machine that is busy with other things: work that is late never fails a test, a call that must not
//! be made always does.
#![cfg(unix)]

use crate::support::handler::Handler;
use chrono::SubsecRound;
use dataverse_sync::clock::{Clock, SystemClock};
use dataverse_sync::sim::dataverse::sample::sample_schema;
use dataverse_sync::sim::dataverse::{
    Collector, Effect, Environment, Image, RaisedEvent, Record, Rule, Settings, Sink, Step, When,
};
use dataverse_sync::sim::http::{Reply, Server, serve};
use dataverse_sync::sim::tables::{self, DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, TableService};
use futures_util::future::join_all;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
/// What the target asks for.
const PAUSE: Duration = Duration::from_secs(13);
/// How soon the others must know (each looks at most every 5 s).
const KNOWN_AFTER: Duration = Duration::from_secs(5);
/// From the moment at which the notice stands in the ledger: a look that was answered before it may take 2 s to be read
/// (the patience with the ledger), and a call that was begun before may be late.
const LATE: Duration = Duration::from_millis(3_500);
/// Between two events of one process.
const PACE: Duration = Duration::from_millis(250);

/// How the target says how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Seconds,
    /// An HTTP date, without a `Date` beside it: the clocks of both sides count.
    Date,
}

struct World {
    source: Environment,
    raised: Collector,
    target: Environment,
    /// When instances told each other something, on the target's clock, and until when the last pause lasts.
    told: Arc<Mutex<Vec<Duration>>>,
    until: Arc<Mutex<Option<Duration>>>,
    handlers: Vec<Handler>,
    /// Which process got which event, by its correlation id.
    given: Mutex<BTreeMap<String, usize>>,
    _servers: [Server; 2],
}

impl World {
    async fn new(form: Form) -> Self {
        let source = Environment::new(Settings::new(Uuid::from_u128(1), sample_schema()));
        let target = Environment::new(Settings {
            log_entries_max: 100_000,
            ..Settings::new(Uuid::from_u128(2), sample_schema())
        });
        let raised = Collector::default();
        for (number, table) in (100..).zip(["account", "contact"]) {
            let step = Step::new(Uuid::from_u128(number), table, Sink::Collect(raised.clone()));
            source.subscribe(step.image(Image::All));
        }
        let told: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let until: Arc<Mutex<Option<Duration>>> = Arc::default();
        let asked = (target.clone(), Arc::clone(&until));
        let front = serve(0, move |request| {
            let (target, until) = asked.clone();
            async move {
                match target.handle(request).await {
                    Reply::Answer(answer) if answer.status() == 429 => {
                        Reply::Answer(said(answer, form, &target, &until))
                    }
                    reply => reply,
                }
            }
        });
        let (service, writes, clock) =
            (TableService::new(tables::Settings::default()), Arc::clone(&told), target.clone());
        let storage = serve(0, move |request| {
            let (service, writes, clock) = (service.clone(), Arc::clone(&writes), clock.clone());
            let notice = request.method() != http::Method::GET
                && (request.uri().path().contains("governor")
                    || String::from_utf8_lossy(request.body()).contains("system:governor"));
            async move {
                let reply = service.handle(request).await;
                if notice && matches!(&reply, Reply::Answer(answer) if answer.status().is_success()) {
                    writes.lock().unwrap().push(clock.elapsed());
                }
                reply
            }
        });
        let servers = [front.await.unwrap(), storage.await.unwrap()];
        let endpoint = format!("{}/{DEVELOPMENT_ACCOUNT}", servers[1].url());
        let connection =
            format!("AccountName={DEVELOPMENT_ACCOUNT};AccountKey={DEVELOPMENT_KEY};TableEndpoint={endpoint}");
        let url = servers[0].url();
        let settings =
            [("TARGET_URL", url.as_str()), ("TARGET_AUTH", "none"), ("AzureWebJobsStorage", connection.as_str())];
        let handlers = join_all((0..3).map(|_| Handler::start(&settings))).await;
        let world = Self { source, raised, target, told, until, handlers, given: Mutex::default(), _servers: servers };
        // the first event of a process fetches metadata
        for process in 0..3 {
            for table in ["account", "contact"] {
                world.bring(process, &world.change(table)).await;
            }
        }
        world
    }

    /// A new row's event.
    fn change(&self, table: &str) -> RaisedEvent {
        let column = if table == "contact" { "lastname" } else { "name" };
        let id = Uuid::new_v4().to_string();
        self.source.create(&self.source.person(), table, &json!({ column: id })).unwrap();
        self.raised.take().remove(0)
    }

    /// Gives a process an event by the queue: it waits for its place within the queue's deadline.
    async fn bring(&self, process: usize, event: &RaisedEvent) {
        self.given.lock().unwrap().insert(event.correlation.to_string(), process);
        let message = event.queue().unwrap();
        let body = json!(String::from_utf8(message.body.to_vec()).unwrap());
        let invocation = Uuid::new_v4().to_string();
        let answer = self.handlers[process].invoke(&invocation, &body, &json!(message.properties)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The same as a webhook, which never waits: its outcome.
    async fn post(&self, process: usize, event: &RaisedEvent) -> String {
        self.given.lock().unwrap().insert(event.correlation.to_string(), process);
        let post = event.webhook();
        let mut headers: Vec<(&str, &str)> = post.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let invocation = Uuid::new_v4().to_string();
        headers.push(("x-ms-invocation-id", &invocation));
        let answer = self.handlers[process].send("POST", "/api/webhook", &headers, post.body.clone()).await;
        answer.json["outcome"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// New rows at a steady pace for so long; ends when all are done.
    async fn stream(&self, process: usize, lasts: Duration) {
        let count = u32::try_from(lasts.as_millis() / PACE.as_millis()).unwrap();
        join_all((0..count).map(|number| async move {
            sleep(PACE * number).await;
            self.bring(process, &self.change("account")).await;
        }))
        .await;
    }

    async fn status(&self, process: usize) -> serde_json::Value {
        let invocation = Uuid::new_v4().to_string();
        let headers = [("x-ms-invocation-id", invocation.as_str())];
        self.handlers[process].send("GET", "/api/status", &headers, "").await.json
    }

    /// What the target saw, and of which process.
    fn seen(&self) -> Vec<(Option<usize>, Record)> {
        let given = self.given.lock().unwrap();
        let of = |record: &Record| given.get(record.headers.get("x-ms-correlation-request-id")?).copied();
        self.target.requests().last().into_iter().map(|record| (of(&record), record)).collect()
    }
}

/// The answer with `Retry-After` in this form, and when that ends on the target's clock.
fn said(
    mut answer: http::Response<bytes::Bytes>,
    form: Form,
    target: &Environment,
    until: &Mutex<Option<Duration>>,
) -> http::Response<bytes::Bytes> {
    let mut ends = target.elapsed() + PAUSE;
    if form == Form::Date {
        // dates have whole seconds
        let now = SystemClock::default().now();
        let date = (now + PAUSE).trunc_subsecs(0);
        ends = target.elapsed() + (date - now).to_std().unwrap();
        let text = httpdate::fmt_http_date(date.into());
        answer.headers_mut().remove("date");
        answer.headers_mut().insert("retry-after", text.parse().unwrap());
    }
    *until.lock().unwrap() = Some(ends);
    answer
}

/// One process is asked for a pause while two others work: who calls when.
async fn a_pause_is_kept(form: Form) {
    let world = World::new(form).await;
    let throttled = Effect::Status { status: 429, code: "0x80072322".to_owned(), retry_after: Some(PAUSE) };
    let rule = world.target.faults().add(Rule::new(When::Nth(1), throttled).table("contact"));
    let asked = world.change("contact");
    let first = async {
        sleep(SECOND).await;
        world.bring(0, &asked).await;
    };
    let zeroth = async {
        // from the moment on at which it knows
        while world.told.lock().unwrap().is_empty() {
            sleep(SECOND / 20).await;
        }
        world.stream(0, PAUSE - 2 * SECOND).await;
    };
    let heard = async {
        sleep(SECOND + KNOWN_AFTER + LATE).await;
        join_all([1, 2].map(|process| world.status(process))).await
    };
    let (_, _, _, _, statuses) = tokio::join!(first, zeroth, world.stream(1, PAUSE), world.stream(2, PAUSE), heard);

    assert_eq!(world.target.faults().hits(rule), 1);
    let (seen, told) = (world.seen(), world.told.lock().unwrap().clone());
    let refused = seen.iter().find(|(_, record)| record.status == Some(429)).unwrap();
    assert_eq!(refused.0, Some(0), "the first process asked for the contact");
    let (since, until) = (refused.1.at, world.until.lock().unwrap().unwrap());
    let calls = |process: usize, from: Duration, to: Duration| {
        let within = |at: Duration| at > from && at < to;
        let of = seen.iter().filter(|(of, record)| *of == Some(process) && within(record.at));
        of.map(|(_, record)| record.at.saturating_sub(since)).collect::<Vec<_>>()
    };
    let known = told[0] + KNOWN_AFTER + LATE;
    assert!(known + 2 * SECOND < until, "too slow a machine to see anything: told after {:?}", told[0] - since);
    assert_eq!(calls(0, since, until), [], "{form:?}: who was asked calls no more");
    for process in [1, 2] {
        assert!(!calls(process, Duration::ZERO, known).is_empty(), "{form:?}: {process} was at work");
        assert_eq!(calls(process, known, until), [], "{form:?}: {process} has heard of it");
    }
    for status in statuses {
        assert_eq!(status["gate"]["target"]["state"], "closed", "{status}");
        assert!(status["gate"]["target"]["closed_for_s"].as_f64().unwrap() > 0.0, "{status}");
        assert_eq!(status["retries"]["target"]["max"], 10, "{status}");
    }
    assert!(seen.iter().all(|(of, record)| of.is_some() || record.at < since), "nobody else calls");
    // everything came to its end by itself
    let rows = |environment: &Environment, table: &str| environment.rows(table).len();
    for table in ["account", "contact"] {
        assert_eq!(rows(&world.source, table), rows(&world.target, table), "{form:?}: {table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_retry_after_runs_the_process_that_was_asked_calls_no_more_and_after_five_seconds_nobody_does() {
    a_pause_is_kept(Form::Seconds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_as_a_date_is_kept_until_that_date() {
    a_pause_is_kept(Form::Date).await;
}

/// Ten calls in a row without an answer open the breaker; two more may be under way by then.
const DEAD: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_one_process_opened_keeps_the_others_from_calling() {
    let world = World::new(Form::Seconds).await;
    let well = world.target.requests().count();
    world.target.faults().add(Rule::new(When::Always, Effect::Down));
    let events: Vec<RaisedEvent> = (0..DEAD).map(|_| world.change("account")).collect();
    let others = async {
        // open for 5 s, then one tries in vain: open for 10 s more, which the ledger tells as well
        while world.told.lock().unwrap().len() < 2 {
            sleep(SECOND / 20).await;
        }
        let mut heard = Vec::new();
        for process in [1, 2] {
            let event = world.change("account");
            heard.push((world.post(process, &event).await, world.status(process).await));
        }
        heard
    };
    let work = join_all(events.iter().map(|event| world.bring(0, event)));
    let heard = tokio::select! {
        heard = others => heard,
        // its messages wait longer than the others need
        _ = async { work.await; std::future::pending::<()>().await } => unreachable!(),
    };
    for (outcome, status) in heard {
        assert_eq!(outcome, "deferred", "a webhook is stored and answered");
        assert_eq!(status["breaker"]["target"]["state"], "open", "{status}");
    }
    let seen = world.seen();
    assert!(world.target.requests().count() - well >= 11, "it was opened by calls, and a probe");
    let by_others = seen.iter().filter(|(of, record)| *of != Some(0) && record.status.is_none()).count();
    assert_eq!(by_others, 0, "nobody else had to find out");
}
