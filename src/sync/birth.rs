//! What a row cannot be born with. Dataverse makes every row in its table's first state: a `statecode` in a create is ignored,
//! and a `statuscode` that belongs to another state is then refused (`0x80048408`). So a write that may turn out to be a
//! create leaves such columns to a second one, which finds the row. Pure.
//!
//! Both writes are made under one lease and both are idempotent; a crash between them leaves a row that lacks the second, and
//! an event that is owed and does both again.

use crate::dataverse::body::{Mode, is_writable};
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{Columns, Value};
use std::collections::BTreeSet;

/// The columns that have to follow: those that no create sets, unless a new row has that value anyway, and the status reason
/// along with its state.
pub(super) fn follows(schema: &TableSchema, columns: &Columns) -> BTreeSet<String> {
    let kind = |name: &String| schema.columns.get(name).map(|column| column.kind);
    let is_born_so = |name: &String, value: &Value| match value {
        Value::Null => true,
        Value::Choice(0) => kind(name) == Some(ColumnKind::State),
        _ => false,
    };
    let settable = |name: &String| schema.columns.get(name).is_none_or(|column| is_writable(column, Mode::Create));
    let of_later = |(name, value): &(&String, &Value)| !settable(name) && !is_born_so(name, value);
    let mut later: BTreeSet<String> = columns.iter().filter(of_later).map(|(name, _)| name.clone()).collect();
    if later.iter().any(|name| kind(name) == Some(ColumnKind::State)) {
        later.extend(columns.keys().filter(|name| kind(name) == Some(ColumnKind::Status)).cloned());
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::ColumnSchema;

    #[test]
    fn a_state_that_no_row_begins_with_follows_with_its_reason() {
        let column = |kind, creatable| ColumnSchema { kind, creatable, updatable: true };
        let columns = [
            ("name", column(ColumnKind::Text, true)),
            ("late", column(ColumnKind::Text, false)),
            ("statecode", column(ColumnKind::State, false)),
            ("statuscode", column(ColumnKind::Status, true)),
        ];
        let columns = columns.map(|(name, column)| (name.to_owned(), column));
        let mut schema = TableSchema {
            name: "t".to_owned(),
            entity_set: "ts".to_owned(),
            primary_id: "tid".to_owned(),
            primary_name: None,
            columns: columns.into(),
            lookups: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            optimistic_concurrency: true,
            elastic: false,
            external: false,
            files: BTreeSet::new(),
            secured: BTreeSet::new(),
        };
        let check = |schema: &TableSchema, given: &[(&str, Value)], expected: &[&str]| {
            let given: Columns = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            assert_eq!(follows(schema, &given).into_iter().collect::<Vec<_>>(), expected, "{given:?}");
        };
        let (name, text) = (("name", Value::Text("n".to_owned())), Value::Text("l".to_owned()));
        let (active, reason) = (("statecode", Value::Choice(0)), ("statuscode", Value::Choice(1)));
        let inactive = ("statecode", Value::Choice(1));
        check(&schema, &[name.clone(), active, reason.clone()], &[]);
        check(&schema, &[name.clone(), inactive.clone(), reason.clone()], &["statecode", "statuscode"]);
        check(&schema, &[name.clone(), ("late", text)], &["late"]);
        check(&schema, &[("late", Value::Null)], &[]);
        if let Some(state) = schema.columns.get_mut("statecode") {
            state.creatable = true;
        }
        check(&schema, &[inactive, reason], &[]);
    }
}
