//! YAML and JSON as trees that remember where everything stood.
//!
//! Untrusted text: size, depth and what aliases may grow to are bounded, nothing recurses on it, and a broken document does
//! not hide its neighbours: reading goes on at the next `---`.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Value;

use crate::diag::{FieldPath, Finding, Location, Severity};

/// A place in a text; lines and columns count from one, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Mark {
    /// The same place in a named file.
    pub fn in_file(self, file: &str) -> Location {
        Location {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
        }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub data: Data,
}

/// What a node is. Scalars are kept as written; what they mean depends on who reads them.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order as written, no key twice.
    Map(Vec<MapEntry>),
}

/// A single value.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// As written, without quotes.
    pub text: String,
    /// Whether it stood without quotes, so that `true`, `1` and `null` are not text (YAML 1.2 core schema).
    pub plain: bool,
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct MapEntry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_mark: Mark,
    /// The value.
    pub value: Node,
}

/// What a plain scalar means in YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning<'a> {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number; finite.
    Float(f64),
    /// Text.
    Text(&'a str),
}

impl Scalar {
    /// What it means.
    pub fn meaning(&self) -> Meaning<'_> {
        let text = self.text.as_str();
        if !self.plain {
            return Meaning::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
            "true" | "True" | "TRUE" => return Meaning::Bool(true),
            "false" | "False" | "FALSE" => return Meaning::Bool(false),
            _ => {}
        }
        if let Some(number) = integer(text) {
            return Meaning::Integer(number);
        }
        let numeric = text.bytes().any(|b| b.is_ascii_digit())
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        match text.parse::<f64>() {
            Ok(number) if numeric && number.is_finite() => Meaning::Float(number),
            _ => Meaning::Text(text),
        }
    }
}

impl Node {
    /// Whether it is `null` or empty.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.meaning() == Meaning::Null)
    }

    /// The value of the entry `key`, of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The text that it is; `None` for everything else.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(scalar) => match scalar.meaning() {
                Meaning::Text(text) => Some(text),
                _ => None,
            },
            Data::List(_) | Data::Map(_) => None,
        }
    }

    /// What it is, for messages: "a list", "the number 8".
    pub fn describe(&self) -> String {
        match &self.data {
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
            Data::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => "nothing".to_owned(),
                Meaning::Bool(value) => format!("the boolean {value}"),
                Meaning::Integer(_) | Meaning::Float(_) => format!("the number {}", scalar.text),
                Meaning::Text(text) => format!("the text `{}`", shorten(text)),
            },
        }
    }

    /// The same tree from JSON, without places. `None` where it is deeper than [`DEPTH_MAX`].
    pub fn from_json(value: &Value) -> Option<Self> {
        from_json(value, DEPTH_MAX)
    }

    /// The place of the value at `path`, or of what is there of the way to it. A field that is not there is where its map begins.
    pub fn locate(&self, path: &FieldPath) -> Mark {
        let mut node = self;
        let mut mark = self.mark;
        for step in steps(path.as_str()) {
            let next = match (step, &node.data) {
                (Step::Field(name), Data::Map(entries)) => entries
                    .iter()
                    .find(|entry| entry.key == name)
                    .map(|entry| (entry.key_mark, &entry.value)),
                (Step::Index(index), Data::List(items)) => {
                    items.get(index).map(|item| (item.mark, item))
                }
                _ => None,
            };
            let Some((at, value)) = next else { break };
            (mark, node) = (at, value);
        }
        mark
    }
}

/// The documents of a text, and what is wrong with it as YAML. Empty documents are left out.
pub fn parse(file: &str, text: &str) -> (Vec<Node>, Vec<Finding>) {
    let mut findings = Vec::new();
    if text.len() > TEXT_BYTES_MAX {
        let message = format!(
            "a file has at most {TEXT_BYTES_MAX} bytes, got {}",
            text.len()
        );
        findings.push(fault(file, Mark { line: 1, column: 1 }, message));
        return (Vec::new(), findings);
    }
    let mut documents = Vec::new();
    let mut rest = text;
    let mut lines_before = 0;
    let mut faults_left = BROKEN_DOCUMENTS_MAX;
    loop {
        let mut builder = Builder::new(lines_before);
        let error = builder.run(rest);
        documents.append(&mut builder.documents);
        findings.extend(
            builder
                .faults
                .drain(..)
                .map(|(mark, message)| fault(file, mark, message)),
        );
        let Some((mark, message)) = error else { break };
        if lines_before == 0
            && documents.is_empty()
            && looks_like_json(text)
            && let Some(node) = json_with_surrogates(text)
        {
            return (vec![node], Vec::new());
        }
        findings.push(fault(file, mark, message));
        faults_left -= 1;
        // The fault may only show at the `---` that follows, which is line `mark.line`, index one less.
        let skip = mark.line.saturating_sub(lines_before + 1).max(1);
        match next_document(rest, skip) {
            Some((skipped, tail)) if faults_left > 0 => {
                lines_before += skipped;
                rest = tail;
            }
            _ => break,
        }
    }
    documents.retain(|document| !document.is_null());
    (documents, findings)
}

