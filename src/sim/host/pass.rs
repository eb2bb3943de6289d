//! How a request reaches the handler as it is: proxied as YARP does it, or copied as older hosts do.
//! Knows no route and no key.

use super::front::query;
use super::instance::{Death, Instance};
use super::invoke::HOST_VERSION;
use crate::sim::http::{Sender, status};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use std::time::Duration;
use uuid::Uuid;

/// Attempts to reach a handler that refuses connections, and the waits between them (they grow to the second).
const ATTEMPTS_MAX: u32 = 10;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_millis(250);

/// Whether the request is proxied or copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `enableProxyingHttpRequest`.
    Proxying,
    /// `enableForwardingHttpRequest`.
    Forwarding,
}

/// Passes a request on to the handler and its answer back.
pub async fn pass(
    sender: &Sender,
    instance: &Instance,
    mode: Mode,
    request: &Request<Bytes>,
    invocation: Uuid,
    timeout: Option<Duration>,
) -> Response<Bytes> {
    let mut deaths = instance.deaths();
    let Ok(address) = instance.ready().await else { return status(StatusCode::SERVICE_UNAVAILABLE) };
    deaths.mark_unchanged();
    let host = address.to_string();
    let passed = match mode {
        Mode::Proxying => proxied(request, &host, invocation),
        Mode::Forwarding => forwarded(request, &host, invocation),
    };
    let Some(passed) = passed else { return status(StatusCode::INTERNAL_SERVER_ERROR) };
    let work = async {
        let mut wait = RETRY_FIRST;
        for attempt in 1.. {
            match sender.send(passed.clone()).await {
                Ok(answer) => return without_hop_by_hop(answer),
                Err(error) if attempt < ATTEMPTS_MAX && error.to_ascii_lowercase().contains("connection refused") => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_LAST);
                }
                Err(_) => break,
            }
        }
        status(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let expired = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        answer = work => answer,
        _ = deaths.changed() => status(match deaths.borrow().1 {
            Death::Handler => StatusCode::INTERNAL_SERVER_ERROR,
            Death::Instance => StatusCode::BAD_GATEWAY,
        }),
        () = expired => {
            instance.restart(Death::Handler).await;
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn without_hop_by_hop(mut answer: Response<Bytes>) -> Response<Bytes> {
    HOP_BY_HOP.iter().for_each(|name| {
        answer.headers_mut().remove(*name);
    });
    // The server writes the length of what it sends.
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The request as YARP passes it: method, path and query untouched, nothing stripped but hop-by-hop headers and
/// `Forwarded`.
fn proxied(request: &Request<Bytes>, host: &str, invocation: Uuid) -> Option<Request<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let mut passed = Request::new(request.body().clone());
    *passed.method_mut() = request.method().clone();
    *passed.uri_mut() = format!("http://{host}{path}").parse().ok()?;
    let headers = passed.headers_mut();
    *headers = request.headers().clone();
    let connection = request.headers().get(header::CONNECTION).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    for name in
        HOP_BY_HOP.into_iter().chain(["forwarded", "content-length"]).chain(connection.split(',').map(str::trim))
    {
        headers.remove(name);
    }
    let client_host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("localhost");
    set(headers, "x-forwarded-for", "127.0.0.1");
    set(headers, "x-forwarded-host", client_host);
    set(headers, "x-forwarded-proto", "http");
    set(headers, "host", host);
    set(headers, "x-azure-functions-invocationid", &invocation.to_string());
    set(headers, "x-azure-functions-hostversion", HOST_VERSION);
    set(headers, "x-ms-invocation-id", &invocation.to_string());
    Some(passed)
}

/// The request as the older copy makes it: query rebuilt with repeated keys joined, host headers appended, a body only
/// if its length was announced.
fn forwarded(request: &Request<Bytes>, host: &str, invocation: Uuid) -> Option<Request<Bytes>> {
    let query: Vec<String> =
        query(request.uri().query()).into_iter().map(|(k, v)| format!("{}={}", escape(&k), escape(&v))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let announced = request.headers().contains_key(header::CONTENT_LENGTH);
    let mut passed = Request::new(if announced { request.body().clone() } else { Bytes::new() });
    *passed.method_mut() = request.method().clone();
    *passed.uri_mut() = format!("http://{host}{}{query}", request.uri().path()).parse().ok()?;
    let headers = passed.headers_mut();
    *headers = request.headers().clone();
    for name in HOP_BY_HOP.into_iter().chain(["content-length", "content-encoding", "content-language", "content-md5"])
    {
        headers.remove(name);
    }
    for (name, value) in [
        ("x-azure-functions-invocationid", invocation.to_string()),
        ("x-azure-functions-hostversion", HOST_VERSION.to_owned()),
        ("user-agent", format!("Azure-Functions-Host/{HOST_VERSION}")),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?);
    }
    Some(passed)
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
        let builder = Request::builder().method(method).uri(uri);
        headers.iter().fold(builder, |b, (n, v)| b.header(*n, *v)).body(Bytes::from_static(b"body")).unwrap()
    }

    #[test]
    fn a_proxied_request_keeps_everything_but_what_yarp_removes() {
        let given = request(
            "POST",
            "/api/webhook?a=1&a=2&code=k",
            &[
                ("host", "app.example"),
                ("x-functions-key", "k"),
                ("connection", "x-drop"),
                ("x-drop", "1"),
                ("forwarded", "for=1"),
                ("x-azure-functions-invocationid", "forged"),
                ("user-agent", "ua"),
            ],
        );
        let passed = proxied(&given, "127.0.0.1:9", Uuid::nil()).unwrap();
        assert_eq!(passed.uri(), "http://127.0.0.1:9/api/webhook?a=1&a=2&code=k");
        let header = |n: &str| passed.headers().get(n).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(header("host").unwrap(), "127.0.0.1:9");
        assert_eq!(header("x-forwarded-host").unwrap(), "app.example");
        assert_eq!(header("x-functions-key").unwrap(), "k");
        assert_eq!(header("user-agent").unwrap(), "ua");
        assert_eq!(header("x-ms-invocation-id").unwrap(), Uuid::nil().to_string());
        assert_eq!(header("x-azure-functions-invocationid").unwrap(), Uuid::nil().to_string());
        assert!(["x-drop", "forwarded", "connection"].iter().all(|n| header(n).is_none()));
    }

    #[test]
    fn a_forwarded_request_is_a_copy_with_losses() {
        let given =
            request("POST", "/api/x?a=1&a=2", &[("user-agent", "ua"), ("x-azure-functions-invocationid", "first")]);
        let passed = forwarded(&given, "127.0.0.1:9", Uuid::nil()).unwrap();
        assert_eq!(passed.uri(), "http://127.0.0.1:9/api/x?a=1%2C2");
        assert!(passed.body().is_empty(), "without Content-Length the body is lost");
        assert_eq!(passed.headers()["x-azure-functions-invocationid"], "first");
        assert_eq!(passed.headers().get_all("user-agent").iter().count(), 2);
    }
}
