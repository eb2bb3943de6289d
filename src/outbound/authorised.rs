//! A call with a bearer token: on 401 the token is dropped and the call made once more. Knows no protocol above that.

use crate::identity::{IdentityError, TokenSource};
use crate::outbound::beside::beside;
use crate::outbound::disposition::Disposition;
use crate::outbound::transport::{Request, Response, Transport, TransportError};
use crate::secret::Secret;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue};
use std::time::Duration;

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

/// Sends `request` with a token for `resource`, all within `request.timeout`: fetching a token counts against it,
/// because leases count on that time (PROTOCOL R2). A 401 is answered before the service looks at the request, so the
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
    let deadline = tokens.now().saturating_add(request.timeout);
    let Some(token) = within(tokens, resource, deadline).await? else {
        return Ok(transport.send(request).await?);
    };
    let call = transport.send(bearing(&request, &token, deadline.saturating_sub(tokens.now()))?);
    let answer = beside(call, tokens.renew(resource)).await?;
    if answer.status != StatusCode::UNAUTHORIZED || !tokens.drop_token(resource, &token) {
        return Ok(answer);
    }
    match within(tokens, resource, deadline).await {
        Ok(Some(token)) => {
            Ok(transport.send(bearing(&request, &token, deadline.saturating_sub(tokens.now()))?).await?)
        }
        // the 401 says more than a token that did not come in time
        Ok(None) | Err(CallError::Transport(_)) => Ok(answer),
        Err(error) => Err(error),
    }
}

async fn within(tokens: &TokenSource, resource: &str, deadline: Duration) -> Result<Option<Secret>, CallError> {
    let left = deadline.saturating_sub(tokens.now());
    match tokio::time::timeout(left, tokens.token(resource)).await {
        Ok(token) => Ok(token?),
        Err(_) => {
            let (host, reason) = (resource.to_owned(), "no token in time".to_owned());
            Err(TransportError::NotSent { host, reason }.into())
        }
    }
}

fn bearing(request: &Request, token: &Secret, timeout: Duration) -> Result<Request, IdentityError> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| IdentityError::Decode { what: "the token is not a header value" })?;
    value.set_sensitive(true);
    let mut request = Request { timeout, ..request.clone() };
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

    /// Hands out a token after three seconds and shows how long the call itself may take.
    #[derive(Debug)]
    struct Slow;

    #[async_trait]
    impl Transport for Slow {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let body = if request.url.ends_with("/token") {
                tokio::time::sleep(Duration::from_secs(3)).await;
                r#"{"access_token":"t","expires_in":3600}"#.to_owned()
            } else {
                format!("{:?}", request.timeout)
            };
            Ok(Response { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(body) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_token_counts_against_the_call() {
        let clock = Arc::new(SystemClock::default());
        let request = |timeout| Request {
            method: Method::GET,
            url: "https://org/x".to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(timeout),
        };
        let tokens = TokenSource::new(credential(), Arc::new(Slow), clock, TokenLimits::default());
        let error = send_authorised(&Slow, &tokens, "https://org", request(2)).await.unwrap_err();
        assert!(matches!(error, CallError::Transport(TransportError::NotSent { .. })), "{error:?}");
        let answer = send_authorised(&Slow, &tokens, "https://org", request(10)).await.unwrap();
        assert_eq!(answer.body, "7s");
    }

    #[tokio::test]
    async fn nobody_sends_no_token() {
        assert_eq!(call("-", Credential::None).await, (200, vec!["-".to_owned()]));
    }
}
