//! What the source has: our endpoints, the steps that are ours by id or bound to them, their images, and the ids of messages.

use super::plan::StepWish;
use super::receiver::Sort;
use crate::dataverse::client::{Call, Dataverse};
use crate::dataverse::error::DataverseError;
use crate::dataverse::registration::Registry;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How many ids one filter names: about 80 bytes each, far below the 32 KiB an address may have.
const IDS_MAX: usize = 50;

const ENDPOINT: [&str; 15] = [
    "name",
    "description",
    "contract",
    "authtype",
    "connectionmode",
    "namespaceformat",
    "userclaim",
    "url",
    "namespaceaddress",
    "solutionnamespace",
    "path",
    "saskeyname",
    "messageformat",
    "isauthvalueset",
    "issaskeyset",
];
const STEP: [&str; 13] = [
    "name",
    "description",
    "stage",
    "mode",
    "rank",
    "supporteddeployment",
    "asyncautodelete",
    "filteringattributes",
    "statecode",
    "statuscode",
    "_eventhandler_value",
    "_sdkmessageid_value",
    "_sdkmessagefilterid_value",
];
const IMAGE: [&str; 6] =
    ["name", "entityalias", "imagetype", "messagepropertyname", "attributes", "_sdkmessageprocessingstepid_value"];
const FILTER: [&str; 3] = ["primaryobjecttypecode", "iscustomprocessingstepallowed", "_sdkmessageid_value"];

/// A row as it was read.
pub(super) type Row = Map<String, Json>;

/// What is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) endpoints: BTreeMap<Sort, Row>,
    /// Ours by id, and whatever is bound to our endpoints.
    pub(super) steps: BTreeMap<Uuid, Row>,
    /// Images of those steps.
    pub(super) images: BTreeMap<Uuid, Row>,
    /// By name.
    pub(super) messages: BTreeMap<String, Uuid>,
    /// By message and table; only those that take steps.
    pub(super) filters: BTreeMap<(Uuid, String), Uuid>,
}

/// A GUID of a row.
pub(super) fn guid(row: &Row, name: &str) -> Option<Uuid> {
    Uuid::try_parse(row.get(name)?.as_str()?).ok()
}

/// A text of a row.
pub(super) fn text<'r>(row: &'r Row, name: &str) -> &'r str {
    row.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// Endpoints, steps and images of an installation.
pub(super) async fn ours(
    client: &Dataverse,
    call: impl Fn() -> Call,
    installation: &str,
    wishes: &[StepWish],
) -> Result<Found, DataverseError> {
    let mut found = Found::default();
    let ids = Sort::BOTH.map(|sort| sort.id(installation));
    let rows = client.registered(&call(), Registry::Endpoint, &ENDPOINT, &any("serviceendpointid", &ids)).await?;
    for row in rows {
        let id = guid(&row, &Registry::Endpoint.key());
        let sort = Sort::BOTH.into_iter().find(|sort| Some(sort.id(installation)) == id);
        found.endpoints.extend(sort.map(|sort| (sort, row)));
    }
    let bound: Vec<Uuid> = found.endpoints.keys().map(|sort| sort.id(installation)).collect();
    let own: Vec<Uuid> = wishes.iter().map(|step| step.id).collect();
    let key = Registry::Step.key();
    let steps = asked(&own, &key).chain(asked(&bound, "_eventhandler_value"));
    for filter in steps {
        found.steps.extend(keyed(Registry::Step, client.registered(&call(), Registry::Step, &STEP, &filter).await?));
    }
    let steps: Vec<Uuid> = found.steps.keys().copied().collect();
    for filter in asked(&steps, "_sdkmessageprocessingstepid_value") {
        found
            .images
            .extend(keyed(Registry::Image, client.registered(&call(), Registry::Image, &IMAGE, &filter).await?));
    }
    Ok(found)
}

/// The ids of the messages and filters that these steps need.
pub(super) async fn messages(
    client: &Dataverse,
    call: impl Fn() -> Call,
    wishes: &[StepWish],
    found: &mut Found,
) -> Result<(), DataverseError> {
    let names: BTreeSet<&str> = wishes.iter().map(|step| step.message).collect();
    let terms: Vec<String> = names.iter().map(|name| format!("name eq '{name}'")).collect();
    if terms.is_empty() {
        return Ok(());
    }
    for row in client.registered(&call(), Registry::Message, &["name"], &terms.join(" or ")).await? {
        let id = guid(&row, &Registry::Message.key());
        found.messages.extend(id.map(|id| (text(&row, "name").to_owned(), id)));
    }
    let tables: BTreeSet<&String> = wishes.iter().filter_map(|step| step.table.as_ref()).collect();
    for table in tables {
        let filter = format!("primaryobjecttypecode eq '{table}'");
        for row in client.registered(&call(), Registry::Filter, &FILTER, &filter).await? {
            let ids = guid(&row, "_sdkmessageid_value").zip(guid(&row, &Registry::Filter.key()));
            let allowed = row.get("iscustomprocessingstepallowed") != Some(&Json::Bool(false));
            found.filters.extend(ids.filter(|_| allowed).map(|(message, id)| ((message, table.clone()), id)));
        }
    }
    Ok(())
}

fn keyed(registry: Registry, rows: Vec<Row>) -> impl Iterator<Item = (Uuid, Row)> {
    rows.into_iter().filter_map(move |row| Some((guid(&row, &registry.key())?, row)))
}

fn asked<'a>(ids: &'a [Uuid], column: &'a str) -> impl Iterator<Item = String> + 'a {
    ids.chunks(IDS_MAX).map(move |ids| any(column, ids))
}

fn any(column: &str, ids: &[Uuid]) -> String {
    ids.iter().map(|id| format!("{column} eq {id}")).collect::<Vec<_>>().join(" or ")
}
