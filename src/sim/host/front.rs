//! The HTTP side of the host: routes and keys, and requests as JSON. Knows no handler.

use super::function::{AuthLevel, Function, Trigger};
use super::route::Route;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// The keys that callers may have.
#[derive(Clone, Debug, Default)]
pub struct FunctionKeys {
    /// Keys of single functions.
    pub function: BTreeMap<String, Vec<String>>,
    /// Host keys: good for every function.
    pub host: Vec<String>,
    /// The master key: good for everything.
    pub master: Option<String>,
    /// Nobody is asked for a key, as where `func start` runs.
    pub open: bool,
}

impl FunctionKeys {
    /// Whether a request may call a function: the key is in `x-functions-key`, else in the query's `code`.
    #[must_use]
    pub fn admit(&self, function: &str, level: AuthLevel, request: &Request<Bytes>) -> bool {
        if self.open || level == AuthLevel::Anonymous {
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

/// The query's pairs, decoded; repeated keys are joined with commas.
#[must_use]
pub fn query(text: Option<&str>) -> BTreeMap<String, String> {
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
            open: false,
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
        let open = FunctionKeys { open: true, ..FunctionKeys::default() };
        assert!(open.admit("secret", AuthLevel::Admin, &request("GET", "/api/secret", &[])));
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
