//! Who may ask: SharedKeyLite and SharedKey signatures, shared access signatures and bearer tokens.
//! Knows no table.

use super::answer::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{Request, StatusCode};
use sha2::Sha256;

/// The account name and key that Azurite and this stand-in share with every Azure SDK ("development storage").
pub const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
/// See [`DEVELOPMENT_ACCOUNT`]; published by Microsoft, no secret.
pub const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What is accepted.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The account's name.
    pub account: String,
    /// Its key, base64.
    pub key: String,
    /// The bearer token that is accepted, if any.
    pub bearer: Option<String>,
}

/// Checks a request.
///
/// # Errors
/// 401 without any authorization, 403 `AuthenticationFailed` with a wrong one.
pub fn check(request: &Request<Bytes>, keys: &Keys) -> Result<(), Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let query = request.uri().query().unwrap_or("");
    let Some(authorization) = header("authorization") else {
        let has =
            |name: &str| query.split('&').any(|p| p.split_once('=').is_some_and(|(n, v)| n == name && !v.is_empty()));
        if has("sig") && has("sv") {
            return Ok(());
        }
        let message = "Server failed to authenticate the request: no authentication information.";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "NoAuthenticationInformation", message));
    };
    let failed = |why: &str| {
        let message = format!("Server failed to authenticate the request: {why}.");
        Err(Refusal::new(StatusCode::FORBIDDEN, "AuthenticationFailed", message))
    };
    let Some((scheme, given)) = authorization.split_once(' ') else { return failed("no scheme") };
    if scheme == "Bearer" {
        return if keys.bearer.as_deref() == Some(given) { Ok(()) } else { failed("wrong bearer token") };
    }
    let Some(date) = header("x-ms-date").or_else(|| header("date")) else { return failed("no date") };
    if httpdate::parse_http_date(date).is_err() {
        return failed("date is no HTTP date");
    }
    let account = &keys.account;
    let comp = query.split('&').find(|p| p.starts_with("comp=")).map(|p| format!("?{p}")).unwrap_or_default();
    let resource = format!("/{account}{}{comp}", request.uri().path());
    let text = match scheme {
        "SharedKeyLite" => format!("{date}\n{resource}"),
        "SharedKey" => {
            let (md5, kind) = (header("content-md5").unwrap_or(""), header("content-type").unwrap_or(""));
            format!("{}\n{md5}\n{kind}\n{date}\n{resource}", request.method())
        }
        _ => return failed("unknown scheme"),
    };
    match given.split_once(':') {
        Some((name, signature)) if name == account && verified(&text, signature, &keys.key) => Ok(()),
        _ => failed("the signature does not match"),
    }
}

fn verified(text: &str, signature: &str, key: &str) -> bool {
    let (Ok(key), Ok(signature)) = (STANDARD.decode(key), STANDARD.decode(signature)) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
    mac.update(text.as_bytes());
    mac.verify_slice(&signature).is_ok()
}
