//! Application properties of a queue message -> the headers that HTTP would have had, so that decoding knows one form.
//! (CloudEvents AMQP binding 3.1.3.1; facts 4.2 for Dataverse's own.)

use super::headers::encode;
use super::json::Json;
use std::collections::BTreeMap;

/// Dataverse's claims are properties under this address; servers differ in what comes before `Claims/`.
const CLAIM: &str = "/xrm/2011/Claims/";

/// Name of Dataverse's mark for bodies that were too large, compared by "contains" (facts 4.2).
const SIZE_MARK: &str = "MessageMaxSizeExceeded";

/// Headers by lower-case name. Texts, numbers and flags count, everything else is passed over. Of two properties that
/// mean the same header the CloudEvents spelling with `:` wins, then the one with `_`.
#[must_use]
pub fn headers_of_properties(properties: &serde_json::Map<String, Json>) -> BTreeMap<String, String> {
    let mut ranked: BTreeMap<String, (u8, String)> = BTreeMap::new();
    for (name, json) in properties {
        let text = match json {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            Json::Null | Json::Array(_) | Json::Object(_) => continue,
        };
        let (rank, header, value) = header_of(name, text);
        if ranked.get(&header).is_none_or(|(old, _)| rank < *old) {
            ranked.insert(header, (rank, value));
        }
    }
    ranked.into_iter().map(|(header, (_, value))| (header, value)).collect()
}

fn header_of(name: &str, text: String) -> (u8, String, String) {
    for (rank, prefix) in [(0, "cloudevents:"), (1, "cloudevents_")] {
        let attribute = name.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
        if let Some(attribute) = attribute.and_then(|_| name.get(prefix.len()..)) {
            let attribute = attribute.to_ascii_lowercase();
            let text = if attribute == "time" { with_zone(text) } else { text };
            return (rank, format!("ce-{attribute}"), encode(&text));
        }
    }
    if name.contains(SIZE_MARK) {
        return (0, "x-ms-dynamics-msg-size-exceeded".to_owned(), text);
    }
    if let Some((_, claim)) = name.split_once(CLAIM) {
        let known = match claim {
            "Organization" => "x-ms-dynamics-organization".to_owned(),
            "EntityLogicalName" => "x-ms-dynamics-entity-name".to_owned(),
            "RequestName" => "x-ms-dynamics-request-name".to_owned(),
            other => format!("x-ms-dynamics-{}", other.to_ascii_lowercase()),
        };
        return (0, known, text);
    }
    (2, name.to_ascii_lowercase(), text)
}

/// The host writes AMQP timestamps without a zone (`2026-01-15T10:00:00`); they are UTC.
fn with_zone(text: String) -> String {
    match chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f") {
        Ok(_) => format!("{text}Z"),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: Json, expected: &[(&str, &str)]) {
        let Json::Object(map) = properties else { panic!("not an object") };
        let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(headers_of_properties(&map), expected);
    }

    #[test]
    fn both_cloudevents_spellings_become_headers() {
        check(
            serde_json::json!({
                "cloudEvents:id": "Ä 1", "cloudEvents_id": "other", "ce-id": "third", "cloudEvents_source": "/s%",
                "cloudEvents:sequence": 7, "cloudEvents:time": "2026-01-15T10:00:00", "cloudEvents:specversion": "1.0",
                "CloudEvents:Type": "t",
            }),
            &[
                ("ce-id", "%C3%84%201"),
                ("ce-sequence", "7"),
                ("ce-source", "/s%25"),
                ("ce-specversion", "1.0"),
                ("ce-time", "2026-01-15T10:00:00Z"),
                ("ce-type", "t"),
            ],
        );
    }

    #[test]
    fn claims_and_the_size_mark_become_what_the_webhook_sends() {
        let claims = "http://schemas.microsoft.com/xrm/2011/Claims/";
        check(
            serde_json::json!({
                format!("{claims}EntityLogicalName"): "account",
                format!("{claims}RequestName"): "Update",
                format!("{claims}InitiatingUser"): "u",
                format!("{claims}MessageMaxSizeExceeded"): true,
                "Diagnostic-Id": "00-a-b-01",
                "odd": {"nested": 1},
                "none": null,
            }),
            &[
                ("diagnostic-id", "00-a-b-01"),
                ("x-ms-dynamics-entity-name", "account"),
                ("x-ms-dynamics-initiatinguser", "u"),
                ("x-ms-dynamics-msg-size-exceeded", "true"),
                ("x-ms-dynamics-request-name", "Update"),
            ],
        );
    }
}
