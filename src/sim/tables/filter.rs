//! `$filter`: grammar and evaluation. Knows no store.
//!
//! Stricter than Azurite: operators are lower case, a literal must stand on one side of a comparison, `not` needs
//! parentheses around a comparison, and values of different types never match (Azurite matches `Int64` against a
//! number without `L`, and times against plain texts).

use super::answer::Refusal;
use super::entity::Entity;
use super::lexer::{Token, tokens};
use super::value::Value;
use std::cmp::Ordering;

/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 64;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Both hold.
    And(Box<Filter>, Box<Filter>),
    /// One holds at least.
    Or(Box<Filter>, Box<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A Boolean property is true.
    Flag(String),
    /// Property, operator, constant.
    Compare(String, Comparison, Value),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `eq`
    Eq,
    /// `ne`
    Ne,
    /// `gt`
    Gt,
    /// `ge`
    Ge,
    /// `lt`
    Lt,
    /// `le`
    Le,
}

impl Comparison {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "lt" => Self::Lt,
            "le" => Self::Le,
            _ => return None,
        })
    }

    fn mirrored(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::Ne => Self::Ne,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
        }
    }
}

impl Filter {
    /// Parses a filter; `None` for an empty one, which takes everything.
    ///
    /// # Errors
    /// 400 `InvalidInput` when it is no filter.
    pub fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), depth: 0 };
        if parser.tokens.peek().is_none() {
            return Ok(None);
        }
        let filter = parser.or()?;
        if parser.tokens.next().is_some() {
            return Err(invalid());
        }
        Ok(Some(filter))
    }

    /// The one partition it asks for, if it says so: then nothing else has to be looked at.
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        match self {
            Self::And(a, b) => a.partition().or_else(|| b.partition()),
            Self::Compare(name, Comparison::Eq, Value::String(partition)) if name == "PartitionKey" => Some(partition),
            _ => None,
        }
    }

    /// Whether the entity is wanted. A property that it does not have makes a comparison false, `ne` too.
    #[must_use]
    pub fn accepts(&self, entity: &Entity) -> bool {
        match self {
            Self::And(a, b) => a.accepts(entity) && b.accepts(entity),
            Self::Or(a, b) => a.accepts(entity) || b.accepts(entity),
            Self::Not(a) => !a.accepts(entity),
            Self::Flag(name) => entity.properties.get(name) == Some(&Value::Bool(true)),
            Self::Compare(name, comparison, literal) => {
                let ordering = match name.as_str() {
                    "PartitionKey" => compare(&Value::String(entity.key.partition.clone()), literal),
                    "RowKey" => compare(&Value::String(entity.key.row.clone()), literal),
                    "Timestamp" => compare(&Value::DateTime(entity.timestamp), literal),
                    _ => entity.properties.get(name).and_then(|value| compare(value, literal)),
                };
                ordering.is_some_and(|o| comparison.holds(o))
            }
        }
    }
}

