//! The steps that registered rows amount to, and where their events go: webhooks by their address, queues by what was
//! connected under their namespace and path.

use super::context::Image;
use super::deliver::{Receive, Sink, Webhook};
use super::events::Step;
use super::registration::{ENDPOINT, IMAGE, STEP, WEBHOOK, aim, enabled, list, lookup, number, settings, text};
use super::store::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Queues that can be reached: by host of the namespace and path.
pub(super) type Queues = BTreeMap<(String, String), Receive>;

/// All enabled steps.
pub(super) fn steps(state: &State, queues: &Queues, delay: (Duration, Duration)) -> Vec<Arc<Step>> {
    let rows = state.rows.get(STEP).into_iter().flatten().filter(|(_, row)| enabled(row));
    rows.filter_map(|(id, row)| {
        let (message, table) = aim(state, &row.columns)?;
        let sink = sink(state, lookup(&row.columns, "eventhandler")?, queues)?;
        let mut step = Step {
            id: *id,
            table,
            messages: vec![message],
            filter: list(text(&row.columns, "filteringattributes")),
            image: None,
            pre_image: None,
            delay,
            sink,
        };
        let images = state.rows.get(IMAGE).into_iter().flatten().map(|(_, image)| &image.columns);
        for image in images.filter(|image| lookup(image, "sdkmessageprocessingstepid") == Some(*id)) {
            let columns = list(text(image, "attributes"));
            let shown = if columns.is_empty() { Image::All } else { Image::Columns(columns) };
            match number(image, "imagetype") {
                Some(0) => step.pre_image = Some(shown),
                _ => step.image = Some(shown),
            }
        }
        Some(Arc::new(step))
    })
    .collect()
}

fn sink(state: &State, endpoint: Uuid, queues: &Queues) -> Option<Sink> {
    let row = &state.row(ENDPOINT, endpoint)?.columns;
    if number(row, "contract") == Some(WEBHOOK) {
        let (url, value) = (text(row, "url"), text(row, "authvalue"));
        let query = |pairs: &[(String, String)]| {
            let joined: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let separator = if url.contains('?') { '&' } else { '?' };
            Webhook::new(&format!("{url}{separator}{}", joined.join("&")))
        };
        let webhook = match number(row, "authtype") {
            Some(4) => query(&[("code".to_owned(), value.to_owned())]),
            Some(6) => query(&settings(value)?),
            _ => settings(value)?.iter().fold(Webhook::new(url), |hook, (name, value)| hook.header(name, value)),
        };
        return Some(Sink::Webhook(Arc::new(webhook)));
    }
    let found = queues.get(&(host(text(row, "namespaceaddress")), text(row, "path").to_owned())).cloned();
    Some(Sink::Call(
        found
            .unwrap_or_else(|| Arc::new(|_| Box::pin(async { Err("there is no such namespace or queue".to_owned()) }))),
    ))
}

/// `name.servicebus.windows.net` of `sb://name.servicebus.windows.net/`.
pub(super) fn host(address: &str) -> String {
    address.trim_start_matches("sb://").trim_end_matches('/').to_ascii_lowercase()
}
