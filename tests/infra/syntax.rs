//! Bicep as declarations and expressions, by tree-sitter. Only the plain subset of infra/; anything else is an error that says
//! so. Knows no resource type and no rule.

use std::collections::BTreeSet;
use std::path::Path;
use tree_sitter::Node as Tree;

/// What is wrong, and where: `app.bicep:12: ...`.
pub type Problem = String;

/// One Bicep file.
#[derive(Debug, Default)]
pub struct File {
    pub name: String,
    pub scope: String,
    pub declarations: Vec<Declaration>,
}

/// One declaration.
#[derive(Debug)]
pub struct Declaration {
    pub line: usize,
    pub name: String,
    pub what: What,
    pub decorators: Vec<Node>,
}

/// What is declared.
#[derive(Debug)]
pub enum What {
    Param { kind: String, default: Option<Node> },
    Var(Node),
    Output { kind: String, value: Node },
    Resource { kind: String, existing: bool, body: Node },
    Module { path: String, body: Node },
}

/// An expression.
#[derive(Debug)]
pub struct Node {
    pub line: usize,
    pub kind: Kind,
}

/// Its kind.
#[derive(Debug)]
pub enum Kind {
    Text(Vec<Part>),
    Number(i64),
    Bool(bool),
    Null,
    Name(String),
    Object(Vec<Member>),
    Array(Vec<Node>),
    Dot(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Call(String, Vec<Node>),
    Choice(Box<[Node; 3]>),
    Binary(String, Box<[Node; 2]>),
    Not(Box<Node>),
    For { each: String, items: Box<Node>, body: Box<Node> },
    If(Box<[Node; 2]>),
}

/// A part of a text.
#[derive(Debug)]
pub enum Part {
    Fixed(String),
    Value(Node),
}

/// A member of an object; without a key if that is computed.
#[derive(Debug)]
pub struct Member {
    pub line: usize,
    pub key: Option<String>,
    pub value: Node,
}

impl Node {
    /// The text, if it is a fixed one.
    pub fn text(&self) -> Option<String> {
        let Kind::Text(parts) = &self.kind else { return None };
        parts.iter().map(|part| if let Part::Fixed(text) = part { Some(text.as_str()) } else { None }).collect()
    }

    /// The object that a resource or module is: below `if` and `for`.
    pub fn body(&self) -> &Node {
        match &self.kind {
            Kind::If(parts) => parts[1].body(),
            Kind::For { body, .. } => body.body(),
            _ => self,
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().find(|member| member.key.as_deref() == Some(name)).map(|member| &member.value)
    }

    /// A member by its path.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Calls `see` with this and everything below it.
    pub fn walk<'n>(&'n self, see: &mut dyn FnMut(&'n Node)) {
        see(self);
        match &self.kind {
            Kind::Text(parts) => parts.iter().for_each(|part| {
                if let Part::Value(node) = part {
                    node.walk(see);
                }
            }),
            Kind::Object(members) => members.iter().for_each(|member| member.value.walk(see)),
            Kind::Array(nodes) | Kind::Call(_, nodes) => nodes.iter().for_each(|node| node.walk(see)),
            Kind::Dot(node, _) | Kind::Not(node) => node.walk(see),
            Kind::Index(a, b) => [a, b].into_iter().for_each(|node| node.walk(see)),
            Kind::Choice(nodes) => nodes.iter().for_each(|node| node.walk(see)),
            Kind::Binary(_, nodes) | Kind::If(nodes) => nodes.iter().for_each(|node| node.walk(see)),
            Kind::For { items, body, .. } => [items, body].into_iter().for_each(|node| node.walk(see)),
            Kind::Number(_) | Kind::Bool(_) | Kind::Null | Kind::Name(_) => {}
        }
    }
}

impl Declaration {
    /// Its expressions.
    pub fn nodes(&self) -> Vec<&Node> {
        let value = match &self.what {
            What::Param { default, .. } => default.as_ref(),
            What::Var(node)
            | What::Output { value: node, .. }
            | What::Resource { body: node, .. }
            | What::Module { body: node, .. } => Some(node),
        };
        value.into_iter().chain(&self.decorators).collect()
    }
}

impl File {
    /// A declaration by name; outputs have names of their own.
    pub fn find(&self, name: &str) -> Option<&Declaration> {
        self.declarations.iter().find(|d| d.name == name && !matches!(d.what, What::Output { .. }))
    }
}

/// Reads one file.
pub fn read(name: &str, text: &str) -> Result<File, Vec<Problem>> {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    let mut reader = Reader { text, name, problems: Vec::new() };
    reader.errors(tree.root_node());
    let mut file = File { name: name.to_owned(), ..File::default() };
    let mut decorators = Vec::new();
    for tree in children(tree.root_node()) {
        if reader.problems.is_empty() {
            reader.statement(tree, &mut decorators, &mut file);
        }
    }
    let mut seen = BTreeSet::new();
    for Declaration { line, name: declared, what, .. } in &file.declarations {
        if !seen.insert((matches!(what, What::Output { .. }), declared)) {
            reader.problems.push(format!("{name}:{line}: `{declared}` is declared twice"));
        }
    }
    if reader.problems.is_empty() { Ok(file) } else { Err(reader.problems) }
}

/// The Bicep files of the folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| name.ends_with(".bicep")).collect();
    names.sort();
    names
}

struct Reader<'t> {
    text: &'t str,
    name: &'t str,
    problems: Vec<Problem>,
}

