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

/// What the ids begin with that lists of ids have.
const ID_PREFIXES: [&str; 2] = ["sg-", "subnet-"];

impl<'a> Terraform<'a> {
    /// The ids at a key: the values, if they are known, else what the configuration refers to. `None` where neither tells,
    /// and where AWS fills in the value: an interface without groups gets the default one of the VPC.
    pub(super) fn ids(
        &self,
        of: &Resource<'_>,
        values: &At<'_>,
        expressions: Option<&At<'_>>,
        key: &str,
    ) -> Reading<Option<Vec<String>>> {
        let mut known = BTreeSet::new();
        match values.get(key)? {
            None if values.has(key) => return Ok(None),
            None => {}
            Some(value) => {
                let elements = match value.tree {
                    Tree::List(_) => value.list()?,
                    _ => vec![value],
                };
                // A null in a list stands for an element that is not known yet.
                let count = elements.len();
                let told = elements.iter().filter(|it| *it.tree != Tree::Null);
                let texts = told.map(|it| it.text().map(str::to_owned)).collect::<Reading<Vec<_>>>()?;
                if texts.len() == count {
                    return Ok(Some(texts).filter(|texts| !texts.iter().all(String::is_empty)));
                }
                known.extend(texts);
            }
        }
        let expression = expressions.map(|it| it.get(key)).transpose()?.flatten();
        let Some(expression) = expression else { return Ok(None) };
        let references = expression.get("references")?.map_or(Ok(Vec::new()), |it| {
            it.list()?.iter().map(|it| it.text().map(str::to_owned)).collect::<Reading<Vec<String>>>()
        })?;
        let place = format!("{}.{key}", without_indices(&of.address));
        let Some(targets) = self.targets(&of.module, of.index.as_deref(), &references, &place, 0)? else {
            return Ok(None);
        };
        known.extend(targets.names);
        let is_opaque = known.iter().any(|it| self.opaque.borrow().contains(it));
        // What stands beside a value that is not known may be one branch of a condition on it.
        // So may be an instance of a resource that may have none: `length(a) > 0 ? a[0].id : b.id`. Subnets come in lists.
        let is_choice = targets.has_index && key.contains("group");
        let is_open =
            (targets.is_open || is_choice || is_opaque) && known.len() > 1 || is_opaque && of.is_in_copy;
        // `[a.id, b.id]` and `coalesce(a.id, b.id)` are the same in a plan, and the first is what most people write.
        if !is_open && known.len() > 1 && key.contains("group") {
            self.with_groups.borrow_mut().insert(place);
        }
        Ok((!is_open).then(|| known.into_iter().collect()))
    }

