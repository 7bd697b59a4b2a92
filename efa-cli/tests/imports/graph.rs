//! Reads who imports whom from the sources of a crate, and looks for circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns all source files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the path of a file's module: `["bench", "plot"]` for `bench/plot/mod.rs`.
fn module(source: &Path, file: &Path) -> Vec<String> {
    let path = file.strip_prefix(source).expect("a file of the folder").with_extension("");
    let mut names: Vec<String> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "tests");
    names
}

/// Returns the full path of each name that a file imports from this crate.
fn imports(module: &[String], text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // Tests come last, and may look at everything.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for statement in code.split("\nuse ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let (path, list) = statement.split_once("::{").unwrap_or((statement, ""));
        let mut base: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut from = match base.remove(0) {
            "crate" => Vec::new(),
            "super" => module[..module.len() - 1].to_vec(),
            _ => continue,
        };
        while base.first() == Some(&"super") {
            base.remove(0);
            from.pop();
        }
        from.extend(base.into_iter().map(str::to_owned));
        let names = list.trim_end_matches(['}', '\n', ' ', ',']).split(',').map(str::trim);
        for name in names {
            let name = name.split("::").next().unwrap_or_default();
            found.push([&from[..], &[name.to_owned()]].concat());
        }
    }
    found
}

/// Follows the imports from `module`; `path` is where they came along.
fn visit(graph: &BTreeMap<String, BTreeSet<String>>, done: &mut BTreeSet<String>, path: &mut Vec<String>) {
    let module = path.last().expect("a path starts somewhere").clone();
    for next in graph.get(&module).into_iter().flatten() {
        assert!(!path.contains(next), "a circle of imports: {} -> {next}", path.join(" -> "));
        if !done.contains(next) {
            path.push(next.clone());
            visit(graph, done, path);
            path.pop();
        }
    }
    done.insert(module);
}

/// Asserts that no two modules of the crate with these sources reach each other. The parts of the folders `whole` count as
/// one module.
pub(crate) fn assert_no_circle(source: &Path, whole: &[&str]) {
    let name_of = |path: &[String]| match whole.contains(&path[0].as_str()) {
        true => path[0].clone(),
        false => path.join("::"),
    };
    let modules: BTreeMap<Vec<String>, String> = files(source)
        .iter()
        .map(|file| (module(source, file), fs::read_to_string(file).expect("a source file")))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut link = |from: &[String], to: &[String]| {
        let (from, to) = (name_of(from), name_of(to));
        if from != to {
            graph.entry(from).or_default().insert(to);
        }
    };
    for (module, text) in &modules {
        for import in imports(module, text) {
            // The longest beginning that is a module: the rest names something in it.
            let lengths = (1..=import.len()).rev();
            let target = lengths.map(|length| &import[..length]).find(|path| modules.contains_key(*path));
            let target =
                target.unwrap_or_else(|| panic!("{module:?} imports {import:?}, which is no module"));
            link(module, target);
        }
        // A folder's module names its parts without `crate` or `super`.
        for part in modules.keys().filter(|part| part.len() == module.len() + 1 && part.starts_with(module)) {
            let name = part.last().expect("a part has a name");
            if text.contains(&format!(" {name}::")) || text.contains(&format!("({name}::")) {
                link(module, part);
            }
        }
    }
    assert!(graph.len() > 20, "the test has not found the sources");
    let mut done = BTreeSet::new();
    for module in graph.keys() {
        visit(&graph, &mut done, &mut vec![module.clone()]);
    }
}
