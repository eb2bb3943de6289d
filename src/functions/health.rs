//! `health`: whether the process answers. Looks at nothing, so that a broken target takes no instance down.

use crate::host::{Function, HttpAnswer, HttpFunction, HttpRequest, Kind};
use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::json;

/// The function that answers 200.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health;

impl Health {
    /// The function as the host knows it.
    #[must_use]
    pub fn function() -> Function {
        let kind = Kind::Http { route: "health", methods: &[Method::GET], function: Box::new(Self) };
        Function { name: "health", kind }
    }
}

#[async_trait]
impl HttpFunction for Health {
    async fn answer(&self, _request: HttpRequest) -> HttpAnswer {
        HttpAnswer::json(StatusCode::OK, &json!({"status": "ok"}))
    }
}
