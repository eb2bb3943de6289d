//! Addresses of the Web API: `/api/data/v9.2/accounts(accountnumber='A-1')?$select=name`. Knows no table.

use super::errors::{self, ApiError};
use super::literal::{Literal, Token, tokens};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Longest address in bytes (webapi limit).
const ADDRESS_BYTES_MAX: usize = 32 * 1024;
/// Characters in key values that fail even when encoded (define-alternate-keys-entity).
const KEY_CHARACTERS_REFUSED: &str = "/<>*%&:\\?+";

/// What is in the parentheses behind a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// `(<guid>)`.
    Id(Uuid),
    /// `(a='x',b=1)`.
    Named(Vec<(String, Literal)>),
}

/// `name` or `name(predicate)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The name.
    pub name: String,
    /// What follows in parentheses.
    pub predicate: Option<Predicate>,
    /// The segment as it was sent.
    pub raw: String,
}

/// Query options, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `$select`.
    pub select: Option<Vec<String>>,
    /// `$filter`.
    pub filter: Option<String>,
    /// `$expand`.
    pub expand: Option<String>,
    /// `$orderby`.
    pub orderby: Option<String>,
    /// `$top`.
    pub top: Option<usize>,
    /// `$skiptoken`, as it was given out.
    pub token: Option<String>,
    /// `$deltatoken`, as it was given out.
    pub delta: Option<String>,
    /// `$count=true`.
    pub count: bool,
    /// `$id` of a `$ref`.
    pub id: Option<String>,
    /// `tag`.
    pub tag: Option<String>,
    /// Parameters of functions: `@tables=[...]`.
    pub parameters: BTreeMap<String, String>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `v9.2`.
    pub version: String,
    /// What follows.
    pub segments: Vec<Segment>,
    /// After the `?`.
    pub query: Query,
}

impl Address {
    /// Reads path and query of a request.
    ///
    /// # Errors
    /// Everything that is not an address of the Web API, with the reason.
    pub fn parse(uri: &http::Uri) -> Result<Self, ApiError> {
        if uri.path().len() + uri.query().map_or(0, str::len) > ADDRESS_BYTES_MAX {
            return Err(errors::uri("The request URI is too long."));
        }
        let rest = uri.path().strip_prefix("/api/data/").ok_or_else(|| errors::no_resource(uri.path()))?;
        let (version, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if !version
            .strip_prefix("v9.")
            .is_some_and(|minor| minor.len() == 1 && minor.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(errors::no_resource(version));
        }
        let segments =
            if rest.is_empty() { Vec::new() } else { rest.split('/').map(segment).collect::<Result<_, _>>()? };
        Ok(Self { version: version.to_owned(), segments, query: query(uri.query().unwrap_or(""))? })
    }
}

/// Reads one segment, percent-encoded.
///
/// # Errors
/// What cannot be read, and key values with characters that do not work.
pub fn segment(raw: &str) -> Result<Segment, ApiError> {
    let text = decode(raw)?;
    let Some(open) = text.find('(') else {
        return Ok(Segment { name: text, predicate: None, raw: raw.to_owned() });
    };
    let (name, predicate) = text.split_at(open);
    if predicate == "()" || name.starts_with("Retrieve") {
        // a function
        return Ok(Segment { name: text, predicate: None, raw: raw.to_owned() });
    }
    let inner = predicate
        .strip_prefix('(')
        .and_then(|p| p.strip_suffix(')'))
        .ok_or_else(|| errors::uri(format!("Bad Request - Error in query syntax: '{name}('.")))?;
    Ok(Segment { name: name.to_owned(), predicate: Some(self::predicate(inner)?), raw: raw.to_owned() })
}

fn predicate(inner: &str) -> Result<Predicate, ApiError> {
    let syntax = || errors::uri("Bad Request - Error in query syntax: the key predicate cannot be read.");
    let found = tokens(inner)?;
    if let [only] = found.as_slice() {
        return match Literal::from_token(only)? {
            Literal::Guid(id) => Ok(Predicate::Id(id)),
            _ => Err(errors::uri("Error in query syntax: a primary key is a GUID without quotes.")),
        };
    }
    let mut named: Vec<(String, Literal)> = Vec::new();
    for part in found.split(|t| *t == Token::Mark(',')) {
        let [Token::Word(name), Token::Mark('='), value] = part else { return Err(syntax()) };
        let literal = Literal::from_token(value)?;
        if let Literal::Text(text) = &literal
            && text.contains(|c| KEY_CHARACTERS_REFUSED.contains(c))
        {
            return Err(errors::uri("A potentially dangerous Request.Path value was detected from the client."));
        }
        if literal == Literal::Null || literal == Literal::Text(String::new()) {
            return Err(errors::uri(format!("The value of key attribute '{name}' cannot be null.")));
        }
        if named.iter().any(|(n, _)| n == name) {
            return Err(syntax());
        }
        named.push((name.clone(), literal));
    }
    Ok(Predicate::Named(named))
}

fn query(raw: &str) -> Result<Query, ApiError> {
    let mut query = Query::default();
    for pair in raw.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(&value.replace('+', "%20"))?);
        match name.as_str() {
            "$select" => query.select = Some(list(&value)),
            "$filter" => query.filter = Some(value),
            "$expand" => query.expand = Some(value),
            "$orderby" => query.orderby = Some(value),
            "$top" => query.top = Some(number(&name, &value)?),
            "$skiptoken" => query.token = Some(value),
            "$deltatoken" => query.delta = Some(value),
            "$count" => query.count = value == "true",
            "$id" => query.id = Some(value),
            "tag" => query.tag = Some(value),
            _ if name.starts_with('@') => {
                query.parameters.insert(name, value);
            }
            _ => return Err(errors::uri(format!("The query parameter {name} is not supported."))),
        }
    }
    Ok(query)
}

