//! A document of any form as a tree, and reading from it: each error says at which path.

use std::collections::BTreeMap;

/// A value of a JSON or YAML document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Tree {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number as it is written: few are looked at, and none is rounded.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// Values by their keys.
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    /// The value of a key; `None` where there is none, and for anything but a map.
    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        match self {
            Self::Map(fields) => fields.get(key).filter(|value| **value != Self::Null),
            _ => None,
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// How much a document may hold: values, and texts by their length. Aliases count as often as they are used, so that a
/// small file can't unfold into one that fills the memory.
#[derive(Debug)]
pub(in crate::source) struct Budget(usize);

/// Values that a document may hold. A Terraform plan has about 100 for each resource.
const MOST_VALUES: usize = 2_000_000;
/// Text of this length counts as one more value.
const TEXT_PER_VALUE: usize = 64;
/// Maps and lists inside each other; real documents have a dozen.
pub(super) const DEEPEST: usize = 100;

/// Characters of a key that a path shows.
const LONGEST_KEY: usize = 100;
/// Bytes of a path, beyond which it is not continued.
const LONGEST_PATH: usize = 1000;

impl Budget {
    pub(in crate::source) fn new() -> Self {
        Self(MOST_VALUES)
    }

    /// Takes one value with so much text, or says that there are too many.
    pub(super) fn take(&mut self, text: usize) -> Result<(), String> {
        let cost = 1 + text / TEXT_PER_VALUE;
        self.0 =
            self.0.checked_sub(cost).ok_or_else(|| format!("it holds more than {MOST_VALUES} values"))?;
        Ok(())
    }

    /// Takes a whole tree.
    pub(super) fn take_all(&mut self, tree: &Tree) -> Result<(), String> {
        match tree {
            Tree::Null | Tree::Bool(_) => self.take(0),
            Tree::Number(text) | Tree::Text(text) => self.take(text.len()),
            Tree::List(values) => {
                self.take(0)?;
                values.iter().try_for_each(|value| self.take_all(value))
            }
            Tree::Map(fields) => {
                self.take(0)?;
                fields.iter().try_for_each(|(key, value)| {
                    self.take(key.len())?;
                    self.take_all(value)
                })
            }
        }
    }
}

/// A value with the path that leads to it.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) tree: &'a Tree,
    path: String,
}

/// What is wrong in a document, with its path.
pub(super) type Reading<T> = Result<T, String>;

impl<'a> At<'a> {
    /// The document itself.
    pub(super) fn root(tree: &'a Tree) -> Self {
        Self { tree, path: "$".into() }
    }

    /// The value of a key; `None` where there is none or nothing.
    pub(super) fn get(&self, key: &str) -> Reading<Option<At<'a>>> {
        match self.tree {
            Tree::Map(_) => Ok(self.tree.get(key).map(|tree| At { tree, path: self.path_to_key(key) })),
            _ => Err(self.expected("a map")),
        }
    }

    /// Whether the map has the key, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        matches!(self.tree, Tree::Map(fields) if fields.contains_key(key))
    }

    /// The value at the end of several keys.
    pub(super) fn find(&self, keys: &[&str]) -> Reading<Option<At<'a>>> {
        let mut here = self.clone();
        for key in keys {
            match here.get(key)? {
                Some(next) => here = next,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// The elements of the list.
    pub(super) fn list(&self) -> Reading<Vec<At<'a>>> {
        let Tree::List(values) = self.tree else { return Err(self.expected("a list")) };
        let at = |(index, tree)| At { tree, path: self.path_to(&format!("[{index}]")) };
        Ok(values.iter().enumerate().map(at).collect())
    }

    /// The elements of the list at a key; none where there is no such key.
    pub(super) fn list_of(&self, key: &str) -> Reading<Vec<At<'a>>> {
        self.get(key)?.map_or_else(|| Ok(Vec::new()), |list| list.list())
    }

    /// The values of the map with their keys.
    pub(super) fn entries(&self) -> Reading<Vec<(&'a str, At<'a>)>> {
        let Tree::Map(fields) = self.tree else { return Err(self.expected("a map")) };
        let at =
            |(key, tree): (&'a String, &'a Tree)| (key.as_str(), At { tree, path: self.path_to_key(key) });
        Ok(fields.iter().map(at).collect())
    }

    /// The text.
    pub(super) fn text(&self) -> Reading<&'a str> {
        match self.tree {
            Tree::Text(text) => Ok(text),
            _ => Err(self.expected("text")),
        }
    }

    /// The text at a key; `None` where there is none, and for an empty one.
    pub(super) fn text_of(&self, key: &str) -> Reading<Option<String>> {
        let text = self.get(key)?.map(|value| value.text().map(str::to_owned)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The text or the number at a key, as it is written.
    pub(super) fn scalar_of(&self, key: &str) -> Reading<Option<String>> {
        let scalar = |value: At<'a>| match value.tree {
            Tree::Text(text) | Tree::Number(text) => Ok(text.clone()),
            _ => Err(value.expected("text or a number")),
        };
        self.get(key)?.map(scalar).transpose()
    }

    /// The number at a key, which may stand in quotes.
    pub(super) fn number_of(&self, key: &str) -> Reading<Option<u32>> {
        let number = |value: At<'a>| match value.tree {
            Tree::Number(text) | Tree::Text(text) => {
                text.parse().map_err(|_| value.wrong(&format!("expected a number from 0 to {}", u32::MAX)))
            }
            _ => Err(value.expected("a number")),
        };
        self.get(key)?.map(number).transpose()
    }

    /// The truth value at a key, which may be written as text; `false` where there is none.
    pub(super) fn flag_of(&self, key: &str) -> Reading<bool> {
        let Some(value) = self.get(key)? else { return Ok(false) };
        match value.tree {
            Tree::Bool(flag) => Ok(*flag),
            Tree::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Ok(true),
                "false" | "no" | "off" => Ok(false),
                _ => Err(value.expected("true or false")),
            },
            _ => Err(value.expected("true or false")),
        }
    }

    /// The texts of the list at a key; `None` where there is no such key.
    pub(super) fn texts_of(&self, key: &str) -> Reading<Option<Vec<String>>> {
        let texts = |list: At<'a>| list.list()?.iter().map(|it| it.text().map(str::to_owned)).collect();
        self.get(key)?.map(texts).transpose()
    }

    fn path_to_key(&self, key: &str) -> String {
        match key.char_indices().nth(LONGEST_KEY) {
            Some((end, _)) => self.path_to(&format!(".{}...", &key[..end])),
            None => self.path_to(&format!(".{key}")),
        }
    }

    /// The path of a value inside this one. Each element of a list has its own copy, so a long path is not continued.
    fn path_to(&self, step: &str) -> String {
        match self.path.len() {
            0..LONGEST_PATH => format!("{}{step}", self.path),
            _ => self.path.clone(),
        }
    }

    fn expected(&self, noun: &str) -> String {
        self.wrong(&format!("expected {noun}, found {}", self.tree.noun()))
    }

    /// An error with the path.
    pub(super) fn wrong(&self, what: &str) -> String {
        format!("at {}: {what}", self.path)
    }
}
