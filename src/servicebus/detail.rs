//! The service's own words about a refusal: `<Error><Code>..</Code><Detail>..</Detail></Error>`. Knows no operation.
//!
//! The words are looked at for what they are about and never repeated: they can name the message.

/// More of a refusal than this is not looked at, in bytes.
const BYTES_MAX: usize = 8 << 10;

/// A refusal's text in lower case; empty if it is not readable.
#[derive(Debug)]
pub(super) struct Detail(String);

impl Detail {
    pub(super) fn read(body: &[u8]) -> Self {
        let head = body.get(..body.len().min(BYTES_MAX)).unwrap_or_default();
        Self(String::from_utf8_lossy(head).to_lowercase())
    }

    /// The namespace or its broker does not take requests now and did nothing (error codes 50001, 50002, 50009).
    pub(super) fn is_busy(&self) -> bool {
        self.has(&["50001", "50002", "50009", "throttled", "server busy", "serverbusy"])
    }

    /// The message is larger than allowed.
    pub(super) fn is_size(&self) -> bool {
        self.has(&["message size", "messagesizeexceeded", "message is too large", "message too large"])
    }

    /// The queue has no room (sub-code 40300).
    pub(super) fn is_quota(&self) -> bool {
        self.has(&["40300", "quota", "maximum entity size", "maximum size"])
    }

    /// `SubCode=40301`, digits only; empty if there is none.
    pub(super) fn code(&self) -> String {
        let rest = self.0.split_once("subcode=").map_or("", |(_, rest)| rest);
        rest.chars().take_while(char::is_ascii_digit).take(8).collect()
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.0.contains(word))
    }
}
