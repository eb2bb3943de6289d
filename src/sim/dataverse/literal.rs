//! Literals and tokens of OData addresses and filters. Knows no table.

use super::errors::{self, ApiError};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

/// Most tokens in one expression.
const TOKENS_MAX: usize = 2_000;

/// A literal as written in a key or filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `'text'`.
    Text(String),
    /// A number, its text.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// A bare GUID.
    Guid(Uuid),
    /// `2026-01-02T03:04:05Z`.
    Time(DateTime<Utc>),
    /// `2026-01-02`.
    Date(NaiveDate),
    /// `null`.
    Null,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A quoted text.
    Text(String),
    /// A run of letters, digits and what names, numbers and dates are made of.
    Word(String),
    /// One of `( ) , = [ ]`.
    Mark(char),
}

/// Cuts an expression into tokens.
///
/// # Errors
/// An open quote, an odd character, or too many tokens.
pub fn tokens(text: &str) -> Result<Vec<Token>, ApiError> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            ' ' => continue,
            '(' | ')' | ',' | '=' | '[' | ']' => found.push(Token::Mark(next)),
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match rest.next() {
                        Some('\'') if rest.peek() == Some(&'\'') => {
                            rest.next();
                            quoted.push('\'');
                        }
                        Some('\'') => break,
                        Some(other) => quoted.push(other),
                        None => return Err(errors::uri("There is an unterminated string literal.")),
                    }
                }
                found.push(Token::Text(quoted));
            }
            c if word_character(c) => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| word_character(*c)) {
                    word.push(c);
                }
                found.push(Token::Word(word));
            }
            other => return Err(errors::uri(format!("Syntax error: character '{other}' is not valid."))),
        }
        if found.len() > TOKENS_MAX {
            return Err(errors::uri("The expression is too long."));
        }
    }
    Ok(found)
}

fn word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '+' | '@')
}

impl Literal {
    /// Reads a literal from a token.
    ///
    /// # Errors
    /// When the token is none.
    pub fn from_token(token: &Token) -> Result<Self, ApiError> {
        let word = match token {
            Token::Text(text) => return Ok(Self::Text(text.clone())),
            Token::Word(word) => word,
            Token::Mark(mark) => return Err(errors::uri(format!("Syntax error: a value is expected, not '{mark}'."))),
        };
        match word.as_str() {
            "true" => return Ok(Self::Bool(true)),
            "false" => return Ok(Self::Bool(false)),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        if let Some(id) = guid(word) {
            return Ok(Self::Guid(id));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(word) {
            return Ok(Self::Time(time.to_utc()));
        }
        if word.len() == 10
            && let Ok(date) = NaiveDate::parse_from_str(word, "%Y-%m-%d")
        {
            return Ok(Self::Date(date));
        }
        if super::decimal::Decimal::parse(word).is_some() {
            return Ok(Self::Number(word.clone()));
        }
        Err(errors::uri(format!("Syntax error: '{word}' is not a value.")))
    }
}

/// A GUID with hyphens, without braces: the only form that the Web API takes.
#[must_use]
pub fn guid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_inside_text() {
        assert_eq!(tokens("'O''Brien'").unwrap(), vec![Token::Text("O'Brien".into())]);
        assert!(tokens("'open").is_err());
        assert!(tokens("a ; b").is_err());
    }

    #[test]
    fn every_literal_has_one_form() {
        let read = |text: &str| Literal::from_token(&tokens(text).unwrap()[0]);
        assert_eq!(read("12.50").unwrap(), Literal::Number("12.50".into()));
        assert_eq!(read("null").unwrap(), Literal::Null);
        assert!(matches!(read("2026-01-02").unwrap(), Literal::Date(_)));
        assert!(matches!(read("2026-01-02T03:04:05Z").unwrap(), Literal::Time(_)));
        assert!(matches!(read("11111111-0000-4000-8000-0000000000aa").unwrap(), Literal::Guid(_)));
        for text in ["ABC", "11111111000040008000000000000000aa", "True"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
