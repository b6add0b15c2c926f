//! Which module may name which: every `crate::` and `super::` path of the core and of the node, and every path from the
//! node into the core, held against the tables of `docs/ARCHITECTURE.md`. The tables are the rule; this only reads them.
//!
//! A row grants its names, and what is inside them, the names in its third column, itself and, from floor 3 up, the
//! floors 0 to 2. The longest name that a path begins with decides, so a part (`log::Log`) can have a row of its own. No
//! row grants what stands as high as itself or higher: the house has no circles.

use klamm_tests::source::{File, files_under, module_of, paths, repository};

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    names: Vec<String>,
    floor: u32,
    grants: Grants,
    /// Modules of the core that it may name; the column is missing in the core's own table.
    of_the_core: Grants,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Grants {
    All,
    These(Vec<String>),
}

impl Grants {
    fn read(cell: &str) -> Grants {
        if cell == "all" { Grants::All } else { Grants::These(names(cell)) }
    }

    fn has(&self, any: &[String]) -> bool {
        match self {
            Grants::All => true,
            Grants::These(these) => any.iter().any(|name| these.contains(name)),
        }
    }
}

/// Whatever stands on this floor or below may be named from any floor above it.
const COMMON_GROUND: u32 = 2;

fn names(cell: &str) -> Vec<String> {
    cell.split(',').map(|name| name.trim().trim_matches('`').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Reads the table after the line `<!-- floors: NAME -->`.
fn table(page: &str, name: &str) -> Vec<Row> {
    let mark = format!("<!-- floors: {name} -->");
    let (_, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("no {mark} in docs/ARCHITECTURE.md"));
    let lines = rest.lines().skip_while(|l| l.trim().is_empty()).take_while(|l| l.starts_with('|')).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [of, floor, grants, rest @ ..] = &cells[..] else { panic!("a row without three cells: {line}") };
        Row {
            names: names(of),
            floor: floor.parse().unwrap_or_else(|_| panic!("no floor in: {line}")),
            grants: Grants::read(grants),
            of_the_core: Grants::read(rest.first().unwrap_or(&"")),
        }
    };
    let table: Vec<Row> = lines.map(row).collect();
    assert!(!table.is_empty(), "the table after {mark} has no rows");
    table
}

/// The row that a path falls under.
fn row_of<'t>(table: &'t [Row], path: &[String]) -> Option<&'t Row> {
    (1..=path.len()).rev().find_map(|n| {
        let name = path[..n].join("::");
        table.iter().find(|row| row.names.contains(&name))
    })
}

/// What is wrong with the table itself.
fn circles(table: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, row) in table.iter().enumerate() {
        let module = &row.names[0];
        found.extend(
            row.names
                .iter()
                .filter(|name| table[..at].iter().any(|earlier| earlier.names.contains(*name)))
                .map(|name| format!("{name} has two rows")),
        );
        let Grants::These(grants) = &row.grants else { continue };
        for grant in grants {
            match table.iter().find(|other| other.names.contains(grant)) {
                None => found.push(format!("{module} may name {grant}, which has no row")),
                Some(other) if other.floor >= row.floor => {
                    found.push(format!("{module} (floor {}) may name {grant} (floor {})", row.floor, other.floor));
                }
                Some(_) => {}
            }
        }
    }
    found.into_iter().map(|breach| format!("docs/ARCHITECTURE.md: {breach}")).collect()
}

/// What a file names of its own crate and may not.
fn breaches(table: &[Row], file: &File, source: &str) -> Vec<String> {
    let module = module_of(&file.path, source);
    let Some(own) = row_of(table, &module) else {
        let root = module.is_empty();
        return if root { Vec::new() } else { vec![format!("{}: {} has no row", file.path, module.join("::"))] };
    };
    let common = |there: &Row| own.floor > COMMON_GROUND && there.floor <= COMMON_GROUND;
    let mut found = Vec::new();
    for named in paths(&file.tokens, &module, None) {
        let breach = match row_of(table, &named.path) {
            Some(there) if there == own || own.grants.has(&there.names) || common(there) => None,
            Some(there) => Some(format!("{} may not name {}", own.names[0], there.names[0])),
            None => Some(format!("{} names crate::{}, which has no row", own.names[0], named.path.join("::"))),
        };
        found.extend(breach.map(|b| format!("{}: {b}", file.at(named.line))));
    }
    found
}

/// What a file of the node names of the core and may not.
fn breaches_into_the_core(table: &[Row], file: &File, source: &str) -> Vec<String> {
    let Some(own) = row_of(table, &module_of(&file.path, source)) else { return Vec::new() };
    let mut found = Vec::new();
    for named in paths(&file.tokens, &[], Some("klamm_core")) {
        let module = named.path.first().cloned().unwrap_or_default();
        if !own.of_the_core.has(std::slice::from_ref(&module)) {
            found.push(format!("{}: {} may not name the core's {module}", file.at(named.line), own.names[0]));
        }
    }
    found
}

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md is there")
}

