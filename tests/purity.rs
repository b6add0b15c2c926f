//! The purity gate's twin in source: what `cargo check -p klamm-core --target x86_64-unknown-none` cannot say, and what it
//! says, on machines without that target. Also the habits that a text can be held to: how a file opens, how long it is.
//!
//! Knows words, not types: a breach that hides behind a macro of another crate is the purity build's to find.

use klamm_tests::source::{File, Kind, Token, files_under, repository};

/// A file longer than this has more than one subject.
const FILE_LINES: usize = 900;
/// A function longer than this does not fit a screen by any count.
const FUNCTION_LINES: usize = 90;

/// What would make a decision depend on more than its inputs, with the reason given to whoever trips.
const BANNED_IN_CORE: &[(&[&str], &str)] = &[
    (&["std"], "the core has no operating system"),
    (&["HashMap", "HashSet", "RandomState", "DefaultHasher"], "its order differs between runs"),
    (&["f32", "f64"], "decisions are not made in floats"),
    (&["SystemTime", "UNIX_EPOCH"], "time is passed in"),
    (&["tokio", "async", "await", "Future", "Waker"], "state between two awaits belongs to nobody"),
    (&["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "OnceCell", "LazyCell"], "the core holds no locks"),
    (&["Cell", "RefCell", "UnsafeCell", "Rc", "Arc", "Weak"], "state changes only through &mut"),
    (&["AtomicBool", "AtomicU32", "AtomicU64", "AtomicUsize", "AtomicI64", "AtomicPtr"], "nothing is shared"),
    (&["thread_local", "unsafe"], "nothing is hidden"),
];

/// All that a `cfg` may ask in the core and the node: no build differs in what it decides.
const ALLOWED_IN_CFG: &[&str] =
    &["test", "not", "any", "all", "unix", "target_os", "target_arch", "target_pointer_width"];

/// Words of the core that have no place there.
fn impure(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        if token.kind == Kind::Float && !(at > 0 && file.tokens[at - 1].is(".")) {
            found.push(format!("{}: {}: decisions are not made in floats", file.at(token.line), token.text));
        }
        let banned = BANNED_IN_CORE.iter().find(|(words, _)| token.kind == Kind::Word && words.contains(&&*token.text));
        if let Some((_, reason)) = banned {
            found.push(format!("{}: {}: {reason}", file.at(token.line), token.text));
        }
    }
    found
}

/// Conditions of compilation that a broker must not have.
fn conditional(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let tokens = &file.tokens;
    for (at, token) in tokens.iter().enumerate() {
        if !(token.is("cfg") || token.is("cfg_attr")) || !tokens.get(at + 1).is_some_and(|t| t.is("(") || t.is("!")) {
            continue;
        }
        let open = at + 1 + usize::from(tokens[at + 1].is("!"));
        let end = closing(tokens, open);
        // What a `cfg_attr` puts there is no condition.
        let inside = tokens[open..end].iter().take_while(|t| token.is("cfg") || !t.is(","));
        let words = inside.filter(|t| t.kind == Kind::Word && !ALLOWED_IN_CFG.contains(&t.text.as_str()));
        found.extend(words.map(|t| format!("{}: cfg({}): one build, one behaviour", file.at(t.line), t.text)));
    }
    found
}

/// `usize` in what is stored or sent: its width is the machine's.
fn stored_and_sent(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let tokens = &file.tokens;
    for (at, token) in tokens.iter().enumerate() {
        let body = if token.is("derive") {
            let end = closing(tokens, at + 1);
            let stored = tokens[at..end].iter().any(|t| t.is("Serialize"));
            stored.then(|| item(tokens, end)).flatten()
        } else if token.is("message")
            && tokens.get(at + 1).is_some_and(|t| t.is("!"))
            && !(at > 0 && tokens[at - 1].is(":"))
        {
            Some(at + 2..closing(tokens, at + 2))
        } else {
            None
        };
        let usizes = tokens[body.unwrap_or(0..0)].iter().filter(|t| t.is("usize") || t.is("isize"));
        found.extend(usizes.map(|t| format!("{}: {} is stored or sent", file.at(t.line), t.text)));
    }
    found
}

/// The fields of the item whose attributes end at `at`.
fn item(tokens: &[Token], at: usize) -> Option<std::ops::Range<usize>> {
    let start = (at..tokens.len()).find(|i| tokens[*i].is("struct") || tokens[*i].is("enum"))?;
    let open = (start..tokens.len()).find(|i| tokens[*i].is("{") || tokens[*i].is("(") || tokens[*i].is(";"))?;
    Some(open..closing(tokens, open))
}

/// The place after the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth <= 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// How a file opens, how long it is and how long its functions are.
fn out_of_shape(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if !file.text.starts_with("//! ") {
        found.push(format!("{}: opens without saying what rule it keeps (`//!`)", file.at(1)));
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{}: {lines} lines, {FILE_LINES} at most", file.path));
    }
    let tokens = &file.tokens;
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).filter(|t| token.is("fn") && t.kind == Kind::Word) else { continue };
        let Some(open) = body(tokens, at + 2) else { continue };
        let lines = tokens[closing(tokens, open) - 1].line - token.line + 1;
        if lines > FUNCTION_LINES {
            found.push(format!(
                "{}: fn {} has {lines} lines, {FUNCTION_LINES} at most",
                file.at(token.line),
                name.text
            ));
        }
    }
    found
}