fn children(tree: Tree<'_>) -> Vec<Tree<'_>> {
    let named = (0..tree.named_child_count()).filter_map(|n| tree.named_child(u32::try_from(n).unwrap()));
    named.filter(|child| child.kind() != "comment").collect()
}

fn line(tree: Tree<'_>) -> usize {
    tree.start_position().row + 1
}

impl<'t> Reader<'t> {
    fn of(&self, tree: Tree<'_>) -> &'t str {
        &self.text[tree.start_byte()..tree.end_byte()]
    }

    fn say(&mut self, tree: Tree<'_>, problem: &str) {
        self.problems.push(format!("{}:{}: {problem}", self.name, line(tree)));
    }

    /// Where the parser lost the thread; and members on one line without a comma, which its grammar lets pass.
    fn errors(&mut self, tree: Tree<'_>) {
        if tree.is_error() || tree.is_missing() {
            return self.say(tree, "syntax error");
        }
        let all: Vec<_> = (0..tree.child_count()).filter_map(|n| tree.child(u32::try_from(n).unwrap())).collect();
        if matches!(tree.kind(), "object" | "array" | "infrastructure") {
            for two in all.windows(2).filter(|two| two.iter().all(|child| child.is_named())) {
                let same_line = two[0].end_position().row == two[1].start_position().row;
                if same_line && two.iter().all(|child| child.kind() != "comment") {
                    self.say(two[1], "needs a comma or a line of its own");
                }
            }
        }
        for child in all {
            self.errors(child);
        }
    }

    fn statement(&mut self, tree: Tree<'_>, decorators: &mut Vec<Node>, file: &mut File) {
        let parts = children(tree);
        if tree.kind() == "decorators" {
            decorators.extend(parts.into_iter().map(|decorator| self.node(children(decorator)[0])));
            return;
        }
        if tree.kind() == "target_scope_assignment" {
            file.scope = self.node(parts[0]).text().unwrap_or_default();
            return;
        }
        let text = |reader: &mut Self, n: usize| reader.node(parts[n]).text().unwrap_or_default();
        let what = match tree.kind() {
            "parameter_declaration" => {
                What::Param { kind: self.of(parts[1]).to_owned(), default: parts.get(2).map(|tree| self.node(*tree)) }
            }
            "variable_declaration" => What::Var(self.node(parts[1])),
            "output_declaration" => What::Output { kind: self.of(parts[1]).to_owned(), value: self.node(parts[2]) },
            "module_declaration" => What::Module { path: text(self, 1), body: self.node(parts[2]) },
            "resource_declaration" => What::Resource {
                kind: text(self, 1),
                existing: (0..tree.child_count())
                    .any(|n| tree.child(u32::try_from(n).unwrap()).is_some_and(|child| child.kind() == "existing")),
                body: self.node(parts[2]),
            },
            other => return self.say(tree, &format!("`{other}` is outside the plain subset")),
        };
        let name = self.of(parts[0]).to_owned();
        file.declarations.push(Declaration { line: line(tree), name, what, decorators: std::mem::take(decorators) });
    }

    fn node(&mut self, tree: Tree<'_>) -> Node {
        let parts = children(tree);
        let text = self.of(tree);
        let two = |reader: &mut Self| Box::new([reader.node(parts[0]), reader.node(parts[1])]);
        let kind = match tree.kind() {
            "string" => Kind::Text(self.text(&parts)),
            "number" => Kind::Number(text.parse().unwrap()),
            "boolean" => Kind::Bool(text == "true"),
            "null" => Kind::Null,
            "identifier" => Kind::Name(text.to_owned()),
            "object" => Kind::Object(parts.iter().map(|part| self.member(*part)).collect()),
            "array" => Kind::Array(parts.iter().map(|part| self.node(*part)).collect()),
            "parenthesized_expression" => return self.node(parts[0]),
            "member_expression" => Kind::Dot(Box::new(self.node(parts[0])), self.of(parts[1]).to_owned()),
            "subscript_expression" => Kind::Index(Box::new(self.node(parts[0])), Box::new(self.node(parts[1]))),
            "call_expression" => {
                let arguments = children(parts[1]).iter().map(|part| self.node(*part)).collect();
                if parts[0].kind() != "identifier" {
                    self.say(tree, "methods are outside the plain subset");
                }
                Kind::Call(self.of(parts[0]).to_owned(), arguments)
            }
            "ternary_expression" => {
                Kind::Choice(Box::new([self.node(parts[0]), self.node(parts[1]), self.node(parts[2])]))
            }
            "binary_expression" => {
                let operator = tree.child_by_field_name("operator").map(|tree| self.of(tree)).unwrap_or_default();
                Kind::Binary(operator.to_owned(), two(self))
            }
            "unary_expression" => Kind::Not(Box::new(self.node(parts[0]))),
            "for_statement" if parts[0].kind() == "identifier" => Kind::For {
                each: self.of(parts[0]).to_owned(),
                items: Box::new(self.node(parts[1])),
                body: Box::new(self.node(parts[2])),
            },
            "if_statement" => Kind::If(two(self)),
            other => {
                self.say(tree, &format!("`{other}` is outside the plain subset"));
                Kind::Null
            }
        };
        Node { line: line(tree), kind }
    }

    fn text(&mut self, parts: &[Tree<'_>]) -> Vec<Part> {
        let part = |part: &Tree<'_>| match part.kind() {
            "interpolation" => Part::Value(self.node(children(*part)[0])),
            _ => Part::Fixed(self.of(*part).to_owned()),
        };
        parts.iter().map(part).collect()
    }

    fn member(&mut self, tree: Tree<'_>) -> Member {
        let parts = children(tree);
        let (key, value) = match (parts.first().map(|part| part.kind()), parts.len()) {
            (Some("string"), 2) => (self.node(parts[0]).text(), self.node(parts[1])),
            (Some(_), 2) => (Some(self.of(parts[0]).to_owned()), self.node(parts[1])),
            _ => {
                self.say(tree, "a member like this is outside the plain subset");
                (None, Node { line: line(tree), kind: Kind::Null })
            }
        };
        Member { line: line(tree), key, value }
    }
}
