//! Requests on metadata: `EntityDefinitions(...)` and what lies below it, `RelationshipDefinitions(...)`.

use super::environment::Environment;
use super::errors::{self, ApiError};
use super::exchange::{Answer, Exchange};
use super::literal::Literal;
use super::metadata_json as json;
use super::options::Options;
use super::schema::TableDef;
use super::url::{Predicate, Segment};
use http::Method;
use serde_json::{Map, Value};

/// What an entity definition shows only when expanded.
const EXPANDABLE: [&str; 5] =
    ["Attributes", "Keys", "ManyToOneRelationships", "OneToManyRelationships", "ManyToManyRelationships"];
const CAST: &str = "Microsoft.Dynamics.CRM.";

/// Answers a request on metadata.
///
/// # Errors
/// What does not exist, and everything but GET.
pub fn answer(environment: &Environment, exchange: &Exchange) -> Result<Answer, ApiError> {
    if exchange.method != Method::GET {
        return Err(errors::not_simulated("changing metadata"));
    }
    let schema = &environment.world().schema;
    let options = Options::of(&exchange.address.query)?;
    let Some((first, rest)) = exchange.address.segments.split_first() else { return Err(errors::no_resource("")) };
    let context = exchange.link("$metadata#EntityDefinitions");
    if first.predicate.is_none() {
        let mut all: Vec<Value> =
            schema.tables.values().map(|def| definition(environment, def, &options)).collect::<Result<_, _>>()?;
        all.extend(schema.many_to_many.iter().map(json::intersect));
        return Ok(list(&context, options.many(&all, &EXPANDABLE)?));
    }
    let name = logical_name(first)?;
    let def =
        schema.tables.get(&name).ok_or_else(|| errors::no_metadata(&format!("an entity with the name {name}")))?;
    match rest {
        [] => {
            let shown = options.one(&definition(environment, def, &options)?, &EXPANDABLE)?;
            Ok(Answer::ok(with_context(shown, &format!("{context}/$entity"))))
        }
        [attributes, rest @ ..] if attributes.name == "Attributes" => {
            self::attributes(def, attributes, rest, &options, &context)
        }
        [below] if below.predicate.is_none() => {
            let items = match below.name.as_str() {
                "Keys" => json::keys(def),
                "ManyToOneRelationships" => json::many_to_one(def),
                "OneToManyRelationships" => schema
                    .tables
                    .values()
                    .flat_map(json::many_to_one)
                    .filter(|r| r["ReferencedEntity"] == *def.name)
                    .collect(),
                "ManyToManyRelationships" => json::many_to_many(schema, Some(def)),
                other => return Err(errors::no_resource(other)),
            };
            Ok(list(&context, options.many(&items, &[])?))
        }
        _ => Err(errors::no_resource("EntityDefinitions")),
    }
}

/// Answers a request on `RelationshipDefinitions`.
///
/// # Errors
/// What does not exist, and everything but GET.
pub fn relationship(environment: &Environment, exchange: &Exchange) -> Result<Answer, ApiError> {
    if exchange.method != Method::GET {
        return Err(errors::not_simulated("changing metadata"));
    }
    let schema = &environment.world().schema;
    let options = Options::of(&exchange.address.query)?;
    let mut all = json::many_to_many(schema, None);
    all.extend(schema.tables.values().flat_map(json::many_to_one));
    let context = exchange.link("$metadata#RelationshipDefinitions");
    let (first, cast) = match exchange.address.segments.as_slice() {
        [first] => (first, None),
        [first, cast] => (first, Some(cast.name.strip_prefix(CAST).ok_or_else(|| errors::no_resource(&cast.name))?)),
        _ => return Err(errors::no_resource("RelationshipDefinitions")),
    };
    let kind = cast.map(|cast| format!("#{CAST}{cast}"));
    all.retain(|r| kind.as_ref().is_none_or(|kind| r["@odata.type"] == **kind));
    match &first.predicate {
        None => Ok(list(&context, options.many(&all, &[])?)),
        Some(Predicate::Named(named)) => match named.as_slice() {
            [(key, Literal::Text(name))] if key == "SchemaName" => {
                let found = all.iter().find(|r| r["SchemaName"] == **name);
                let found =
                    found.ok_or_else(|| errors::no_metadata(&format!("a relationship with the name {name}")))?;
                Ok(Answer::ok(with_context(options.one(found, &[])?, &context)))
            }
            _ => Err(errors::uri("A relationship is named by SchemaName='...'.")),
        },
        Some(Predicate::Id(_)) => Err(errors::not_simulated("MetadataId as key")),
    }
}

fn definition(environment: &Environment, def: &TableDef, options: &Options) -> Result<Value, ApiError> {
    for (name, inner) in &options.expand {
        if name == "Attributes" {
            base_only(inner.select.as_ref())?;
        }
    }
    Ok(json::table(&environment.world().schema, def))
}

/// Without a cast only what all types of columns have can be selected.
fn base_only(select: Option<&Vec<String>>) -> Result<(), ApiError> {
    match select.into_iter().flatten().find(|name| !json::BASE.contains(&name.as_str())) {
        Some(name) => Err(errors::uri(format!(
            "Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.AttributeMetadata'."
        ))),
        None => Ok(()),
    }
}

fn attributes(
    def: &TableDef,
    segment: &Segment,
    rest: &[Segment],
    options: &Options,
    context: &str,
) -> Result<Answer, ApiError> {
    let cast = match rest {
        [] => None,
        [cast] => Some(cast.name.strip_prefix(CAST).ok_or_else(|| errors::no_resource(&cast.name))?),
        _ => return Err(errors::no_resource("Attributes")),
    };
    if cast.is_none() {
        base_only(options.select.as_ref())?;
        if let Some((name, _)) = options.expand.first() {
            return Err(errors::uri(format!("Could not find a property named '{name}'.")));
        }
    }
    let expandable: &[&str] = if cast.is_some() { &["OptionSet", "GlobalOptionSet"] } else { &[] };
    let mut items = json::attributes(def, cast.is_some());
    let kind = cast.map(|cast| format!("#{CAST}{cast}"));
    if let Some(kind) = &kind {
        if !json::KINDS.iter().any(|known| kind.strip_prefix("#Microsoft.Dynamics.CRM.") == Some(*known)) {
            return Err(errors::no_resource(kind));
        }
        items.retain(|a| a["@odata.type"] == **kind);
    }
    if segment.predicate.is_none() {
        return Ok(list(context, options.many(&items, expandable)?));
    }
    let name = logical_name(segment)?;
    let found = items.iter().find(|a| a["LogicalName"] == *name);
    let found = found.ok_or_else(|| errors::no_metadata(&format!("an attribute with the name {name}")))?;
    Ok(Answer::ok(with_context(options.one(found, expandable)?, context)))
}

fn logical_name(segment: &Segment) -> Result<String, ApiError> {
    match &segment.predicate {
        Some(Predicate::Named(named)) => match named.as_slice() {
            [(key, Literal::Text(name))] if key == "LogicalName" => Ok(name.clone()),
            _ => Err(errors::uri("Metadata is named by LogicalName='...'.")),
        },
        _ => Err(errors::not_simulated("MetadataId as key")),
    }
}

fn list(context: &str, items: Vec<Value>) -> Answer {
    Answer::ok(with_context(Value::Object(Map::from_iter([("value".to_owned(), Value::Array(items))])), context))
}

fn with_context(mut value: Value, context: &str) -> Value {
    if let Value::Object(members) = &mut value {
        members.insert("@odata.context".into(), Value::from(context));
    }
    value
}
