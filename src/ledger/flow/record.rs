//! What is stored of a claim on an id. Knows no store; times are milliseconds since 1970-01-01T00:00:00Z.

use crate::chance;
use serde::{Deserialize, Serialize};

/// Longest token, in bytes. The name of a Power Automate run has about 40.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Who holds a claim: a text that nobody else uses, chosen by the caller or drawn for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// The text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {TOKEN_BYTES_MAX} printable ASCII characters")]
pub struct BadToken;

impl Token {
    /// One that the caller chose.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn new(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX;
        if fits && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadToken)
    }

    /// One that nobody else has.
    #[must_use]
    pub fn drawn() -> Self {
        Self(chance::token().to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowPhase {
    /// Somebody works on it.
    Held {
        /// Who.
        owner: Token,
        /// Until when, by the clock of the instance that wrote it. Others wait `clock_skew` longer.
        until_ms: i64,
    },
    /// It was given up.
    Free {
        /// Who gave it up.
        last: Token,
    },
    /// It is done.
    Done {
        /// Who did it.
        owner: Token,
        /// What later callers are told, JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<String>,
    },
}

/// A claim on an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// The id, for people: a long one is shortened in the key.
    pub id: String,
    /// How far it is.
    pub phase: FlowPhase,
    /// How many have taken it.
    pub attempts: u32,
    /// When it was first taken.
    pub first_ms: i64,
    /// When this record was last written.
    pub updated_ms: i64,
}

impl FlowRecord {
    /// The claim as `token` takes or extends it.
    pub(super) fn held(id: &str, before: Option<&Self>, token: &Token, now_ms: i64, until_ms: i64) -> Self {
        let ours =
            before.is_some_and(|record| matches!(&record.phase, FlowPhase::Held { owner, .. } if owner == token));
        let attempts = before.map_or(0, |record| record.attempts);
        Self {
            id: id.to_owned(),
            phase: FlowPhase::Held { owner: token.clone(), until_ms },
            attempts: if ours { attempts } else { attempts.saturating_add(1) },
            first_ms: before.map_or(now_ms, |record| record.first_ms),
            updated_ms: now_ms,
        }
    }

    pub(super) fn done(&self, token: &Token, result: Option<&str>, now_ms: i64) -> Self {
        let phase = FlowPhase::Done { owner: token.clone(), result: result.map(str::to_owned) };
        Self { phase, updated_ms: now_ms, ..self.clone() }
    }

    pub(super) fn free(&self, token: &Token, now_ms: i64) -> Self {
        Self { phase: FlowPhase::Free { last: token.clone() }, updated_ms: now_ms, ..self.clone() }
    }

    /// From when on nobody needs it for any work, so that its time until it is forgotten begins: its end, or that of its lease.
    #[must_use]
    pub fn idle_ms(&self) -> i64 {
        match &self.phase {
            FlowPhase::Held { until_ms, .. } => *until_ms,
            FlowPhase::Free { .. } | FlowPhase::Done { .. } => self.updated_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_short_printable_texts() {
        for good in ["08585190734517284512345678901CU42", " a b ", &"x".repeat(128)] {
            assert_eq!(Token::new(good).unwrap().as_str(), good.trim());
        }
        for bad in ["", "  ", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(Token::new(bad), Err(BadToken), "{bad}");
        }
        assert_ne!(Token::drawn(), Token::drawn());
    }
}
