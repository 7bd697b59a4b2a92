//! JSON as a tree.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::tree::{Budget, Tree};

/// Reads a tree, as long as its budget lasts. A key that is given twice is an error.
pub(in crate::source) struct AsTree<'a>(&'a RefCell<Budget>);

impl<'a> AsTree<'a> {
    pub(in crate::source) fn new(budget: &'a RefCell<Budget>) -> Self {
        Self(budget)
    }

    fn take<E: de::Error>(&self, text: usize) -> Result<(), E> {
        self.0.borrow_mut().take(text).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for AsTree<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AsTree<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        self.take(0).map(|()| Tree::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        self.take(0).map(|()| Tree::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        self.take(0).map(|()| Tree::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        self.take(0).map(|()| Tree::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        self.take(0).map(|()| Tree::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        self.take(value.len()).map(|()| Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        self.take(0)?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(AsTree(self.0))? {
            values.push(value);
        }
        Ok(Tree::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        self.take(0)?;
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            self.take::<A::Error>(key.len())?;
            let value = map.next_value_seed(AsTree(self.0))?;
            match fields.entry(key) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    return Err(de::Error::custom(format_args!("duplicate key `{}`", entry.key())));
                }
            };
        }
        Ok(Tree::Map(fields))
    }
}
