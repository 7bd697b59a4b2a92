//! What the expressions of a plan's configuration refer to.

use std::collections::BTreeSet;

use super::super::node::id;
use super::super::tree::{At, Reading, Tree};
use super::{DEEPEST, Resource, Terraform};

/// Resources that one expression may refer to.
const MOST_TARGETS: usize = 100;
/// References that one expression may have.
const MOST_REFERENCES: usize = 200;
/// Steps that all references of a file may take together.
const MOST_STEPS: usize = 1_000_000;

impl Terraform<'_> {
    /// The ids at a key: the values, if they are known, else what the configuration refers to. `None` where neither tells.
    pub(super) fn ids(
        &self,
        of: &Resource<'_>,
        values: &At<'_>,
        expressions: Option<&At<'_>>,
        key: &str,
    ) -> Reading<Option<Vec<String>>> {
        if let Some(value) = values.get(key)? {
            let known = match value.tree {
                Tree::List(all) if all.contains(&Tree::Null) => None,
                Tree::List(_) => Some(values.texts_of(key)?.unwrap_or_default()),
                _ => Some(vec![value.text()?.to_owned()]),
            };
            // An empty list is one that AWS fills in: an interface without groups gets the default one of the VPC.
            if let Some(known) = known.filter(|known| !known.iter().all(String::is_empty)) {
                return Ok(Some(known));
            }
        }
        let expression = expressions.map(|it| it.get(key)).transpose()?.flatten();
        let Some(expression) = expression else { return Ok(None) };
        let references = expression.get("references")?.map_or(Ok(Vec::new()), |it| {
            it.list()?.iter().map(|it| it.text().map(str::to_owned)).collect::<Reading<Vec<String>>>()
        })?;
        Ok(self
            .targets(&of.module, of.index.as_deref(), &references, 0)?
            .map(|set| set.into_iter().collect()))
    }

    pub(super) fn one_id(
        &self,
        of: &Resource<'_>,
        values: &At<'_>,
        expressions: Option<&At<'_>>,
        key: &str,
    ) -> Reading<Option<String>> {
        let ids = self.ids(of, values, expressions, key)?;
        Ok(ids.filter(|ids| ids.len() == 1).and_then(|ids| ids.into_iter().next()))
    }

    /// What the references of an expression lead to.
    fn targets(
        &self,
        module: &[String],
        index: Option<&str>,
        references: &[String],
        depth: usize,
    ) -> Reading<Option<BTreeSet<String>>> {
        let steps = self.steps.get() + references.len() + 1;
        self.steps.set(steps);
        if depth > DEEPEST || references.len() > MOST_REFERENCES || steps > MOST_STEPS {
            return Ok(None);
        }
        let by_index = references.iter().any(|it| it == "count.index" || it.starts_with("each."));
        let mut found = BTreeSet::new();
        for reference in longest(references) {
            let parts: Vec<&str> = reference.split('.').collect();
            match parts[..] {
                ["count" | "each" | "path" | "terraform" | "self", ..] => {}
                ["var", name, ..] => match self.argument(module, strip_index(name), depth)? {
                    Some(targets) => found.extend(targets),
                    None => {
                        found.insert(self.unknown(module, reference));
                    }
                },
                ["module", call, output, ..] => {
                    let mut inner = module.to_vec();
                    inner.push(strip_index(call).to_owned());
                    let Some(child) = self.module(&inner) else { return Ok(None) };
                    let path = ["outputs", strip_index(output), "expression", "references"];
                    let Some(references) = child.find(&path)? else { return Ok(None) };
                    let references: Vec<String> = references
                        .list()?
                        .iter()
                        .map(|it| it.text().map(str::to_owned))
                        .collect::<Reading<_>>()?;
                    match self.targets(&inner, None, &references, depth + 1)? {
                        Some(targets) => found.extend(targets),
                        None => return Ok(None),
                    }
                }
                ["local" | "data", ..] => {
                    found.insert(self.unknown(module, reference));
                }
                [kind, name, ..] => {
                    let wanted = if by_index { index.map(str::to_owned) } else { index_of(name) };
                    let place = (module.join("."), kind, strip_index(name));
                    let all = self.named.get(&place).map_or(&[][..], Vec::as_slice);
                    // All of them where no index says which; a list of so many subnets is an error soon.
                    let all = all.iter().map(|&place| &self.resources[place]);
                    let is_one = all.len() == 1;
                    let chosen = all.filter(|it| is_one || wanted.is_none() || it.index == wanted);
                    for resource in chosen.take(MOST_TARGETS) {
                        found.insert(resource.id()?);
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok((!found.is_empty()).then_some(found))
    }

    /// What the caller of a module passes for a variable.
    fn argument(&self, module: &[String], variable: &str, depth: usize) -> Reading<Option<BTreeSet<String>>> {
        let Some((call, outer)) = module.split_last() else { return Ok(None) };
        let Some(caller) = self.module(outer) else { return Ok(None) };
        let Some(expression) = caller.find(&["module_calls", call, "expressions", variable])? else {
            return Ok(None);
        };
        if let Some(constant) = expression.get("constant_value")? {
            return Ok(match constant.tree {
                Tree::Text(text) => Some(BTreeSet::from([text.clone()])),
                _ => None,
            });
        }
        let Some(references) = expression.get("references")? else { return Ok(None) };
        let references: Vec<String> =
            references.list()?.iter().map(|it| it.text().map(str::to_owned)).collect::<Reading<_>>()?;
        self.targets(outer, None, &references, depth + 1)
    }

    fn unknown(&self, module: &[String], reference: &str) -> String {
        let mut name = module.join(".");
        if !name.is_empty() {
            name.push('.');
        }
        let name = id(&(name + reference));
        self.opaque.borrow_mut().insert(name.clone());
        name
    }
}

pub(super) fn strip_index(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// The index that is written after a name: `node[0]`, `node["a"]`.
fn index_of(name: &str) -> Option<String> {
    let (_, index) = name.split_once('[')?;
    Some(index.trim_end_matches(']').trim_matches('"').to_owned())
}

/// Terraform lists each reference with its shorter forms after it; these are the longest ones.
fn longest(references: &[String]) -> impl Iterator<Item = &str> {
    references.iter().map(String::as_str).filter(move |it| {
        !references
            .iter()
            .any(|other| other.strip_prefix(it).is_some_and(|rest| rest.starts_with(['.', '['])))
    })
}
