//! The HTTP triggers of a package: which requests a function answers, and whether two answer the same.

use serde_json::Value as Json;
use std::collections::BTreeSet;

/// What the host takes when a trigger names no methods.
const METHODS: [&str; 8] = ["get", "post", "delete", "head", "patch", "put", "options", "trace"];

/// Requests that a function answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The function.
    pub function: String,
    /// The route as it is written.
    pub text: String,
    /// In lower case, parameters without their names.
    shape: String,
    methods: BTreeSet<String>,
}

impl Route {
    /// Whether one request fits both.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        self.shape == other.shape && !self.methods.is_disjoint(&other.methods)
    }
}

/// The route of a function's HTTP trigger; its name if it has no route of its own.
#[must_use]
pub fn route(function: &str, manifest: &Json) -> Option<Route> {
    let bindings = manifest.get("bindings")?.as_array()?;
    let trigger = bindings.iter().find(|binding| binding.get("type").and_then(Json::as_str) == Some("httpTrigger"))?;
    let text = trigger.get("route").and_then(Json::as_str).unwrap_or(function).trim_matches('/').to_owned();
    let segment = |segment: &str| match segment.strip_prefix('{') {
        Some(rest) if rest.starts_with('*') => "{*}".to_owned(),
        Some(_) => "{}".to_owned(),
        None => segment.to_ascii_lowercase(),
    };
    let shape = text.split('/').map(segment).collect::<Vec<_>>().join("/");
    let given = trigger.get("methods").and_then(Json::as_array);
    let methods = match given {
        Some(all) => all.iter().filter_map(Json::as_str).map(str::to_ascii_lowercase).collect(),
        None => METHODS.map(str::to_owned).into(),
    };
    Some(Route { function: function.to_owned(), text, shape, methods })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn routes_clash_by_shape_and_method() {
        let of = |route: &str, methods: Json| {
            let trigger = json!({"type": "httpTrigger", "route": route, "methods": methods});
            super::route("f", &json!({"bindings": [trigger]})).unwrap()
        };
        let one = of("rows/{table}/{key}", json!(["PATCH", "delete"]));
        assert!(one.clashes(&of("Rows/{a}/{b}/", json!(["patch"]))));
        assert!(one.clashes(&of("rows/{a}/{b}", Json::Null)));
        assert!(!one.clashes(&of("rows/{a}/{b}", json!(["get"]))));
        assert!(!one.clashes(&of("rows/{a}", json!(["patch"]))));
        assert!(!one.clashes(&of("rows/account/{key}", json!(["patch"]))), "a fixed segment goes first");
    }
}
