//! Entity group transactions on the wire: `multipart/mixed` with one change set in, the same out.
//! Knows no store.

use super::answer::{Envelope, Refusal};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use std::fmt::Write as _;

/// Most operations in one transaction.
pub const OPERATIONS_MAX: usize = 100;
/// Largest transaction in bytes, as sent.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

fn broken(what: &str) -> Refusal {
    Refusal::input(format!("the batch cannot be read: {what}"))
}

/// The operations of a batch request, as requests of their own.
///
/// # Errors
/// 400 when it is no batch with exactly one change set, 413 when it is too large.
pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Request<Bytes>>, Refusal> {
    if body.len() > BATCH_BYTES_MAX {
        let message = "The request body is too large and exceeds the maximum permissible limit.";
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message));
    }
    let text = std::str::from_utf8(body).map_err(|_| broken("not UTF-8"))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let outer = parts(text, &boundary(kind)?)?;
    let [change_set] = outer.as_slice() else { return Err(broken("exactly one change set is expected")) };
    let (set_headers, set_body) = head(change_set)?;
    let kind = set_headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let operations = parts(set_body, &boundary(kind)?)?;
    if operations.is_empty() {
        return Err(broken("the change set is empty"));
    }
    operations.into_iter().map(operation).collect()
}

/// The boundary in a `multipart/mixed` content type.
fn boundary(kind: &str) -> Result<String, Refusal> {
    let mut fields = kind.split(';').map(str::trim);
    if !fields.next().is_some_and(|t| t.eq_ignore_ascii_case("multipart/mixed")) {
        return Err(broken("content type is not multipart/mixed"));
    }
    let value = fields.find_map(|f| f.strip_prefix("boundary=")).ok_or_else(|| broken("no boundary"))?;
    let value = value.trim_matches('"');
    if value.is_empty() { Err(broken("no boundary")) } else { Ok(value.to_owned()) }
}

/// The parts between boundary lines; lines must end in CRLF, the closing boundary must be there.
fn parts<'a>(text: &'a str, boundary: &str) -> Result<Vec<&'a str>, Refusal> {
    let (open, close) = (format!("--{boundary}\r\n"), format!("--{boundary}--"));
    let start = if text.starts_with(&open) || text.starts_with(&close) {
        0
    } else {
        text.find(&format!("\r\n--{boundary}")).map(|at| at + 2).ok_or_else(|| broken("boundary not found"))?
    };
    let mut rest = text.get(start..).unwrap_or("");
    let mut all = Vec::new();
    while !rest.starts_with(&close) {
        let inner = rest.strip_prefix(&open).ok_or_else(|| broken("boundary not followed by CRLF"))?;
        let end = inner.find(&format!("\r\n--{boundary}")).ok_or_else(|| broken("closing boundary missing"))?;
        all.push(inner.get(..end).unwrap_or(""));
        rest = inner.get(end + 2..).unwrap_or("");
    }
    Ok(all)
}

/// Header lines up to the empty line, and what follows.
fn head(text: &str) -> Result<(HeaderMap, &str), Refusal> {
    let mut headers = HeaderMap::new();
    let mut rest = text;
    loop {
        let (line, after) = rest.split_once("\r\n").unwrap_or((rest, ""));
        rest = after;
        if line.is_empty() {
            return Ok((headers, rest));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("a header has no colon"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| broken("a header name"))?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| broken("a header value"))?);
    }
}

/// One `application/http` part as a request; its address may be absolute or a path.
fn operation(part: &str) -> Result<Request<Bytes>, Refusal> {
    let (part_headers, content) = head(part)?;
    if part_headers.get(header::CONTENT_TYPE).is_none_or(|v| v != "application/http") {
        return Err(broken("an operation is not application/http"));
    }
    let (line, rest) = content.split_once("\r\n").ok_or_else(|| broken("an operation without request line"))?;
    let mut words = line.split(' ');
    let (Some(method), Some(address), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(broken("a request line"));
    };
    let (headers, body) = head(rest)?;
    let mut request = Request::new(Bytes::copy_from_slice(body.as_bytes()));
    *request.method_mut() = Method::try_from(method).map_err(|_| broken("a method"))?;
    *request.uri_mut() = address.parse().map_err(|_| broken("an address"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// How one operation ended.
#[derive(Debug)]
pub enum Part {
    /// Its answer.
    Done(Response<Bytes>),
    /// The one refusal that ended the whole transaction; the message carries the index.
    Refused(Refusal),
}

/// The answer to a batch: always 202.
#[must_use]
pub fn answer(parts: &[Part], envelope: &Envelope) -> Response<Bytes> {
    let id = &envelope.request_id;
    let mut text =
        format!("--batchresponse_{id}\r\nContent-Type: multipart/mixed; boundary=changesetresponse_{id}\r\n\r\n");
    for part in parts {
        let _ = write!(
            text,
            "--changesetresponse_{id}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        );
        match part {
            Part::Done(answer) => {
                let _ = write!(text, "HTTP/1.1 {}\r\n", line(answer.status()));
                text.push_str(
                    "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nDataServiceVersion: 3.0;\r\n",
                );
                for (name, value) in answer.headers() {
                    if matches!(name.as_str(), "etag" | "location" | "content-type" | "preference-applied") {
                        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or(""));
                    }
                }
                let _ = write!(text, "\r\n{}\r\n", String::from_utf8_lossy(answer.body()));
            }
            Part::Refused(refusal) => {
                let _ = write!(text, "HTTP/1.1 {}\r\n", line(refusal.status));
                text.push_str("X-Content-Type-Options: nosniff\r\nDataServiceVersion: 3.0;\r\n");
                text.push_str("Content-Type: application/json;odata=minimalmetadata;charset=utf-8\r\n");
                let _ = write!(text, "\r\n{}\r\n", envelope.error_json(refusal));
            }
        }
    }
    let _ = write!(text, "--changesetresponse_{id}--\r\n--batchresponse_{id}--\r\n");
    let mut answer = envelope.empty(StatusCode::ACCEPTED);
    *answer.body_mut() = Bytes::from(text);
    if let Ok(kind) = HeaderValue::from_str(&format!("multipart/mixed; boundary=batchresponse_{id}")) {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}

fn line(status: StatusCode) -> String {
    format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or(""))
}
