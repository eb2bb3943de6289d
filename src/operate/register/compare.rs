//! What should be there against what is: pure. Rows that are neither ours by id nor marked as ours are named and left alone.

use super::MARK;
use super::found::{Found, Row, guid, text};
use super::plan::StepWish;
use super::receiver::{Receiver, Sort};
use crate::dataverse::registration::Registry;
use crate::secret::Secret;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// It is not there.
    Create,
    /// It differs.
    Change,
    /// Nothing needs it.
    Remove,
}

impl Act {
    /// The word people see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Remove => "remove",
        }
    }
}

/// One row that is not as it should be. Holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// What is done.
    pub act: Act,
    /// `step Update of account`.
    pub what: String,
    /// In which way it differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Its id.
    pub id: Uuid,
    #[serde(skip)]
    pub(super) registry: Option<Registry>,
    #[serde(skip)]
    pub(super) body: Body,
}

/// What is sent. Shows no values.
#[derive(Clone, Default)]
pub(super) struct Body(pub(super) Map<String, Json>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Everything that would be done, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// Rows that are not as they should be.
    pub changes: Vec<Change>,
    /// Names of rows that are as they should be.
    pub kept: Vec<String>,
    /// What is not ours and was left alone.
    pub foreign: Vec<String>,
}

