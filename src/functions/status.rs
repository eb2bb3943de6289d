//! `status`: the numbers of [`crate::operate::status`] as JSON, behind the function key.

use crate::host::{Function, HttpAnswer, HttpFunction, HttpRequest, Kind, Problem};
use crate::operate::status::status;
use crate::sync::engine::Engine;
use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// When to ask again if the numbers cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The function.
#[derive(Debug)]
pub struct Status {
    engine: Option<Arc<Engine>>,
}

impl Status {
    /// The function as the host knows it. Without an engine there is nothing to tell.
    #[must_use]
    pub fn function(engine: Option<Arc<Engine>>) -> Function {
        let kind = Kind::Http { route: "status", methods: &[Method::GET], function: Box::new(Self { engine }) };
        Function { name: "status", kind }
    }
}

#[async_trait]
impl HttpFunction for Status {
    async fn answer(&self, _request: HttpRequest) -> HttpAnswer {
        let Some(engine) = &self.engine else {
            return Problem::unavailable("there is no engine to tell of", RETRY_AFTER).into();
        };
        match status(engine).await {
            Ok(status) => HttpAnswer::json(StatusCode::OK, &json!(status)),
            Err(error) => Problem::unavailable(error.to_string(), RETRY_AFTER).into(),
        }
    }
}
