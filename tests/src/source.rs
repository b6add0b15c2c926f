//! Rust source as tokens with line numbers: enough to see which paths a file names, how long its functions are and
//! which words it uses, and no more.
//!
//! Comments, strings and characters never look like code here, so a word in a doc comment is no breach and a brace in a
//! string closes nothing. Macro bodies are read like any other code.

use std::fs;
use std::path::{Path, PathBuf};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword.
    Word,
    /// A number without a point or exponent.
    Integer,
    /// A number with one.
    Float,
    /// One punctuation character; `::` is two of them.
    Mark,
    /// A string, byte string, character or lifetime: its text is left out.
    Literal,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text; empty for literals.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

impl Token {
    /// Whether this is the punctuation character or word `text`.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// One source file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path as a breach names it, from the top of the repository.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

impl File {
    /// A file from its text, for planted breaches.
    #[must_use]
    pub fn planted(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned(), tokens: tokens(text) }
    }

    /// How a breach on a line begins.
    #[must_use]
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// The top of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every Rust file under a directory of the repository, sorted by path.
///
/// # Panics
/// When the directory cannot be read or holds no Rust file: a check of nothing proves nothing.
#[must_use]
pub fn files_under(directory: &str) -> Vec<File> {
    let top = repository();
    let mut files = Vec::new();
    let mut open = vec![top.join(directory)];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = entry.unwrap_or_else(|e| panic!("{}: {e}", at.display())).path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let name = path.strip_prefix(&top).unwrap_or(&path).display().to_string();
                files.push(File { path: name, tokens: tokens(&text), text });
            }
        }
    }
    assert!(!files.is_empty(), "no Rust file under {directory}");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The tokens of a source text.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn next(&mut self) -> char {
        let c = self.peek(0);
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        c
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.out.push(Token { kind, text, line });
    }

    fn step(&mut self) {
        let (line, c) = (self.line, self.peek(0));
        match c {
            '/' if self.peek(1) == '/' => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.next();
                }
            }
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => self.string(line),
            '\'' => self.quote(line),
            c if c.is_whitespace() => {
                self.next();
            }
            c if c.is_ascii_digit() => self.number(line),
            c if c == '_' || c.is_alphabetic() => self.word(line),
            c => {
                self.next();
                self.push(Kind::Mark, c.to_string(), line);
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.next();
                    continue;
                }
            }
            self.next();
            self.next();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self, line: usize) {
        self.next();
        while self.at < self.chars.len() {
            match self.next() {
                '\\' => {
                    self.next();
                }
                '"' => break,
                _ => {}
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    /// After `r` and its hashes: up to a quote with as many.
    fn raw_string(&mut self, line: usize, hashes: usize) {
        self.next();
        while self.at < self.chars.len() {
            if self.next() == '"' && (0..hashes).all(|i| self.peek(i) == '#') {
                self.at += hashes;
                break;
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    /// A character or a lifetime.
    fn quote(&mut self, line: usize) {
        self.next();
        if self.peek(0) == '\\' {
            self.next();
            self.next();
            while self.at < self.chars.len() && self.next() != '\'' {}
        } else if self.peek(1) == '\'' {
            self.next();
            self.next();
        } else {
            while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
                self.next();
            }
        }
        self.push(Kind::Literal, String::new(), line);
    }

    fn number(&mut self, line: usize) {
        let mut text = String::new();
        let mut float = false;
        loop {
            let c = self.peek(0);
            let point = c == '.' && !float && self.peek(1).is_ascii_digit();
            let sign = matches!(c, '+' | '-') && text.ends_with(['e', 'E']) && !text.starts_with("0x");
            if c == '_' || c.is_alphanumeric() || point || sign {
                float |= point || sign;
                text.push(self.next());
            } else {
                break;
            }
        }
        // `1.` is a float too; `1..2` and `1.max(2)` are not.
        if self.peek(0) == '.'
            && self.peek(1) != '.'
            && !(self.peek(1) == '_' || self.peek(1).is_alphabetic())
            && !float
        {
            float = self.out.last().is_none_or(|t| !t.is("."));
        }
        let decimal = !text.starts_with("0x") && !text.starts_with("0b");
        float |=
            decimal && (text.ends_with("f32") || text.ends_with("f64") || text.contains(['e', 'E']) && exponent(&text));
        self.push(if float { Kind::Float } else { Kind::Integer }, text, line);
    }

    fn word(&mut self, line: usize) {
        let mut text = String::new();
        while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
            text.push(self.next());
        }
        let prefix = matches!(text.as_str(), "r" | "b" | "br" | "c" | "cr");
        let hashes = (0..).take_while(|i| self.peek(*i) == '#').count();
        if prefix && text.ends_with('r') && self.peek(hashes) == '"' {
            self.at += hashes;
            self.raw_string(line, hashes);
        } else if prefix && self.peek(0) == '"' {
            self.string(line);
        } else if text == "b" && self.peek(0) == '\'' {
            self.quote(line);
        } else if text == "r" && hashes == 1 {
            // A raw identifier: the word after the mark.
            self.next();
        } else {
            self.push(Kind::Word, text, line);
        }
    }
}

/// Whether a number's text reads as digits, `e`, digits (and is not `1usize`).
fn exponent(text: &str) -> bool {
    let Some((before, after)) = text.split_once(['e', 'E']) else { return false };
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit() || c == '_');
    digits(before) && digits(after)
}

/// A path that a file names, from the crate's root: `use crate::{a::B, c}` gives `a::B` and `c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its segments; the last may be `*`.
    pub path: Vec<String>,
    /// The line of its first segment.
    pub line: usize,
}

/// The paths in a file that start with `crate` or `super` (or `root`, the crate's name as others say it), made absolute.
/// `module` is the file's own path from the crate's root.
#[must_use]
pub fn paths(tokens: &[Token], module: &[String], root: Option<&str>) -> Vec<Named> {
    let mut found = Vec::new();
    // Inline modules that are open, each with the depth of braces it was opened at.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let after_path = at >= 2 && tokens[at - 1].is(":") && tokens[at - 2].is(":");
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.pop_if(|(_, opened)| *opened == depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|t| t.is("{")) => {
                inside.push((tokens[at + 1].text.clone(), depth));
            }
            "crate" if root.is_none() && !after_path => {
                at = tree(tokens, at + 1, &[], &mut found);
                continue;
            }
            "super" if root.is_none() && !after_path => {
                let mut base: Vec<String> = module.iter().cloned().chain(inside.iter().map(|i| i.0.clone())).collect();
                base.pop();
                let mut next = at + 1;
                while joined(tokens, next) && tokens.get(next + 2).is_some_and(|t| t.is("super")) {
                    base.pop();
                    next += 3;
                }
                at = tree(tokens, next, &base, &mut found);
                continue;
            }
            name if Some(name) == root && !after_path => {
                at = tree(tokens, at + 1, &[], &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether `::` is at `at`.
fn joined(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|t| t.is(":")) && tokens.get(at + 1).is_some_and(|t| t.is(":"))
}

/// Reads the rest of a path, or of a tree of them, after `base`; gives where it ends.
fn tree(tokens: &[Token], mut at: usize, base: &[String], found: &mut Vec<Named>) -> usize {
    let mut path = base.to_vec();
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |t| t.line);
    while joined(tokens, at) {
        let Some(next) = tokens.get(at + 2) else { break };
        if next.is("{") {
            return group(tokens, at + 3, &path, found);
        }
        if next.kind != Kind::Word && !next.is("*") {
            break;
        }
        path.push(next.text.clone());
        at += 3;
    }
    if path.is_empty() && tokens.get(at).is_none_or(|t| !t.is("as")) {
        // `pub(crate)`.
        return at;
    }
    found.push(Named { path, line });
    at
}

/// Reads the trees of a `{…}`, from after its opening on; gives the place after its end.
fn group(tokens: &[Token], mut at: usize, base: &[String], found: &mut Vec<Named>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            "self" => {
                found.push(Named { path: base.to_vec(), line: token.line });
                at += 1;
            }
            _ if token.kind == Kind::Word || token.is("*") => {
                let mut path = base.to_vec();
                path.push(token.text.clone());
                at = tree(tokens, at + 1, &path, found);
            }
            _ => at += 1,
        }
        // `as name`
        if tokens.get(at).is_some_and(|t| t.is("as")) {
            at += 2;
        }
    }
    at
}

