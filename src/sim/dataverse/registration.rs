//! The tables in which steps are registered (service endpoints, messages, steps, images): what they refuse, and the steps
//! that their rows amount to. Built from the reference of the tables; knows no request and no delivery.

use super::cell::{Cell, Row};
use super::errors::{self, ApiError};
use super::schema::{Kind, LookupKind, OnDelete, Schema, TableDef, column};
use super::store::State;
use super::world::World;
use super::write::Message;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Endpoints.
pub const ENDPOINT: &str = "serviceendpoint";
/// Messages.
pub const MESSAGE: &str = "sdkmessage";
/// Messages of one table.
pub const FILTER: &str = "sdkmessagefilter";
/// Steps.
pub const STEP: &str = "sdkmessageprocessingstep";
/// Images of steps.
pub const IMAGE: &str = "sdkmessageprocessingstepimage";

/// Longest list of columns of a step or an image.
const LIST_MAX: usize = 100_000;
/// Webhook, among the contracts of an endpoint.
pub(super) const WEBHOOK: i64 = 8;
/// Persistent queue.
pub(super) const QUEUE: i64 = 6;

/// All messages. The service has the same ids in every environment; that of Create is the service's, the others are made
/// up, so nobody may rely on them.
const MESSAGES: [(Message, u128); 6] = [
    (Message::Create, 0x9ebd_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
    (Message::Update, 0x20be_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
    (Message::Delete, 0xa1bd_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
    (Message::Upsert, 0x0001_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
    (Message::Associate, 0x0002_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
    (Message::Disassociate, 0x0003_bb1b_ea3e_db11_86a7_000a_3a54_73e8),
];

/// Adds the tables to a schema that lacks them.
pub(super) fn add(schema: &mut Schema) {
    for table in [endpoint(), message(), filter(), step(), image()] {
        schema.tables.entry(table.name.clone()).or_insert(table);
    }
}

fn endpoint() -> TableDef {
    let options = |last: i64| Kind::Choice((1..=last).collect());
    TableDef::new("ServiceEndpoint", "serviceendpoints", "name")
        .with(column("name", Kind::Text(256)).required())
        .with(column("description", Kind::Memo(2_000)))
        .with(column("contract", options(10)).required())
        .with(column("authtype", options(8)))
        .with(column("authvalue", Kind::Text(2_048)).secured())
        .with(column("isauthvalueset", Kind::Bool).read_only())
        .with(column("url", Kind::Text(2_000)))
        .with(column("namespaceaddress", Kind::Text(255)))
        .with(column("namespaceformat", options(2)))
        .with(column("solutionnamespace", Kind::Text(160)))
        .with(column("path", Kind::Text(160)))
        .with(column("saskeyname", Kind::Text(256)))
        .with(column("saskey", Kind::Text(256)).secured())
        .with(column("issaskeyset", Kind::Bool).read_only())
        .with(column("messageformat", options(3)))
        .with(column("connectionmode", options(2)))
        .with(column("userclaim", options(3)))
}

fn message() -> TableDef {
    TableDef::new("SdkMessage", "sdkmessages", "name").with(column("name", Kind::Text(256)).read_only())
}

fn filter() -> TableDef {
    TableDef::new("SdkMessageFilter", "sdkmessagefilters", "primaryobjecttypecode")
        .with(column("primaryobjecttypecode", Kind::Text(100)).read_only())
        .with(column("iscustomprocessingstepallowed", Kind::Bool).read_only())
        .lookup("sdkmessageid", MESSAGE, "sdkmessageid")
}

fn step() -> TableDef {
    let handler = [(ENDPOINT, "eventhandler_serviceendpoint")];
    TableDef::new("SdkMessageProcessingStep", "sdkmessageprocessingsteps", "name")
        .with(column("name", Kind::Text(256)).required())
        .with(column("description", Kind::Text(256)))
        .with(column("stage", Kind::Choice(vec![5, 10, 15, 20, 30, 35, 40, 45, 50])).required())
        .with(column("mode", Kind::Choice(vec![0, 1])).required())
        .with(column("rank", Kind::Int(i64::from(i32::MIN), i64::from(i32::MAX))).required())
        .with(column("supporteddeployment", Kind::Choice(vec![0, 1, 2])))
        .with(column("asyncautodelete", Kind::Bool))
        .with(column("filteringattributes", Kind::Text(LIST_MAX)))
        .polymorphic("eventhandler", LookupKind::Plain, &handler)
        .lookup("sdkmessageid", MESSAGE, "sdkmessageid")
        .lookup("sdkmessagefilterid", FILTER, "sdkmessagefilterid")
        .on_delete("eventhandler", OnDelete::Restrict)
        .states(&[(0, "Enabled", &[1]), (1, "Disabled", &[2])])
}

fn image() -> TableDef {
    TableDef::new("SdkMessageProcessingStepImage", "sdkmessageprocessingstepimages", "name")
        .with(column("name", Kind::Text(256)).required())
        .with(column("entityalias", Kind::Text(256)).required())
        .with(column("imagetype", Kind::Choice(vec![0, 1, 2])).required())
        .with(column("messagepropertyname", Kind::Text(256)).required())
        .with(column("attributes", Kind::Text(LIST_MAX)))
        .lookup("sdkmessageprocessingstepid", STEP, "sdkmessageprocessingstepid")
        .on_delete("sdkmessageprocessingstepid", OnDelete::Cascade)
}

/// Puts messages and filters into an empty state. Steps may be registered on every table but those of this file, and on
/// links without a table.
pub(super) fn furnish(state: &mut State, schema: &Schema) {
    let text = |text: &str| Cell::Text(text.to_owned());
    for (message, id) in MESSAGES {
        let id = Uuid::from_u128(id);
        state.put(MESSAGE, id, BTreeMap::from([("name".to_owned(), text(message.name()))]));
        let names: Vec<&TableDef> = match message {
            Message::Associate | Message::Disassociate => Vec::new(),
            _ => schema
                .tables
                .values()
                .filter(|def| def.elastic == (message == Message::Upsert) || is_delete(message))
                .collect(),
        };
        for (number, def) in (1_u128..).zip(names.into_iter().filter(|def| !is_own(&def.name))) {
            let columns = [
                ("primaryobjecttypecode", text(&def.name)),
                ("iscustomprocessingstepallowed", Cell::Bool(!def.external)),
                ("sdkmessageid", Cell::Lookup { table: MESSAGE.to_owned(), id }),
            ];
            let columns = columns.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect();
            state.put(FILTER, Uuid::from_u128(id.as_u128() ^ number << 64), columns);
        }
    }
}

fn is_delete(message: Message) -> bool {
    message == Message::Delete
}

/// Whether the table is one of these.
pub(super) fn is_own(table: &str) -> bool {
    [ENDPOINT, MESSAGE, FILTER, STEP, IMAGE].contains(&table)
}

/// Judges a row before it is kept, and adds what the platform derives.
///
/// # Errors
/// Combinations that the platform refuses, and those that this stand-in could not act upon.
pub(super) fn check(
    world: &World,
    state: &State,
    def: &TableDef,
    columns: &mut BTreeMap<String, Cell>,
) -> Result<(), ApiError> {
    match def.name.as_str() {
        ENDPOINT => check_endpoint(columns),
        STEP => check_step(world, state, columns),
        IMAGE => check_image(world, state, columns),
        MESSAGE | FILTER => Err(errors::method("Messages come with the platform.")),
        _ => Ok(()),
    }
}

fn refused<T>(what: &str) -> Result<T, ApiError> {
    Err(errors::invalid_argument(what))
}

fn check_endpoint(columns: &mut BTreeMap<String, Cell>) -> Result<(), ApiError> {
    for (secret, mark) in [("authvalue", "isauthvalueset"), ("saskey", "issaskeyset")] {
        columns.insert(mark.to_owned(), Cell::Bool(columns.contains_key(secret)));
    }
    let auth = number(columns, "authtype");
    match number(columns, "contract") {
        Some(WEBHOOK) => {
            if !text(columns, "url").starts_with("http") {
                return refused("A webhook needs an http or https url.");
            }
            let value = text(columns, "authvalue");
            match auth {
                Some(4) if !value.is_empty() => Ok(()),
                Some(5 | 6) if settings(value).is_some_and(|found| !found.is_empty()) => Ok(()),
                _ => refused("A webhook needs an authtype of 4, 5 or 6 and an authvalue that fits it."),
            }
        }
        Some(QUEUE) => {
            let named = ["namespaceaddress", "solutionnamespace", "path", "saskeyname", "saskey"];
            if named.iter().any(|name| text(columns, name).is_empty()) || auth != Some(2) {
                return refused("A queue needs its namespace, path and SAS key (authtype 2).");
            }
            if !text(columns, "namespaceaddress").starts_with("sb://") {
                return refused("The namespace address begins with sb://.");
            }
            let set = |name| number(columns, name).is_some();
            if !set("connectionmode") || !set("userclaim") || number(columns, "namespaceformat") != Some(2) {
                return refused("A queue needs connectionmode, userclaim and namespaceformat 2.");
            }
            match number(columns, "messageformat") {
                Some(2) => Ok(()),
                _ => Err(errors::not_simulated("messages that are not JSON (messageformat 2)")),
            }
        }
        _ => Err(errors::not_simulated("contracts other than 6 and 8")),
    }
}

fn check_step(world: &World, state: &State, columns: &BTreeMap<String, Cell>) -> Result<(), ApiError> {
    let Some(Cell::Lookup { .. }) = columns.get("eventhandler") else {
        return refused("A step needs an event handler.");
    };
    let Some((message, table)) = aim(state, columns) else {
        return refused("A step needs a message, and a filter of that message if it has one.");
    };
    let on_links = matches!(message, Message::Associate | Message::Disassociate);
    if table.is_none() != on_links {
        return refused("This message is registered with a table, or without if it is about links.");
    }
    if number(columns, "mode") != Some(1) || number(columns, "stage") != Some(40) {
        return refused("Asynchronous steps run in stage 40; synchronous ones are not simulated.");
    }
    let filtering = list(text(columns, "filteringattributes"));
    if !filtering.is_empty() && message != Message::Update {
        return refused("Filtering attributes are for Update.");
    }
    known(world, table.as_deref(), &filtering)
}

fn check_image(world: &World, state: &State, columns: &BTreeMap<String, Cell>) -> Result<(), ApiError> {
    let step = lookup(columns, "sdkmessageprocessingstepid").and_then(|id| state.row(STEP, id));
    let Some((message, table)) = step.and_then(|step| aim(state, &step.columns)) else {
        return refused("An image needs its step.");
    };
    let property = match message {
        Message::Create => "Id",
        Message::Update | Message::Delete | Message::Upsert => "Target",
        Message::Associate | Message::Disassociate => return refused("This message has no images."),
    };
    if text(columns, "messagepropertyname") != property {
        return refused("The message has no such property.");
    }
    let alias = match (message, number(columns, "imagetype")) {
        (Message::Update | Message::Delete, Some(0)) => "PreImage",
        (Message::Create | Message::Update | Message::Upsert, Some(1)) => "PostImage",
        _ => return refused("The message has no such image."),
    };
    if text(columns, "entityalias") != alias {
        return Err(errors::not_simulated("aliases other than PreImage and PostImage"));
    }
    known(world, table.as_deref(), &list(text(columns, "attributes")))
}

/// All of these must be columns of the table.
fn known(world: &World, table: Option<&str>, columns: &[String]) -> Result<(), ApiError> {
    let Some(def) = table.and_then(|table| world.schema.tables.get(table)) else { return Ok(()) };
    let unknown = columns
        .iter()
        .find(|name| !def.columns.contains_key(*name) && **name != def.primary_id && *name != "versionnumber");
    match unknown {
        Some(name) => refused(&format!("{} has no attribute {name}.", def.name)),
        None => Ok(()),
    }
}

/// Message and table of a step.
pub(super) fn aim(state: &State, step: &BTreeMap<String, Cell>) -> Option<(Message, Option<String>)> {
    let id = lookup(step, "sdkmessageid")?;
    let (message, _) = MESSAGES.into_iter().find(|(_, known)| Uuid::from_u128(*known) == id)?;
    let Some(filter) = lookup(step, "sdkmessagefilterid") else { return Some((message, None)) };
    let filter = state.row(FILTER, filter)?;
    let fits = lookup(&filter.columns, "sdkmessageid") == Some(id)
        && filter.get("iscustomprocessingstepallowed") == Some(&Cell::Bool(true));
    fits.then(|| (message, Some(text(&filter.columns, "primaryobjecttypecode").to_owned())))
}

/// `<settings><setting name="..." value="..."/></settings>`.
pub(super) fn settings(xml: &str) -> Option<Vec<(String, String)>> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let root = document.root_element();
    let pair =
        |node: roxmltree::Node<'_, '_>| Some((node.attribute("name")?.to_owned(), node.attribute("value")?.to_owned()));
    (root.has_tag_name("settings"))
        .then(|| root.children().filter(|node| node.has_tag_name("setting")).map(pair).collect::<Option<Vec<_>>>())?
}

pub(super) fn list(text: &str) -> Vec<String> {
    super::url::list(text)
}

pub(super) fn text<'c>(columns: &'c BTreeMap<String, Cell>, name: &str) -> &'c str {
    match columns.get(name) {
        Some(Cell::Text(text)) => text,
        _ => "",
    }
}

pub(super) fn number(columns: &BTreeMap<String, Cell>, name: &str) -> Option<i64> {
    match columns.get(name) {
        Some(Cell::Choice(value) | Cell::Int(value)) => Some(*value),
        _ => None,
    }
}

pub(super) fn lookup(columns: &BTreeMap<String, Cell>, name: &str) -> Option<Uuid> {
    match columns.get(name) {
        Some(Cell::Lookup { id, .. }) => Some(*id),
        _ => None,
    }
}

/// Whether a step's row says that it runs.
pub(super) fn enabled(row: &Row) -> bool {
    number(&row.columns, "statecode") == Some(0)
}