impl Plan {
    /// `2 endpoints, 14 steps, 12 images`: how many rows of each sort are not as they should be.
    #[must_use]
    pub fn sorts(&self) -> String {
        let sorts = [(Registry::Endpoint, "endpoint"), (Registry::Step, "step"), (Registry::Image, "image")];
        let counted = sorts.map(|(registry, name)| {
            let count = self.changes.iter().filter(|change| change.registry == Some(registry)).count();
            format!("{count} {name}{}", if count == 1 { "" } else { "s" })
        });
        counted.join(", ")
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A row as it should be.
struct Wish {
    registry: Registry,
    id: Uuid,
    what: String,
    columns: Vec<(&'static str, Json)>,
    /// Compared, and sent only if they differ: what a new row has by itself.
    settled: Vec<(&'static str, Json)>,
    lists: Vec<(&'static str, BTreeSet<String>)>,
    /// Column, navigation property, where to.
    links: Vec<(&'static str, &'static str, Registry, Uuid)>,
    /// Column, the column that says whether it is set, value.
    secrets: Vec<(&'static str, &'static str, Secret)>,
}

/// Compares. `Err`: the message and table that take no steps. `renew`: send secrets although nothing shows that they differ.
pub(super) fn compare(
    installation: &str,
    receiver: (Sort, &Receiver),
    wishes: &[StepWish],
    found: &Found,
    renew: bool,
) -> Result<Plan, (String, Option<String>)> {
    let (sort, receiver) = receiver;
    let mut plan = Plan::default();
    plan.judge(&endpoint(installation, sort, receiver), found.endpoints.get(&sort), renew);
    let mut images = Vec::new();
    for step in wishes {
        plan.judge(&step_wish(installation, sort, step, found)?, found.steps.get(&step.id), renew);
        images.extend(image_wish(step));
    }
    for image in &images {
        plan.judge(image, found.images.get(&image.id), renew);
    }
    let own: BTreeSet<Uuid> = wishes.iter().map(|step| step.id).collect();
    let imaged: BTreeSet<Uuid> = images.iter().map(|image| image.id).collect();
    for (id, row) in &found.images {
        let of_ours = guid(row, "_sdkmessageprocessingstepid_value").is_some_and(|step| own.contains(&step));
        if of_ours && !imaged.contains(id) {
            plan.remove(Registry::Image, *id, format!("image {}", text(row, "name")), "is not one that we register");
        }
    }
    let foreign = plan.leftovers(&own, found);
    for other in Sort::BOTH.into_iter().filter(|other| *other != sort && found.endpoints.contains_key(other)) {
        let id = other.id(installation);
        if !foreign.contains(&id) {
            plan.remove(Registry::Endpoint, id, format!("endpoint {}", other.word()), "is no longer used");
        }
    }
    Ok(plan)
}

/// What `--remove` does: all of ours; an endpoint only if nothing of others is bound to it.
pub(super) fn remove_all(installation: &str, found: &Found) -> Plan {
    let mut plan = Plan::default();
    let foreign = plan.leftovers(&BTreeSet::new(), found);
    for sort in found.endpoints.keys() {
        let id = sort.id(installation);
        if !foreign.contains(&id) {
            plan.remove(Registry::Endpoint, id, format!("endpoint {}", sort.word()), "");
        }
    }
    plan
}

impl Plan {
    fn judge(&mut self, wish: &Wish, found: Option<&Row>, renew: bool) {
        let (mut body, mut why) = (Map::new(), Vec::new());
        let act = if found.is_some() { Act::Change } else { Act::Create };
        for (name, value) in &wish.columns {
            compare_column(name, value, found, &mut body, &mut why);
        }
        for (name, value) in wish.settled.iter().filter(|_| found.is_some()) {
            compare_column(name, value, found, &mut body, &mut why);
        }
        for (name, value) in &wish.lists {
            compare_list(name, value, found, &mut body, &mut why);
        }
        for (column, navigation, to, id) in &wish.links {
            if found.is_none_or(|row| guid(row, column) != Some(*id)) {
                body.insert(format!("{navigation}@odata.bind"), json!(format!("/{}({id})", to.set())));
                why.push(format!("{navigation} is another one"));
            }
        }
        for (name, mark, secret) in &wish.secrets {
            let unset = found.is_none_or(|row| row.get(*mark) == Some(&Json::Bool(false)));
            if unset || renew || !body.is_empty() {
                body.insert((*name).to_owned(), json!(secret.expose()));
                why.push(if unset { format!("{name} is not set") } else { format!("{name} is sent again") });
            }
        }
        if body.is_empty() && found.is_some() {
            self.kept.push(wish.what.clone());
            return;
        }
        if found.is_none() {
            body.insert(wish.registry.key(), json!(wish.id));
            why.clear();
        }
        let registry = Some(wish.registry);
        self.changes.push(Change { act, what: wish.what.clone(), why, id: wish.id, registry, body: Body(body) });
    }

    fn remove(&mut self, registry: Registry, id: Uuid, what: String, why: &str) {
        let why = if why.is_empty() { Vec::new() } else { vec![why.to_owned()] };
        self.changes.push(Change { act: Act::Remove, what, why, id, registry: Some(registry), body: Body::default() });
    }

    /// Steps that are bound to our endpoints and not wanted: ours go, others are named. Gives the endpoints of the others.
    fn leftovers(&mut self, wanted: &BTreeSet<Uuid>, found: &Found) -> BTreeSet<Uuid> {
        let mut kept = BTreeSet::new();
        for (id, row) in found.steps.iter().filter(|(id, _)| !wanted.contains(*id)) {
            if text(row, "description").starts_with(MARK) {
                self.remove(Registry::Step, *id, format!("step {}", text(row, "name")), "");
            } else {
                self.foreign.push(format!("step {} ({id}) is bound to our endpoint and not ours", text(row, "name")));
                kept.extend(guid(row, "_eventhandler_value"));
            }
        }
        kept
    }
}

fn compare_column(name: &str, value: &Json, found: Option<&Row>, body: &mut Map<String, Json>, why: &mut Vec<String>) {
    let null = Json::Null;
    let is = found.map_or(&null, |row| row.get(name).unwrap_or(&null));
    if found.is_none() || is != value {
        body.insert(name.to_owned(), value.clone());
        why.push(match (name, value.as_i64()) {
            ("statecode", Some(0)) => "is disabled".to_owned(),
            _ => format!("{name} is {is}, not {value}"),
        });
    }
}

fn compare_list(
    name: &str,
    value: &BTreeSet<String>,
    found: Option<&Row>,
    body: &mut Map<String, Json>,
    why: &mut Vec<String>,
) {
    let is: BTreeSet<String> = found
        .map(|row| {
            text(row, name).split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        })
        .unwrap_or_default();
    if is == *value {
        return;
    }
    let joined: Vec<&str> = value.iter().map(String::as_str).collect();
    body.insert(name.to_owned(), if joined.is_empty() { Json::Null } else { json!(joined.join(",")) });
    let named = |columns: BTreeSet<&String>| columns.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let (lacks, extra) =
        (value.difference(&is).collect::<BTreeSet<_>>(), is.difference(value).collect::<BTreeSet<_>>());
    why.extend((!lacks.is_empty()).then(|| format!("{name} lacks {}", named(lacks))));
    why.extend((!extra.is_empty()).then(|| format!("{name} has {}", named(extra))));
}

fn endpoint(installation: &str, sort: Sort, receiver: &Receiver) -> Wish {
    let description = format!("{MARK} ({installation}); its command `register` changes and removes it");
    let mut columns = vec![
        ("name", json!(format!("{installation} {}", sort.word()))),
        ("description", json!(description)),
        ("contract", json!(sort.contract())),
    ];
    let (mut settled, mut secrets) = (Vec::new(), Vec::new());
    match receiver {
        Receiver::Queue(Some(queue)) => {
            let solution = queue.namespace.split('.').next().unwrap_or_default();
            columns.extend([
                ("authtype", json!(2)),
                ("connectionmode", json!(1)),
                ("namespaceformat", json!(2)),
                ("userclaim", json!(1)),
                ("namespaceaddress", json!(format!("sb://{}/", queue.namespace))),
                ("solutionnamespace", json!(solution)),
                ("path", json!(queue.path)),
                ("saskeyname", json!(queue.key_name)),
                ("messageformat", json!(2)),
            ]);
            secrets.push(("saskey", "issaskeyset", queue.key.clone()));
        }
        Receiver::Webhook(webhook) => {
            columns.extend([("authtype", json!(5)), ("url", json!(webhook.url))]);
            secrets.push(("authvalue", "isauthvalueset", webhook.headers.clone()));
        }
        Receiver::Queue(None) => settled.push(("messageformat", json!(2))),
        Receiver::AsFound => settled.extend((sort == Sort::Queue).then(|| ("messageformat", json!(2)))),
    }
    Wish {
        registry: Registry::Endpoint,
        id: sort.id(installation),
        what: format!("endpoint {}", sort.word()),
        columns,
        settled,
        lists: Vec::new(),
        links: Vec::new(),
        secrets,
    }
}

fn step_wish(installation: &str, sort: Sort, step: &StepWish, found: &Found) -> Result<Wish, (String, Option<String>)> {
    let none = || (step.message.to_owned(), step.table.clone());
    let message = *found.messages.get(step.message).ok_or_else(none)?;
    let mut links = vec![
        ("_eventhandler_value", "eventhandler_serviceendpoint", Registry::Endpoint, sort.id(installation)),
        ("_sdkmessageid_value", "sdkmessageid", Registry::Message, message),
    ];
    if let Some(table) = &step.table {
        let filter = *found.filters.get(&(message, table.clone())).ok_or_else(none)?;
        links.push(("_sdkmessagefilterid_value", "sdkmessagefilterid", Registry::Filter, filter));
    }
    Ok(Wish {
        registry: Registry::Step,
        id: step.id,
        what: format!("step {}", step.label),
        columns: vec![
            ("name", json!(step.name)),
            ("description", json!(step.description)),
            ("stage", json!(40)),
            ("mode", json!(1)),
            ("rank", json!(1)),
            ("supporteddeployment", json!(0)),
            ("asyncautodelete", json!(true)),
        ],
        settled: vec![("statecode", json!(0)), ("statuscode", json!(1))],
        lists: vec![("filteringattributes", step.filtering.clone())],
        links,
        secrets: Vec::new(),
    })
}

fn image_wish(step: &StepWish) -> Option<Wish> {
    let image = step.image.as_ref()?;
    Some(Wish {
        registry: Registry::Image,
        id: image.id,
        what: format!("image of {}", step.label),
        columns: vec![
            ("name", json!(image.alias)),
            ("entityalias", json!(image.alias)),
            ("imagetype", json!(image.kind)),
            ("messagepropertyname", json!(image.property)),
        ],
        settled: Vec::new(),
        lists: vec![("attributes", image.columns.clone())],
        links: vec![("_sdkmessageprocessingstepid_value", "sdkmessageprocessingstepid", Registry::Step, step.id)],
        secrets: Vec::new(),
    })
}
