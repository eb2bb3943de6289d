//! `console`: [`crate::operate::console`] as one page for people, or as JSON. Behind the function key, read-only.
//!
//! The page is whole by itself: no script, nothing loaded from anywhere, and a policy that forbids both. A browser can only
//! send the key in the address (`?code=`), so the page's own links and form carry on the one that it was asked with.

mod page;

use crate::host::{Function, HttpAnswer, HttpFunction, HttpRequest, Kind, Problem};
use crate::operate::console::{Part, Question, View, view};
use crate::sync::engine::Engine;
use async_trait::async_trait;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// When to ask again if the numbers cannot be read.
const RETRY_AFTER_S: u64 = 10;
/// Longest name of a table or row that is looked for, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// The function.
#[derive(Debug)]
pub struct Console {
    engine: Option<Arc<Engine>>,
}

impl Console {
    /// The function as the host knows it. Without an engine there is nothing to tell.
    #[must_use]
    pub fn function(engine: Option<Arc<Engine>>) -> Function {
        let kind = Kind::Http { route: "console", methods: &[Method::GET], function: Box::new(Self { engine }) };
        Function { name: "console", kind }
    }
}

#[async_trait]
impl HttpFunction for Console {
    async fn answer(&self, request: HttpRequest) -> HttpAnswer {
        let Some(engine) = &self.engine else {
            return Problem::unavailable("there is no engine to tell of", Duration::from_secs(RETRY_AFTER_S)).into();
        };
        let given = |name: &str| request.query.get(name).map(|text| text.trim()).unwrap_or_default();
        let (table, row) = (given("table"), given("row"));
        if table.len() > NAME_BYTES_MAX || row.len() > NAME_BYTES_MAX {
            let what = format!("table and row have at most {NAME_BYTES_MAX} bytes");
            return Problem::new(StatusCode::BAD_REQUEST, what).into();
        }
        let asked = !table.is_empty() && !row.is_empty();
        let question = asked.then(|| Question { table: table.to_owned(), row: row.to_owned() });
        let view = view(engine, question.as_ref()).await;
        let accept = request.headers.get(ACCEPT.as_str()).map(|accept| accept.to_ascii_lowercase()).unwrap_or_default();
        let as_json = accept.contains("application/json") && !accept.contains("text/html");
        let answer = if as_json {
            HttpAnswer::json(StatusCode::OK, &json!(view))
        } else {
            let fields = page::Fields { table, row, code: request.query.get("code").map(String::as_str) };
            html(page::page(&view, &fields))
        };
        told(answer, &view)
    }
}

/// Nothing of it is kept by anybody, and what could not be read is no success.
fn told(answer: HttpAnswer, view: &View) -> HttpAnswer {
    let answer = answer.with(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match view.status {
        Part::Known(_) => answer,
        Part::Unknown { .. } => HttpAnswer { status: StatusCode::SERVICE_UNAVAILABLE, ..answer }
            .with(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S)),
    }
}

fn html(body: String) -> HttpAnswer {
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let mut headers = vec![
        fixed(CONTENT_TYPE, "text/html; charset=utf-8"),
        fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(REFERRER_POLICY, "no-referrer"),
    ];
    headers.extend(HeaderValue::try_from(page::policy()).ok().map(|policy| (CONTENT_SECURITY_POLICY, policy)));
    HttpAnswer { status: StatusCode::OK, headers, body }
}

#[cfg(test)]
mod tests;
