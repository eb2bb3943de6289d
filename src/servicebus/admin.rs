//! How a queue is set up and how full it is, from the namespace's management address (Atom XML). Knows no message.
//!
//! # Decision (2026-11-21): `roxmltree` for the one XML document we read
//! *Context:* a description is 2 KiB of XML with two namespaces. *Options:* an own reader, `quick-xml`, `roxmltree`.
//! *Choice:* `roxmltree`: well kept, no code but a parser, namespaces resolved, document types refused by default, and
//! depth costs no stack.
//! *Would change it:* a description as JSON from the data plane.

use crate::servicebus::client::{Call, QueueClient};
use crate::servicebus::error::{Asked, ServiceBusError};
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use roxmltree::{Document, Node};
use std::time::Duration;

/// The version of the management protocol that is spoken.
const API_VERSION: &str = "2021-05";

/// The namespaces of a description and of the counts in it.
const DESCRIPTION: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";
const ATOM: &str = "http://www.w3.org/2005/Atom";

/// A description is 2 KiB; more than this is something else, in bytes.
const BYTES_MAX: usize = 256 << 10;

/// Asks about one queue. Needs the right `Manage` (role `Azure Service Bus Data Owner`), which sending does not.
#[derive(Clone, Debug)]
pub struct Admin(QueueClient);

/// Whether a queue takes and gives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueStatus {
    /// Both.
    Active,
    /// Neither.
    Disabled,
    /// It takes none.
    SendDisabled,
    /// It gives none.
    ReceiveDisabled,
    /// Something that passes: being created, deleted or renamed.
    Changing,
}

/// How a queue is set up, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// `Status`.
    pub status: QueueStatus,
    /// `LockDuration`.
    pub lock_duration: Duration,
    /// `MaxDeliveryCount`: deliveries after which a message is dead-lettered.
    pub max_delivery_count: u32,
    /// `RequiresDuplicateDetection`.
    pub requires_duplicate_detection: bool,
    /// `DuplicateDetectionHistoryTimeWindow`.
    pub duplicate_window: Duration,
    /// `RequiresSession`; such a queue cannot be received from over REST.
    pub requires_session: bool,
    /// `DeadLetteringOnMessageExpiration`.
    pub dead_letters_expired: bool,
    /// `DefaultMessageTimeToLive`; [`Duration::MAX`] or some 29 000 years: for ever.
    pub time_to_live: Duration,
    /// `MaxMessageSizeInKilobytes`, where the tier says it.
    pub message_kib_max: Option<u64>,
    /// Messages that can be received now.
    pub active: u64,
    /// Messages that are not due.
    pub scheduled: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

impl Admin {
    /// Asks about this queue.
    #[must_use]
    pub fn new(queue: QueueClient) -> Self {
        Self(queue)
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`ServiceBusError::NotFound`] if there is no such queue; [`ServiceBusError::Unauthorized`] without the right
    /// `Manage`, which says nothing about sending.
    pub async fn queue_info(&self) -> Result<QueueInfo, ServiceBusError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/atom+xml"))]);
        let path = format!("?api-version={API_VERSION}");
        let asked = Asked { right: "Manage", bytes: 0, settles: false };
        let call = Call { method: Method::GET, path, headers, body: Bytes::new(), wait: Duration::ZERO, asked };
        let answer = self.0.call(call, &[StatusCode::OK]).await?;
        read(&answer.body)
    }
}

