//! [`Transport`] on reqwest: pooled, bounded, and honest about what is known when no answer came.
//!
//! The only file that names reqwest. It knows no retries, no redirects, no proxy from the environment
//! and no protocol above HTTP.

use crate::outbound::transport::{Request, Response, Transport, TransportError};
use async_trait::async_trait;
use bytes::BytesMut;
use std::sync::OnceLock;
use std::time::Duration;

/// Limits of the HTTP client.
#[derive(Clone, Debug)]
pub struct ReqwestLimits {
    /// How long an unused connection is kept. Default 4 s: Azurite closes after 5 s, and a connection that the
    /// other side closes while we write is an unknown outcome.
    pub idle: Duration,
    /// The same with TLS, where connecting costs most. Default 60 s: the services' front ends close after 120 s (assumed).
    pub idle_tls: Duration,
    /// How long a connection of HTTP/2 may be silent while requests wait on it before it is asked whether it lives, and how long
    /// it has to answer: one that is dead must not take all requests of a host with it. Default 10 s.
    pub ping: Duration,
    /// How long connecting may take, TLS included. Default 5 s.
    pub connect: Duration,
    /// Unused connections kept for each host. Default 16 (`max_in_flight` is 8, two services a host at most).
    pub idle_per_host: usize,
    /// Largest answer that is read, in bytes. Default 16 MiB; Table Storage pages end at 4 MiB.
    pub body_bytes_max: usize,
}

impl Default for ReqwestLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(4),
            idle_tls: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            idle_per_host: 16,
            body_bytes_max: 16 << 20,
        }
    }
}

