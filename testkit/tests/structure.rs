//! The imports inside a crate form no circle, and the crates of `lab/` have few layers.
//!
//! A file is a module. An arrow leads from a file to the file that defines what it names by a path: `crate::`, `super::`,
//! `self::`, or a child's name, in a `use` or in an expression. Tests and comments do not count. Two rules make it fair:
//!
//! 1. **A re-export is no arrow.** If a parent says `pub use self::child::Item`, then whoever imports `Item` from the
//!    parent depends on the child.
//! 2. **A child may use what its parent defines, even if the parent uses the child.** Rust shows a child the private
//!    items of its parent: the two are one module in several files, and count as one, so whoever uses one of the
//!    files uses all of them. The children of such a module still form no circle among each other.
//!
//! Circles between crates need no check here: Cargo refuses to build them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy allows these in tests, but not in their helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Layers of a crate in `lab/`.
const LAYERS_MAX: usize = 5;

#[test]
fn imports_form_no_circle() {
    let mut circles = Vec::new();
    for (name, modules) in crates() {
        let found = Graph::new(&modules).circles().into_iter();
        circles.extend(found.map(|circle| format!("{name}: {circle}")));
    }
    assert!(circles.is_empty(), "\n{}\n", circles.join("\n"));
}

#[test]
fn a_crate_of_the_lab_has_at_most_five_layers() {
    let mut deep = Vec::new();
    for (name, modules) in crates().into_iter().filter(|(it, _)| it.starts_with("lab")) {
        let way = Graph::new(&modules).longest_way();
        if way.len() > LAYERS_MAX {
            deep.push(format!(
                "{name}: {} layers: {}",
                way.len(),
                way.join(" -> ")
            ));
        }
    }
    assert!(deep.is_empty(), "\n{}\n", deep.join("\n"));
}

/// A module's path, such as `["provider", "answer"]`; that of a crate's root is empty.
type Module = Vec<String>;

/// The texts of a crate's modules.
type Modules = BTreeMap<Module, String>;

/// Every crate by its folder.
fn crates() -> Vec<(String, Modules)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut crates = Vec::new();
    for group in [root.to_owned(), root.join("lab")] {
        for entry in fs::read_dir(group).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join("Cargo.toml").exists() && folder.join("src").exists() {
                let name = folder.strip_prefix(root).unwrap().display().to_string();
                crates.push((name, modules(&folder.join("src"))));
            }
        }
    }
    assert!(crates.len() >= 9, "{:?}", crates.iter().map(|it| &it.0));
    crates.sort();
    crates
}

fn modules(src: &Path) -> Modules {
    let mut modules = Modules::new();
    let mut folders: Vec<PathBuf> = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let module = path.strip_prefix(src).unwrap().with_extension("");
                let module = module.iter().map(|it| it.to_str().unwrap().to_owned());
                modules.insert(module.collect(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    // The root of a program that has a library, too, is a crate of its own, of one module.
    let library = modules.remove(&vec!["lib".to_owned()]);
    let program = modules.remove(&vec!["main".to_owned()]);
    modules.insert(Module::new(), library.or(program).unwrap_or_default());
    modules
}

/// A path in a module's code.
#[derive(Debug, PartialEq)]
struct Named {
    segments: Vec<String>,
    is_reexport: bool,
}

/// The lines that are compiled into a release, without comments. Relies on rustfmt's layout: a test item ends with a line
/// as far to the left as its attribute.
fn production_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut test_item: Option<&str> = None;
    for line in text.lines() {
        let (indent, _) = line.split_at(line.len() - line.trim_start().len());
        if let Some(attribute_indent) = test_item {
            let ends = line.ends_with(';') || line.trim_start().starts_with('}');
            if indent == attribute_indent && ends {
                test_item = None;
            }
        } else if line.trim() == "#[cfg(test)]" {
            test_item = Some(indent);
        } else if !line.trim_start().starts_with("//") {
            lines.push(line.split(" // ").next().unwrap_or(line));
        }
    }
    lines
}

fn paths(text: &str) -> Vec<Named> {
    let mut paths = Vec::new();
    let mut lines = production_lines(text).into_iter();
    while let Some(line) = lines.next() {
        let (visibility, import) = line.split_once("use ").unwrap_or((line, ""));
        let visibility = visibility.trim();
        if import.is_empty() || !(visibility.is_empty() || visibility.starts_with("pub")) {
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            paths.extend(words.filter(|word| word.contains("::")).map(|word| Named {
                segments: word.split("::").map(str::to_owned).collect(),
                is_reexport: false,
            }));
            continue;
        }
        let mut tree = import.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        let mut imported = Vec::new();
        expand(tree.split(';').next().unwrap(), &[], &mut imported);
        paths.extend(imported.into_iter().map(|segments| Named {
            segments,
            is_reexport: !visibility.is_empty(),
        }));
    }
    paths
}

/// The paths of a `use`: `a::{b, c::{self, d}}` has `a::b`, `a::c::self` and `a::c::d`.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut depth = 0;
    let parts = tree.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let (path, inner) = part.split_once('{').unwrap_or((part, ""));
        let path = path.split(" as ").next().unwrap();
        let segments = path.split("::").map(str::trim).filter(|it| !it.is_empty());
        let path: Vec<String> = before
            .iter()
            .cloned()
            .chain(segments.map(str::to_owned))
            .collect();
        match inner.rsplit_once('}') {
            Some((inner, _)) => expand(inner, &path, paths),
            None => paths.push(path),
        }
    }
}

