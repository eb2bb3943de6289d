//! The loop marker: what the target sends because of our own writes must be known as echo, and what our user did in the
//! source must be nothing that somebody waits for. Reads both environments' endpoints and steps; changes nothing.
//!
//! Our writes carry `?tag=`, which every event that they raise has in its shared variables; events with it are ignored,
//! whichever installation gets them. Beside that each installation ignores what its own user did in its source.

use super::environment::{Side, told};
use super::target::call;
use super::{Check, listed};
use crate::clock::Clock;
use crate::dataverse::client::Dataverse;
use crate::dataverse::error::DataverseError;
use crate::dataverse::read::Identity;
use crate::dataverse::registration::Registry;
use crate::dataverse::url::{Address, KeyParts};
use crate::domain::mapping::Mapping;
use crate::domain::value::{KeyPart, Value};
use crate::operate::register::MARK;
use crate::sync::environment::Environment;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use uuid::Uuid;

const NAME: &str = "loop marker";
/// The Entra id of a user, the same in every environment.
const OBJECT_ID: &str = "azureactivedirectoryobjectid";

/// Both sides, as they answered.
#[derive(Debug)]
pub struct Sides<'a> {
    /// Where rows go, and who we are there.
    pub target: (&'a Environment, Identity),
    /// Where they come from.
    pub source: (&'a Environment, Identity),
    /// The time.
    pub clock: &'a dyn Clock,
}

/// Which ways rows go between the two environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// From source to target, as far as can be seen.
    OneWay,
    /// An installation in the other direction is registered in the target.
    BothWays,
}

/// Somewhere that events are sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    /// `name.servicebus.windows.net/queue`, or `app.azurewebsites.net/api/webhook`.
    to: String,
    /// `register` has made it.
    registered: bool,
}

/// Where the target's own events go; `named` says whether the settings name the source's organization, `tag` is the marker.
pub async fn echo(sides: &Sides<'_>, queue: Option<String>, named: bool, tag: &str) -> (Check, Directions) {
    let sent = async {
        let from_source = sent(sides, Side::Source).await?;
        Ok::<_, DataverseError>((from_source, sent(sides, Side::Target).await?))
    };
    let (ours, theirs) = match sent.await {
        Ok(sent) => sent,
        Err(error) => {
            let why = format!("who gets the target's events could not be asked: {}", told(&error));
            return (Check::skipped(NAME, why), Directions::OneWay);
        }
    };
    let ours: BTreeSet<String> =
        ours.into_iter().filter(|sent| sent.registered).map(|sent| sent.to).chain(queue).collect();
    let back: Vec<&str> = theirs.iter().filter(|sent| ours.contains(&sent.to)).map(|sent| sent.to.as_str()).collect();
    if !back.is_empty() {
        let detail = format!("the target sends its own events to {}, where this app takes the source's", listed(back));
        let remedy = "remove those steps from the target; a sync in the other direction is an app of its own, with its own queue";
        let check = if named {
            Check::warn(NAME, format!("{detail}: each is ignored"), remedy)
        } else {
            let remedy = format!("set SOURCE_ORGANIZATION_ID, and {remedy}");
            Check::fail(NAME, format!("{detail}: if one comes first, the target is taken for the source"), remedy)
        };
        return (check, Directions::OneWay);
    }
    if !theirs.iter().any(|sent| sent.registered) {
        let fine = format!("writes carry the tag {tag}; the target sends nothing to dataverse-sync");
        return (Check::ok(NAME, fine), Directions::OneWay);
    }
    (two_way(sides, tag).await, Directions::BothWays)
}

/// The target is a source as well: the other installation must know our writes.
async fn two_way(sides: &Sides<'_>, tag: &str) -> Check {
    let users = async {
        let there = object_id(sides.target, sides.clock).await?;
        Some((there, object_id(sides.source, sides.clock).await?))
    };
    let detail = format!("both directions are registered; echo is known by the tag {tag}");
    match users.await {
        Some((there, here)) if there != here => Check::warn(
            NAME,
            format!("{detail} alone: source and target are used by different applications ({here}, {there})"),
            "use one application in both environments, for both directions: then echo is known by its user, too",
        ),
        Some(_) => {
            let user = sides.target.1.user;
            Check::ok(
                NAME,
                format!("{detail}, and by the user {user} if the other direction signs in as the same application"),
            )
        }
        None => Check::ok(NAME, detail),
    }
}

