//! Java's `.properties` files, and the environment as Apache Kafka's image reads it. Knows no key.

/// The keys and values of a file, in order.
///
/// # Errors
/// The number of the line that is none, and what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while continues(&line) {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line += next.trim_start();
        }
        let bad = |what: &str| format!("line {}: {what}", number + 1);
        let (key, value) = split(&line);
        let key = unescape(key).map_err(|what| bad(&what))?;
        let value = unescape(value.trim_end()).map_err(|what| bad(&what))?;
        if key.is_empty() {
            return Err(bad("a value without a key"));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// An odd number of backslashes at its end.
fn continues(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// At the first `=`, `:` or white space that no backslash stands before.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let at = line.char_indices().find(|(_, c)| {
        let here = !escaped && (matches!(c, '=' | ':') || c.is_ascii_whitespace());
        escaped = *c == '\\' && !escaped;
        here
    });
    let Some((at, _)) = at else { return (line, "") };
    let rest = line[at..].trim_start();
    (&line[..at], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4).and_then(char::from_u32);
                out.push(code.ok_or_else(|| format!("\\u{digits} is no character"))?);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

/// What the variables of an environment set: `KAFKA_LOG_DIRS` is `log.dirs`, two underscores one, three a dash. Those
/// that are for the scripts around Kafka's JVM are left out.
pub(super) fn of_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    const FOR_SCRIPTS: &[&str] = &[
        "VERSION",
        "HOME",
        "DEBUG",
        "OPTS",
        "HEAP_OPTS",
        "JMX_OPTS",
        "JMX_PORT",
        "JMX_HOSTNAME",
        "GC_LOG_OPTS",
        "LOG4J_OPTS",
        "LOG4J_ROOT_LOGLEVEL",
        "LOG4J_LOGGERS",
        "TOOLS_LOG4J_LOGLEVEL",
        "JVM_PERFORMANCE_OPTS",
    ];
    let of = |(name, value): (String, String)| {
        let rest = name.strip_prefix("KAFKA_").filter(|rest| !FOR_SCRIPTS.contains(rest))?;
        let rest = rest.to_ascii_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".");
        Some((rest.replace('\u{0}', "_"), value))
    };
    let mut pairs: Vec<_> = variables.into_iter().filter_map(of).collect();
    pairs.sort();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    #[test]
    fn files_are_read_as_java_reads_them() {
        let text = "# a comment\n! another\n\n a.b = c d \nk:v\nlone\nsp ace\nlong=one,\\\n   two\nuni=\\u00e9\\t\\\\\nequals=a=b\n";
        let want = [
            ("a.b", "c d"),
            ("k", "v"),
            ("lone", ""),
            ("sp", "ace"),
            ("long", "one,two"),
            ("uni", "é\t\\"),
            ("equals", "a=b"),
        ];
        assert_eq!(pairs(text), want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(pairs("end=\\"), [("end".to_owned(), String::new())]);
        assert!(parse("fine=1\nbad=\\u12\n").unwrap_err().starts_with("line 2"));
        assert!(parse("=value").is_err());
    }

    #[test]
    fn variables_become_keys() {
        let variables =
            [("KAFKA_LOG_DIRS", "/d"), ("KAFKA_A__B___C", "1"), ("PATH", "x"), ("KAFKA_HEAP_OPTS", "-Xmx1G")];
        let got = of_environment(variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(got, [("a_b-c", "1"), ("log.dirs", "/d")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
