//! The managed identity endpoint that Functions offers to its handlers (`$IDENTITY_ENDPOINT`, 2019-08-01).
//! Knows no handler.

use crate::sim::http::{Reply, Server, serve};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderValue, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What the endpoint gives out.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// What must be in `X-IDENTITY-HEADER` (`$IDENTITY_HEADER`).
    pub secret: String,
    /// Whether a system-assigned identity exists: requests without `client_id` and the like.
    pub system_assigned: bool,
    /// Client ids of the user-assigned identities.
    pub client_ids: Vec<String>,
    /// Resource (`https://storage.azure.com`, no `/.default`) to token; others are refused.
    pub tokens: BTreeMap<String, String>,
    /// How long a token is valid.
    pub lifetime: Duration,
    /// The wall-clock time at which it starts.
    pub start: DateTime<Utc>,
}

/// The running endpoint.
#[derive(Debug)]
pub struct Identity {
    server: Server,
    secret: String,
    given: Arc<AtomicU64>,
}

impl Identity {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(settings: IdentitySettings) -> std::io::Result<Self> {
        let given = Arc::new(AtomicU64::new(0));
        let (count, secret, started) = (Arc::clone(&given), settings.secret.clone(), Instant::now());
        let settings = Arc::new(settings);
        let server = serve(0, move |request| {
            let (settings, count) = (Arc::clone(&settings), Arc::clone(&count));
            async move {
                let elapsed = TimeDelta::from_std(started.elapsed() + settings.lifetime).unwrap_or_default();
                let (status, body) = answer(&settings, &request, settings.start + elapsed);
                count.fetch_add(u64::from(status == StatusCode::OK), Ordering::Relaxed);
                let mut answer = Response::new(Bytes::from(body.to_string()));
                *answer.status_mut() = status;
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Reply::Answer(answer)
            }
        })
        .await?;
        Ok(Self { server, secret, given })
    }

    /// The variables that handlers find it by.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let endpoint = format!("{}/msi/token", self.server.url());
        BTreeMap::from([("IDENTITY_ENDPOINT".into(), endpoint), ("IDENTITY_HEADER".into(), self.secret.clone())])
    }

    /// How many tokens it gave out.
    #[must_use]
    pub fn tokens_given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }
}

fn answer(settings: &IdentitySettings, request: &Request<Bytes>, expires: DateTime<Utc>) -> (StatusCode, Json) {
    let refuse =
        |status, message: &str| (status, json!({"statusCode": StatusCode::as_u16(&status), "message": message}));
    if request.method() != http::Method::GET || request.uri().path() != "/msi/token" {
        return refuse(StatusCode::NOT_FOUND, "no such endpoint");
    }
    if request.headers().get("x-identity-header").is_none_or(|h| h != settings.secret.as_str()) {
        return refuse(StatusCode::UNAUTHORIZED, "X-IDENTITY-HEADER is missing or wrong");
    }
    let pairs = request.uri().query().unwrap_or("").split('&').filter_map(|p| p.split_once('='));
    let query: BTreeMap<&str, String> =
        pairs.map(|(k, v)| (k, percent_decode_str(v).decode_utf8_lossy().into_owned())).collect();
    if query.get("api-version").is_none_or(|v| v != "2019-08-01") {
        return refuse(StatusCode::BAD_REQUEST, "api-version 2019-08-01 is expected");
    }
    let assigned = match query.get("client_id") {
        Some(id) => settings.client_ids.contains(id),
        None => settings.system_assigned && !query.contains_key("object_id") && !query.contains_key("mi_res_id"),
    };
    if !assigned {
        return refuse(
            StatusCode::BAD_REQUEST,
            "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
        );
    }
    let Some(resource) = query.get("resource") else { return refuse(StatusCode::BAD_REQUEST, "resource is missing") };
    let Some(token) = settings.tokens.get(resource.trim_end_matches('/')) else {
        return refuse(StatusCode::BAD_REQUEST, "the resource principal was not found in the tenant");
    };
    let body = json!({"access_token": token, "expires_on": expires.timestamp().to_string(), "resource": resource,
        "token_type": "Bearer", "client_id": query.get("client_id").map_or("", String::as_str)});
    (StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_whoever_knows_the_header_and_names_an_identity() {
        let settings = IdentitySettings {
            secret: "s".into(),
            system_assigned: true,
            client_ids: vec!["c1".into()],
            tokens: BTreeMap::from([("https://storage.azure.com".into(), "t".into())]),
            lifetime: Duration::from_secs(3600),
            start: DateTime::UNIX_EPOCH,
        };
        let check = |secret: &str, query: &str, expected: u16| {
            let request = Request::get(format!("/msi/token?{query}")).header("X-IDENTITY-HEADER", secret);
            let (status, body) = answer(&settings, &request.body(Bytes::new()).unwrap(), DateTime::UNIX_EPOCH);
            assert_eq!(status.as_u16(), expected, "{query} {body}");
            if expected == 200 {
                assert_eq!((&body["access_token"], &body["expires_on"]), (&json!("t"), &json!("0")));
            }
        };
        let version = "api-version=2019-08-01";
        let resource = "resource=https%3A%2F%2Fstorage.azure.com";
        check("s", &format!("{version}&{resource}"), 200);
        check("s", &format!("{version}&{resource}&client_id=c1"), 200);
        check("s", &format!("{version}&{resource}&client_id=c2"), 400);
        check("s", &format!("{version}&{resource}%2F.default"), 400);
        check("s", &format!("{version}&resource=https%3A%2F%2Fother"), 400);
        check("s", resource, 400);
        check("x", &format!("{version}&{resource}"), 401);
    }
}