async fn object_id((environment, identity): (&Environment, Identity), clock: &dyn Clock) -> Option<Uuid> {
    let schema = environment.schemas.get(&call(clock), "systemuser").await.ok()?;
    let (address, columns) = (Address::Id(identity.user), BTreeSet::from([OBJECT_ID.to_owned()]));
    let row = environment.client.read(&call(clock), &schema, &address, &columns).await.ok()??;
    match row.columns.get(OBJECT_ID)? {
        Value::Text(text) => Uuid::try_parse(text).ok(),
        _ => None,
    }
}

/// Where enabled steps of an environment send events.
async fn sent(sides: &Sides<'_>, side: Side) -> Result<BTreeSet<Sent>, DataverseError> {
    let client: &Dataverse = match side {
        Side::Source => &sides.source.0.client,
        Side::Target => &sides.target.0.client,
    };
    let select = ["name", "description", "contract", "namespaceaddress", "path", "url"];
    // queues and webhooks: what can end in this app
    let contracts = "contract eq 6 or contract eq 8";
    let mut sent = BTreeSet::new();
    for endpoint in client.registered(&call(sides.clock), Registry::Endpoint, &select, contracts).await? {
        let Some(id) = text(&endpoint, &Registry::Endpoint.key()).and_then(|id| Uuid::try_parse(id).ok()) else {
            continue;
        };
        let bound = format!("_eventhandler_value eq {id} and statecode eq 0");
        let steps = client.registered(&call(sides.clock), Registry::Step, &["name"], &bound).await?;
        if let Some(to) = address(&endpoint).filter(|_| !steps.is_empty()) {
            let registered = text(&endpoint, "description").is_some_and(|told| told.starts_with(MARK));
            sent.insert(Sent { to, registered });
        }
    }
    Ok(sent)
}

fn text<'r>(row: &'r Map<String, Json>, name: &str) -> Option<&'r str> {
    row.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

/// Host and path, without what differs between two spellings of one address.
fn address(endpoint: &Map<String, Json>) -> Option<String> {
    match text(endpoint, "url") {
        Some(url) => {
            let bare = url.split_once("://").map_or(url, |(_, rest)| rest);
            Some(bare.split('?').next().unwrap_or(bare).trim_end_matches('/').to_lowercase())
        }
        None => Some(queue_address(text(endpoint, "namespaceaddress")?, text(endpoint, "path")?)),
    }
}

/// `name.servicebus.windows.net/queue`.
#[must_use]
pub fn queue_address(namespace: &str, queue: &str) -> String {
    let bare = namespace.split_once("://").map_or(namespace, |(_, rest)| rest);
    format!("{}/{}", bare.trim_end_matches('/'), queue.trim_matches('/')).to_lowercase()
}

/// What our user changed in the source, though nothing writes there in this direction: it is taken for echo and never
/// synchronised.
pub async fn own_user(mapping: &Mapping, (source, identity): (&Environment, Identity), clock: &dyn Clock) -> Check {
    const NAME: &str = "own user in the source";
    let mut changed = Vec::new();
    for table in mapping.tables.keys() {
        // a table that is not there has a line of its own
        let Ok(schema) = source.schemas.get(&call(clock), table).await else { continue };
        if !schema.columns.contains_key("modifiedby") {
            continue;
        }
        let by_us = KeyParts::from([("modifiedby".to_owned(), KeyPart::Guid(identity.user))]);
        match source.client.find(&call(clock), &schema, &by_us, &BTreeSet::new(), 1).await {
            Ok(rows) => changed.extend((!rows.is_empty()).then_some(table.as_str())),
            Err(error) => return Check::skipped(NAME, format!("could not be asked: {}", told(&error))),
        }
    }
    if changed.is_empty() {
        return Check::ok(NAME, format!("nothing was changed last by {}", identity.user));
    }
    let detail = format!(
        "the user {} that dataverse-sync signs in as changed rows of {}: such changes count as its own echo and are not synchronised",
        identity.user,
        listed(changed)
    );
    let remedy = "give dataverse-sync an application of its own in the source, then run `reconcile --full`";
    Check::warn(NAME, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_spellings_of_one_address_are_one() {
        let row = |json: Json| json.as_object().cloned().unwrap();
        let webhook = address(&row(json!({"url": "https://App.azurewebsites.net/api/webhook/?code=x"})));
        assert_eq!(webhook.as_deref(), Some("app.azurewebsites.net/api/webhook"));
        let queue = address(&row(json!({"namespaceaddress": "sb://Bus.servicebus.windows.net/", "path": "Events"})));
        assert_eq!(queue, Some(queue_address("bus.servicebus.windows.net", "/events")));
        assert_eq!(address(&row(json!({"path": "events"}))), None);
    }
}
