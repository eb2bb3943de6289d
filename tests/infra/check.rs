//! Bicep against the types: names, members, values, modules, parameters and outputs. Knows no rule of this project.
//!
//! Stricter than the compiler where that costs nothing: words that the types do not list are refused, and so is what is
//! declared and not used.

use super::syntax::{Declaration, File, Kind, Member, Node, Part, Problem, What};
use super::types::{Shape, Type, Types};
use std::collections::BTreeMap;

/// Functions in use: least and most arguments, and what they give.
const FUNCTIONS: [(&str, usize, usize, &str); 13] = [
    ("concat", 2, 9, "array"),
    ("empty", 1, 1, "bool"),
    ("environment", 0, 0, "environment"),
    ("guid", 1, 9, "string"),
    ("loadTextContent", 1, 1, "string"),
    ("replace", 3, 3, "string"),
    ("resourceGroup", 0, 0, "resourceGroup"),
    ("split", 2, 2, "array"),
    ("subscription", 0, 0, "subscription"),
    ("subscriptionResourceId", 2, 9, "string"),
    ("toLower", 1, 1, "string"),
    ("union", 2, 9, "object"),
    ("uniqueString", 1, 9, "string"),
];

/// What the functions without arguments know.
const SCOPES: [(&str, &[&str]); 3] = [
    ("resourceGroup", &["id", "location", "name", "tags"]),
    ("subscription", &["id", "subscriptionId", "tenantId", "displayName"]),
    ("environment", &["authentication", "suffixes", "name"]),
];

const DECORATORS: [&str; 7] = ["allowed", "description", "maxLength", "maxValue", "minLength", "minValue", "secure"];

/// What every resource may say besides its type's members.
const OF_ALL: [&str; 3] = ["parent", "scope", "dependsOn"];

/// Checks all files against the types and each other.
pub fn check(files: &BTreeMap<String, File>, types: &Types) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.values() {
        let mut checker = Checker { file, files, types, problems: &mut problems, loops: Vec::new() };
        checker.names();
        for declaration in &file.declarations {
            checker.declaration(declaration);
        }
    }
    problems
}

struct Checker<'c> {
    file: &'c File,
    files: &'c BTreeMap<String, File>,
    types: &'c Types,
    problems: &'c mut Vec<Problem>,
    /// Loops around: the name, and what it goes through.
    loops: Vec<(&'c str, &'c Node)>,
}

