//! `$select`, `$filter` and nested `$expand` over JSON, as metadata answers them. Knows no table.

use super::errors::{self, ApiError};
use super::filter::Filter;
use super::literal::Literal;
use super::url::list;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Deepest nesting of `$expand`.
const DEPTH_MAX: usize = 4;

/// Query options of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `$select`.
    pub select: Option<Vec<String>>,
    /// `$filter`.
    pub filter: Option<String>,
    /// `$expand`: name and options of each.
    pub expand: Vec<(String, Options)>,
}

impl Options {
    /// Reads options of an address.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn of(query: &super::url::Query) -> Result<Self, ApiError> {
        Ok(Self {
            select: query.select.clone(),
            filter: query.filter.clone(),
            expand: query.expand.as_deref().map_or(Ok(Vec::new()), |text| expand(text, 0))?,
        })
    }

    /// Applies the options to one object: what is neither selected nor expanded goes. `expandable` names the members that
    /// only `$expand` shows.
    ///
    /// # Errors
    /// A name that the object does not have.
    pub fn one(&self, object: &Value, expandable: &[&str]) -> Result<Value, ApiError> {
        let Value::Object(members) = object else { return Ok(object.clone()) };
        let mut shown = Map::new();
        for (name, value) in members.iter().filter(|(name, _)| !expandable.contains(&name.as_str())) {
            let selected = self.select.as_ref().is_none_or(|names| names.contains(name));
            if selected || name.starts_with("@odata") || name == "MetadataId" {
                shown.insert(name.clone(), value.clone());
            }
        }
        for name in self.select.iter().flatten() {
            if !shown.contains_key(name) {
                return Err(no_property(name));
            }
        }
        for (name, options) in &self.expand {
            let inner = members.get(name).filter(|_| expandable.contains(&name.as_str()));
            let inner = match inner.ok_or_else(|| no_property(name))? {
                Value::Array(items) => Value::Array(options.many(items, &[])?),
                other => options.one(other, &[])?,
            };
            shown.insert(name.clone(), inner);
        }
        Ok(Value::Object(shown))
    }

    /// Applies the options to a list.
    ///
    /// # Errors
    /// As [`Options::one`], and filters on unknown names.
    pub fn many(&self, items: &[Value], expandable: &[&str]) -> Result<Vec<Value>, ApiError> {
        let filter = self.filter.as_deref().map(Filter::parse).transpose()?;
        let mut shown = Vec::new();
        for item in items {
            let matches = match &filter {
                Some(filter) => filter.matches(&|name, literal| compare(item, name, literal))?,
                None => true,
            };
            if matches {
                shown.push(self.one(item, expandable)?);
            }
        }
        Ok(shown)
    }
}

fn no_property(name: &str) -> ApiError {
    errors::uri(format!("Could not find a property named '{name}'."))
}

fn compare(item: &Value, name: &str, literal: &Literal) -> Result<Option<Ordering>, ApiError> {
    let value = item.pointer(&format!("/{name}")).ok_or_else(|| no_property(name))?;
    Ok(match (value, literal) {
        (Value::Null, Literal::Null) => Some(Ordering::Equal),
        (Value::String(left), Literal::Text(right)) => Some(left.as_str().cmp(right)),
        (Value::Bool(left), Literal::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Literal::Number(right)) => left.as_i64().zip(right.parse().ok()).map(|(l, r)| l.cmp(&r)),
        _ => None,
    })
}

fn expand(text: &str, depth: usize) -> Result<Vec<(String, Options)>, ApiError> {
    if depth > DEPTH_MAX {
        return Err(errors::uri("$expand is nested too deeply."));
    }
    split(text, ',')?.into_iter().map(|part| one(part.trim(), depth)).collect()
}

fn one(part: &str, depth: usize) -> Result<(String, Options), ApiError> {
    let Some((name, rest)) = part.split_once('(') else { return Ok((part.to_owned(), Options::default())) };
    let inner = rest.strip_suffix(')').ok_or_else(|| errors::uri("Syntax error in $expand."))?;
    let mut options = Options::default();
    for option in split(inner, ';')? {
        match option.trim().split_once('=') {
            Some(("$select", names)) => options.select = Some(list(names)),
            Some(("$filter", filter)) => options.filter = Some(filter.to_owned()),
            Some(("$expand", inner)) => options.expand = expand(inner, depth + 1)?,
            _ => return Err(errors::uri(format!("Syntax error in $expand: '{option}'."))),
        }
    }
    Ok((name.to_owned(), options))
}

/// Splits outside parentheses and quotes.
fn split(text: &str, mark: char) -> Result<Vec<&str>, ApiError> {
    let mut parts = Vec::new();
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth = depth.checked_sub(1).ok_or_else(|| errors::uri("Syntax error in $expand."))?;
            }
            c if c == mark && depth == 0 && !quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    if depth == 0 && !quoted { Ok(parts) } else { Err(errors::uri("Syntax error in $expand.")) }
}
