//! How a queue is set up, as the management address says it: an Atom entry. Knows no message.

use super::{Queue, status};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use std::fmt::Write as _;
use std::time::Duration;

const CONNECT: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";

/// An entry; for a queue that does not exist 200 with an empty feed, as the service answers.
pub(super) fn answer(name: &str, queue: Option<&Queue>, request: &Request<Bytes>) -> Response<Bytes> {
    let version = request.uri().query().unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("api-version="));
    if !matches!(version, Some("2017-04" | "2021-05" | "2024-05")) {
        return status(StatusCode::BAD_REQUEST);
    }
    let text = match queue {
        Some(queue) => entry(name, queue),
        None => "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title type=\"text\">Publicly Listed Services</title>\
                 <generator>Service Bus 1.1</generator></feed>"
            .to_owned(),
    };
    let mut answer = Response::new(Bytes::from(text));
    let kind = HeaderValue::from_static("application/atom+xml;type=entry;charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn entry(name: &str, queue: &Queue) -> String {
    let settings = queue.settings();
    let (active, scheduled) = queue.present();
    let dead = queue.dead_letters().len();
    let window = settings.duplicate_window.unwrap_or(Duration::from_secs(600));
    let mut fields = String::new();
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        let _ = write!(fields, "<{name}>{value}</{name}>");
    };
    field("LockDuration", &period(settings.lock_duration));
    field("MaxSizeInMegabytes", &1024);
    field("RequiresDuplicateDetection", &settings.duplicate_window.is_some());
    field("RequiresSession", &false);
    field("DefaultMessageTimeToLive", &"P10675199DT2H48M5.4775807S");
    field("DeadLetteringOnMessageExpiration", &false);
    field("DuplicateDetectionHistoryTimeWindow", &period(window));
    field("MaxDeliveryCount", &settings.max_delivery_count);
    field("EnableBatchedOperations", &true);
    field("MessageCount", &(active + scheduled + dead));
    field("Status", &"Active");
    let mut counts = String::new();
    let all = [
        ("Active", active),
        ("DeadLetter", dead),
        ("Scheduled", scheduled),
        ("Transfer", 0),
        ("TransferDeadLetter", 0),
    ];
    for (name, count) in all {
        let _ = write!(counts, "<d2p1:{name}MessageCount>{count}</d2p1:{name}MessageCount>");
    }
    format!(
        "<entry xmlns=\"http://www.w3.org/2005/Atom\"><title type=\"text\">{name}</title>\
         <content type=\"application/xml\"><QueueDescription xmlns=\"{CONNECT}\" \
         xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">{fields}\
         <CountDetails xmlns:d2p1=\"{COUNTS}\">{counts}</CountDetails>\
         </QueueDescription></content></entry>"
    )
}

/// `PT90S` would do as well; the service writes the largest units it can.
fn period(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let part = |count: u64, unit: &str| if count > 0 { format!("{count}{unit}") } else { String::new() };
    let times = format!("{}{}{}", part(hours, "H"), part(minutes, "M"), part(seconds, "S"));
    match (days, times.as_str()) {
        (0, "") => "PT0S".to_owned(),
        (days, "") => format!("P{days}D"),
        (days, times) => format!("P{}T{times}", part(days, "D")),
    }
}