/// The modules of a crate and the arrows between them, by their places in `names`.
struct Graph {
    names: Vec<Module>,
    arrows: Vec<BTreeSet<usize>>,
}

impl Graph {
    fn new(modules: &Modules) -> Self {
        let paths: BTreeMap<&Module, Vec<Named>> = modules
            .iter()
            .map(|(module, text)| (module, paths(text)))
            .collect();
        let names: Vec<Module> = modules.keys().cloned().collect();
        let place = |module: &Module| names.iter().position(|it| it == module).unwrap();
        let arrows = names.iter().map(|module| {
            let named = paths[module].iter();
            let targets = named.filter_map(|path| {
                let target = resolve(module, &path.segments, &paths, 0)?;
                let is_own = path.is_reexport && target.starts_with(module);
                (!is_own && target != *module).then(|| place(&target))
            });
            targets.collect()
        });
        let arrows = arrows.collect();
        Self { names, arrows }
    }

    /// Every circle, as its arrows.
    fn circles(&self) -> Vec<String> {
        let files: Vec<usize> = (0..self.names.len()).collect();
        let is_up = |from: usize, to: usize| self.names[from].starts_with(&self.names[to]);
        // Between files, without the arrows from a child to its parent; then between families.
        let mut circles = self.circles_of(&files, |from, to| !is_up(from, to));
        if circles.is_empty() {
            circles = self.circles_of(&self.families(), |_, _| true);
        }
        circles
    }

    fn circles_of(&self, groups: &[usize], counts: impl Fn(usize, usize) -> bool) -> Vec<String> {
        let mut grouped = vec![BTreeSet::new(); self.names.len()];
        for (from, targets) in self.arrows.iter().enumerate() {
            let targets = targets.iter().filter(|to| counts(from, **to));
            let targets = targets.filter(|to| groups[from] != groups[**to]);
            grouped[groups[from]].extend(targets.map(|to| groups[*to]));
        }
        let reached: Vec<BTreeSet<usize>> = (0..grouped.len())
            .map(|from| reachable(from, &grouped))
            .collect();
        let mut circles = BTreeSet::new();
        for from in 0..grouped.len() {
            let circle = grouped
                .iter()
                .enumerate()
                .filter(|(it, _)| reached[from].contains(it) && reached[*it].contains(&from));
            let circle: BTreeSet<usize> = circle.map(|(it, _)| it).collect();
            let arrows = circle.iter().flat_map(|from| {
                let inside = grouped[*from].intersection(&circle);
                inside.map(|to| format!("{} -> {}", self.name(*from), self.name(*to)))
            });
            circles.insert(arrows.collect::<Vec<_>>().join(", "));
        }
        circles.remove("");
        Vec::from_iter(circles)
    }

    /// For each file the parent that it is one module with, or itself.
    fn families(&self) -> Vec<usize> {
        let mut families: Vec<usize> = (0..self.names.len()).collect();
        // A parent comes before its children, so that the outermost one stands for all.
        for parent in 0..self.names.len() {
            let mut inside = self.arrows.clone();
            for (file, targets) in inside.iter_mut().enumerate() {
                let is_inside = |it: usize| self.names[it].starts_with(&self.names[parent]);
                targets.retain(|to| is_inside(file) && is_inside(*to));
            }
            for child in reachable(parent, &inside) {
                if families[child] == child && reachable(child, &inside).contains(&parent) {
                    families[child] = families[parent];
                }
            }
        }
        families
    }

    /// The longest way along arrows between modules that are not one.
    fn longest_way(&self) -> Vec<String> {
        let families = self.families();
        let mut grouped = vec![BTreeSet::new(); self.names.len()];
        for (from, targets) in self.arrows.iter().enumerate() {
            let targets = targets.iter().map(|to| families[*to]);
            grouped[families[from]].extend(targets.filter(|to| *to != families[from]));
        }
        let mut longest = vec![None; grouped.len()];
        (0..grouped.len()).for_each(|from| longest_from(from, &grouped, &mut longest));
        let way = longest.into_iter().flatten().max_by_key(Vec::len);
        way.unwrap_or_default()
            .into_iter()
            .map(|it| self.name(it))
            .collect()
    }

    fn name(&self, file: usize) -> String {
        let path = self.names[file].join("::");
        if path.is_empty() {
            "crate".to_owned()
        } else {
            path
        }
    }
}

