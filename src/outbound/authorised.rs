//! A call with a bearer token: on 401 the token is dropped and the call made once more. Knows no protocol above that.

use crate::identity::{IdentityError, TokenSource};
use crate::outbound::disposition::Disposition;
use crate::outbound::transport::{Request, Response, Transport, TransportError};
use crate::secret::Secret;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue};

/// Why an authorised call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// There was no token, so nothing was sent.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The call itself got no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl CallError {
    /// What may be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Identity(error) => error.disposition(),
            Self::Transport(TransportError::NotSent { .. }) => Disposition::Repeat { after: None },
            Self::Transport(TransportError::Unknown { .. }) => Disposition::Uncertain,
        }
    }
}

/// Sends `request` with a token for `resource`. A 401 is answered before the service looks at the request, so the
/// repetition is safe for writes too; a second 401 is returned as it is.
///
/// # Errors
/// [`CallError`].
pub async fn send_authorised(
    transport: &dyn Transport,
    tokens: &TokenSource,
    resource: &str,
    request: Request,
) -> Result<Response, CallError> {
    let Some(token) = tokens.token(resource).await? else {
        return Ok(transport.send(request).await?);
    };
    let answer = transport.send(bearing(request.clone(), &token)?).await?;
    if answer.status != StatusCode::UNAUTHORIZED || !tokens.drop_token(resource, &token) {
        return Ok(answer);
    }
    match tokens.token(resource).await? {
        Some(token) => Ok(transport.send(bearing(request, &token)?).await?),
        None => Ok(answer),
    }
}

fn bearing(mut request: Request, token: &Secret) -> Result<Request, IdentityError> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| IdentityError::Decode { what: "the token is not a header value" })?;
    value.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, value);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::identity::{Credential, TokenLimits};
    use async_trait::async_trait;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Hands out tokens `t1`, `t2`, ... and accepts only `good`.
    #[derive(Debug)]
    struct World {
        good: &'static str,
        seen: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Transport for World {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let mut seen = self.seen.lock().unwrap();
            let (status, body) = if request.url.ends_with("/token") {
                seen.push("token".to_owned());
                let number = seen.iter().filter(|line| *line == "token").count();
                (StatusCode::OK, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#))
            } else {
                let bearer = request.headers.get(AUTHORIZATION).map_or("-", |value| value.to_str().unwrap()).to_owned();
                let status = if bearer == self.good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                seen.push(bearer);
                (status, String::new())
            };
            Ok(Response { status, headers: HeaderMap::new(), body: Bytes::from(body) })
        }
    }

    async fn call(good: &'static str, credential: Credential) -> (u16, Vec<String>) {
        let world = Arc::new(World { good, seen: Mutex::default() });
        let transport = Arc::clone(&world) as Arc<dyn Transport>;
        let tokens = TokenSource::new(credential, transport, Arc::new(SystemClock::default()), TokenLimits::default());
        let request = Request {
            method: Method::GET,
            url: "https://org/x".to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(1),
        };
        let answer = send_authorised(world.as_ref(), &tokens, "https://org", request).await.unwrap();
        let seen = world.seen.lock().unwrap().clone();
        (answer.status.as_u16(), seen)
    }

    fn credential() -> Credential {
        Credential::client_secret(None, "tenant", "client", Secret::new("s")).unwrap()
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let (status, seen) = call("Bearer t2", credential()).await;
        assert_eq!((status, seen), (200, ["token", "Bearer t1", "token", "Bearer t2"].map(str::to_owned).to_vec()));
    }

    #[tokio::test]
    async fn a_second_refusal_is_the_answer() {
        let (status, seen) = call("never", credential()).await;
        assert_eq!((status, seen.len()), (401, 4));
    }

    #[tokio::test]
    async fn nobody_sends_no_token() {
        assert_eq!(call("-", Credential::None).await, (200, vec!["-".to_owned()]));
    }
}
