//! The handler as it is often written: look the event's id up in a table, if it is not there write the event's columns,
//! then note the id. No versions, no lease, every error is a 500, a 412 among them. It exists for comparison: the demo
//! sends it the same traffic and shows what that loses and doubles. Knows what such a handler knows: the tables and
//! columns it synchronises, and nothing of the rest of this program.
//!
//! It is not made worse than it has to be: a row that is gone already is not deleted again, currencies are mapped, and
//! calls have a time-out.

mod event;
mod marks;

use self::event::{Change, Event};
use self::marks::Marks;
use super::dataverse::schema::Schema;
use super::http::{Reply, Sender, Server, serve as serve_http, status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long the handler waits for an answer; a usual value of HTTP clients would be 100 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How the handler is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port on the loopback interface.
    pub port: u16,
    /// Address of the target, without a slash at the end.
    pub target: String,
    /// Address of the table service with the account, without a slash at the end.
    pub tables: String,
    /// Bearer token for the table service.
    pub bearer: String,
    /// Currencies of the source by id, and what they are in the target.
    pub currencies: BTreeMap<Uuid, Uuid>,
    /// What is synchronised.
    pub schema: Schema,
}

struct Handler {
    target: String,
    marks: Marks,
    currencies: BTreeMap<Uuid, Uuid>,
    schema: Schema,
    sender: Sender,
}

/// How one event ended well.
enum Handled {
    Applied,
    Duplicate,
    Ignored,
}

/// Serves the Functions host's protocol: readiness, the queue's envelopes, and the webhook as it came.
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve(settings: Settings) -> std::io::Result<Server> {
    let sender = Sender::default();
    let handler = Arc::new(Handler {
        marks: Marks::new(sender.clone(), settings.tables, settings.bearer),
        target: settings.target,
        currencies: settings.currencies,
        schema: settings.schema,
        sender,
    });
    serve_http(settings.port, move |request| {
        let handler = Arc::clone(&handler);
        async move { Reply::Answer(handler.answer(request).await) }
    })
    .await
}

impl Handler {
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/queue") => match self.message(request.body()).await {
                Ok(()) => invoked(),
                Err(why) => failed(&why),
            },
            (&Method::POST, "/api/webhook") => match self.event(request.body()).await {
                Ok(()) => status(StatusCode::OK),
                Err(why) => failed(&why),
            },
            _ => status(StatusCode::OK),
        }
    }

    async fn message(&self, envelope: &[u8]) -> Result<(), String> {
        let envelope: Json = serde_json::from_slice(envelope).map_err(|e| e.to_string())?;
        let data = envelope.pointer("/Data/message").and_then(Json::as_str).ok_or("no message")?;
        self.event(&STANDARD.decode(data).map_err(|e| e.to_string())?).await
    }

    async fn event(&self, body: &[u8]) -> Result<(), String> {
        let event = Event::read(body, &self.schema, &self.currencies)?;
        let outcome = match self.handle(&event).await? {
            Handled::Applied => "applied",
            Handled::Duplicate => "duplicate",
            Handled::Ignored => "ignored",
        };
        let line = json!({"message": "handled", "outcome": outcome, "detail": "", "row": event.row});
        // a closed stdout is no reason to fail
        let _ = writeln!(std::io::stdout(), "{line}");
        Ok(())
    }

    /// Check, upsert, mark.
    async fn handle(&self, event: &Event) -> Result<Handled, String> {
        if self.marks.has(&event.id).await? {
            return Ok(Handled::Duplicate);
        }
        match &event.change {
            Change::Nothing => return Ok(Handled::Ignored),
            Change::Upsert(columns) => self.call(Method::PATCH, event, "", Some(columns)).await?,
            Change::Delete => self.call(Method::DELETE, event, "", None).await?,
            Change::Link { present, navigation, others } => {
                for other in others {
                    let address = format!("{}/api/data/v9.2/{other}", self.target);
                    if *present {
                        let body = json!({ "@odata.id": address });
                        self.call(Method::POST, event, &format!("/{navigation}/$ref"), Some(&body)).await?;
                    } else {
                        self.call(Method::DELETE, event, &format!("/{navigation}/$ref?$id={address}"), None).await?;
                    }
                }
            }
        }
        self.marks.put(&event.id).await?;
        Ok(Handled::Applied)
    }

    /// A request on the event's row, or on what `below` names of it.
    async fn call(&self, method: Method, event: &Event, below: &str, columns: Option<&Json>) -> Result<(), String> {
        let uri = format!("{}/api/data/v9.2/{}({}){below}", self.target, event.set, event.row);
        let is_delete = method == Method::DELETE;
        let body = columns.map(|columns| Bytes::from(columns.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("odata-version", "4.0")
            .header("odata-maxversion", "4.0")
            .header("x-ms-correlation-request-id", &event.correlation)
            .body(body)
            .map_err(|e| e.to_string())?;
        let answer = within(self.sender.send(request)).await?;
        let gone = is_delete && answer.status() == StatusCode::NOT_FOUND;
        if answer.status().is_success() || gone { Ok(()) } else { Err(format!("the target said {}", answer.status())) }
    }
}

/// An answer in time.
async fn within<T>(call: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(TIMEOUT, call).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn invoked() -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(br#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

fn failed(why: &str) -> Response<Bytes> {
    let mut answer = status(StatusCode::INTERNAL_SERVER_ERROR);
    *answer.body_mut() = Bytes::from(why.to_owned());
    answer
}