/// The brace that opens a function's body; `None` for a declaration.
fn body(tokens: &[Token], from: usize) -> Option<usize> {
    let mut at = from;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => return Some(at),
            ";" => return None,
            "(" | "[" => at = closing(tokens, at),
            _ => at += 1,
        }
    }
    None
}

fn gather(sources: &[&str], check: fn(&File) -> Vec<String>) -> Vec<String> {
    sources.iter().flat_map(|s| files_under(s)).flat_map(|f| check(&f)).collect()
}

fn hold(found: &[String]) {
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_core_says_that_it_is_pure() {
    let root = read("core/src/lib.rs");
    for promise in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(root.lines().any(|l| l == promise), "core/src/lib.rs: no {promise}");
    }
}

#[test]
fn the_core_has_no_word_that_makes_it_impure() {
    hold(&gather(&["core/src"], impure));
}

#[test]
fn no_build_of_core_and_node_differs_in_what_it_does() {
    hold(&gather(&["core/src", "node/src"], conditional));
    for manifest in ["core/Cargo.toml", "node/Cargo.toml"] {
        assert!(!read(manifest).lines().any(|l| l.trim() == "[features]"), "{manifest}: a broker has no features");
    }
}

#[test]
fn nothing_stored_or_sent_has_the_width_of_this_machine() {
    hold(&gather(&["core/src", "node/src"], stored_and_sent));
}

#[test]
fn files_say_their_rule_and_fit_a_head() {
    hold(&gather(&["core/src", "node/src", "sim/src"], out_of_shape));
}

fn planted(text: &str) -> File {
    File::planted("core/src/x.rs", text)
}

#[test]
fn planted_impurities_are_named() {
    let one = |text: &str, word: &str| {
        let found = impure(&planted(text));
        assert!(found.len() == 1 && found[0].starts_with(&format!("core/src/x.rs:2: {word}")), "{text:?}: {found:?}");
    };
    one("//! X\nuse std::fs;", "std");
    one("//! X\nuse alloc::{collections::{BTreeMap, HashMap}};", "HashMap");
    one("//! X\nlet share: u32 = 3 * 1.5;", "1.5");
    one("//! X\nlet share = n as f64;", "f64");
    one("//! X\nlet now = time::SystemTime::now();", "SystemTime");
    one("//! X\nasync fn f() {}", "async");
    one("//! X\nstruct S(RefCell<u8>);", "RefCell");
    assert_eq!(
        impure(&planted("//! std HashMap 1.5\nlet a = (x.0.1, \"std\", 0..5, 'f'); // f64")),
        Vec::<String>::new()
    );
}

#[test]
fn planted_conditions_are_named() {
    for text in [
        "#[cfg(feature = \"sim\")] mod a;",
        "#[cfg(any(test, turmoil))] mod a;",
        "fn f() { if cfg!(madsim) {} }",
        "#[cfg_attr(feature = \"x\", derive(Debug))] struct S;",
        "#[cfg(debug_assertions)] fn f() {}",
    ] {
        let found = conditional(&planted(text));
        assert!(found.len() == 1 && found[0].starts_with("core/src/x.rs:1: cfg("), "{text}: {found:?}");
    }
    let text = "#[cfg(test)] mod tests; #[cfg(all(unix, not(target_os = \"linux\")))] fn f() {} // cfg(turmoil)";
    assert_eq!(conditional(&planted(text)), Vec::<String>::new());
}

#[test]
fn planted_widths_of_this_machine_are_named() {
    for text in [
        "\n#[derive(Clone, Serialize)]\n#[x(y)]\npub struct S {\n    /// At.\n    at: u64, length: usize,\n}",
        "\n#[derive(Serialize)]\n\n\nenum E { A(u8),\n B(Vec<usize>) }",
        "mod m {\nmessage! {\n\n\n Fetch {\n    max_bytes: usize, } } }",
        "\n\n\n\n#[derive(Serialize)]\nstruct S(usize);",
    ] {
        assert_eq!(stored_and_sent(&planted(text)), ["core/src/x.rs:6: usize is stored or sent"], "{text}");
    }
    let text = "#[derive(Serialize)] struct S { at: u64 } struct T { at: usize } fn f(n: usize) {}";
    assert_eq!(stored_and_sent(&planted(text)), Vec::<String>::new());
}

#[test]
fn planted_misshapes_are_named() {
    let long = format!(
        "//! X\n\nfn short() {{}}\nimpl S {{\n    fn long(x: [u8; {{ 3 }}]) -> u8 {{\n{}    }}\n}}\n",
        "\n".repeat(89)
    );
    assert_eq!(out_of_shape(&planted(&long)), ["core/src/x.rs:5: fn long has 91 lines, 90 at most"]);
    let fits = long.replacen("\n\n\n", "\n\n", 1);
    assert_eq!(out_of_shape(&planted(&fits)), Vec::<String>::new());
    assert_eq!(out_of_shape(&planted("use a;\n")).len(), 1, "no opening");
    let found = out_of_shape(&planted(&format!("//! X\n{}", "use a;\n".repeat(900))));
    assert_eq!(found, ["core/src/x.rs: 901 lines, 900 at most"]);
    assert_eq!(out_of_shape(&planted("//! X\ntrait T { fn declared(&self) -> u8; }")), Vec::<String>::new());
}
