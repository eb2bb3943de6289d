//! The events of a scenario, raised by the source, and how they are sent. Knows no measurement.

use super::BenchArgs;
use super::folder::TABLE;
use super::live::Live;
use super::scenario::Scenario;
use super::world::{KEY, World};
use crate::sim::dataverse::{RaisedEvent, WebhookPost};
use crate::sim::host::NewMessage;
use crate::sim::http::Sender;
use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value as Json, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Webhooks that are posted at once, as Dataverse's asynchronous service does from several machines.
pub(super) const POSTS_AT_ONCE: usize = 64;
/// Longest wait for the end of a scenario, and for what is kept for later after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often it is asked whether something is still owed.
const ASK: Duration = Duration::from_millis(500);

fn row(arguments: &BenchArgs, mark: &str, n: usize) -> Json {
    let text = "x".repeat(usize::try_from(arguments.payload_bytes).unwrap_or(1));
    json!({ "name": format!("{mark}A{n}"), "telephone1": n.to_string(), "description": text, "numberofemployees": n })
}

/// The events, raised by the source. Rows that are only updated exist on both sides by then.
pub(super) async fn raise(
    world: &World,
    arguments: &BenchArgs,
    scenario: Scenario,
    live: &Live,
) -> anyhow::Result<Vec<RaisedEvent>> {
    let (count, mark) = (usize::try_from(arguments.events)?, live.mark(arguments));
    let (person, rows) = (world.source.person(), scenario.rows(count));
    let refused = |error| anyhow!("the stand-in refuses a row: {error:?}");
    let mut ids = Vec::new();
    for n in 0..rows {
        ids.push(world.source.create(&person, TABLE, &row(arguments, &mark, n)).map_err(refused)?);
    }
    let mut events = collected(world).await;
    if scenario == Scenario::HotRows {
        queue(world, &events, 1);
        timeout(PATIENCE, world.host.idle()).await.context("the rows do not come into being")?;
        events.clear();
    }
    let wanted = count / scenario.copies();
    for n in events.len()..wanted {
        let id = ids.get(n % rows).context("no row")?;
        world.source.update(&person, TABLE, *id, &json!({ "telephone1": format!("u{n}") })).map_err(refused)?;
    }
    events.append(&mut collected(world).await);
    if scenario == Scenario::Races {
        // a row's create and update stand side by side
        events.sort_by_key(|event| (event.id, event.sequence));
    }
    Ok(events)
}

async fn collected(world: &World) -> Vec<RaisedEvent> {
    world.source.idle().await;
    world.raised.take()
}

/// Metadata and tables are there before anything is measured.
pub(super) async fn warm(world: &World, arguments: &BenchArgs, live: &Live) -> anyhow::Result<()> {
    for n in 0..arguments.instances * 4 {
        let row = row(arguments, &live.mark(arguments), n);
        let created = world.source.create(&world.source.person(), TABLE, &row);
        created.map_err(|error| anyhow!("the stand-in refuses a row: {error:?}"))?;
    }
    let events = collected(world).await;
    queue(world, &events, 1);
    timeout(PATIENCE, world.host.idle()).await.context("the handlers do not warm up")
}

/// Puts each event into the queue, so many times.
pub(super) fn queue(world: &World, events: &[RaisedEvent], copies: usize) {
    for _ in 0..copies {
        for message in events.iter().filter_map(RaisedEvent::queue) {
            let properties = message.properties.into_iter().map(|(name, value)| (name, Json::String(value))).collect();
            let content_type = Some(message.content_type.to_owned());
            world.queue.send(NewMessage { body: message.body, properties, content_type, ..NewMessage::default() });
        }
    }
}

/// Bytes of an event's message, on average.
pub(super) fn bytes(events: &[RaisedEvent]) -> usize {
    events.iter().map(|event| event.body.len()).sum::<usize>() / events.len().max(1)
}

/// What was posted.
#[derive(Default)]
pub(super) struct Posted {
    pub(super) times: Vec<Duration>,
    /// Answers other than 2xx.
    pub(super) refused: usize,
}

/// Posts each event as a webhook.
pub(super) async fn post(world: &World, events: &[RaisedEvent]) -> anyhow::Result<Posted> {
    let (sender, url) = (Sender::default(), format!("{}/api/webhook?code={KEY}", world.host.url()));
    let (sender, url) = (&sender, url.as_str());
    let answers = stream::iter(events).map(|event| async move {
        let WebhookPost { headers, body } = event.webhook();
        let mut request = http::Request::post(url);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let begun = Instant::now();
        let answer = sender.send(request.body(body)?).await.map_err(anyhow::Error::msg)?;
        anyhow::Ok((begun.elapsed(), answer.status().is_success()))
    });
    let mut answers = answers.buffer_unordered(POSTS_AT_ONCE);
    let mut posted = Posted::default();
    while let Some(answer) = answers.next().await {
        let (took, accepted) = answer?;
        posted.times.push(took);
        posted.refused += usize::from(!accepted);
    }
    Ok(posted)
}

/// What is not done.
#[derive(Default)]
pub(super) struct Owed {
    owed: usize,
    parked: usize,
}

impl Owed {
    /// Both.
    pub(super) fn total(&self) -> usize {
        self.owed + self.parked
    }
}

/// Waits until nothing is owed any more, as `status` tells it; whether it had to.
pub(super) async fn settled(world: &World) -> anyhow::Result<(Owed, bool)> {
    let (sender, url) = (Sender::default(), format!("{}/api/status?code={KEY}", world.host.url()));
    let until = Instant::now() + PATIENCE;
    let mut waited = false;
    loop {
        let request = http::Request::get(&url).body(Bytes::new())?;
        let answer = sender.send(request).await.map_err(anyhow::Error::msg)?;
        ensure!(answer.status().is_success(), "status answers {}", answer.status());
        let status: Json = serde_json::from_slice(answer.body())?;
        let count = |name: &str| status.get(name).and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok());
        let owed = Owed { owed: count("owed").context("owed")?, parked: count("parked").context("parked")? };
        if owed.owed == 0 || Instant::now() >= until {
            return Ok((owed, waited));
        }
        waited = true;
        sleep(ASK).await;
    }
}