/// Compares values of one type; a 32-bit literal also serves a double.
fn compare(value: &Value, literal: &Value) -> Option<Ordering> {
    match (value, literal) {
        (Value::String(a), Value::String(b)) => Some(a.encode_utf16().cmp(b.encode_utf16())),
        (Value::Int32(a), Value::Int32(b)) => Some(a.cmp(b)),
        (Value::Int32(a), Value::Double(b)) => f64::from(*a).partial_cmp(b),
        (Value::Int64(a), Value::Int64(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), Value::Int32(b)) => a.partial_cmp(&f64::from(*b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::DateTime(a), Value::DateTime(b)) => Some(a.cmp(b)),
        (Value::Guid(a), Value::Guid(b)) => Some(a.cmp(b)),
        (Value::Binary(a), Value::Binary(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn invalid() -> Refusal {
    Refusal::input("The query condition specified in the request is invalid.")
}

fn reserved(word: &str) -> bool {
    matches!(word, "and" | "or" | "not") || Comparison::parse(word).is_some()
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn takes(&mut self, word: &str) -> bool {
        self.tokens.next_if(|t| matches!(t, Token::Name(name) if name == word)).is_some()
    }

    fn or(&mut self) -> Result<Filter, Refusal> {
        let mut left = self.and()?;
        while self.takes("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Filter, Refusal> {
        let mut left = self.unary()?;
        while self.takes("and") {
            left = Filter::And(Box::new(left), Box::new(self.unary()?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Filter, Refusal> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(invalid());
        }
        let filter = if self.takes("not") {
            let binds_tightly = matches!(self.tokens.peek(), Some(Token::Open));
            match self.unary()? {
                Filter::Compare(..) if !binds_tightly => return Err(invalid()),
                inner => Filter::Not(Box::new(inner)),
            }
        } else if self.tokens.next_if_eq(&Token::Open).is_some() {
            let inner = self.or()?;
            self.tokens.next_if_eq(&Token::Close).ok_or_else(invalid)?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, Refusal> {
        match self.tokens.next() {
            Some(Token::Name(name)) if !reserved(&name) => match self.operator() {
                None => Ok(Filter::Flag(name)),
                Some(comparison) => match self.tokens.next() {
                    Some(Token::Literal(literal)) => Ok(Filter::Compare(name, comparison, literal)),
                    _ => Err(invalid()),
                },
            },
            Some(Token::Literal(literal)) => match (self.operator(), self.tokens.next()) {
                (Some(comparison), Some(Token::Name(name))) if !reserved(&name) => {
                    Ok(Filter::Compare(name, comparison.mirrored(), literal))
                }
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        }
    }

    fn operator(&mut self) -> Option<Comparison> {
        let Some(Token::Name(word)) = self.tokens.peek() else { return None };
        let comparison = Comparison::parse(word)?;
        self.tokens.next();
        Some(comparison)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tables::entity::{Body, Key};

    fn rows(filter: &str) -> Vec<String> {
        let filter = Filter::parse(filter).unwrap();
        let wanted = |n: &i32| {
            let json = format!(
                r#"{{"n": {n}, "l": "{n}0000000000", "l@odata.type": "Edm.Int64", "f": {n}.5, "s": "v{n}", "b": {},
                "t": "2026-01-0{n}T00:00:00Z", "t@odata.type": "Edm.DateTime"}}"#,
                n % 2 == 0
            );
            let properties = Body::parse(json.as_bytes()).unwrap().properties;
            let key = Key { partition: format!("p{}", n % 2), row: format!("r{n}") };
            let timestamp = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            filter.as_ref().is_none_or(|f| f.accepts(&Entity { key, timestamp, properties }))
        };
        (1..=4).filter(wanted).map(|n| n.to_string()).collect()
    }

    #[test]
    fn filters_choose_as_the_service_does() {
        let check = |filter: &str, expected: &str| assert_eq!(rows(filter).join(""), expected, "{filter}");
        check("", "1234");
        check("PartitionKey eq 'p0'", "24");
        check("n ge 3", "34");
        check("3 le n", "34");
        check("n lt 2 or n eq 4", "14");
        check("n gt 1 and n lt 4 or n eq 1", "123");
        check("n eq 1 or n gt 1 and n lt 3", "12");
        check("not (n eq 1)", "234");
        check("not b", "13");
        check("b", "24");
        check("b eq false", "13");
        check("l eq 20000000000L", "2");
        check("l gt 5", "");
        check("n eq 2L", "");
        check("f eq 1", "");
        check("f gt 2", "234");
        check("t ge datetime'2026-01-03T00:00:00.0000000Z'", "34");
        check("t eq '2026-01-03T00:00:00Z'", "");
        check("missing eq 1", "");
        check("missing ne 1", "");
        check("not (missing eq 1)", "1234");
        check("PartitionKey eq 'p1' and (RowKey gt 'r0' and RowKey lt 'r3')", "1");
        check("Timestamp gt datetime'2020-01-01T00:00:00Z'", "1234");
        check("s eq 'it''s'", "");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}n eq 1{}", "(".repeat(100), ")".repeat(100));
        for filter in [
            "n eq",
            "(n eq 1",
            "n eq 1)",
            "n == 1",
            "n eq 1 n eq 2",
            "n EQ 1",
            "n eq m",
            "not n eq 1",
            "startswith(s,'v')",
            "s eq 'open",
            "t eq datetime'yesterday'",
            "n eq 5000000000",
            "l eq 1l",
            "1 eq 1",
            "and",
            &deep,
        ] {
            assert!(Filter::parse(filter).is_err(), "{filter}");
        }
    }
}