/// The module path of a file, from the source directory of its crate: `log/mod.rs` is `log`, `lib.rs` the root.
#[must_use]
pub fn module_of(file: &str, source: &str) -> Vec<String> {
    let inner = file.strip_prefix(source).unwrap_or(file).trim_start_matches('/').trim_end_matches(".rs");
    let mut path: Vec<String> = inner.split('/').map(str::to_owned).collect();
    path.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, module: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").filter(|s| !s.is_empty()).map(str::to_owned).collect();
        paths(&tokens(text), &module, None).into_iter().map(|n| n.path.join("::")).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let text =
            "// crate::a\n/* crate::b /* c */ */ 'x' '\\'' 'life \"crate::d \\\" {\" r#\"} \" crate::e\"# b\"f\" g";
        let words: Vec<String> = tokens(text).into_iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
        assert_eq!(words, ["g"]);
    }

    #[test]
    fn floats_are_told_from_integers_ranges_and_fields() {
        let kinds = |text| tokens(text).into_iter().map(|t| t.kind).filter(|k| *k != Kind::Mark).collect::<Vec<_>>();
        for text in ["1.5", "1e3", "2.0e-3", "1f32", "3. ", "1_0.0_f64"] {
            assert_eq!(kinds(text), [Kind::Float], "{text}");
        }
        for text in ["1", "0xe1", "1usize", "1_000", "0b1"] {
            assert_eq!(kinds(text), [Kind::Integer], "{text}");
        }
        assert_eq!(kinds("0..3"), [Kind::Integer, Kind::Integer]);
        assert_eq!(
            kinds("x.0.1"),
            [Kind::Word, Kind::Float],
            "two fields: a checker of floats skips what follows a dot"
        );
    }

    #[test]
    fn use_trees_are_taken_apart() {
        assert_eq!(
            named("use crate::{a::{B, c::*}, d as e, f::{self, G}};", "x"),
            ["a::B", "a::c::*", "d", "f", "f::G"]
        );
        assert_eq!(
            named("pub(crate) fn f() { crate::rng::mix::<u8>(crate::wire::Foo { x: 1 }) }", "x"),
            ["rng::mix", "wire::Foo"]
        );
    }

    #[test]
    fn super_climbs_from_files_and_inline_modules() {
        assert_eq!(
            named("use super::b; mod tests { use super::*; use super::super::c; } fn f() { super::d() }", "m::a"),
            ["m::b", "m::a::*", "m::c", "m::d"]
        );
        assert_eq!(named("use super::log;", "ids"), ["log"]);
    }

    #[test]
    fn files_are_modules() {
        assert_eq!(module_of("core/src/log/mod.rs", "core/src"), ["log"]);
        assert_eq!(module_of("core/src/log/producers.rs", "core/src"), ["log", "producers"]);
        assert_eq!(module_of("core/src/lib.rs", "core/src"), Vec::<String>::new());
    }
}