/// Builds trees from parser events.
struct Builder {
    lines_before: u32,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes_left: usize,
    /// What aliases, and the values kept for them, may yet hold.
    copied_bytes_left: usize,
    faults: Vec<(Mark, String)>,
}

/// A list or map that is not closed yet.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value; maps only.
    key: Option<(String, Mark)>,
    /// The keys that are there.
    keys: HashSet<String>,
}

type Stop = (Mark, String);

impl Builder {
    fn new(lines_before: u32) -> Self {
        Self {
            lines_before,
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes_left: NODES_MAX,
            copied_bytes_left: TEXT_BYTES_MAX,
            faults: Vec::new(),
        }
    }

    /// Reads to the end, or to the first thing that cannot be read past.
    fn run(&mut self, text: &str) -> Option<Stop> {
        for event in Parser::new_from_str(text) {
            let stop = match event {
                Ok((event, span)) => self.on_event(event, self.mark(&span.start)).err(),
                Err(error) => Some((
                    self.mark(error.marker()),
                    format!("is not YAML: {}", error.info()),
                )),
            };
            if stop.is_some() {
                return stop;
            }
        }
        None
    }

    fn mark(&self, marker: &Marker) -> Mark {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Mark {
            line: count(marker.line()).saturating_add(self.lines_before),
            column: count(marker.col()).saturating_add(1),
        }
    }

    fn on_event(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), mark);
                let text = text.into_owned();
                let data = Data::Scalar(Scalar { text, plain });
                self.close(Node { mark, data }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), mark);
                self.push(Data::List(Vec::new()), anchor, mark)
            }
            Event::MappingStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), mark);
                self.push(Data::Map(Vec::new()), anchor, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err((mark, "an alias to a value that contains it".to_owned()));
                };
                if depth(node) + self.open.len() > DEPTH_MAX {
                    return Err((mark, too_deep()));
                }
                let (nodes, bytes) = (count_nodes(node), count_bytes(node));
                if nodes > self.nodes_left {
                    return Err((mark, too_many()));
                }
                if bytes > self.copied_bytes_left {
                    return Err((mark, too_much()));
                }
                let copy = node.clone();
                self.spend_on_copy(nodes, bytes, mark)?;
                self.close(copy, 0)
            }
            Event::DocumentStart(_) => {
                self.open.clear();
                self.anchors.clear();
                Ok(())
            }
            Event::DocumentEnd | Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
        }
    }

    fn push(&mut self, data: Data, anchor: usize, mark: Mark) -> Result<(), Stop> {
        if self.open.len() >= DEPTH_MAX {
            return Err((mark, too_deep()));
        }
        let node = Node { mark, data };
        self.open.push(Open {
            anchor,
            node,
            key: None,
            keys: HashSet::default(),
        });
        Ok(())
    }

    /// A value is complete: it belongs to what is open around it, or is a document.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        self.spend(1, node.mark)?;
        if anchor > 0 {
            self.spend_on_copy(count_nodes(&node), count_bytes(&node), node.mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut parent.node.data {
            Data::List(items) => items.push(node),
            Data::Map(entries) => match parent.key.take() {
                None => parent.key = Some(key_of(node, &mut self.faults)),
                Some((key, key_mark)) if !parent.keys.insert(key.clone()) => {
                    let message = format!("the key `{}` stands twice in one map", shorten(&key));
                    self.faults.push((key_mark, message));
                }
                Some((key, key_mark)) => entries.push(MapEntry {
                    key,
                    key_mark,
                    value: node,
                }),
            },
            Data::Scalar(_) => {}
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize, mark: Mark) -> Result<(), Stop> {
        self.nodes_left = match self.nodes_left.checked_sub(nodes) {
            Some(left) => left,
            None => return Err((mark, too_many())),
        };
        Ok(())
    }

    /// Pays for another copy of a value that has so many nodes and bytes.
    fn spend_on_copy(&mut self, nodes: usize, bytes: usize, mark: Mark) -> Result<(), Stop> {
        self.spend(nodes, mark)?;
        self.copied_bytes_left = match self.copied_bytes_left.checked_sub(bytes) {
            Some(left) => left,
            None => return Err((mark, too_much())),
        };
        Ok(())
    }

    /// Whether the tag says text. Tags outside the core schema are faults: nothing here would know what they mean.
    fn is_text_tag(&mut self, tag: Option<&Tag>, mark: Mark) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() {
            let message = format!("the tag `{}` is not supported", shorten(&tag.to_string()));
            self.faults.push((mark, message));
        }
        tag.suffix == "str"
    }
}