/// Reads an entry. A missing queue is answered with 200 and an empty feed.
fn read(body: &[u8]) -> Result<QueueInfo, ServiceBusError> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= BYTES_MAX);
    let text = text.ok_or_else(|| ServiceBusError::decode("a queue's description"))?;
    let document = Document::parse(text).map_err(|_| ServiceBusError::decode("a queue's description"))?;
    let root = document.root_element();
    if root.has_tag_name((ATOM, "feed")) && child(root, ATOM, "entry").is_none() {
        return Err(ServiceBusError::NotFound);
    }
    let content = Some(root).filter(|root| root.has_tag_name((ATOM, "entry")));
    let content = content.and_then(|entry| child(entry, ATOM, "content"));
    let queue = content.and_then(|content| child(content, DESCRIPTION, "QueueDescription"));
    let queue = Fields {
        node: queue.ok_or_else(|| ServiceBusError::decode("a description that is no queue's"))?,
        namespace: DESCRIPTION,
    };
    let counts =
        child(queue.node, DESCRIPTION, "CountDetails").ok_or_else(|| ServiceBusError::decode("CountDetails"))?;
    let counts = Fields { node: counts, namespace: COUNTS };
    Ok(QueueInfo {
        status: queue.get("Status", status)?,
        lock_duration: queue.get("LockDuration", duration)?,
        max_delivery_count: queue.get("MaxDeliveryCount", |text| text.parse().ok())?,
        requires_duplicate_detection: queue.get("RequiresDuplicateDetection", boolean)?,
        duplicate_window: queue.get("DuplicateDetectionHistoryTimeWindow", duration)?,
        requires_session: queue.get("RequiresSession", boolean)?,
        dead_letters_expired: queue.get("DeadLetteringOnMessageExpiration", boolean)?,
        time_to_live: queue.get("DefaultMessageTimeToLive", duration)?,
        message_kib_max: queue.optional("MaxMessageSizeInKilobytes", |text| text.parse().ok())?,
        active: counts.get("ActiveMessageCount", |text| text.parse().ok())?,
        scheduled: counts.get("ScheduledMessageCount", |text| text.parse().ok())?,
        dead_letters: counts.get("DeadLetterMessageCount", |text| text.parse().ok())?,
    })
}

/// The fields of one element.
struct Fields<'a, 'input> {
    node: Node<'a, 'input>,
    namespace: &'static str,
}

impl Fields<'_, '_> {
    fn get<T>(&self, name: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, ServiceBusError> {
        self.optional(name, read)?.ok_or_else(|| ServiceBusError::decode(name))
    }

    fn optional<T>(&self, name: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ServiceBusError> {
        let Some(node) = child(self.node, self.namespace, name) else { return Ok(None) };
        let value = node.text().map(str::trim).and_then(read);
        value.map(Some).ok_or_else(|| ServiceBusError::decode(name))
    }
}

fn child<'a, 'input>(node: Node<'a, 'input>, namespace: &'static str, name: &'static str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name((namespace, name)))
}

fn status(text: &str) -> Option<QueueStatus> {
    Some(match text {
        "Active" => QueueStatus::Active,
        "Disabled" => QueueStatus::Disabled,
        "SendDisabled" => QueueStatus::SendDisabled,
        "ReceiveDisabled" => QueueStatus::ReceiveDisabled,
        "Creating" | "Deleting" | "Renaming" | "Restoring" | "Unknown" => QueueStatus::Changing,
        _ => return None,
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `P10675199DT2H48M5.4775807S`: days, hours, minutes, seconds; fractions of seconds are cut off, years and months do not
/// occur. Too long to count is [`Duration::MAX`].
fn duration(text: &str) -> Option<Duration> {
    let (days, times) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, times)) if !times.is_empty() => (days, times),
        Some(_) => return None,
        None => (text.strip_prefix('P')?, ""),
    };
    let mut sum = 0_u64;
    let mut any = false;
    for (text, units) in [(days, &[('D', 86_400)][..]), (times, &[('H', 3_600), ('M', 60), ('S', 1)][..])] {
        let mut rest = text;
        for (unit, seconds) in units {
            let Some((number, after)) = rest.split_once(*unit) else { continue };
            let whole = match number.split_once('.') {
                Some((whole, part)) if *unit == 'S' && part.bytes().all(|b| b.is_ascii_digit()) => whole,
                Some(_) => return None,
                None => number,
            };
            if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let number: u64 = whole.parse().unwrap_or(u64::MAX);
            sum = sum.saturating_add(number.saturating_mul(*seconds));
            (rest, any) = (after, true);
        }
        if !rest.is_empty() {
            return None;
        }
    }
    any.then(|| if sum == u64::MAX { Duration::MAX } else { Duration::from_secs(sum) })
}

#[cfg(test)]
mod tests;
