//! YAML as trees: one for each document of the stream.
//!
//! CloudFormation's short tags become their long forms (`!Ref X` becomes `{"Ref": "X"}`), as AWS's tools read them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::tree::{Budget, DEEPEST, Tree};

/// The longest text that is read as YAML. CloudFormation allows 1 MB, Kubernetes less than 2 MB.
const LONGEST: usize = 8 << 20;

/// Functions of CloudFormation that have a short tag.
const FUNCTIONS: [&str; 19] = [
    "And",
    "Base64",
    "Cidr",
    "Equals",
    "FindInMap",
    "ForEach",
    "GetAZs",
    "GetAtt",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
];

/// Types of YAML's core schema.
const CORE: [&str; 7] = ["bool", "float", "int", "map", "null", "seq", "str"];

/// What is wrong, with its line and column, counted from 1.
pub(in crate::source) struct Wrong {
    pub(in crate::source) line: usize,
    pub(in crate::source) column: usize,
    pub(in crate::source) reason: String,
}

impl Wrong {
    fn at(mark: &Marker, reason: impl Into<String>) -> Self {
        Self { line: mark.line(), column: mark.col() + 1, reason: reason.into() }
    }
}

/// The documents of a stream.
pub(in crate::source) fn documents(text: &str) -> Result<Vec<Tree>, Wrong> {
    if text.len() > LONGEST {
        let reason = format!("a YAML file has {} MiB at most", LONGEST >> 20);
        return Err(Wrong { line: 1, column: 1, reason });
    }
    let mut reader = Reader::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Wrong::at(error.marker(), error.info()))?;
        reader.event(event, &span.start)?;
    }
    Ok(reader.documents)
}

/// A map or list that is not complete yet.
struct Open {
    anchor: usize,
    function: Option<String>,
    content: Content,
}

enum Content {
    List(Vec<Tree>),
    Map { fields: BTreeMap<String, Tree>, key: Option<String>, merged: Vec<Tree> },
}

struct Reader {
    documents: Vec<Tree>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Tree>,
    budget: Budget,
}

impl Reader {
    fn new() -> Self {
        Self { documents: Vec::new(), open: Vec::new(), anchors: BTreeMap::new(), budget: Budget::new() }
    }

    fn event(&mut self, event: Event<'_>, mark: &Marker) -> Result<(), Wrong> {
        let fault = |reason: String| Wrong::at(mark, reason);
        match event {
            Event::Alias(anchor) => {
                let Some(tree) = self.anchors.get(&anchor) else {
                    return Err(fault("an alias stands inside of what it names".into()));
                };
                self.budget.take_all(tree).map_err(fault)?;
                let tree = tree.clone();
                self.add(tree, mark)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.take(text.len()).map_err(fault)?;
                let is_text =
                    tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let tree = match style {
                    ScalarStyle::Plain if !is_text => plain(&text),
                    _ => Tree::Text(text.into_owned()),
                };
                let function = function(tag.as_deref()).map_err(fault)?;
                self.close(tree, function, anchor, mark)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(anchor, tag.as_deref(), Content::List(Vec::new()), mark)
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { fields: BTreeMap::new(), key: None, merged: Vec::new() };
                self.start(anchor, tag.as_deref(), content, mark)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let tree = match open.content {
                    Content::List(values) => Tree::List(values),
                    Content::Map { fields, merged, .. } => Tree::Map(merge(fields, merged).map_err(fault)?),
                };
                self.close(tree, open.function, open.anchor, mark)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
        mark: &Marker,
    ) -> Result<(), Wrong> {
        self.budget.take(0).map_err(|reason| Wrong::at(mark, reason))?;
        if self.open.len() >= DEEPEST {
            return Err(Wrong::at(mark, format!("maps and lists are nested more than {DEEPEST} deep")));
        }
        let function = function(tag).map_err(|reason| Wrong::at(mark, reason))?;
        self.open.push(Open { anchor, function, content });
        Ok(())
    }

    /// Takes a complete value, with its function around it and under its anchor.
    fn close(
        &mut self,
        tree: Tree,
        function: Option<String>,
        anchor: usize,
        mark: &Marker,
    ) -> Result<(), Wrong> {
        let tree = match function {
            Some(name) => Tree::Map(BTreeMap::from([(name, tree)])),
            None => tree,
        };
        if anchor > 0 {
            self.budget.take_all(&tree).map_err(|reason| Wrong::at(mark, reason))?;
            self.anchors.insert(anchor, tree.clone());
        }
        self.add(tree, mark)
    }

    /// Puts a value where the document has it.
    fn add(&mut self, tree: Tree, mark: &Marker) -> Result<(), Wrong> {
        let Some(open) = self.open.last_mut() else {
            self.documents.push(tree);
            return Ok(());
        };
        match &mut open.content {
            Content::List(values) => values.push(tree),
            Content::Map { fields, key, merged } => match key.take() {
                None => {
                    *key = Some(match tree {
                        Tree::Text(text) | Tree::Number(text) => text,
                        Tree::Bool(flag) => flag.to_string(),
                        Tree::Null => String::new(),
                        Tree::List(_) | Tree::Map(_) => {
                            return Err(Wrong::at(mark, "a key is a map or a list, and must be text"));
                        }
                    });
                }
                Some(name) if name == "<<" => merged.push(tree),
                Some(name) => match fields.entry(name) {
                    Entry::Vacant(entry) => {
                        entry.insert(tree);
                    }
                    Entry::Occupied(entry) => {
                        return Err(Wrong::at(mark, format!("duplicate key `{}`", entry.key())));
                    }
                },
            },
        }
        Ok(())
    }
}

/// What `<<` names, for the keys that the map itself does not have.
fn merge(mut fields: BTreeMap<String, Tree>, merged: Vec<Tree>) -> Result<BTreeMap<String, Tree>, String> {
    let maps = merged.into_iter().flat_map(|tree| match tree {
        Tree::List(maps) => maps,
        map => vec![map],
    });
    for map in maps {
        let Tree::Map(map) = map else { return Err("what << names is not a map".into()) };
        for (key, value) in map {
            fields.entry(key).or_insert(value);
        }
    }
    Ok(fields)
}

/// The function that a tag stands for.
fn function(tag: Option<&Tag>) -> Result<Option<String>, String> {
    let Some(tag) = tag else { return Ok(None) };
    let is_core = tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str());
    if is_core || (tag.handle.is_empty() && tag.suffix == "!") {
        return Ok(None);
    }
    match tag.suffix.as_str() {
        "Ref" | "Condition" if tag.handle == "!" => Ok(Some(tag.suffix.clone())),
        name if tag.handle == "!" && FUNCTIONS.contains(&name) => Ok(Some(format!("Fn::{name}"))),
        _ => Err(format!("the tag {tag} is neither CloudFormation's nor one of YAML's core schema")),
    }
}

/// What a scalar without quotes means, by YAML's core schema.
fn plain(text: &str) -> Tree {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Tree::Null,
        "true" | "True" | "TRUE" => Tree::Bool(true),
        "false" | "False" | "FALSE" => Tree::Bool(false),
        _ => {
            let digits = text.trim_start_matches(['+', '-', '.']);
            let is_number = digits.starts_with(|it: char| it.is_ascii_digit()) && text.parse::<f64>().is_ok();
            if is_number { Tree::Number(text.into()) } else { Tree::Text(text.into()) }
        }
    }
}
