//! The table of guarantees in README.md names tests: each is there and runs under `cargo test`, and no row is without.

use klamm_tests::source::repository;

const MARK: &str = "<!-- guarantees -->";

/// The rows of the table, their cells trimmed.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let (_, rest) = page.split_once(MARK).unwrap_or_else(|| panic!("no {MARK} in README.md"));
    let lines = rest.lines().skip_while(|l| l.trim().is_empty()).take_while(|l| l.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The links of a cell: text and target.
fn links(cell: &str) -> Vec<(&str, &str)> {
    // What stands before the first bracket is no link.
    let parts = cell.split('[').skip(1).filter_map(|part| part.split_once("]("));
    parts.filter_map(|(text, rest)| Some((text.trim_matches('`'), rest.split_once(')')?.0))).collect()
}

/// What a source file says of a test: whether it is there as one, and whether it is left out of a plain run.
fn state(source: &str, name: &str) -> Result<(), &'static str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("fn {name}("))).ok_or("no function")?;
    let attributes: Vec<_> = lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).collect();
    if attributes.iter().any(|line| line.starts_with("#[ignore")) {
        Err("ignored")
    } else if attributes.iter().any(|line| **line == "#[test]") {
        Ok(())
    } else {
        Err("no test")
    }
}

/// What is wrong with a table; `read` gives a file of the repository.
fn breaches(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows(page) {
        let [event, .., tests] = &row[..] else {
            found.push(format!("a row of {} cells: {row:?}", row.len()));
            continue;
        };
        let links = links(tests);
        if links.is_empty() {
            found.push(format!("{event}: names no test"));
        }
        for (name, path) in links {
            let state = read(path).map_or(Err("no such file"), |source| state(&source, name));
            found.extend(state.err().map(|why| format!("{event}: {name} in {path}: {why}")));
        }
    }
    found
}

#[test]
fn every_guarantee_has_its_test() {
    let page = std::fs::read_to_string(repository().join("README.md")).expect("README.md is there");
    let found = breaches(&page, |path| std::fs::read_to_string(repository().join(path)).ok());
    assert!(found.is_empty(), "README.md:\n{}", found.join("\n"));
    assert!(rows(&page).len() >= 15, "a table of {} rows", rows(&page).len());
}

#[test]
fn a_planted_row_without_a_test_is_named() {
    let source = "#[test]\nfn kept() {}\n\n#[test]\n#[ignore = \"slow\"]\nfn slow() {}\n\nfn helper() {}\n";
    let row = |tests: &str| {
        let page =
            format!("text\n{MARK}\n\n| event | promise | test |\n|---|---|---|\n| fire | none | {tests} |\n\nmore");
        breaches(&page, |path| (path == "a.rs").then(|| source.to_owned()))
    };
    assert_eq!(row("[`kept`](a.rs)"), Vec::<String>::new());
    assert_eq!(row("[`kept`](a.rs), [`slow`](a.rs)"), ["fire: slow in a.rs: ignored"]);
    assert_eq!(row("[`helper`](a.rs)"), ["fire: helper in a.rs: no test"]);
    assert_eq!(row("[`kep`](a.rs)"), ["fire: kep in a.rs: no function"]);
    assert_eq!(row("[`kept`](b.rs)"), ["fire: kept in b.rs: no such file"]);
    assert_eq!(row("of course"), ["fire: names no test"]);
}
