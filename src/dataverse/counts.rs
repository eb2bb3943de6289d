//! How many rows tables have, as the environment remembers it: a snapshot of the last 24 hours (RetrieveTotalRecordCount).
//! Good for saying how far something is, and for nothing else.

use super::client::{Call, Dataverse, Exchange, protocol_error};
use super::error::{DataverseError, Verb};
use super::url;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "EntityRecordCountCollection")]
    counts: Counts,
}

/// Two lists that belong together.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Counts {
    keys: Vec<String>,
    values: Vec<u64>,
}

impl Dataverse {
    /// About how many rows these tables have (logical names). One request; one virtual table in the list makes the service
    /// refuse it.
    ///
    /// # Errors
    /// [`DataverseError`].
    pub async fn row_counts(&self, call: &Call, tables: &[&str]) -> Result<BTreeMap<String, u64>, DataverseError> {
        let names: Vec<String> = tables.iter().map(|table| format!("'{table}'")).collect();
        let list = url::encode(&format!("[{}]", names.join(",")));
        let path = format!("RetrieveTotalRecordCount(EntityNames=@tables)?@tables={list}");
        let response = self.exchange(call, Exchange::get(Verb::Query, "-", None, path)).await?;
        let answer: Result<Answer, _> = serde_json::from_slice(&response.body);
        let Answer { counts } = answer.map_err(|_| protocol_error(Verb::Query, "-", "the answer has no row counts"))?;
        Ok(counts.keys.into_iter().zip(counts.values).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::dataverse::script::{Bench, answer};

    #[tokio::test]
    async fn the_two_lists_of_the_answer_are_put_together() {
        // as in the reference of EntityRecordCountCollection
        let body = r#"{"@odata.context":"https://org.crm4.dynamics.com/api/data/v9.2/$metadata#Microsoft.Dynamics.CRM.RetrieveTotalRecordCountResponse",
            "EntityRecordCountCollection":{"Count":2,"IsReadOnly":false,"Keys":["account","contact"],"Values":[7,500000]}}"#;
        let bench = Bench::new([answer(200, &[], body), answer(200, &[], "{}")]);
        let counts = bench.client.row_counts(&bench.call(), &["account", "contact"]).await.unwrap();
        assert_eq!(counts, [("account".to_owned(), 7), ("contact".to_owned(), 500_000)].into());
        let asked = "GET RetrieveTotalRecordCount(EntityNames=@tables)?@tables=['account','contact']";
        assert_eq!(bench.lines(), [asked]);
        assert!(bench.client.row_counts(&bench.call(), &["account"]).await.is_err());
    }
}
