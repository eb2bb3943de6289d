//! The address of an environment, checked once. Knows no paths below the Web API root.

use http::Uri;
use std::net::IpAddr;

/// The version of the Web API that is spoken.
const API_ROOT: &str = "/api/data/v9.2";

/// An environment's address: `https://org.crm4.dynamics.com`. Plain `http` only for loopback (stand-ins).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentUrl {
    origin: String,
    host: String,
}

/// Why a text is no environment address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentUrlError {
    /// Not `scheme://host`.
    #[error("not an address like https://org.crm4.dynamics.com")]
    NotAnAddress,
    /// Something after the host.
    #[error("the environment address must end after the host, without a path or query")]
    Path,
    /// A user name or password.
    #[error("the environment address must not hold credentials")]
    Credentials,
    /// Plain `http` to another machine.
    #[error("plain http is accepted for loopback only, use https")]
    NotSecure,
}

impl EnvironmentUrl {
    /// Checks and normalises the address: lower case, no slash at the end.
    ///
    /// # Errors
    /// [`EnvironmentUrlError`].
    pub fn parse(text: &str) -> Result<Self, EnvironmentUrlError> {
        let uri: Uri = text.trim().parse().map_err(|_| EnvironmentUrlError::NotAnAddress)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EnvironmentUrlError::NotAnAddress);
        };
        if authority.as_str().contains('@') {
            return Err(EnvironmentUrlError::Credentials);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(EnvironmentUrlError::Path);
        }
        let host = authority.host().to_ascii_lowercase();
        match scheme {
            _ if host.is_empty() => return Err(EnvironmentUrlError::NotAnAddress),
            "https" => {}
            "http" if is_loopback(&host) => {}
            "http" => return Err(EnvironmentUrlError::NotSecure),
            _ => return Err(EnvironmentUrlError::NotAnAddress),
        }
        Ok(Self { origin: format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()), host })
    }

    /// `https://org.crm4.dynamics.com`: what tokens are asked for, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host alone, for logs.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The root of the Web API, without a slash at the end.
    #[must_use]
    pub fn api(&self) -> String {
        format!("{}{API_ROOT}", self.origin)
    }

    /// Whether the environment is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_normalised_or_refused() {
        for (text, expected) in [
            ("https://Org.crm4.dynamics.com/", Ok("https://org.crm4.dynamics.com")),
            ("https://org.crm.dynamics.com", Ok("https://org.crm.dynamics.com")),
            ("http://127.0.0.1:8090", Ok("http://127.0.0.1:8090")),
            ("http://[::1]:1", Ok("http://[::1]:1")),
            ("http://localhost:1/", Ok("http://localhost:1")),
            ("http://org.crm.dynamics.com", Err(EnvironmentUrlError::NotSecure)),
            ("http://127.0.0.1.example.com", Err(EnvironmentUrlError::NotSecure)),
            ("https://org/api/data/v9.2", Err(EnvironmentUrlError::Path)),
            ("https://org?x=1", Err(EnvironmentUrlError::Path)),
            ("https://u:p@org", Err(EnvironmentUrlError::Credentials)),
            ("org.crm4.dynamics.com", Err(EnvironmentUrlError::NotAnAddress)),
            ("ftp://org", Err(EnvironmentUrlError::NotAnAddress)),
            ("", Err(EnvironmentUrlError::NotAnAddress)),
        ] {
            let parsed = EnvironmentUrl::parse(text);
            assert_eq!(parsed.as_ref().map(EnvironmentUrl::origin).map_err(Clone::clone), expected, "{text}");
        }
        assert_eq!(
            EnvironmentUrl::parse("http://127.0.0.1:8090").unwrap().api(),
            "http://127.0.0.1:8090/api/data/v9.2"
        );
    }
}
