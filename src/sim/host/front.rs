//! The HTTP side of the host: routes, keys, and how a request reaches the handler in each mode. Knows no socket of its own.

use super::function::{AuthLevel, Function, Trigger};
use super::instance::{Death, Instance};
use super::invoke::HOST_VERSION;
use super::route::Route;
use crate::sim::http::{Sender, status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Attempts to reach a handler that refuses connections, and the waits between them (they grow to the second).
const ATTEMPTS_MAX: u32 = 10;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_millis(250);

/// The keys that callers may have.
#[derive(Clone, Debug, Default)]
pub struct FunctionKeys {
    /// Keys of single functions.
    pub function: BTreeMap<String, Vec<String>>,
    /// Host keys: good for every function.
    pub host: Vec<String>,
    /// The master key: good for everything.
    pub master: Option<String>,
}

impl FunctionKeys {
    /// Whether a request may call a function: the key is in `x-functions-key`, else in the query's `code`.
    #[must_use]
    pub fn admit(&self, function: &str, level: AuthLevel, request: &Request<Bytes>) -> bool {
        if level == AuthLevel::Anonymous {
            return true;
        }
        let header = request.headers().get("x-functions-key").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let Some(given) = header.or_else(|| query(request.uri().query()).remove("code")) else { return false };
        let known = |keys: &[String]| keys.contains(&given);
        let master = self.master.as_deref() == Some(given.as_str());
        master
            || level == AuthLevel::Function
                && (known(&self.host) || self.function.get(function).is_some_and(|k| known(k)))
    }
}

/// The HTTP functions and their routes, best first.
#[derive(Clone, Debug)]
pub struct Routes(Vec<(Route, Function)>);

/// What a request met.
#[derive(Debug)]
pub enum Found<'a> {
    /// A function, and the route's parameters.
    Function(&'a Function, BTreeMap<String, String>),
    /// The answer without any function.
    Answer(StatusCode),
}

impl Routes {
    /// Collects the HTTP functions.
    ///
    /// # Errors
    /// A template that this stand-in does not know.
    pub fn new<'a>(prefix: &str, functions: impl Iterator<Item = &'a Function>) -> Result<Self, String> {
        let mut all = Vec::new();
        for function in functions.filter(|f| !f.disabled) {
            if let Trigger::Http { route, .. } = &function.trigger {
                let parsed = Route::parse(prefix, route).ok_or_else(|| format!("route '{route}' is not supported"))?;
                all.push((parsed, function.clone()));
            }
        }
        all.sort_by_key(|(route, _)| route.rank());
        Ok(Self(all))
    }

    /// Finds the function and checks the key, before the handler sees anything.
    #[must_use]
    pub fn find(&self, request: &Request<Bytes>, keys: &FunctionKeys) -> Found<'_> {
        let path = request.uri().path();
        for (route, function) in &self.0 {
            let Trigger::Http { methods, level, .. } = &function.trigger else { continue };
            let Some(parameters) = route.matches(path) else { continue };
            if !methods.is_empty() && !methods.iter().any(|m| m == request.method().as_str()) {
                continue;
            }
            if !keys.admit(&function.name, *level, request) {
                return Found::Answer(StatusCode::UNAUTHORIZED);
            }
            return Found::Function(function, parameters);
        }
        Found::Answer(if path == "/" { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
    }
}

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

/// The query's pairs, decoded; repeated keys are joined with commas.
fn query(text: Option<&str>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    for pair in text.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        all.entry(decode(name)).and_modify(|v| *v = format!("{v},{value}")).or_insert(value);
    }
    all
}