/// The module that defines what `segments` name in `module`; `None` for another crate's.
fn resolve(
    module: &Module,
    segments: &[String],
    paths: &BTreeMap<&Module, Vec<Named>>,
    depth: usize,
) -> Option<Module> {
    let child = |at: &Module, name: &String| [at.as_slice(), std::slice::from_ref(name)].concat();
    let mut segments = segments.iter().peekable();
    let mut at = match segments.peek()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => module.clone(),
        _ if !module.is_empty() || paths.contains_key(&child(module, segments.peek()?)) => paths
            .get(&child(module, segments.peek()?))
            .map(|_| module.clone())?,
        _ => return None,
    };
    for name in segments {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            _ if paths.contains_key(&child(&at, name)) => at.push(name.clone()),
            _ => {
                let mut reexports = paths.get(&at)?.iter().filter(|path| path.is_reexport);
                let reexport = reexports.find(|path| path.segments.last() == Some(name));
                // A re-export of a re-export of ... ends somewhere.
                let origin = reexport.filter(|_| depth < 9);
                let origin = origin.and_then(|path| resolve(&at, &path.segments, paths, depth + 1));
                return Some(origin.unwrap_or(at));
            }
        }
    }
    Some(at)
}

/// What can be reached from `from` along arrows; `from` itself if it lies on a circle.
fn reachable(from: usize, arrows: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        next.extend(
            arrows[file]
                .iter()
                .copied()
                .filter(|to| reached.insert(*to)),
        );
    }
    reached
}

fn longest_from(from: usize, arrows: &[BTreeSet<usize>], longest: &mut [Option<Vec<usize>>]) {
    if longest[from].is_some() {
        return;
    }
    // Ends the walk on a circle, which the other test reports.
    longest[from] = Some(vec![from]);
    for to in &arrows[from] {
        longest_from(*to, arrows, longest);
        let way = longest[*to].clone().unwrap();
        if way.len() >= longest[from].as_ref().unwrap().len() {
            longest[from] = Some([vec![from], way].concat());
        }
    }
}

/// A crate of `files`, each a path such as `"a/b"` and a text; the root is `""`.
fn planted(files: &[(&str, &str)]) -> Graph {
    let module = |path: &str| {
        path.split('/')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let files = files
        .iter()
        .map(|(path, text)| (module(path), (*text).to_owned()));
    Graph::new(&files.collect())
}

#[test]
fn a_planted_circle_is_found() {
    let direct = planted(&[
        ("", "mod a;\nmod b;"),
        ("a", "use crate::b::B;"),
        ("b", "use std::fmt;\n\nfn f() -> super::a::A {"),
    ]);
    assert_eq!(direct.circles(), ["a -> b, b -> a"]);
    let of_three = planted(&[
        ("", ""),
        ("a", "use crate::{\n    b::{self, B},\n    c::C as D,\n};"),
        ("b", "pub(crate) use crate::c::C;"),
        ("c", "use crate::a;"),
    ]);
    assert_eq!(of_three.circles(), ["a -> b, a -> c, b -> c, c -> a"]);
    let through_a_parent = planted(&[
        ("", ""),
        ("a", "mod x;\nuse x::X;\nuse crate::b::B;\npub struct Y;"),
        ("a/x", "use super::Y;"),
        ("b", "use crate::a::x::X;"),
    ]);
    assert_eq!(through_a_parent.circles(), ["a -> b, b -> a"]);
    let of_children = planted(&[
        ("", ""),
        ("a", "use self::x::X;"),
        ("a/x", "use super::y::Y;"),
        ("a/y", "use crate::a::x::X;"),
    ]);
    assert_eq!(of_children.circles(), ["a::x -> a::y, a::y -> a::x"]);
}

#[test]
fn what_is_fair_is_no_circle() {
    let reexported = planted(&[
        ("", "pub use a::A;\npub const NAME: &str = \"a\";"),
        ("a", "use crate::NAME;\npub use self::x::X;"),
        ("a/x", "use crate::b::B;"),
        ("b", ""),
    ]);
    assert_eq!(reexported.circles(), [""; 0]);
    // `b` depends on `a::x`, which defines `X`, and not on `a`.
    let past_the_parent = planted(&[
        ("", ""),
        ("a", "pub use self::x::X;\nuse crate::b::B;"),
        ("a/x", ""),
        ("b", "use crate::a::X;"),
    ]);
    assert_eq!(past_the_parent.circles(), [""; 0]);
    let parent_and_child = planted(&[
        ("", ""),
        ("a", "use self::x::X;"),
        ("a/x", "use super::A;\nuse crate::a::y;"),
        ("a/y", "use super::A;"),
    ]);
    assert_eq!(parent_and_child.circles(), [""; 0]);
    let tests_and_comments = planted(&[
        ("", ""),
        ("a", "use crate::b::B;"),
        (
            "b",
            "// use crate::a::A;\n/// [`crate::a`]\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        ),
    ]);
    assert_eq!(tests_and_comments.circles(), [""; 0]);
}

#[test]
fn layers_are_counted_along_the_longest_way() {
    let graph = planted(&[
        ("", ""),
        ("a", "use crate::b::B;\nuse crate::d::D;"),
        ("b", "use crate::c::C;\nuse self::x::X;"),
        ("b/x", "use super::B;"),
        ("c", "use crate::d::D;"),
        ("d", ""),
    ]);
    assert_eq!(graph.longest_way(), ["a", "b", "c", "d"]);
}
