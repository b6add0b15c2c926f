//! kcat's formats: `%t %p %o %k %s %h %T` and escapes, made into bytes.

use crate::client::Record;

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Timestamp,
    Headers,
}

/// How a record is printed.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pieces: Vec<Piece>,
    /// Control characters in keys, values and headers are shown as `\xNN`.
    pub(super) escape: bool,
}

impl Format {
    /// # Errors
    /// What is no format.
    pub(super) fn parse(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            pieces.push(Piece::Bytes(unescaped(&rest[..at])?));
            let token = rest[at + 1..].chars().next().ok_or("the format ends with a lone %")?;
            pieces.push(match token {
                't' => Piece::Topic,
                'p' => Piece::Partition,
                'o' => Piece::Offset,
                'k' => Piece::Key,
                'K' => Piece::KeyLength,
                's' => Piece::Value,
                'S' => Piece::ValueLength,
                'T' => Piece::Timestamp,
                'h' => Piece::Headers,
                '%' => Piece::Bytes(b"%".to_vec()),
                other => {
                    return Err(format!("the format has %{other}, but only %t %p %o %k %K %s %S %h %T %% are known"));
                }
            });
            rest = &rest[at + 1 + token.len_utf8()..];
        }
        pieces.push(Piece::Bytes(unescaped(rest)?));
        Ok(Format { pieces, escape: false })
    }

    /// Value, or key and value, and what stands between and behind them.
    pub(super) fn plain(key_delimiter: Option<&[u8]>, delimiter: &[u8]) -> Format {
        let key = key_delimiter.map(|between| [Piece::Key, Piece::Bytes(between.to_vec())]);
        let behind = [Piece::Value, Piece::Bytes(delimiter.to_vec())];
        Format { pieces: key.into_iter().flatten().chain(behind).collect(), escape: false }
    }

    /// Writes a record. What is null is empty; `null` says otherwise.
    pub(super) fn write(&self, topic: &str, partition: i32, record: &Record, null: &[u8], out: &mut Vec<u8>) {
        let length = |bytes: Option<&bytes::Bytes>| bytes.map_or(-1, |b| i64::try_from(b.len()).unwrap_or(i64::MAX));
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::KeyLength => out.extend_from_slice(length(record.key.as_ref()).to_string().as_bytes()),
                Piece::ValueLength => out.extend_from_slice(length(record.value.as_ref()).to_string().as_bytes()),
                Piece::Key => self.shown(record.key.as_deref().unwrap_or(null), out),
                Piece::Value => self.shown(record.value.as_deref().unwrap_or(null), out),
                Piece::Headers => {
                    for (i, (key, value)) in record.headers.iter().enumerate() {
                        out.extend_from_slice(if i > 0 { b"," } else { b"" });
                        self.shown(key, out);
                        out.push(b'=');
                        self.shown(value.as_deref().unwrap_or(b"NULL"), out);
                    }
                }
            }
        }
    }

    fn shown(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.escape { out.extend(escaped(bytes).bytes()) } else { out.extend_from_slice(bytes) }
    }
}

/// Text that does nothing to a terminal.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => out.push(c),
                c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out
}

/// `\n \r \t \0 \\ \xNN` made into bytes.
///
/// # Errors
/// Another escape.
pub(super) fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        match chars.next() {
            Some('n') => out.push(b'\n'),
            Some('r') => out.push(b'\r'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                out.push(byte.ok_or_else(|| format!("\\x{digits} is no byte"))?);
            }
            Some(other) => return Err(format!("\\{other} is no escape")),
            None => return Err("a lone \\ at the end".to_owned()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        let headers = vec![("h".into(), Some("1".into())), ("n".into(), None)];
        Record { offset: 7, timestamp: 1_000, key: key.map(Into::into), value: value.map(Into::into), headers }
    }

    fn shown(format: &str, escape: bool, record: &Record) -> String {
        let mut out = Vec::new();
        Format { escape, ..Format::parse(format).unwrap() }.write("t", 3, record, b"", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats_are_kcats() {
        let full = record(Some(b"key"), Some(b"value"));
        assert_eq!(
            shown(r"%t [%p] at %o: %k(%K)=%s(%S) %h %T%%\n", false, &full),
            "t [3] at 7: key(3)=value(5) h=1,n=NULL 1000%\n"
        );
        assert_eq!(shown("%k%K%s%S", false, &record(None, None)), "-1-1");
        assert_eq!(shown("%s", true, &record(None, Some(b"a\x1b[31m\xffb\n"))), "a\\x1b[31m\\xffb\n");
        for bad in ["%", "%q", "\\q", "\\x1"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(unescaped(r"a\x00\t\\é").unwrap(), "a\0\t\\é".as_bytes());
    }
}