/// Names between commas.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn number(name: &str, value: &str) -> Result<usize, ApiError> {
    value.parse().map_err(|_| errors::uri(format!("Invalid value for {name}.")))
}

fn decode(text: &str) -> Result<String, ApiError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| errors::uri("The address is not UTF-8."))
}

/// Reads what a lookup is bound to: `accounts(...)`, `/accounts(...)` or the full address below `base`.
///
/// # Errors
/// What is no reference to one row.
pub fn reference(text: &str, base: &str) -> Result<Segment, ApiError> {
    let mut rest = text;
    if let Some(below) = text.strip_prefix(base) {
        let below = below.strip_prefix("/api/data/v9.").unwrap_or(below);
        rest = below.split_once('/').map_or(below, |(_, rest)| rest);
    }
    let found = segment(rest.strip_prefix('/').unwrap_or(rest))?;
    if found.predicate.is_none() {
        return Err(errors::payload(format!("'{}' is not a reference to a row", found.name)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, ApiError> {
        Address::parse(&text.parse().unwrap())
    }

    #[test]
    fn keys_are_quoted_doubled_and_encoded() {
        let address = parse("/api/data/v9.2/accounts(accountnumber='O''Brien%20%C3%A4',x=1)?tag=a%20b").unwrap();
        assert_eq!(address.query.tag.as_deref(), Some("a b"));
        let Some(Predicate::Named(named)) = &address.segments[0].predicate else { panic!() };
        assert_eq!(named[0], ("accountnumber".into(), Literal::Text("O'Brien ä".into())));
        assert_eq!(named[1], ("x".into(), Literal::Number("1".into())));
    }

    #[test]
    fn documented_characters_fail_even_when_encoded() {
        for character in KEY_CHARACTERS_REFUSED.chars() {
            let encoded =
                percent_encoding::utf8_percent_encode(&character.to_string(), percent_encoding::NON_ALPHANUMERIC)
                    .to_string();
            let refused = parse(&format!("/api/data/v9.2/accounts(accountnumber='a{encoded}b')")).unwrap_err();
            assert_eq!(refused.status, 400, "{character}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_other_text_survives_quoting_and_encoding(text in "[^/<>*%&:\\\\?+\\x00]{1,40}") {
            let quoted = text.replace('\'', "''");
            let encoded = percent_encoding::utf8_percent_encode(&quoted, percent_encoding::NON_ALPHANUMERIC);
            let address = parse(&format!("/api/data/v9.2/accounts(accountnumber='{encoded}',x=1)")).unwrap();
            let Some(Predicate::Named(named)) = &address.segments[0].predicate else { panic!() };
            proptest::prop_assert_eq!(&named[0].1, &Literal::Text(text));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "/api/data/v8.2/accounts",
            "/api/accounts",
            "/api/data/v9.2/accounts(",
            "/api/data/v9.2/accounts('x')",
            "/api/data/v9.2/accounts(a='x',a='y')",
            "/api/data/v9.2/accounts(a='')",
            "/api/data/v9.2/accounts(a=null)",
            "/api/data/v9.2/accounts(%7B11111111-0000-4000-8000-0000000000aa%7D)",
            "/api/data/v9.2/accounts?$unknown=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reference_may_be_absolute() {
        let id = "11111111-0000-4000-8000-0000000000aa";
        for text in
            [format!("accounts({id})"), format!("/accounts({id})"), format!("http://here/api/data/v9.2/accounts({id})")]
        {
            assert_eq!(reference(&text, "http://here").unwrap().name, "accounts");
        }
        assert!(reference("accounts", "http://here").is_err());
    }
}
