//! What verbs print: tables for people, JSON for programs. A reader that has gone away (`klamm … | head`) is no failure.

use super::Failure;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// Columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// A JSON value.
pub(super) enum Json {
    Null,
    Number(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Number(n) => write!(out, "{n}").expect("a string takes what is written"),
            Json::Text(text) => quote(text, out),
            Json::List(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (i, (name, value)) in fields.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    quote(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        to.write_str(&text)
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes what is written"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Prints a JSON document.
pub(super) fn json(value: &Json) -> Result<(), Failure> {
    print(format!("{value}\n").as_bytes())
}

/// Prints columns under a head.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    print(text.as_bytes())
}

/// How far something has come, told on a terminal while it takes long: on stderr, over and over in one line.
pub(super) struct Progress {
    shown: bool,
    next: Instant,
    terminal: bool,
}

impl Progress {
    /// What is over sooner needs none.
    const PATIENCE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(200);

    /// For a verb whose data goes elsewhere than to the terminal.
    pub(super) fn new(data_on_stdout: bool) -> Progress {
        let terminal = io::stderr().is_terminal() && !(data_on_stdout && io::stdout().is_terminal());
        Progress { shown: false, next: Instant::now() + Progress::PATIENCE, terminal }
    }

    /// Tells, unless nobody looks or it was told just now.
    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.terminal && now >= self.next {
            self.next = now + Progress::PAUSE;
            self.shown = true;
            eprint!("\r\x1b[K{}", words());
        }
    }

    /// Takes the line away, for what is said next.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints bytes.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What became of a write to stdout.
pub(super) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(|error| Failure::failed(format!("stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped() {
        let text = Json::Text("a\"\\\n\u{1}é".to_owned());
        let all = Json::Object(vec![("k", Json::List(vec![text, Json::Number(-1), Json::Null]))]);
        assert_eq!(all.to_string(), "{\"k\":[\"a\\\"\\\\\\n\\u0001é\",-1,null]}");
    }
}