/// The envelope of an HTTP trigger in JSON mode.
#[must_use]
pub fn envelope(
    function: &Function,
    request: &Request<Bytes>,
    parameters: &BTreeMap<String, String>,
    sys: Json,
) -> Json {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        headers.insert(name.as_str().to_owned(), json!(values));
    }
    let query = query(request.uri().query());
    let url = format!(
        "http://{}{}",
        headers.get("host").and_then(|h| h.get(0)).and_then(Json::as_str).unwrap_or("localhost"),
        request.uri().path_and_query().map_or("/", |p| p.as_str())
    );
    let single: Map<String, Json> =
        headers.iter().map(|(k, v)| (k.clone(), v.get(0).cloned().unwrap_or_default())).collect();
    let mut req = json!({"Url": url, "Method": request.method().as_str(), "Query": query, "Headers": headers,
        "Params": parameters, "Identities": []});
    if request.headers().contains_key(header::CONTENT_LENGTH) && !request.body().is_empty() {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let binary = kind.starts_with("application/octet-stream") || kind.starts_with("multipart/");
        let body = request.body();
        let body = if binary { STANDARD.encode(body) } else { String::from_utf8_lossy(body).into_owned() };
        if let Some(req) = req.as_object_mut() {
            req.insert("Body".into(), body.into());
        }
    }
    let mut metadata = Map::new();
    for (name, value) in query.iter().filter(|(name, _)| *name != "code").chain(parameters) {
        metadata.insert(name.clone(), Json::String(Json::from(value.as_str()).to_string()));
    }
    metadata.insert("Query".into(), json!(query));
    metadata.insert("Headers".into(), Json::Object(single));
    metadata.insert("sys".into(), sys);
    json!({"Data": {function.binding.as_str(): req}, "Metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::function::read_function;

    fn functions() -> Vec<Function> {
        let http = |name: &str, level: &str, route: &str, methods: &str| {
            let text = format!(
                r#"{{"bindings": [{{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "{level}",
                "route": "{route}", "methods": [{methods}]}}, {{"type": "http", "direction": "out", "name": "res"}}]}}"#
            );
            read_function(name, &text, &BTreeMap::new()).unwrap()
        };
        vec![
            http("catch", "anonymous", "{*path}", ""),
            http("webhook", "function", "webhook", r#""post""#),
            http("secret", "admin", "secret", ""),
        ]
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
        let builder = Request::builder().method(method).uri(uri);
        headers.iter().fold(builder, |b, (n, v)| b.header(*n, *v)).body(Bytes::from_static(b"body")).unwrap()
    }

    #[test]
    fn keys_open_what_they_are_for() {
        let functions = functions();
        let routes = Routes::new("api", functions.iter()).unwrap();
        let keys = FunctionKeys {
            function: BTreeMap::from([("webhook".to_owned(), vec!["fn".to_owned()])]),
            host: vec!["host".into()],
            master: Some("master".into()),
        };
        let check = |method: &str, uri: &str, key: &str, expected: &str| {
            let headers = [("x-functions-key", key)];
            let found = routes.find(&request(method, uri, if key.is_empty() { &[] } else { &headers }), &keys);
            let text = match found {
                Found::Function(f, _) => f.name.clone(),
                Found::Answer(status) => status.as_str().to_owned(),
            };
            assert_eq!(text, expected, "{method} {uri} {key}");
        };
        check("POST", "/api/webhook", "fn", "webhook");
        check("POST", "/api/webhook", "host", "webhook");
        check("POST", "/api/webhook", "master", "webhook");
        check("POST", "/api/webhook?code=fn", "", "webhook");
        check("POST", "/api/webhook?code=fn", "wrong", "401");
        check("POST", "/api/webhook", "", "401");
        check("GET", "/api/webhook", "", "catch");
        check("GET", "/api/secret", "host", "401");
        check("GET", "/api/secret", "master", "secret");
        check("GET", "/webhook", "", "404");
        check("GET", "/", "", "204");
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

    #[test]
    fn json_mode_describes_the_request() {
        let given = request(
            "POST",
            "/api/x?a=1&code=k",
            &[("host", "h"), ("content-length", "4"), ("content-type", "text/plain")],
        );
        let parameters = BTreeMap::from([("id".to_owned(), "7".to_owned())]);
        let json = envelope(&functions()[0], &given, &parameters, json!({}));
        assert_eq!(json["Data"]["req"]["Url"], "http://h/api/x?a=1&code=k");
        assert_eq!(json["Data"]["req"]["Body"], "body");
        assert_eq!(json["Data"]["req"]["Headers"]["host"], json!(["h"]));
        assert_eq!(json["Metadata"]["id"], "\"7\"");
        assert!(json["Metadata"].get("code").is_none());
    }
}
