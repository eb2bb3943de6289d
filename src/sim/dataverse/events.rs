//! Steps and the events they raise: what a webhook or a queue gets to see. Knows contexts, not how they are delivered.

use super::context::{self, Ids, Image, Names, Source, Strip};
use super::deliver::Sink;
use super::world::{Origin, World};
use super::write::{Commit, Message};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// A webhook's whole payload above this is stripped.
const WEBHOOK_BYTES_MAX: usize = 256 * 1024;
/// A queue message above this is stripped; above it even then, it is not sent at all.
const QUEUE_BYTES_MAX: usize = 192 * 1024;
/// Prefix of the message properties.
const CLAIMS: &str = "http://schemas.microsoft.com/xrm/2011/Claims/";

/// A registered asynchronous step.
#[derive(Clone, Debug)]
pub struct Step {
    /// `sdkmessageprocessingstepid`; `OwningExtension.Id` of its events.
    pub id: Uuid,
    /// Only for this table (for links: one of the two).
    pub table: Option<String>,
    /// For these messages.
    pub messages: Vec<Message>,
    /// Updates only if they send one of these columns; empty: all.
    pub filter: Vec<String>,
    /// Registered post-image, alias `PostImage`. Ask for `versionnumber` by name, or for all columns.
    pub image: Option<Image>,
    /// Registered pre-image, alias `PreImage`.
    pub pre_image: Option<Image>,
    /// Least and longest time between commit and delivery. Jobs run in no order.
    pub delay: (Duration, Duration),
    /// Where the events go.
    pub sink: Sink,
}

impl Step {
    /// A step for create, update and delete of a table, without images and delay.
    #[must_use]
    pub fn new(id: Uuid, table: &str, sink: Sink) -> Self {
        Self {
            id,
            table: Some(table.to_owned()),
            messages: vec![Message::Create, Message::Update, Message::Delete],
            filter: Vec::new(),
            image: None,
            pre_image: None,
            delay: (Duration::ZERO, Duration::ZERO),
            sink,
        }
    }

    /// The step for these messages.
    #[must_use]
    pub fn messages(mut self, messages: &[Message]) -> Self {
        self.messages = messages.to_vec();
        self
    }

    /// The step with a post-image.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// The step with a pre-image.
    #[must_use]
    pub fn pre_image(mut self, image: Image) -> Self {
        self.pre_image = Some(image);
        self
    }

    /// The step with a delay.
    #[must_use]
    pub fn delay(mut self, least: Duration, longest: Duration) -> Self {
        self.delay = (least, longest);
        self
    }

    pub(super) fn wants(&self, commit: &Commit, origin: &Origin) -> bool {
        let table = match (&self.table, &commit.link) {
            (None, _) => true,
            (Some(table), Some(link)) => *table == commit.table || *table == link.table,
            (Some(table), None) => *table == commit.table,
        };
        let sent = commit.message != Message::Update
            || self.filter.is_empty()
            || self.filter.iter().any(|name| commit.target.contains_key(name));
        table
            && sent
            && self.messages.contains(&commit.message)
            && !origin.bypass_async
            && !origin.bypass_steps.contains(&self.id)
    }
}

/// One event, before it is put into the form of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedEvent {
    /// Number of the commit: the true order, which no payload carries.
    pub sequence: u64,
    /// What happened.
    pub message: Message,
    /// Table of the row (first table of the request for links).
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// Id of the job.
    pub operation: Uuid,
    /// Id of the step.
    pub step: Uuid,
    /// `x-ms-correlation-request-id`.
    pub correlation: Uuid,
    /// The whole context.
    pub body: Bytes,
    /// The context without what is taken out when it is too large.
    pub stripped: Bytes,
    host: String,
    user: Uuid,
    agent: String,
    entity_name: String,
}

/// What a webhook receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookPost {
    /// Headers, `content-type` included.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}

/// What a Service Bus queue receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMessage {
    /// Always `application/json` (MessageFormat 2).
    pub content_type: &'static str,
    /// Application properties.
    pub properties: BTreeMap<String, String>,
    /// Body.
    pub body: Bytes,
}

impl RaisedEvent {
    pub(super) fn new(
        world: &World,
        commit: &Commit,
        origin: &Origin,
        ids: Ids,
        step: &Step,
        names: &Names<'_>,
    ) -> Self {
        let source = Source {
            world,
            commit,
            origin,
            ids,
            pre_image: step.pre_image.as_ref(),
            post_image: step.image.as_ref(),
            names,
        };
        // Which of the three forms the service has is not known: all occur.
        let strip = match ids.operation.as_u128() % 3 {
            0 => Strip::Absent,
            1 => Strip::Null,
            _ => Strip::Empty,
        };
        Self {
            sequence: commit.sequence,
            message: commit.message,
            table: commit.table.clone(),
            id: commit.id,
            operation: ids.operation,
            step: ids.step,
            correlation: ids.correlation,
            body: context::write(&source, Strip::Nothing).into(),
            stripped: context::write(&source, strip).into(),
            host: world.host().to_owned(),
            user: origin.user,
            agent: origin.agent.clone(),
            entity_name: if commit.link.is_some() { "none".to_owned() } else { commit.table.clone() },
        }
    }

    /// The request that a webhook gets.
    #[must_use]
    pub fn webhook(&self) -> WebhookPost {
        let mut headers = vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("x-ms-dynamics-organization", self.host.clone()),
            ("x-ms-dynamics-entity-name", self.entity_name.clone()),
            ("x-ms-dynamics-request-name", self.message.name().to_owned()),
            ("x-ms-correlation-request-id", self.correlation.to_string()),
        ];
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let oversized = header_bytes + self.body.len() > WEBHOOK_BYTES_MAX;
        if oversized {
            headers.push(("x-ms-dynamics-msg-size-exceeded", "true".to_owned()));
        }
        let body = if oversized { self.stripped.clone() } else { self.body.clone() };
        WebhookPost { headers, body }
    }

    /// The message that a queue gets; `None` when even the stripped one is too large: it is not sent.
    #[must_use]
    pub fn queue(&self) -> Option<QueueMessage> {
        let named = [
            ("Organization", format!("https://{}/", self.host)),
            ("User", self.user.to_string()),
            ("InitiatingUser", self.user.to_string()),
            ("EntityLogicalName", self.entity_name.clone()),
            ("RequestName", self.message.name().to_owned()),
            ("InitiatingUserAgent", self.agent.clone()),
        ];
        let mut properties: BTreeMap<String, String> =
            named.into_iter().map(|(name, value)| (format!("{CLAIMS}{name}"), value)).collect();
        let mut body = self.body.clone();
        if body.len() > QUEUE_BYTES_MAX {
            properties.insert(format!("{CLAIMS}MessageMaxSizeExceeded"), "true".to_owned());
            body = self.stripped.clone();
        }
        (body.len() <= QUEUE_BYTES_MAX).then_some(QueueMessage { content_type: "application/json", properties, body })
    }
}
