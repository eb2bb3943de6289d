//! Route templates: `rows/{table}/{key}`, `{*path}`, with optional parts. Pure. Knows no function.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter { name: String, optional: bool },
    Rest(String),
}

/// A parsed template. Ordered by precedence is up to [`Route::rank`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route(Vec<Segment>);

impl Route {
    /// Parses a template below a prefix. `None` for what this stand-in does not know (constraints, partial segments).
    #[must_use]
    pub fn parse(prefix: &str, template: &str) -> Option<Self> {
        let mut segments = Vec::new();
        let parts = prefix.split('/').chain(template.trim_matches('/').split('/')).filter(|p| !p.is_empty());
        for part in parts {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return None;
            }
            let segment = match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                None if part.contains(['{', '}']) => return None,
                None => Segment::Literal(part.to_owned()),
                Some(inner) => {
                    let plain = inner.trim_start_matches('*').trim_end_matches('?');
                    if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                        return None;
                    }
                    match inner.starts_with('*') {
                        true => Segment::Rest(plain.to_owned()),
                        false => Segment::Parameter { name: plain.to_owned(), optional: inner.ends_with('?') },
                    }
                }
            };
            segments.push(segment);
        }
        Some(Self(segments))
    }

    /// The parameters if the path fits. Literals are compared without case.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
        let mut found = BTreeMap::new();
        for segment in &self.0 {
            match (segment, parts.next()) {
                (Segment::Literal(literal), Some(part)) if literal.eq_ignore_ascii_case(&decode(part)) => {}
                (Segment::Parameter { name, .. }, Some(part)) if !part.is_empty() => {
                    found.insert(name.clone(), decode(part));
                }
                (Segment::Parameter { optional: true, .. }, None) => {}
                (Segment::Rest(name), first) => {
                    let rest: Vec<String> = first.into_iter().chain(parts.by_ref()).map(decode).collect();
                    found.insert(name.clone(), rest.join("/"));
                }
                _ => return None,
            }
        }
        parts.next().is_none().then_some(found)
    }

    /// Smaller goes first: literals before parameters before the rest.
    #[must_use]
    pub fn rank(&self) -> Vec<u8> {
        let rank = |s: &Segment| match s {
            Segment::Literal(_) => 0,
            Segment::Parameter { .. } => 1,
            Segment::Rest(_) => 2,
        };
        self.0.iter().map(rank).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_their_templates() {
        let check = |template: &str, path: &str, expected: Option<&str>| {
            let found = Route::parse("api", template).unwrap().matches(path);
            let text = found.map(|m| m.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","));
            assert_eq!(text.as_deref(), expected, "{template} {path}");
        };
        check("webhook", "/api/webhook", Some(""));
        check("webhook", "/API/Webhook/", Some(""));
        check("webhook", "/webhook", None);
        check("webhook", "/api/webhook/more", None);
        check("webhook", "/api/webhook//", None);
        check("webhook", "/api//webhook", None);
        check("rows/{table}/{key}", "/api/rows//b", None);
        check("rows/{table}/{key}", "/api/rows/account/", None);
        check("rows/{table}/{key}", "/api/rows/account/a%2Fb", Some("key=a/b,table=account"));
        check("rows/{table}/{key}", "/api/rows/account", None);
        check("rows/{table}/{key?}", "/api/rows/account", Some("table=account"));
        check("{*path}", "/api/a/b", Some("path=a/b"));
        check("{*path}", "/api", Some("path="));
    }

    #[test]
    fn unknown_templates_are_refused() {
        for template in ["{id:int}", "a{b}", "{*rest}/more", "{}"] {
            assert!(Route::parse("api", template).is_none(), "{template}");
        }
    }

    #[test]
    fn literals_go_before_parameters() {
        let rank = |t: &str| Route::parse("api", t).unwrap().rank();
        assert!(rank("rows/{a}") < rank("{b}/{a}"));
        assert!(rank("{b}") < rank("{*b}"));
    }
}
