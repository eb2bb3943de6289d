//! The options of choice columns: which numbers each may hold. Asked for only by `doctor`; writes leave it to the target.

use super::{MetadataError, check_name, quoted};
use crate::dataverse::client::{Call, Dataverse};
use crate::domain::schema::ColumnKind;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Options by column.
pub type Choices = BTreeMap<String, BTreeSet<i64>>;

/// The metadata type of a kind of column, if it has options.
fn cast(kind: ColumnKind) -> Option<&'static str> {
    match kind {
        ColumnKind::Choice => Some("PicklistAttributeMetadata"),
        ColumnKind::Choices => Some("MultiSelectPicklistAttributeMetadata"),
        ColumnKind::State => Some("StateAttributeMetadata"),
        ColumnKind::Status => Some("StatusAttributeMetadata"),
        _ => None,
    }
}

impl Dataverse {
    /// The options of a table's columns of these kinds, one request for each kind that has options.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub async fn choices(&self, call: &Call, table: &str, kinds: &[ColumnKind]) -> Result<Choices, MetadataError> {
        check_name(table)?;
        let casts: BTreeSet<&str> = kinds.iter().filter_map(|kind| cast(*kind)).collect();
        let mut choices = Choices::new();
        for cast in casts {
            let json = self.metadata(call, table, path(table, cast), true).await?;
            choices.extend(read(&json));
        }
        Ok(choices)
    }
}

fn path(table: &str, cast: &str) -> String {
    format!(
        "EntityDefinitions(LogicalName={})/Attributes/Microsoft.Dynamics.CRM.{cast}?$select=LogicalName\
         &$expand=OptionSet($select=Options),GlobalOptionSet($select=Options)",
        quoted(table)
    )
}

/// A column has an option set of its own, or a global one; one whose options are not shown is left out.
fn read(json: &Json) -> Choices {
    let columns = json.get("value").and_then(Json::as_array).into_iter().flatten();
    let options = |column: &Json| {
        let set =
            ["OptionSet", "GlobalOptionSet"].into_iter().find_map(|name| column.get(name)?.get("Options")?.as_array());
        set.map(|options| options.iter().filter_map(|option| option.get("Value")?.as_i64()).collect())
    };
    columns.filter_map(|column| Some((column.get("LogicalName")?.as_str()?.to_owned(), options(column)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn own_and_global_option_sets_are_read() {
        let options =
            |values: &[i64]| json!({"Options": values.iter().map(|v| json!({"Value": v})).collect::<Vec<_>>()});
        let answer = json!({"value": [
            {"LogicalName": "own", "OptionSet": options(&[1, 2]), "GlobalOptionSet": null},
            {"LogicalName": "global", "OptionSet": null, "GlobalOptionSet": options(&[7])},
            {"LogicalName": "hidden"},
        ]});
        let expected = Choices::from([("own".into(), BTreeSet::from([1, 2])), ("global".into(), BTreeSet::from([7]))]);
        assert_eq!(read(&answer), expected);
    }
}
