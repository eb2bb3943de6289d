//! The rules of the environment, one case each, through `Environment::handle` unless the rule is about direct changes.

mod delivery;
mod events;
mod faults;
mod metadata;
mod paging;
mod preconditions;
mod reads;
mod rows;
mod values;

use super::sample::sample_schema;
use super::{Environment, Settings};
use crate::sim::http::Reply;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An id for tests.
fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x1111_1111_0000_4000_8000_0000_0000_0000 + n)
}

fn settings() -> Settings {
    Settings::new(id(0xffff), sample_schema())
}

fn environment() -> Environment {
    Environment::new(settings())
}

/// What came back.
#[derive(Debug)]
struct Back {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Back {
    fn code(&self) -> String {
        self.body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Status and code.
fn refused(back: &Back) -> (u16, String) {
    (back.status, back.code())
}

/// One request below `/api/data/v9.2/`, with the headers that clients must send; `None` when hung up.
async fn try_call(
    environment: &Environment,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Option<Back> {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!("/api/data/v9.2/{path}"))
        .header("host", "here")
        .header("accept", "application/json")
        .header("odata-version", "4.0")
        .header("odata-maxversion", "4.0");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
    match environment.handle(request.body(body).unwrap()).await {
        Reply::Hangup => None,
        Reply::Answer(answer) => Some(Back {
            status: answer.status().as_u16(),
            headers: answer
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body: serde_json::from_slice(answer.body()).unwrap_or(Value::Null),
        }),
    }
}

async fn call(
    environment: &Environment,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Back {
    try_call(environment, method, path, headers, body).await.expect("an answer")
}

async fn patch(environment: &Environment, path: &str, body: Value) -> Back {
    call(environment, "PATCH", path, &[], Some(body)).await
}

async fn get(environment: &Environment, path: &str) -> Back {
    call(environment, "GET", path, &[], None).await
}

async fn delete(environment: &Environment, path: &str) -> Back {
    call(environment, "DELETE", path, &[], None).await
}

/// An account that is there.
async fn account(environment: &Environment, n: u128) -> String {
    let path = format!("accounts({})", id(n));
    assert_eq!(patch(environment, &path, json!({"name": format!("A{n}")})).await.status, 204);
    path
}
