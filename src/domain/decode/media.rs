//! Which media types we read, and how a body in another one is refused. Looks at the type only, never at the body.

use super::error::{DecodeError, Problem};

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// A JSON document, or no type at all (then the body must tell).
    Json,
    /// One CloudEvent, attributes and data together.
    Structured,
    /// An array of those.
    Batch,
}

/// Judges a `Content-Type`. A queue message (`queued`) may call its JSON `text/plain`: the Functions output binding and
/// the portal do.
///
/// # Errors
/// [`Problem::UnsupportedMediaType`], with what to do about it.
pub(super) fn judge(content_type: Option<&str>, queued: bool) -> Result<Media, DecodeError> {
    let Some(full) = content_type.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(Media::Json);
    };
    let mut parts = full.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    if let Some(charset) = parts.find_map(charset)
        && !["utf-8", "utf8", "us-ascii"].contains(&charset.as_str())
    {
        return Err(refuse("the body must be UTF-8, not another charset".to_owned()));
    }
    match essence.as_str() {
        "application/cloudevents+json" => Ok(Media::Structured),
        "application/cloudevents-batch+json" => Ok(Media::Batch),
        _ if essence.starts_with("application/cloudevents") => {
            Err(refuse("of the CloudEvents formats only JSON is read (application/cloudevents+json)".to_owned()))
        }
        "application/json" | "text/json" => Ok(Media::Json),
        _ if essence.starts_with("application/") && essence.ends_with("+json") => Ok(Media::Json),
        "text/plain" if queued => Ok(Media::Json),
        "application/msbin1" | "application/xml" | "text/xml" | "application/soap+msbin1" => Err(refuse(format!(
            "{essence}: set MessageFormat = 2 (Json) on the service endpoint in Dataverse, its default is .NET binary"
        ))),
        _ => Err(refuse(format!("{}: application/json is expected", printable(&essence)))),
    }
}

fn charset(parameter: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
}

/// What a stranger called their body, fit for a message.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(60).collect()
}

pub(super) fn refuse(why: String) -> DecodeError {
    DecodeError::header("content-type", Problem::UnsupportedMediaType(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf8_is_read_and_nothing_else() {
        for (given, queued, expected) in [
            (None, false, Some(Media::Json)),
            (Some(""), false, Some(Media::Json)),
            (Some("application/json"), false, Some(Media::Json)),
            (Some("Application/JSON; charset=\"UTF-8\""), false, Some(Media::Json)),
            (Some("application/json;charset=utf-16"), false, None),
            (Some("application/vnd.x+json"), false, Some(Media::Json)),
            (Some("application/cloudevents+json; charset=utf-8"), false, Some(Media::Structured)),
            (Some("application/cloudevents-batch+json"), false, Some(Media::Batch)),
            (Some("application/cloudevents+avro"), false, None),
            (Some("text/plain"), false, None),
            (Some("text/plain"), true, Some(Media::Json)),
            (Some("application/octet-stream"), true, None),
            (Some("application/msbin1"), true, None),
        ] {
            assert_eq!(judge(given, queued).ok(), expected, "{given:?} {queued}");
        }
    }

    #[test]
    fn dotnet_binary_and_xml_name_the_setting_that_mends_it() {
        for given in ["application/msbin1", "application/xml; charset=utf-8"] {
            let text = judge(Some(given), true).unwrap_err().to_string();
            assert!(text.contains("MessageFormat = 2"), "{text}");
        }
    }
}