/// What an expression is known to be.
enum Given<'c> {
    Unknown,
    Kind(&'static str),
    /// A value of this official type.
    Typed(Type<'c>),
    /// A resource: its type.
    Resource(&'c str),
    Module(&'c File),
    Outputs(&'c File),
    /// One of these expressions.
    OneOf(Vec<&'c Node>),
    Scope(&'static str),
}

/// `string`, `int`, `bool`, `array`, `object` as the language calls them.
fn kind(name: &str) -> &'static str {
    match name.trim() {
        "string" => "string",
        "int" => "int",
        "bool" => "bool",
        "array" => "array",
        _ => "object",
    }
}

impl<'c> Checker<'c> {
    fn say(&mut self, line: usize, problem: impl AsRef<str>) {
        self.problems.push(format!("{}:{line}: {}", self.file.name, problem.as_ref()));
    }

    /// Every name is declared, and every declaration of a value is used.
    fn names(&mut self) {
        let mut used = Vec::new();
        for declaration in &self.file.declarations {
            for node in declaration.nodes() {
                let mut each = Vec::new();
                node.walk(&mut |node| {
                    if let Kind::For { each: name, .. } = &node.kind {
                        each.push(name.as_str());
                    }
                });
                node.walk(&mut |node| {
                    if let Kind::Name(name) = &node.kind {
                        used.push(name.as_str());
                        if self.file.find(name).is_none() && !each.contains(&name.as_str()) {
                            let line = node.line;
                            self.problems.push(format!("{}:{line}: `{name}` is not declared", self.file.name));
                        }
                    }
                });
            }
        }
        for Declaration { line, name, what, .. } in &self.file.declarations {
            if matches!(what, What::Param { .. } | What::Var(_)) && !used.contains(&name.as_str()) {
                self.say(*line, format!("`{name}` is never used"));
            }
        }
    }

    fn declaration(&mut self, declaration: &'c Declaration) {
        let Declaration { line, name, what, decorators } = declaration;
        for decorator in decorators {
            match &decorator.kind {
                Kind::Call(name, _) if DECORATORS.contains(&name.as_str()) => {}
                _ => self.say(decorator.line, "is no decorator"),
            }
        }
        match what {
            What::Param { kind: declared, default } => {
                if let Some(default) = default {
                    self.against_kind(default, kind(declared));
                    self.decorated(name, default, decorators);
                }
            }
            What::Var(node) => self.inside(node),
            What::Output { kind: declared, value } => {
                self.inside(value);
                self.against_kind(value, kind(declared));
            }
            What::Resource { kind, existing, body } => self.resource(*line, kind, *existing, body),
            What::Module { path, body } => self.module(*line, path, body),
        }
    }

    /// A default keeps to what its decorators say.
    fn decorated(&mut self, name: &str, default: &Node, decorators: &[Node]) {
        for decorator in decorators {
            let Kind::Call(rule, arguments) = &decorator.kind else { continue };
            let holds = match (rule.as_str(), arguments.first().map(|argument| &argument.kind), &default.kind) {
                ("allowed", Some(Kind::Array(allowed)), _) => allowed.iter().any(|one| one.text() == default.text()),
                ("minValue", Some(Kind::Number(least)), Kind::Number(given)) => given >= least,
                ("maxValue", Some(Kind::Number(most)), Kind::Number(given)) => given <= most,
                _ => true,
            };
            if !holds {
                self.say(default.line, format!("the default of `{name}` is not what @{rule} allows"));
            }
        }
    }

    fn resource(&mut self, line: usize, kind: &'c str, existing: bool, body: &'c Node) {
        let name = kind.split('@').next().unwrap_or_default();
        let Some(resource) = self.types.resource(kind) else {
            let versions = self.types.versions(name);
            return match versions.as_slice() {
                [] => self.say(line, format!("no resource type `{name}` is known")),
                _ => self.say(line, format!("`{kind}`: the types are of version {}", versions.join(", "))),
            };
        };
        let depth = self.loops.len();
        self.enter(body);
        let object = body.body();
        let parents = name.matches('/').count();
        let parent = object.get("parent").map(|node| self.given(node));
        match (parents, parent) {
            (1, None) => {}
            (1, Some(_)) => self.say(line, format!("`{name}` has no parent")),
            (_, Some(Given::Resource(of))) if name.rsplit_once('/').map(|(of, _)| of) == of.split('@').next() => {}
            _ => self.say(line, format!("`{name}` needs its `parent`")),
        }
        if existing {
            let Kind::Object(members) = &object.kind else { return };
            let known = ["name", "parent", "scope"];
            for Member { line, key, .. } in members {
                if !key.as_deref().is_some_and(|key| known.contains(&key)) {
                    self.say(*line, "an existing resource has a name and nothing else");
                }
            }
        } else {
            self.members(object, &resource, &OF_ALL);
        }
        self.inside(object);
        self.loops.truncate(depth);
    }

    /// Goes below `if` and `for`.
    fn enter(&mut self, node: &'c Node) {
        match &node.kind {
            Kind::If(parts) => {
                self.against_kind(&parts[0], "bool");
                self.enter(&parts[1]);
            }
            Kind::For { each, items, body } => {
                self.against_kind(items, "array");
                self.loops.push((each, items));
                self.enter(body);
            }
            _ => {}
        }
    }

    fn module(&mut self, line: usize, path: &str, body: &'c Node) {
        let depth = self.loops.len();
        self.enter(body);
        let object = body.body();
        let Some(module) = self.files.get(path) else {
            return self.say(line, format!("there is no file `{path}`"));
        };
        let given: &[Member] = match object.get("params").map(|params| &params.kind) {
            Some(Kind::Object(given)) => given,
            _ => &[],
        };
        for Member { line, key, value } in given {
            let key = key.as_deref().unwrap_or_default();
            match module.find(key).map(|found| &found.what) {
                Some(What::Param { kind: declared, .. }) => self.against_kind(value, kind(declared)),
                _ => self.say(*line, format!("{path} has no parameter `{key}`")),
            }
        }
        for declaration in &module.declarations {
            let needed = matches!(declaration.what, What::Param { default: None, .. });
            if needed && !given.iter().any(|member| member.key.as_ref() == Some(&declaration.name)) {
                self.say(line, format!("{path} needs the parameter `{}`", declaration.name));
            }
        }
        self.inside(object);
        self.loops.truncate(depth);
    }

    /// Functions and member accesses anywhere in an expression.
    fn inside(&mut self, node: &'c Node) {
        let depth = self.loops.len();
        if let Kind::For { each, items, .. } = &node.kind {
            self.loops.push((each, items));
        }
        match &node.kind {
            Kind::Call(..) | Kind::Dot(..) => drop(self.given(node)),
            Kind::Object(members) => {
                let mut keys: Vec<_> = members.iter().filter_map(|member| member.key.as_deref()).collect();
                keys.sort_unstable();
                if let Some(two) = keys.windows(2).find(|two| two[0] == two[1]) {
                    self.say(node.line, format!("`{}` is given twice", two[0]));
                }
            }
            _ => {}
        }
        match &node.kind {
            Kind::Text(parts) => parts.iter().for_each(|part| {
                if let Part::Value(node) = part {
                    self.inside(node);
                }
            }),
            Kind::Object(members) => members.iter().for_each(|member| self.inside(&member.value)),
            Kind::Array(nodes) | Kind::Call(_, nodes) => nodes.iter().for_each(|node| self.inside(node)),
            Kind::Not(node) => self.inside(node),
            Kind::Index(a, b) => [a, b].into_iter().for_each(|node| self.inside(node)),
            Kind::Choice(nodes) => nodes.iter().for_each(|node| self.inside(node)),
            Kind::Binary(_, nodes) | Kind::If(nodes) => nodes.iter().for_each(|node| self.inside(node)),
            Kind::For { items, body, .. } => [items, body].into_iter().for_each(|node| self.inside(node)),
            // of an access, the whole was looked at above
            Kind::Dot(..) | Kind::Number(_) | Kind::Bool(_) | Kind::Null | Kind::Name(_) => {}
        }
        self.loops.truncate(depth);
    }

    /// What an expression is, with complaints about accesses that lead nowhere.
    fn given(&mut self, node: &'c Node) -> Given<'c> {
        match &node.kind {
            Kind::Text(_) => Given::Kind("string"),
            Kind::Number(_) => Given::Kind("int"),
            Kind::Bool(_) | Kind::Not(_) => Given::Kind("bool"),
            Kind::Binary(operator, _) if operator != "??" => Given::Kind("bool"),
            Kind::Object(_) => Given::OneOf(vec![node]),
            Kind::Array(_) | Kind::For { .. } => Given::Kind("array"),
            Kind::Choice(parts) => self.given(&parts[1]),
            Kind::Call(name, arguments) => self.called(node.line, name, arguments),
            Kind::Name(name) => self.named(name),
            Kind::Dot(object, member) => {
                let object = self.given(object);
                self.member_of(node.line, object, member)
            }
            Kind::Index(..) | Kind::Null | Kind::If(_) | Kind::Binary(..) => Given::Unknown,
        }
    }

    fn called(&mut self, line: usize, name: &str, arguments: &[Node]) -> Given<'c> {
        let Some((_, least, most, gives)) = FUNCTIONS.into_iter().find(|(known, ..)| *known == name) else {
            self.say(line, format!("no function `{name}` is known"));
            return Given::Unknown;
        };
        if !(least..=most).contains(&arguments.len()) {
            self.say(line, format!("`{name}` takes {least} to {most} arguments, not {}", arguments.len()));
        }
        if SCOPES.iter().any(|(scope, _)| *scope == gives) { Given::Scope(gives) } else { Given::Kind(gives) }
    }

    fn named(&mut self, name: &str) -> Given<'c> {
        if let Some((_, items)) = self.loops.iter().rev().find(|(each, _)| *each == name) {
            let items = match &items.kind {
                Kind::Name(of) => self.file.find(of).and_then(|found| found.nodes().first().copied()),
                _ => Some(*items),
            };
            return match items.map(|items| &items.kind) {
                Some(Kind::Array(all)) => Given::OneOf(all.iter().collect()),
                _ => Given::Unknown,
            };
        }
        match self.file.find(name).map(|found| &found.what) {
            Some(What::Param { kind: declared, .. }) => Given::Kind(kind(declared)),
            Some(What::Var(node)) => self.given(node),
            Some(What::Resource { kind, .. }) => Given::Resource(kind),
            Some(What::Module { path, .. }) => self.files.get(path).map_or(Given::Unknown, Given::Module),
            Some(What::Output { .. }) | None => Given::Unknown,
        }
    }

    fn member_of(&mut self, line: usize, object: Given<'c>, name: &str) -> Given<'c> {
        let missing = |checker: &mut Self, of: &str| {
            checker.say(line, format!("{of} has no `{name}`"));
            Given::Unknown
        };
        match object {
            Given::Resource(kind) => match self.types.resource(kind) {
                Some(of) => self.member_of(line, Given::Typed(of), name),
                None => Given::Unknown,
            },
            Given::Typed(of) => match of.shape() {
                Shape::Object(members, others) => match members.get(name).cloned().or(others) {
                    Some(found) => Given::Typed(found),
                    None => missing(self, &of.text),
                },
                Shape::Any => Given::Unknown,
                _ => missing(self, &of.text),
            },
            Given::Module(file) if name == "outputs" => Given::Outputs(file),
            Given::Module(file) => missing(self, &file.name),
            Given::Outputs(file) => {
                let found = file.declarations.iter().find_map(|d| match &d.what {
                    What::Output { kind: declared, .. } if d.name == name => Some(kind(declared)),
                    _ => None,
                });
                found.map_or_else(|| missing(self, &format!("the output of {}", file.name)), Given::Kind)
            }
            Given::OneOf(all) => {
                let found: Vec<_> = all.iter().filter_map(|one| one.get(name)).collect();
                if found.len() < all.len() {
                    return missing(self, "an element");
                }
                match found.as_slice() {
                    [first, ..] => self.given(first),
                    [] => Given::Unknown,
                }
            }
            Given::Scope(scope) => {
                let known = SCOPES.iter().any(|(known, members)| *known == scope && members.contains(&name));
                if known { Given::Unknown } else { missing(self, scope) }
            }
            Given::Kind("object") | Given::Unknown => Given::Unknown,
            Given::Kind(kind) => missing(self, kind),
        }
    }

    /// What it is in the language's own words, if that is known.
    fn kind_of(&mut self, node: &'c Node) -> Option<&'static str> {
        match self.given(node) {
            Given::Kind(kind) => Some(kind),
            Given::Typed(of) => match of.shape() {
                Shape::Text | Shape::Words(_) => Some("string"),
                Shape::Int => Some("int"),
                Shape::Bool => Some("bool"),
                Shape::Array(_) => Some("array"),
                Shape::Object(..) => Some("object"),
                Shape::Any => None,
            },
            Given::Resource(_) | Given::Module(_) | Given::Outputs(_) | Given::Scope(_) => Some("object"),
            Given::OneOf(all) => match all.as_slice() {
                [one, ..] if !matches!(one.kind, Kind::Object(_)) => self.kind_of(one),
                _ => Some("object"),
            },
            Given::Unknown => None,
        }
    }

    fn against_kind(&mut self, node: &'c Node, expected: &'static str) {
        if let Some(given) = self.kind_of(node)
            && given != expected
        {
            self.say(node.line, format!("is {given}, {expected} is expected"));
        }
    }

    /// An expression where a value of this type is expected.
    fn against(&mut self, node: &'c Node, expected: &Type<'c>) {
        match (&node.kind, expected.shape()) {
            (_, Shape::Any) | (Kind::Null, _) => {}
            (Kind::Choice(parts), _) => {
                self.against(&parts[1], expected);
                self.against(&parts[2], expected);
            }
            (Kind::Name(name), shape) => match self.file.find(name).map(|found| &found.what) {
                Some(What::Var(value)) => self.against(value, expected),
                _ => self.shaped(node, &shape),
            },
            (Kind::Call(name, arguments), _) if matches!(name.as_str(), "concat" | "union") => {
                // the parts of a whole: what is required may be in another
                for argument in arguments {
                    self.against(argument, expected);
                }
            }
            (Kind::Array(items), Shape::Array(item)) => items.iter().for_each(|node| self.against(node, &item)),
            (Kind::For { each, items, body }, Shape::Array(item)) => {
                self.loops.push((each, items));
                self.against(body, &item);
                self.loops.pop();
            }
            (Kind::Object(_), Shape::Object(..)) => self.members(node, expected, &[]),
            (Kind::Text(_), Shape::Words(words)) => {
                if let Some(text) = node.text()
                    && !words.contains(&text)
                {
                    self.say(node.line, format!("`{text}` is none of {}", words.join(" | ")));
                }
            }
            (Kind::Text(_), Shape::Text) => {
                if let Some(text) = node.text() {
                    self.bounds(node.line, expected, "Length", i64::try_from(text.len()).unwrap());
                }
            }
            (Kind::Number(number), Shape::Int) => self.bounds(node.line, expected, "Value", *number),
            (_, shape) => self.shaped(node, &shape),
        }
    }

    fn bounds(&mut self, line: usize, expected: &Type<'_>, what: &str, given: i64) {
        let bound = |name: &str| expected.bounds.get(&format!("{name}{what}")).copied();
        if bound("min").is_some_and(|least| given < least) || bound("max").is_some_and(|most| given > most) {
            self.say(line, format!("{given} is out of bounds {:?}", expected.bounds));
        }
    }

    fn shaped(&mut self, node: &'c Node, shape: &Shape<'_>) {
        let expected = match shape {
            Shape::Any => return,
            Shape::Text | Shape::Words(_) => "string",
            Shape::Int => "int",
            Shape::Bool => "bool",
            Shape::Array(_) => "array",
            Shape::Object(..) => "object",
        };
        self.against_kind(node, expected);
    }

    /// The members of an object: known, not read-only, of their types, and none that is required missing.
    fn members(&mut self, node: &'c Node, of: &Type<'c>, besides: &[&str]) {
        let (Kind::Object(given), Shape::Object(members, others)) = (&node.kind, of.shape()) else { return };
        for Member { line, key, value } in given {
            let Some(key) = key.as_deref() else {
                if let Some(other) = &others {
                    self.against(value, other);
                }
                continue;
            };
            match members.get(key).or(others.as_ref()) {
                _ if besides.contains(&key) => {}
                Some(member) if member.read_only => self.say(*line, format!("`{key}` is read-only")),
                Some(member) => self.against(value, member),
                None => {
                    let names = members.keys().copied();
                    let near = names.min_by_key(|name| strsim::damerau_levenshtein(name, key)).unwrap_or_default();
                    self.say(*line, format!("{} has no `{key}`; did you mean `{near}`?", of.text));
                }
            }
        }
        for (name, member) in &members {
            let missing = !given.iter().any(|one| one.key.as_deref() == Some(name));
            if member.required && !member.read_only && missing {
                self.say(node.line, format!("{} needs `{name}`", of.text));
            }
        }
    }
}