fn key_of(node: Node, faults: &mut Vec<(Mark, String)>) -> (String, Mark) {
    match node.data {
        Data::Scalar(scalar) => (scalar.text, node.mark),
        Data::List(_) | Data::Map(_) => {
            faults.push((node.mark, "a key must be text".to_owned()));
            (String::new(), node.mark)
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok();
    }
    text.parse().ok()
}

/// The tree is at most [`DEPTH_MAX`] deep, so this may recurse.
fn count_nodes(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 1,
        Data::List(items) => 1 + items.iter().map(count_nodes).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|e| count_nodes(&e.value)).sum::<usize>(),
    }
}

/// Bytes of the texts in a tree, keys among them.
fn count_bytes(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(scalar) => scalar.text.len(),
        Data::List(items) => items.iter().map(count_bytes).sum(),
        Data::Map(entries) => entries
            .iter()
            .map(|entry| entry.key.len() + count_bytes(&entry.value))
            .sum(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 0,
        Data::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Data::Map(entries) => 1 + entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
    }
}

fn from_json(value: &Value, depth_left: usize) -> Option<Node> {
    let depth_left = depth_left.checked_sub(1)?;
    let scalar = |text: String, plain| Data::Scalar(Scalar { text, plain });
    let data = match value {
        Value::Null => scalar("null".to_owned(), true),
        Value::Bool(flag) => scalar(flag.to_string(), true),
        Value::Number(number) => scalar(number.to_string(), true),
        Value::String(text) => scalar(text.clone(), false),
        Value::Array(items) => Data::List(
            items
                .iter()
                .map(|item| from_json(item, depth_left))
                .collect::<Option<_>>()?,
        ),
        Value::Object(fields) => Data::Map(
            fields
                .iter()
                .map(|(key, value)| {
                    Some(MapEntry {
                        key: key.clone(),
                        key_mark: NO_PLACE,
                        value: from_json(value, depth_left)?,
                    })
                })
                .collect::<Option<_>>()?,
        ),
    };
    Some(Node {
        mark: NO_PLACE,
        data,
    })
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// JSON may write characters beyond the basic plane as two escapes, which YAML does not know.
fn json_with_surrogates(text: &str) -> Option<Node> {
    let value: Value = serde_json::from_str(text).ok()?;
    Node::from_json(&value)
}

/// The text from the first `---` after `skip` lines, and how many lines stand before it.
fn next_document(text: &str, skip: u32) -> Option<(u32, &str)> {
    let mut offset = 0;
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let separator = line.strip_prefix("---").is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace())
        });
        if number >= skip && separator {
            return Some((number, text.get(offset..)?));
        }
        offset += line.len();
    }
    None
}

enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// The steps of a path as [`FieldPath`] writes it.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix("[\"") {
            let Some((key, tail)) = tail.split_once("\"]") else {
                break;
            };
            steps.push(Step::Field(key));
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('[') {
            let Some((index, tail)) = tail.split_once(']') else {
                break;
            };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = tail;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            steps.push(Step::Field(name));
            rest = if end == 0 { "" } else { tail };
        }
    }
    steps
}

/// At most 60 characters of `text`, for messages.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn too_deep() -> String {
    format!("is nested more than {DEPTH_MAX} deep")
}

fn too_many() -> String {
    format!("a file has at most {NODES_MAX} values, aliases counted in full")
}

fn too_much() -> String {
    format!("what aliases stand for has at most {TEXT_BYTES_MAX} bytes")
}

fn fault(file: &str, mark: Mark, message: String) -> Finding {
    Finding {
        severity: Severity::Fault,
        path: FieldPath::root(),
        location: Some(mark.in_file(file)),
        message,
    }
}

/// Bytes of one text, and again of what its aliases stand for.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// Lists and maps inside each other.
pub const DEPTH_MAX: usize = 64;

/// Values of one text, what aliases stand for counted in full.
pub const NODES_MAX: usize = 1_000_000;

const BROKEN_DOCUMENTS_MAX: usize = 100;

const NO_PLACE: Mark = Mark { line: 1, column: 1 };
