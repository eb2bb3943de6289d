//! `rows`: one row changed or deleted by its address, for senders that have rows and no events. The request becomes a change
//! event and goes the way of every other; what it needs beside its columns is an identity (`ce-id` or `Idempotency-Key`).
//!
//! HTTP's own conditions are refused: order is by versions here, and an `If-Match` that nobody compares would be a promise
//! that nobody keeps.

use super::door::{admit, answer, delivery, refused};
use super::events::handle;
use crate::domain::decode::{Address, DecodeLimits, Inbound, Item, decode_addressed};
use crate::domain::mapping::{Identity, Mapping};
use crate::host::{Function, HttpAnswer, HttpFunction, HttpRequest, Kind, Problem};
use crate::secret::Secret;
use crate::sync::HandleEvent;
use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// Conditions that are refused.
const CONDITIONS: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// The function.
#[derive(Debug)]
pub struct Rows {
    engine: Arc<dyn HandleEvent>,
    mapping: Option<Arc<Mapping>>,
    secrets: Vec<Secret>,
    limits: DecodeLimits,
}

impl Rows {
    /// The function as the host knows it. The mapping says which column a bare key is of; without it keys name theirs.
    #[must_use]
    pub fn function(
        engine: Arc<dyn HandleEvent>,
        mapping: Option<Arc<Mapping>>,
        secrets: Vec<Secret>,
        limits: DecodeLimits,
    ) -> Function {
        let methods = &[Method::PATCH, Method::DELETE];
        let function = Box::new(Self { engine, mapping, secrets, limits });
        Function { name: "rows", kind: Kind::Http { route: "rows/{table}/{key}", methods, function } }
    }

    /// The source's column that identifies the table's rows, if it is one.
    fn key_column(&self, table: &str) -> Option<&str> {
        let table = self.mapping.as_ref()?.tables.get(&table.trim().to_ascii_lowercase())?;
        match &table.identity {
            Identity::Key(columns) => match columns.as_slice() {
                [column] => table.columns.source_name(column),
                _ => None,
            },
            Identity::Id => None,
        }
    }
}

#[async_trait]
impl HttpFunction for Rows {
    async fn answer(&self, request: HttpRequest) -> HttpAnswer {
        if let Err(problem) = admit(&self.secrets, &request.headers) {
            return problem.into();
        }
        if let Some(name) = CONDITIONS.into_iter().find(|name| request.headers.contains_key(*name)) {
            let what =
                "conditions are not kept here: send a `version`, older ones than what was written change nothing";
            let problem = Problem::new(StatusCode::BAD_REQUEST, format!("header {name}: {what}"));
            return problem.with("path", json!(format!("header {name}"))).into();
        }
        let parameter = |name: &str| request.parameters.get(name).map(String::as_str).unwrap_or_default();
        let (table, key) = (parameter("table"), parameter("key"));
        let deletes = request.method == Method::DELETE;
        let address = Address { table, key, key_column: self.key_column(table), deletes };
        let inbound = Inbound {
            content_type: request.headers.get("content-type").map(String::as_str),
            headers: &request.headers,
            message_id: None,
            body: &request.body,
        };
        let delivery = delivery(&request.headers, &request.arrived);
        match decode_addressed(&inbound, &address, &self.limits) {
            Ok(event) => answer(handle(self.engine.as_ref(), Item::Change(Box::new(event)), &delivery).await),
            Err(error) => refused(&error),
        }
    }
}
