//! Values that the mapping writes (`values`, `placeholder`) against the options of choice columns, and lookups matched by a
//! column. Pure.

use super::Check;
use crate::dataverse::metadata::choices::Choices;
use crate::domain::mapping::TableMap;
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::Value;

/// Kinds of the choice columns for which the file gives values: whose options are worth asking for.
#[must_use]
pub fn kinds(table: &TableMap, schema: &TableSchema) -> Vec<ColumnKind> {
    let columns = table.columns.values.keys().chain(table.placeholder_set.keys());
    columns.filter_map(|column| schema.columns.get(column)).map(|column| column.kind).collect()
}

/// Values that the target's choices do not have.
#[must_use]
pub fn options(name: &str, table: &TableMap, choices: &Choices) -> Vec<Check> {
    let mapped = table.columns.values.iter().flat_map(|(column, map)| map.values().map(move |value| (column, value)));
    let written = mapped.chain(&table.placeholder_set);
    let mut checks = Vec::new();
    for (column, value) in written {
        let Some(options) = choices.get(column) else { continue };
        let unknown: Vec<i64> = numbers(value).into_iter().filter(|number| !options.contains(number)).collect();
        for number in unknown {
            let known: Vec<String> = options.iter().map(ToString::to_string).collect();
            let remedy = format!(
                "use one of {}, or add the option to the target",
                super::listed(known.iter().map(String::as_str))
            );
            checks.push(Check::fail(name, format!("choice {column} has no option {number}"), remedy));
        }
    }
    checks
}

fn numbers(value: &Value) -> Vec<i64> {
    match value {
        Value::Choice(number) => vec![*number],
        Value::Choices(numbers) => numbers.clone(),
        Value::Number(number) => number.as_str().parse().ok().into_iter().collect(),
        _ => Vec::new(),
    }
}