    /// Whether only the apply can tell the value at a key.
    pub(super) fn is_left_out(values: &At<'_>, expressions: Option<&At<'_>>, key: &str) -> bool {
        !values.has(key) && expressions.is_some_and(|it| it.has(key))
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

    /// What the references of the expression at a place lead to; `None` where that can't be told.
    fn targets(
        &self,
        module: &[String],
        index: Option<&str>,
        references: &[String],
        place: &str,
        depth: usize,
    ) -> Reading<Option<Targets>> {
        let steps = self.steps.get() + references.len() + 1;
        self.steps.set(steps);
        if depth > DEEPEST || references.len() > MOST_REFERENCES || steps > MOST_STEPS {
            return Ok(None);
        }
        let by_index = references.iter().any(|it| it == "count.index" || it.starts_with("each."));
        let mut found = Targets::default();
        for reference in longest(references) {
            let parts: Vec<&str> = reference.split('.').collect();
            match parts[..] {
                ["count" | "each" | "path" | "self", ..] => {}
                ["var", name, ..] => match self.argument(module, strip_index(name))? {
                    Some((outer, argument)) => match self.passed(module, outer, name, &argument, depth)? {
                        Some(targets) => found.extend(targets),
                        None => return Ok(None),
                    },
                    None => {
                        found.names.insert(self.unknown(module, reference, place));
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
                    let place = format!("{}.{output}", inner.join("."));
                    match self.targets(&inner, None, &references, &place, depth + 1)? {
                        Some(targets) => found.extend(targets),
                        None => return Ok(None),
                    }
                }
                // An id, not a list of ids: every expression that names it has the same value.
                ["data", _, _, "id"] => {
                    found.names.insert(self.unknown(module, reference, reference));
                }
                ["local" | "data", ..] => {
                    found.names.insert(self.unknown(module, reference, place));
                }
                // All instances of a module, or a choice by the workspace.
                ["module" | "terraform", ..] => return Ok(None),
                [kind, name, ref attributes @ ..] => {
                    let wanted = if by_index { index.map(str::to_owned) } else { index_of(name) };
                    let place = (module.join("."), kind, strip_index(name));
                    let all = self.named.get(&place).map_or(&[][..], Vec::as_slice);
                    // All of them where no index says which; a list of so many subnets is an error soon.
                    let all = all.iter().map(|&place| &self.resources[place]);
                    let is_one = all.len() == 1;
                    // The index chooses something else, such as a branch of a condition.
                    if by_index && index.is_some() && all.clone().any(|it| it.index.is_none()) {
                        return Ok(None);
                    }
                    found.has_index |= name.contains('[');
                    found.is_open |= attributes.last().is_some_and(|it| !is_of_ids(strip_index(it)));
                    let chosen = all.filter(|it| is_one || wanted.is_none() || it.index == wanted);
                    for resource in chosen.take(MOST_TARGETS) {
                        found.names.insert(resource.id()?);
                    }
                }
                _ => return Ok(None),
            }
        }
        // One name for an element of a list would make the elements of all instances equal.
        let is_element = by_index && found.names.iter().any(|it| self.opaque.borrow().contains(it));
        Ok((!is_element && !found.names.is_empty()).then_some(found))
    }

    /// The expression that the caller of a module passes for a variable, and the caller.
    fn argument<'m>(&self, module: &'m [String], variable: &str) -> Reading<Option<(&'m [String], At<'a>)>> {
        let Some((call, outer)) = module.split_last() else { return Ok(None) };
        let Some(caller) = self.module(outer) else { return Ok(None) };
        let expression = caller.find(&["module_calls", call, "expressions", variable])?;
        Ok(expression.map(|expression| (outer, expression)))
    }

    /// What an argument of a module leads to; `None` where that can't be told.
    fn passed(
        &self,
        module: &[String],
        outer: &[String],
        variable: &str,
        expression: &At<'_>,
        depth: usize,
    ) -> Reading<Option<Targets>> {
        if let Some(constant) = expression.get("constant_value")? {
            return Ok(match constant.tree {
                Tree::Text(text) => {
                    let is_open = !ID_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
                    Some(Targets { names: BTreeSet::from([text.clone()]), is_open, has_index: false })
                }
                _ => None,
            });
        }
        let Some(references) = expression.get("references")? else { return Ok(None) };
        let references: Vec<String> =
            references.list()?.iter().map(|it| it.text().map(str::to_owned)).collect::<Reading<_>>()?;
        let place = format!("{}.{variable}", module.join("."));
        self.targets(outer, None, &references, &place, depth + 1)
    }

    /// The name for a value that the plan does not tell. Another expression that refers to it gets another name, as a plan
    /// leaves out which element of a list an expression takes: `element(local.subnets, 1)`.
    fn unknown(&self, module: &[String], reference: &str, place: &str) -> String {
        let mut name = module.join(".");
        if !name.is_empty() {
            name.push('.');
        }
        name += reference;
        let first = self.places.borrow_mut().entry(name.clone()).or_insert_with(|| place.to_owned()).clone();
        let name = if first == place { id(&name) } else { id(&format!("{name} in {place}")) };
        self.opaque.borrow_mut().insert(name.clone());
        name
    }
}

/// What the references of an expression lead to.
#[derive(Default)]
struct Targets {
    names: BTreeSet<String>,
    /// Whether something among them may be no id, but what a condition looks at.
    is_open: bool,
    /// Whether an instance of a resource is named by its index.
    has_index: bool,
}

impl Targets {
    fn extend(&mut self, other: Self) {
        self.names.extend(other.names);
        self.is_open |= other.is_open;
        self.has_index |= other.has_index;
    }
}

/// Whether an attribute of a resource has ids.
fn is_of_ids(attribute: &str) -> bool {
    attribute.ends_with("id") || attribute.ends_with("ids")
}

pub(super) fn strip_index(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// An address without the indices in it.
fn without_indices(address: &str) -> String {
    address.split('.').map(strip_index).collect::<Vec<_>>().join(".")
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
