//! Circles of imports between the files of one crate.
//!
//! A file imports another when its code, tests left out, names something that the other one
//! defines: in a `use`, or in a path that begins with `crate`, `super`, `self`, one of its own
//! modules, or a name that it has imported. A re-export is followed to the file that defines the
//! item, and is no import of its own.
//!
//! What a file takes from the `mod.rs` (or `lib.rs`) above it does not count: a folder's files
//! stand on what its `mod.rs` defines for them, and it is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{Names, Source};

/// Re-exports that are followed for one path; more would be a circle of their own.
const DEEPEST: usize = 8;

/// What a path names: a module, or an item that it defines.
struct Target {
    module: Names,
    item: bool,
}

/// A crate by its modules: `["keeper", "table"]` with its source.
pub(crate) struct Crate {
    modules: BTreeMap<Names, Source>,
    files: BTreeMap<Names, String>,
}

impl Crate {
    pub(crate) fn read(src: &Path) -> Crate {
        Crate::with(&mut |file| fs::read_to_string(src.join(file)).ok())
    }

    pub(crate) fn from<const N: usize>(files: [(&str, String); N]) -> Crate {
        let files = BTreeMap::from(files);
        Crate::with(&mut |file| files.get(file).cloned())
    }

    fn with(text: &mut dyn FnMut(&str) -> Option<String>) -> Crate {
        let mut read = Crate { modules: BTreeMap::new(), files: BTreeMap::new() };
        let added = ["lib.rs", "main.rs"].iter().any(|root| read.add(text, root, &[]));
        assert!(added, "a crate without a root");
        read
    }

    /// Adds the module in `file`, and the modules that it declares; false if there is no such file.
    fn add(&mut self, text: &mut dyn FnMut(&str) -> Option<String>, file: &str, module: &[String]) -> bool {
        let Some(found) = text(file) else { return false };
        let source = Source::read(&found);
        for child in &source.modules {
            let path = [module, std::slice::from_ref(child)].concat();
            let name = path.join("/");
            let added = [format!("{name}.rs"), format!("{name}/mod.rs")].iter().any(|file| self.add(text, file, &path));
            assert!(added, "the module {name} has no file");
        }
        self.files.insert(module.to_vec(), file.to_owned());
        self.modules.insert(module.to_vec(), source);
        true
    }

    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// The files that name something below this path of another crate.
    pub(crate) fn naming(&self, path: &[&str]) -> Vec<String> {
        let below =
            |names: &Names| names.len() >= path.len() && names.iter().zip(path).all(|(name, part)| name == part);
        let named = |source: &Source| {
            // A name that was imported stands for its path.
            let full = |names: &Names| {
                let import = source.imports.iter().find(|import| import.name.as_ref() == names.first());
                import.map_or_else(|| names.clone(), |import| [import.path.as_slice(), &names[1..]].concat())
            };
            source.imports.iter().any(|import| below(&import.path))
                || source.named.iter().any(|names| below(&full(names)))
        };
        self.modules.iter().filter(|(_, source)| named(source)).map(|(module, _)| self.files[module].clone()).collect()
    }

    /// A circle in words: its files, and who imports what of whom.
    pub(crate) fn describe(&self, name: &str, circle: &[&str]) -> String {
        let mut words = format!("{name}: {}\n", circle.join(", "));
        for ((from, to), what) in self.imports() {
            if circle.contains(&from) && circle.contains(&to) {
                let what: Vec<&str> = what.iter().map(String::as_str).collect();
                words += &format!("    {from} → {to}: {}\n", what.join(", "));
            }
        }
        words
    }

    /// Which file imports what of which other file.
    pub(crate) fn imports(&self) -> BTreeMap<(&str, &str), BTreeSet<String>> {
        let mut imports: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
        for (module, source) in &self.modules {
            let used = source.imports.iter().filter(|import| !import.passed_on).map(|import| &import.path);
            // What is used of an imported module shows in the paths that begin with its name.
            let used = used.filter(|path| self.resolve(module, path, 0).is_some_and(|target| target.item));
            for path in used.chain(&source.named) {
                if let Some(target) = self.resolve(module, path, 0)
                    && !module.starts_with(&target.module)
                {
                    let edge = (self.files[module].as_str(), self.files[&target.module].as_str());
                    imports.entry(edge).or_default().insert(path.join("::"));
                }
            }
        }
        imports
    }

    /// What `path` names in `module`; nothing for what is of another crate.
    fn resolve(&self, module: &Names, path: &[String], depth: usize) -> Option<Target> {
        if depth > DEEPEST {
            return None;
        }
        let first = path.first()?;
        let (mut current, mut rest) = match first.as_str() {
            "crate" => (Names::new(), &path[1..]),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            name if self.modules[module].modules.contains(name) => (module.clone(), path),
            name => {
                let import = self.modules[module].imports.iter().find(|import| import.name.as_deref() == Some(name))?;
                let path = [import.path.as_slice(), &path[1..]].concat();
                return self.resolve(module, &path, depth + 1);
            }
        };
        while let Some(name) = rest.first() {
            if name == "super" {
                current.pop();
            } else if self.modules[&current].modules.contains(name) {
                current.push(name.clone());
            } else {
                return Some(self.item(&current, rest, depth).unwrap_or(Target { module: current, item: true }));
            }
            rest = &rest[1..];
        }
        Some(Target { module: current, item: false })
    }

    /// The same for a path in `module` that begins with an item or with an import.
    fn item(&self, module: &Names, path: &[String], depth: usize) -> Option<Target> {
        let source = &self.modules[module];
        if source.defined.contains(&path[0]) {
            return None;
        }
        if let Some(import) = source.imports.iter().find(|import| import.name.as_ref() == Some(&path[0])) {
            let path = [import.path.as_slice(), &path[1..]].concat();
            return self.resolve(module, &path, depth + 1);
        }
        let all = source.imports.iter().filter(|import| import.name.is_none());
        all.filter_map(|import| {
            let path = [import.path.as_slice(), path].concat();
            self.resolve(module, &path, depth + 1)
        })
        .find(|target| self.modules[&target.module].defined.contains(&path[0]))
    }

    /// The groups of files that import each other, directly or through others.
    pub(crate) fn circles(&self) -> Vec<Vec<&str>> {
        let imports = self.imports();
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.files.values().map(|file| (file.as_str(), reachable(&imports, file))).collect();
        let mut circles = BTreeSet::new();
        for (file, reached) in &reach {
            if reached.contains(file) {
                circles
                    .insert(reached.iter().filter(|other| reach[*other].contains(file)).copied().collect::<Vec<_>>());
            }
        }
        circles.into_iter().collect()
    }
}

fn reachable<'a>(imports: &BTreeMap<(&'a str, &'a str), BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for (importer, imported) in imports.keys() {
            if *importer == file && reached.insert(*imported) {
                open.push(imported);
            }
        }
    }
    reached
}
