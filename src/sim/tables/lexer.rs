//! The words of a `$filter` expression. Knows no grammar.

use super::answer::Refusal;
use super::value::{Value, parse_time};

/// A word of a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// A property name or an operator.
    Name(String),
    /// A constant.
    Literal(Value),
}

fn invalid(what: &str) -> Refusal {
    Refusal::input(format!("The query condition specified in the request is invalid: {what}."))
}

/// Splits a filter into its words.
///
/// # Errors
/// 400 when a literal is not closed or cannot be read.
pub fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut rest = text.trim_start();
    let mut all = Vec::new();
    while let Some(first) = rest.chars().next() {
        let token;
        (token, rest) = match first {
            '(' => (Token::Open, rest.get(1..).unwrap_or("")),
            ')' => (Token::Close, rest.get(1..).unwrap_or("")),
            '\'' => string(rest).map(|(s, rest)| (Token::Literal(Value::String(s)), rest))?,
            _ => word(rest)?,
        };
        all.push(token);
        rest = rest.trim_start();
    }
    Ok(all)
}

/// A quoted text (quotes inside are doubled), and the rest.
fn string(text: &str) -> Result<(String, &str), Refusal> {
    let mut rest = text.get(1..).unwrap_or("");
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'').ok_or_else(|| invalid("a quote is not closed"))?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}

fn word(text: &str) -> Result<(Token, &str), Refusal> {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '\'')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if rest.starts_with('\'') {
        let (content, rest) = string(rest)?;
        let value = match word {
            "datetime" => parse_time(&content).map(Value::DateTime),
            "guid" => content.parse().ok().map(Value::Guid),
            "X" | "binary" => hex(&content).map(Value::Binary),
            _ => None,
        };
        return value.map(|v| (Token::Literal(v), rest)).ok_or_else(|| invalid("a typed literal cannot be read"));
    }
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return number(word).map(|v| (Token::Literal(v), rest)).ok_or_else(|| invalid("a number cannot be read"));
    }
    let known = word.chars().all(|c| c.is_alphanumeric() || c == '_');
    match word {
        "true" => Ok((Token::Literal(Value::Bool(true)), rest)),
        "false" => Ok((Token::Literal(Value::Bool(false)), rest)),
        _ if known => Ok((Token::Name(word.to_owned()), rest)),
        _ => Err(invalid("an unknown sign")),
    }
}

fn number(word: &str) -> Option<Value> {
    if let Some(long) = word.strip_suffix('L') {
        return long.parse().ok().map(Value::Int64);
    }
    if let Ok(int) = word.parse() {
        return Some(Value::Int32(int));
    }
    if word.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None; // whole, but too large without the suffix L
    }
    word.parse().ok().filter(|f: &f64| f.is_finite()).map(Value::Double)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|p| u8::from_str_radix(std::str::from_utf8(p).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}
