//! The RemoteExecutionContext of one commit and one step (facts/dataverse.md section 3): which members, in which form.
//! Knows no delivery.

use super::cell::{Cell, Changes, Party, Row};
use super::json::Node;
use super::schema::{Kind, TableDef};
use super::world::{Origin, World};
use super::write::{Commit, LinkChange, Message};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

const CONTRACTS: &str = "http://schemas.microsoft.com/xrm/2011/Contracts";

/// What the ids of one job are.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// Of the job: one per event.
    pub operation: Uuid,
    /// Of the API request.
    pub request: Uuid,
    /// Of the chain.
    pub correlation: Uuid,
    /// Of the step.
    pub step: Uuid,
}

/// Everything a context is made from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The environment.
    pub world: &'a World,
    /// What happened.
    pub commit: &'a Commit,
    /// On whose behalf.
    pub origin: &'a Origin,
    /// The ids.
    pub ids: Ids,
    /// Columns of the registered pre-image; `None`: there is none.
    pub pre_image: Option<&'a Image>,
    /// Columns of the registered post-image.
    pub post_image: Option<&'a Image>,
}

/// What an image shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// All columns that are not null.
    All,
    /// These, where not null.
    Columns(Vec<String>),
}

impl Image {
    fn shows(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Columns(columns) => columns.iter().any(|c| c == column),
        }
    }
}

/// How an oversized context says that something was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Nothing is taken out.
    Nothing,
    /// Members are absent.
    Absent,
    /// Members are null.
    Null,
    /// Members are empty arrays (the parent null).
    Empty,
}

/// The context as the service writes it.
#[must_use]
pub fn write(source: &Source<'_>, strip: Strip) -> String {
    let parent = parent(source);
    let mut members = frame(source);
    let large = [
        ("InputParameters", input(source, &source.commit.target)),
        ("PreEntityImages", pre_images(source)),
        ("PostEntityImages", post_images(source)),
        ("ParentContext", parent),
    ];
    for (name, node) in large {
        match (strip, name) {
            (Strip::Nothing, _) => members.push((name, node)),
            (Strip::Absent, _) => {}
            (Strip::Null, _) | (Strip::Empty, "ParentContext") => members.push((name, Node::Null)),
            (Strip::Empty, _) => members.push((name, Node::Array(Vec::new()))),
        }
    }
    let output = match source.commit.message {
        Message::Create => vec![Node::pair("id", Node::text(source.commit.id))],
        _ => Vec::new(),
    };
    members.push(("OutputParameters", Node::Array(output)));
    members.push(("SharedVariables", Node::Array(shared(source, false))));
    members.push(("Stage", Node::number(40)));
    finish(members)
}

/// The context of the request itself, which async jobs carry for the operations on rows.
fn parent(source: &Source<'_>) -> Node {
    if !matches!(source.commit.message, Message::Create | Message::Update | Message::Upsert) {
        return Node::Null;
    }
    let mut sent = input(source, &source.commit.sent);
    if let Node::Array(parameters) = &mut sent {
        parameters.push(Node::pair("SuppressDuplicateDetection", Node::Bool(false)));
    }
    let mut members = frame(source);
    members.extend([
        ("InputParameters", sent),
        ("OutputParameters", Node::Array(Vec::new())),
        ("ParentContext", Node::Null),
        ("PostEntityImages", Node::Array(Vec::new())),
        ("PreEntityImages", Node::Array(Vec::new())),
        ("SharedVariables", Node::Array(shared(source, true))),
        ("Stage", Node::number(30)),
    ]);
    members.sort_by_key(|(name, _)| *name);
    Node::Object(members)
}

