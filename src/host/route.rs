//! Which paths fit a route (`rows/{table}/{key}`), and what stands in its parameters; the query's pairs. Pure; knows no function.
//!
//! As the host matches: literals in any case, one slash at the end or none, no empty segments, each segment percent-decoded
//! once. Stricter in one thing: a parameter with a slash in it, plain or encoded, is refused. The host's front end decodes and
//! encodes the path again and treats `%2F` as none of the others, so such a name would be another one behind it.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// Values by name: of a route's parameters, or of a query.
pub type Parameters = BTreeMap<String, String>;

/// Longest parameter after decoding, in bytes: as long as an event's id.
pub const PARAMETER_BYTES_MAX: usize = 1_024;
/// Pairs of a query that are looked at.
const PAIRS_MAX: usize = 32;

/// Whether a path fits a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It does not.
    No,
    /// It does.
    Fits(Parameters),
    /// It has the right shape, and a parameter is not what it may be: which, and why.
    Malformed(String),
}

/// Compares a path with a route, both without prefix: `rows/account/A%2D1`.
#[must_use]
pub fn matches(template: &str, path: &str) -> Matched {
    let mut parts = path.strip_suffix('/').unwrap_or(path).split('/');
    let (mut parameters, mut wrong) = (Parameters::new(), None);
    for segment in template.split('/') {
        let Some(part) = parts.next().filter(|part| !part.is_empty()) else { return Matched::No };
        match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            None if percent_decode_str(part).decode_utf8_lossy().eq_ignore_ascii_case(segment) => {}
            None => return Matched::No,
            Some(name) => match value(part) {
                Ok(value) => drop(parameters.insert(name.to_owned(), value)),
                Err(why) => drop(wrong.get_or_insert(format!("{name} in the address {why}"))),
            },
        }
    }
    match wrong {
        _ if parts.next().is_some() => Matched::No,
        Some(wrong) => Matched::Malformed(wrong),
        None => Matched::Fits(parameters),
    }
}

fn value(part: &str) -> Result<String, String> {
    let mut escapes = part.split('%').skip(1);
    if !escapes.all(|escape| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2) {
        return Err("has a % that is no percent-encoding; write %25".to_owned());
    }
    let decoded = percent_decode_str(part).decode_utf8().map_err(|_| "is not UTF-8 when it is decoded".to_owned())?;
    if decoded.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if decoded.len() > PARAMETER_BYTES_MAX {
        return Err(format!("has more than {PARAMETER_BYTES_MAX} bytes"));
    }
    if decoded.chars().any(char::is_control) {
        return Err("has a control character".to_owned());
    }
    if decoded.contains('/') || decoded.to_ascii_lowercase().contains("%2f") {
        return Err("has a slash, which does not pass the host unchanged".to_owned());
    }
    Ok(decoded.into_owned())
}

/// The pairs of a query, decoded; of a repeated name the first.
#[must_use]
pub fn query(text: Option<&str>) -> Parameters {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut pairs = Parameters::new();
    for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).take(PAIRS_MAX) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.entry(decode(name)).or_insert_with(|| decode(value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(matched: Matched) -> String {
        match matched {
            Matched::No => "no".to_owned(),
            Matched::Fits(found) => found.iter().map(|(name, value)| format!("{name}={value};")).collect(),
            Matched::Malformed(why) => format!("! {why}"),
        }
    }

    #[test]
    fn paths_fit_as_the_host_fits_them() {
        let check = |template: &str, path: &str, expected: &str| {
            assert_eq!(shown(matches(template, path)), expected, "{template} {path}");
        };
        let rows = "rows/{table}/{key}";
        check("webhook", "webhook", "");
        check("webhook", "WebHook/", "");
        check("webhook", "web%68ook", "");
        check("webhook", "webhook//", "no");
        check("webhook", "webhook/more", "no");
        check("webhook", "", "no");
        check(rows, "ROWS/Account/A-1", "key=A-1;table=Account;");
        check(rows, "rows/account/A-1/", "key=A-1;table=account;");
        check(rows, "rows/account/a%3D'x%2Cy'%2Cb=2", "key=a='x,y',b=2;table=account;");
        check(rows, "rows/account/%C3%A9%2525", "key=é%25;table=account;");
        check(rows, "rows/account", "no");
        check(rows, "rows/account/", "no");
        check(rows, "rows//A-1", "no");
        check(rows, "rows/account/A-1/more", "no");
        check("claims/{id}", "claims/08585%20CU", "id=08585 CU;");
    }

    #[test]
    fn a_parameter_that_cannot_be_meant_is_refused_with_its_name() {
        let check = |path: &str, expected: &str| {
            let found = shown(matches("rows/{table}/{key}", path));
            assert!(found.starts_with("! ") && found.contains(expected), "{path}: {found}");
        };
        check("rows/account/a%2Fb", "key in the address has a slash");
        check("rows/account/a%252fb", "key in the address has a slash");
        check("rows/account/%20", "key in the address is empty");
        check("rows/account/%ff", "key in the address is not UTF-8");
        check("rows/account/50%", "key in the address has a % that");
        check("rows/a%0Ab/x", "table in the address has a control character");
        check(&format!("rows/account/{}", "x".repeat(1_025)), "key in the address has more than 1024 bytes");
        assert_eq!(shown(matches("rows/{table}/{key}", "rows/account/%2F/more")), "no", "another shape is no match");
    }

    #[test]
    fn a_query_is_decoded_and_its_first_pair_counts() {
        let found = query(Some("table=account&row=a%3D1%2Cb&row=2&x&&q=a+b%2B"));
        let expected = [("q", "a b+"), ("row", "a=1,b"), ("table", "account"), ("x", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert!(query(None).is_empty());
    }
}