/// Makes ring the TLS provider of this process. Cheap; calling it again changes nothing.
pub fn install_crypto() {
    // an error only says that a provider is installed already
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The real network. Building it costs nothing; the client (and the root certificates) come with the first call.
#[derive(Debug, Default)]
pub struct ReqwestTransport {
    limits: ReqwestLimits,
    plain: OnceLock<Result<reqwest::Client, String>>,
    tls: OnceLock<Result<reqwest::Client, String>>,
}

impl ReqwestTransport {
    /// A transport with these limits.
    #[must_use]
    pub fn new(limits: ReqwestLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    fn client(&self, scheme: &str) -> Result<&reqwest::Client, String> {
        let (client, idle) =
            if scheme == "https" { (&self.tls, self.limits.idle_tls) } else { (&self.plain, self.limits.idle) };
        client.get_or_init(|| build(&self.limits, idle)).as_ref().map_err(Clone::clone)
    }
}

fn build(limits: &ReqwestLimits, idle: Duration) -> Result<reqwest::Client, String> {
    install_crypto();
    // Retries: reqwest repeats by itself only what an HTTP/2 server says it never looked at. HTTP/2 is spoken where the
    // service offers it in the TLS handshake (ALPN).
    reqwest::Client::builder()
        .user_agent(concat!("dataverse-sync/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(idle)
        .pool_max_idle_per_host(limits.idle_per_host)
        .connect_timeout(limits.connect)
        .http2_keep_alive_interval(limits.ping)
        .http2_keep_alive_timeout(limits.ping)
        .build()
        .map_err(|error| format!("no HTTP client: {}", chain(&error)))
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let not_sent = |host: &str, reason: String| TransportError::NotSent { host: host.to_owned(), reason };
        let url = parse(&request.url).map_err(|reason| not_sent("?", reason))?;
        let host = url.host_str().unwrap_or("?").to_owned();
        let client = self.client(url.scheme()).map_err(|reason| not_sent(&host, reason))?;
        let answer = client
            .request(request.method, url)
            .headers(request.headers)
            .body(request.body)
            .timeout(request.timeout)
            .send()
            .await
            .map_err(|error| classify(&host, error))?;
        read(answer, self.limits.body_bytes_max, &host).await
    }
}

async fn read(mut answer: reqwest::Response, bytes_max: usize, host: &str) -> Result<Response, TransportError> {
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| classify(host, error))? {
        if body.len() + chunk.len() > bytes_max {
            let reason = format!("answer {} is larger than {bytes_max} bytes", status.as_u16());
            return Err(TransportError::Unknown { host: host.to_owned(), reason });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body: body.freeze() })
}

/// `is_builder` and `is_connect` happen before the first byte is sent; everything later is unknown.
fn classify(host: &str, error: reqwest::Error) -> TransportError {
    let host = host.to_owned();
    let error = error.without_url();
    let reason = chain(&error);
    if error.is_builder() || error.is_connect() {
        TransportError::NotSent { host, reason }
    } else {
        TransportError::Unknown { host, reason }
    }
}

/// The URL, if the parser leaves path and query as they are (it resolves `..`, for example). A quote in the
/// query may become `%27`: the same to every server.
fn parse(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("neither http nor https".to_owned());
    }
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let given = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/").replace('\'', "%27");
    let mut parsed = url.path().to_owned();
    if let Some(query) = url.query() {
        parsed.push('?');
        parsed.push_str(query);
    }
    if given == parsed.replace('\'', "%27") && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("path or query is not percent-encoded".to_owned())
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn get(url: String) -> Request {
        Request {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(5),
        }
    }

    /// A server that reads one request and answers with these bytes, then closes.
    async fn answered_by(answer: &[u8], limits: ReqwestLimits) -> (Result<Response, TransportError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a%2Fb('x')?$filter=c%20eq%20'd'", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut some = [0; 1024];
                let count = stream.read(&mut some).await.unwrap();
                assert!(count > 0, "the client hung up");
                seen.extend_from_slice(&some[..count]);
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(seen).unwrap()
        };
        let transport = ReqwestTransport::new(limits);
        tokio::join!(transport.send(get(url)), serve)
    }

    #[tokio::test]
    async fn the_path_arrives_as_it_was_given() {
        let (answer, seen) =
            answered_by(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ReqwestLimits::default()).await;
        assert_eq!(answer.unwrap().body, Bytes::from_static(b"ok"));
        assert!(seen.starts_with("GET /a%2Fb('x')?$filter=c%20eq%20%27d%27 HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains(concat!("user-agent: dataverse-sync/", env!("CARGO_PKG_VERSION"))), "{seen}");
    }

    #[tokio::test]
    async fn a_connection_is_used_again_and_no_more_are_opened_than_there_are_calls_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let connections = std::sync::atomic::AtomicUsize::new(0);
        let serve = async {
            let mut open = futures_util::stream::FuturesUnordered::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        open.push(answer_all(accepted.unwrap().0));
                    }
                    _ = futures_util::StreamExt::next(&mut open), if !open.is_empty() => {}
                }
            }
        };
        let transport = ReqwestTransport::default();
        let calls = async {
            for at_once in [1, 1, 1, 8, 8, 1] {
                let some = (0..at_once).map(|_| transport.send(get(url.clone())));
                for answer in futures_util::future::join_all(some).await {
                    assert_eq!(answer.unwrap().status, 200);
                }
            }
        };
        tokio::select! {
            () = serve => panic!("the server ended"),
            () = calls => {}
        }
        let connections = connections.into_inner();
        assert!((1..=8).contains(&connections), "{connections} connections for 20 requests, 8 at once");
    }

    /// Answers requests without a body until the client hangs up.
    async fn answer_all(mut stream: tokio::net::TcpStream) {
        let mut seen = Vec::new();
        let mut some = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut some).await {
            seen.extend_from_slice(&some[..count]);
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn http_2_is_offered_where_there_is_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let hello = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut seen, mut some) = (Vec::new(), [0; 4096]);
            let count = stream.read(&mut some).await.unwrap();
            seen.extend_from_slice(&some[..count]);
            seen
        };
        let transport = ReqwestTransport::default();
        let (answer, hello) = tokio::join!(transport.send(get(url)), hello);
        assert!(matches!(answer, Err(TransportError::NotSent { .. })), "{answer:?}");
        // the extension of protocol names: HTTP/2 first
        let offer = b"\x02h2\x08http/1.1";
        assert!(hello.windows(offer.len()).any(|some| some == offer), "{} bytes", hello.len());
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let raw = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (answer, _) = answered_by(raw, ReqwestLimits::default()).await;
        assert_eq!(answer.unwrap().status, 302);
    }

    #[tokio::test]
    async fn a_connection_closed_without_answer_is_unknown() {
        let (answer, _) = answered_by(b"", ReqwestLimits::default()).await;
        assert!(matches!(answer, Err(TransportError::Unknown { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_unknown() {
        let (answer, _) =
            answered_by(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", ReqwestLimits::default()).await;
        assert!(matches!(answer, Err(TransportError::Unknown { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_unknown() {
        let limits = ReqwestLimits { body_bytes_max: 3, ..ReqwestLimits::default() };
        let (answer, _) = answered_by(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nokok", limits).await;
        let Err(TransportError::Unknown { reason, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(reason, "answer 200 is larger than 3 bytes");
    }

    #[tokio::test]
    async fn nobody_listening_is_not_sent_and_names_no_path() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
        drop(listener);
        let error = ReqwestTransport::default().send(get(url)).await.unwrap_err();
        assert!(matches!(error, TransportError::NotSent { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret-path"), "{error}");
    }

    #[tokio::test]
    async fn no_answer_in_time_is_unknown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request = get(format!("http://{}/", listener.local_addr().unwrap()));
        request.timeout = Duration::from_millis(50);
        let error = ReqwestTransport::default().send(request).await.unwrap_err();
        assert!(matches!(error, TransportError::Unknown { .. }), "{error:?}");
    }

    #[test]
    fn urls_that_would_be_changed_are_refused() {
        for (text, fine) in [
            ("http://h", true),
            ("http://h/a('b')?x='y'", true),
            ("http://h?x=%20", false),
            ("http://h/a/../b", false),
            ("http://h/a b", false),
            ("http://h/a#b", false),
            ("ftp://h/a", false),
            ("a/b", false),
        ] {
            assert_eq!(parse(text).is_ok(), fine, "{text}");
        }
    }
}
