//! `$filter`: comparisons with `and`, `or`, parentheses and `In`. What is compared is up to the caller.

use super::errors::{self, ApiError};
use super::literal::{Literal, Token, tokens};
use std::cmp::Ordering;

/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 20;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter(Node);

#[derive(Clone, Debug)]
enum Node {
    Compare(String, Op, Literal),
    In(String, Vec<String>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

/// Answers how a property compares to a literal: `None` when one of the two is null (and not both).
pub type Compare<'a> = dyn Fn(&str, &Literal) -> Result<Option<Ordering>, ApiError> + 'a;

impl Filter {
    /// Parses the text of `$filter`.
    ///
    /// # Errors
    /// What cannot be read, functions included.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let found = tokens(text)?;
        let mut reader = Reader { tokens: &found, at: 0 };
        let node = reader.any(0)?;
        if reader.at != found.len() {
            return Err(errors::uri(format!("Syntax error at position {} in '{text}'.", reader.at)));
        }
        Ok(Self(node))
    }

    /// The values, if the filter is nothing but `In` on this property.
    #[must_use]
    pub fn only_in(&self, property: &str) -> Option<&[String]> {
        match &self.0 {
            Node::In(name, values) if name == property => Some(values),
            _ => None,
        }
    }

    /// Is the filter met?
    ///
    /// # Errors
    /// Those of `compare`.
    pub fn matches(&self, compare: &Compare<'_>) -> Result<bool, ApiError> {
        eval(&self.0, compare)
    }
}

fn eval(node: &Node, compare: &Compare<'_>) -> Result<bool, ApiError> {
    Ok(match node {
        Node::And(left, right) => eval(left, compare)? & eval(right, compare)?,
        Node::Or(left, right) => eval(left, compare)? | eval(right, compare)?,
        Node::In(name, values) => {
            let mut found = false;
            for value in values {
                // the values of In are texts, whatever the column holds
                let order = match compare(name, &Literal::Text(value.clone())) {
                    Err(_) => compare(name, &Literal::from_token(&Token::Word(value.clone()))?)?,
                    order => order?,
                };
                found |= order == Some(Ordering::Equal);
            }
            found
        }
        Node::Compare(name, op, value) => {
            let order = compare(name, value)?;
            match op {
                Op::Eq => order == Some(Ordering::Equal),
                Op::Ne => order != Some(Ordering::Equal),
                Op::Gt => order == Some(Ordering::Greater),
                Op::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                Op::Lt => order == Some(Ordering::Less),
                Op::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            }
        }
    })
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<&Token, ApiError> {
        self.at += 1;
        self.tokens.get(self.at - 1).ok_or_else(|| errors::uri("Syntax error: the filter ends too early."))
    }

    fn word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w == word)
    }

    fn expect(&mut self, mark: char) -> Result<(), ApiError> {
        if *self.next()? == Token::Mark(mark) {
            return Ok(());
        }
        Err(errors::uri(format!("Syntax error: '{mark}' expected in the filter.")))
    }

    fn any(&mut self, depth: usize) -> Result<Node, ApiError> {
        let mut left = self.all(depth)?;
        while self.word("or") {
            self.at += 1;
            left = Node::Or(Box::new(left), Box::new(self.all(depth)?));
        }
        Ok(left)
    }

    fn all(&mut self, depth: usize) -> Result<Node, ApiError> {
        let mut left = self.one(depth)?;
        while self.word("and") {
            self.at += 1;
            left = Node::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Node, ApiError> {
        if depth > DEPTH_MAX {
            return Err(errors::uri("The filter is nested too deeply."));
        }
        match self.next()?.clone() {
            Token::Mark('(') => {
                let inner = self.any(depth + 1)?;
                self.expect(')')?;
                Ok(inner)
            }
            Token::Word(name) if name == "Microsoft.Dynamics.CRM.In" => self.is_in(),
            Token::Word(name) => {
                let op = match self.next()? {
                    Token::Word(op) => match op.as_str() {
                        "eq" => Op::Eq,
                        "ne" => Op::Ne,
                        "gt" => Op::Gt,
                        "ge" => Op::Ge,
                        "lt" => Op::Lt,
                        "le" => Op::Le,
                        other => return Err(errors::uri(format!("Syntax error: '{other}' is not an operator."))),
                    },
                    _ => return Err(errors::not_simulated("a function in $filter")),
                };
                let value = Literal::from_token(self.next()?)?;
                Ok(Node::Compare(name, op, value))
            }
            _ => Err(errors::uri("Syntax error in the filter.")),
        }
    }

    fn is_in(&mut self) -> Result<Node, ApiError> {
        self.expect('(')?;
        let mut name = String::new();
        let mut values = Vec::new();
        loop {
            let Token::Word(parameter) = self.next()?.clone() else {
                return Err(errors::uri("Syntax error in the parameters of In."));
            };
            self.expect('=')?;
            match (parameter.as_str(), self.next()?.clone()) {
                ("PropertyName", Token::Text(text)) => name = text,
                ("PropertyValues", Token::Mark('[')) => loop {
                    match self.next()? {
                        Token::Text(text) => values.push(text.clone()),
                        _ => return Err(errors::uri("The values of In are texts in quotes.")),
                    }
                    match self.next()? {
                        Token::Mark(']') => break,
                        Token::Mark(',') => {}
                        _ => return Err(errors::uri("Syntax error in the values of In.")),
                    }
                },
                _ => return Err(errors::uri("Syntax error in the parameters of In.")),
            }
            match self.next()? {
                Token::Mark(')') => return Ok(Node::In(name, values)),
                Token::Mark(',') => {}
                _ => return Err(errors::uri("Syntax error in the parameters of In.")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str) -> bool {
        let compare = |name: &str, literal: &Literal| {
            let Literal::Text(text) = literal else { return Ok(None) };
            match name {
                "a" => Ok(Some("1".cmp(text.as_str()))),
                _ => Err(errors::uri("no such property")),
            }
        };
        Filter::parse(filter).unwrap().matches(&compare).unwrap()
    }

    #[test]
    fn comparisons_combine() {
        assert!(check("a eq '1'"));
        assert!(check("a ne '2' and a ge '1'"));
        assert!(check("a eq '2' or (a eq '1' and a lt '3')"));
        assert!(check("Microsoft.Dynamics.CRM.In(PropertyName='a',PropertyValues=['2','1'])"));
        assert!(!check("a eq null"));
        assert!(check("a ne null"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["", "a", "a eq", "a like 'x'", "(a eq '1'", "a eq '1' b", "contains(a,'1')", "a eq b"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