fn finish(mut members: Vec<(&'static str, Node)>) -> String {
    members.sort_by_key(|(name, _)| *name);
    Node::Object(members).write()
}

fn frame(source: &Source<'_>) -> Vec<(&'static str, Node)> {
    let Source { world, commit, origin, ids, .. } = source;
    let (table, id) = match &commit.link {
        None => (commit.table.as_str(), commit.id),
        // Neither is documented for links: both forms occur, so that nobody relies on one.
        Some(_) if ids.operation.as_u128() % 2 == 0 => ("none", Uuid::nil()),
        Some(_) => ("none", commit.id),
    };
    let step = vec![
        ("Id", Node::text(ids.step)),
        ("KeyAttributes", Node::Array(Vec::new())),
        ("LogicalName", Node::text("sdkmessageprocessingstep")),
        ("Name", Node::Null),
        ("RowVersion", Node::Null),
    ];
    vec![
        ("BusinessUnitId", Node::text(world.business_unit)),
        ("CorrelationId", Node::text(ids.correlation)),
        ("Depth", Node::number(origin.depth)),
        ("InitiatingUserAgent", Node::text(&origin.agent)),
        ("InitiatingUserAzureActiveDirectoryObjectId", Node::text(origin.object_id)),
        ("InitiatingUserId", Node::text(origin.user)),
        ("IsExecutingOffline", Node::Bool(false)),
        ("IsInTransaction", Node::Bool(false)),
        ("IsOfflinePlayback", Node::Bool(false)),
        ("IsolationMode", Node::number(1)),
        ("MessageName", Node::text(commit.message.name())),
        ("Mode", Node::number(1)),
        ("OperationCreatedOn", Node::text(format!("/Date({}+0000)/", commit.at.timestamp() * 1000))),
        ("OperationId", Node::text(ids.operation)),
        ("OrganizationId", Node::text(world.organization)),
        ("OrganizationName", Node::text(world.organization_name())),
        ("OwningExtension", Node::Object(step)),
        ("PrimaryEntityId", Node::text(id)),
        ("PrimaryEntityName", Node::text(table)),
        ("RequestId", Node::text(ids.request)),
        ("SecondaryEntityName", Node::text("none")),
        ("UserAzureActiveDirectoryObjectId", Node::text(origin.object_id)),
        ("UserId", Node::text(origin.user)),
    ]
}

fn shared(source: &Source<'_>, parent: bool) -> Vec<Node> {
    let mut variables = vec![Node::pair("IsAutoTransact", Node::Bool(true))];
    if let Some(tag) = &source.origin.tag {
        variables.push(Node::pair("tag", Node::text(tag)));
    }
    if source.commit.message == Message::Create {
        variables.push(Node::pair("DefaultsAddedFlag", Node::Bool(true)));
    }
    if parent {
        let entry = Node::Object(vec![
            ("__type", Node::text("KeyValuePairOfstringstring:#System.Collections.Generic")),
            ("key", Node::text(&source.commit.table)),
            ("value", Node::text("Update")),
        ]);
        variables.push(Node::pair("ChangedEntityTypes", Node::Array(vec![entry])));
    }
    variables
}

fn input(source: &Source<'_>, changes: &Changes) -> Node {
    let commit = source.commit;
    let def = source.world.schema.tables.get(&commit.table);
    let target = match (commit.message, def) {
        (Message::Create | Message::Update | Message::Upsert, Some(def)) => {
            let mut attributes: Vec<(String, Option<Cell>)> =
                changes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            attributes.push((def.primary_id.clone(), Some(Cell::Guid(commit.id))));
            entity(Some(def), commit.id, &attributes, true)
        }
        _ => reference(&commit.table, commit.id),
    };
    let mut parameters = vec![Node::pair("Target", target)];
    if let Some(LinkChange { relationship, table, ids }) = &commit.link {
        let relationship = Node::Object(vec![
            ("__type", typed("Relationship")),
            ("PrimaryEntityRole", Node::Null),
            ("SchemaName", Node::text(relationship)),
        ]);
        let related = ids.iter().map(|id| reference(table, *id)).collect();
        parameters.push(Node::pair("Relationship", relationship));
        parameters.push(Node::pair("RelatedEntities", Node::Array(related)));
    }
    Node::Array(parameters)
}

fn pre_images(source: &Source<'_>) -> Node {
    let image = source.pre_image.zip(source.commit.before.as_ref());
    Node::Array(image.map(|(image, row)| Node::pair("PreImage", shown(source, image, row))).into_iter().collect())
}

fn post_images(source: &Source<'_>) -> Node {
    let mut images = Vec::new();
    if let Some(row) = &source.commit.after {
        if let Some(image) = source.post_image {
            images.push(Node::pair("PostImage", shown(source, image, row)));
        }
        if let Some(def) = source.world.schema.tables.get(&source.commit.table) {
            let name = Image::Columns(vec![def.primary_name.clone()]);
            images.push(Node::pair("AsynchronousStepPrimaryName", shown(source, &name, row)));
        }
    }
    Node::Array(images)
}

fn shown(source: &Source<'_>, image: &Image, row: &Row) -> Node {
    let Some(def) = source.world.schema.tables.get(&source.commit.table) else { return Node::Null };
    let mut attributes: Vec<(String, Option<Cell>)> = row
        .columns
        .iter()
        .filter(|(name, _)| image.shows(name))
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    if image.shows("versionnumber") {
        attributes.push(("versionnumber".into(), Some(Cell::Int(row.version))));
    }
    attributes.push((def.primary_id.clone(), Some(Cell::Guid(row.id))));
    entity(Some(def), row.id, &attributes, false)
}

fn typed(name: &str) -> Node {
    Node::text(format!("{name}:{CONTRACTS}"))
}

fn reference(table: &str, id: Uuid) -> Node {
    Node::Object(vec![
        ("__type", typed("EntityReference")),
        ("Id", Node::text(id)),
        ("KeyAttributes", Node::Array(Vec::new())),
        ("LogicalName", Node::text(table)),
        ("Name", Node::Null),
        ("RowVersion", Node::Null),
    ])
}

fn entity(def: Option<&TableDef>, id: Uuid, attributes: &[(String, Option<Cell>)], with_type: bool) -> Node {
    let table = def.map_or("activityparty", |def| def.name.as_str());
    let formatted = attributes
        .iter()
        .filter_map(|(name, value)| Some(Node::pair(name, Node::Text(formatted(def?, name, value.as_ref()?)?))))
        .collect();
    let attributes = attributes.iter().map(|(name, value)| Node::pair(name, self::value(value.as_ref(), id))).collect();
    let mut members = if with_type { vec![("__type", typed("Entity"))] } else { Vec::new() };
    members.extend([
        ("Attributes", Node::Array(attributes)),
        ("EntityState", Node::Null),
        ("FormattedValues", Node::Array(formatted)),
        ("Id", Node::text(id)),
        ("KeyAttributes", Node::Array(Vec::new())),
        ("LogicalName", Node::text(table)),
        ("RelatedEntities", Node::Array(Vec::new())),
        ("RowVersion", Node::Null),
    ]);
    Node::Object(members)
}

fn value(cell: Option<&Cell>, owner: Uuid) -> Node {
    let Some(cell) = cell else { return Node::Null };
    match cell {
        Cell::Text(text) => Node::text(text),
        Cell::Int(value) => Node::number(value),
        Cell::Decimal(value) => Node::number(value),
        Cell::Double(text) => Node::number(text),
        Cell::Bool(value) => Node::Bool(*value),
        Cell::Choice(value) => option(*value),
        Cell::Choices(values) => Node::Array(values.iter().map(|v| option(*v)).collect()),
        Cell::Money(value) => Node::Object(vec![("__type", typed("Money")), ("Value", Node::number(value))]),
        Cell::Time(time) => Node::text(moment(time)),
        Cell::Date(date) => Node::text(midnight(*date)),
        Cell::Lookup { table, id } => reference(table, *id),
        Cell::Guid(id) => Node::text(id),
        Cell::Parties(parties) => collection(parties, owner),
    }
}

fn option(value: i64) -> Node {
    Node::Object(vec![("__type", typed("OptionSetValue")), ("Value", Node::number(value))])
}

fn collection(parties: &[Party], activity: Uuid) -> Node {
    let entities = parties
        .iter()
        .map(|party| {
            let attributes = [
                ("ispartydeleted".to_owned(), Some(Cell::Bool(false))),
                ("activityid".to_owned(), Some(Cell::Lookup { table: "activitypointer".into(), id: activity })),
                ("participationtypemask".to_owned(), Some(Cell::Choice(party.mask))),
                ("partyid".to_owned(), Some(Cell::Lookup { table: party.table.clone(), id: party.id })),
            ];
            entity(None, Uuid::from_u128(party.id.as_u128() ^ activity.as_u128()), &attributes, false)
        })
        .collect();
    Node::Object(vec![
        ("__type", typed("EntityCollection")),
        ("Entities", Node::Array(entities)),
        ("EntityName", Node::text("activityparty")),
        ("MinActiveRowVersion", Node::text("-1")),
        ("MoreRecords", Node::Bool(false)),
        ("PagingCookie", Node::Null),
        ("TotalRecordCount", Node::number(-1)),
        ("TotalRecordCountLimitExceeded", Node::Bool(false)),
    ])
}

fn moment(time: &DateTime<Utc>) -> String {
    format!("/Date({})/", time.timestamp() * 1000)
}

fn midnight(date: NaiveDate) -> String {
    moment(&date.and_time(chrono::NaiveTime::MIN).and_utc())
}

/// A text for people. Never data, so it may differ from what the service would show.
fn formatted(def: &TableDef, name: &str, cell: &Cell) -> Option<String> {
    match (&def.columns.get(name)?.kind, cell) {
        (Kind::State, Cell::Choice(value)) => {
            def.states.iter().find(|s| s.value == *value).map(|state| state.label.clone())
        }
        (_, Cell::Choice(value)) => Some(format!("Option {value}")),
        (_, Cell::Bool(value)) => Some(if *value { "Yes".into() } else { "No".into() }),
        (_, Cell::Money(value)) => Some(format!("€{value}")),
        (_, Cell::Time(time)) => Some(time.format("%Y-%m-%dT%H:%M:%S-00:00").to_string()),
        _ => None,
    }
}
