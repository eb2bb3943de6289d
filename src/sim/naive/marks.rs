//! Which ids were handled: one entity each in a table. Knows no event.

use super::within;
use crate::sim::http::Sender;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

const TABLE: &str = "handled";
/// Requests carry a date; with a bearer token nobody looks at it.
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// The table of handled ids.
#[derive(Debug)]
pub(super) struct Marks {
    sender: Sender,
    account: String,
    bearer: String,
}

impl Marks {
    pub(super) fn new(sender: Sender, account: String, bearer: String) -> Self {
        Self { sender, account, bearer }
    }

    /// Whether the id is there.
    pub(super) async fn has(&self, id: &str) -> Result<bool, String> {
        let answer = self.send(Method::GET, &format!("{TABLE}(PartitionKey='event',RowKey='{id}')"), None).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            other => Err(format!("the table said {other}")),
        }
    }

    /// Puts the id there, whoever else did.
    pub(super) async fn put(&self, id: &str) -> Result<(), String> {
        let entity = json!({"PartitionKey": "event", "RowKey": id}).to_string();
        let mut answer = self.send(Method::POST, TABLE, Some(entity.clone())).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let table = json!({"TableName": TABLE}).to_string();
            self.send(Method::POST, "Tables", Some(table)).await?;
            answer = self.send(Method::POST, TABLE, Some(entity)).await?;
        }
        match answer.status() {
            status if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
            other => Err(format!("the table said {other}")),
        }
    }

    async fn send(&self, method: Method, resource: &str, body: Option<String>) -> Result<Response<Bytes>, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{resource}", self.account))
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("x-ms-version", "2019-02-02")
            .header("x-ms-date", DATE)
            .header("dataserviceversion", "3.0")
            .header("accept", "application/json;odata=nometadata")
            .header("content-type", "application/json")
            .body(body.map(Bytes::from).unwrap_or_default())
            .map_err(|e| e.to_string())?;
        within(self.sender.send(request)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tables::{Settings, TableService, serve};

    #[tokio::test]
    async fn an_id_is_there_once_it_was_put_there() {
        let mut settings = Settings::default();
        settings.keys.bearer = Some("token".to_owned());
        let account = settings.keys.account.clone();
        let server = serve(TableService::new(settings), 0).await.unwrap();
        let marks = Marks::new(Sender::default(), format!("{}/{account}", server.url()), "token".to_owned());
        assert_eq!(marks.has("a").await, Ok(false));
        assert_eq!(marks.put("a").await, Ok(()));
        assert_eq!(marks.put("a").await, Ok(()));
        assert_eq!((marks.has("a").await, marks.has("b").await), (Ok(true), Ok(false)));
    }
}