/// Rows whose names stand for nothing: neither a file nor something that its parent's file speaks of.
fn rows_of_nothing(table: &[Row], files: &[File], source: &str) -> Vec<String> {
    let is_there = |name: &str| {
        let (parent, last) = name.rsplit_once("::").unwrap_or(("", name));
        files.iter().any(|f| {
            let module = module_of(&f.path, source).join("::");
            module == name || (module == parent && f.tokens.iter().any(|t| t.is(last)))
        })
    };
    let names = table.iter().flat_map(|row| &row.names).filter(|name| !is_there(name));
    names.map(|name| format!("docs/ARCHITECTURE.md: {name} has a row and is nowhere")).collect()
}

fn check(name: &str, source: &str) {
    let table = table(&page(), name);
    let files = files_under(source);
    let mut found = circles(&table);
    found.extend(rows_of_nothing(&table, &files, source));
    found.extend(files.iter().flat_map(|f| breaches(&table, f, source)));
    found.extend(files.iter().flat_map(|f| breaches_into_the_core(&table, f, source)));
    assert!(found.is_empty(), "{} breaches of the floors:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_core_keeps_its_floors() {
    check("core", "core/src");
}

#[test]
fn the_node_keeps_its_floors() {
    check("node", "node/src");
}

const PLANTED: &str = "
<!-- floors: planted -->

| module | floor | may name | of the core |
|---|---|---|---|
| `ids`, `rng` | 0 | | |
| wire | 2 | ids | |
| `log` | 3 | | |
| `machine` | 3 | | ids, wire |
| `effect` | 4 | `log` | |
| `log::partition`, `log::Log` | 5 | log, effect | |
| `shard` | 8 | all | all |
";

fn planted(path: &str, text: &str) -> Vec<String> {
    breaches(&table(PLANTED, "planted"), &File::planted(path, text), "core/src")
}

#[test]
fn a_planted_breach_is_named_with_file_line_and_rule() {
    let text = "//! A log.\nuse crate::ids::Offset;\n\nuse crate::{\n    wire::Malformed,\n    machine::Machine,\n};\n";
    assert_eq!(planted("core/src/log/mod.rs", text), ["core/src/log/mod.rs:6: log may not name machine"]);
    let text = "fn f() { let x = crate::effect::Effect::Ready; }";
    assert_eq!(planted("core/src/log/producers.rs", text), ["core/src/log/producers.rs:1: log may not name effect"]);
    let text = "\nuse crate::log::Log;";
    assert_eq!(planted("core/src/wire/mod.rs", text), ["core/src/wire/mod.rs:2: wire may not name log::partition"]);
}

#[test]
fn a_breach_by_super_or_by_the_whole_crate_is_seen() {
    let found = planted("core/src/machine.rs", "use super::log::Found;");
    assert_eq!(found, ["core/src/machine.rs:1: machine may not name log"]);
    let found = planted("core/src/log/a.rs", "mod b { use super::super::super::effect; }");
    assert_eq!(found, ["core/src/log/a.rs:1: log may not name effect"]);
    for text in ["use crate::*;", "use crate as k;", "use super::*;", "use crate::{self as k};"] {
        let found = planted("core/src/machine.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    assert_eq!(planted("core/src/stray.rs", ""), ["core/src/stray.rs: stray has no row"]);
}

#[test]
fn what_a_row_grants_is_no_breach() {
    let text = "use super::{Found, x::Y}; use crate::effect::Effect; use crate::ids::Offset; // crate::machine\n\
                mod tests { use super::*; fn f() { \"crate::machine\"; } }";
    assert_eq!(planted("core/src/log/partition.rs", text), Vec::<String>::new());
    let text = "use crate::machine::Machine; use crate::log::Log;";
    assert_eq!(planted("core/src/shard/mod.rs", text), Vec::<String>::new());
}

#[test]
fn a_planted_breach_into_the_core_is_named() {
    let found = |path, text| breaches_into_the_core(&table(PLANTED, "planted"), &File::planted(path, text), "core/src");
    let text = "use klamm_core::{ids::Offset, shard};\nuse klamm_core::*;";
    assert_eq!(
        found("core/src/machine.rs", text),
        [
            "core/src/machine.rs:1: machine may not name the core's shard",
            "core/src/machine.rs:2: machine may not name the core's *"
        ]
    );
    assert_eq!(found("core/src/shard/mod.rs", text), Vec::<String>::new());
}

#[test]
fn a_table_that_grants_upwards_is_refused() {
    let page = PLANTED.replace("| `machine` | 3 | |", "| `machine`, rng | 3 | effect, log, nobody |");
    assert_eq!(
        circles(&table(&page, "planted")),
        [
            "docs/ARCHITECTURE.md: rng has two rows",
            "docs/ARCHITECTURE.md: machine (floor 3) may name effect (floor 4)",
            "docs/ARCHITECTURE.md: machine (floor 3) may name log (floor 3)",
            "docs/ARCHITECTURE.md: machine may name nobody, which has no row"
        ]
    );
    let files = [File::planted("core/src/log/mod.rs", "pub use partition::Log;")];
    let rows = table(PLANTED, "planted");
    let found = rows_of_nothing(&rows[2..3], &files, "core/src");
    assert_eq!(found, Vec::<String>::new());
    let found = rows_of_nothing(&rows[5..6], &files, "core/src");
    assert_eq!(found, Vec::<String>::new(), "the parent's file speaks of it");
    assert_eq!(rows_of_nothing(&rows[3..4], &files, "core/src").len(), 1);
}
