//! kcat's formats: `%t %p %o %k %s %h %T` and escapes, made into bytes; its JSON, an object a line.

use super::output::Json;
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
    /// Four bytes, the highest first.
    ValueFrame,
    Timestamp,
    Headers,
    /// All of a record as one JSON object.
    Json,
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
                'R' => Piece::ValueFrame,
                'T' => Piece::Timestamp,
                'h' => Piece::Headers,
                '%' => Piece::Bytes(b"%".to_vec()),
                other => {
                    return Err(format!(
                        "the format has %{other}, but only %t %p %o %k %K %s %S %R %h %T %% are known"
                    ));
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

    /// kcat's `-J`.
    pub(super) fn json() -> Format {
        Format { pieces: vec![Piece::Json], escape: false }
    }

    /// Writes a record. What is null is empty; `null` says otherwise.
    pub(super) fn write(&self, from: &Place<'_>, record: &Record, null: &[u8], out: &mut Vec<u8>) {
        let length = |bytes: Option<&bytes::Bytes>| bytes.map_or(-1, |b| i64::try_from(b.len()).unwrap_or(i64::MAX));
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(from.topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(from.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::KeyLength => out.extend_from_slice(length(record.key.as_ref()).to_string().as_bytes()),
                Piece::ValueLength => out.extend_from_slice(length(record.value.as_ref()).to_string().as_bytes()),
                Piece::ValueFrame => {
                    let length = i32::try_from(length(record.value.as_ref())).unwrap_or(i32::MAX);
                    out.extend_from_slice(&length.to_be_bytes());
                }
                Piece::Json => json(from, record, out),
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

/// Where a record is from.
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) broker: i32,
}

/// As kcat prints it; bytes that are no text are U+FFFD, since JSON has nothing else for them.
fn json(from: &Place<'_>, record: &Record, out: &mut Vec<u8>) {
    let text = |bytes: &Option<bytes::Bytes>| match bytes {
        Some(bytes) => Json::Text(String::from_utf8_lossy(bytes).into_owned()),
        None => Json::Null,
    };
    let pair = |(key, value): &(bytes::Bytes, Option<bytes::Bytes>)| [text(&Some(key.clone())), text(value)];
    let mut fields = vec![
        ("topic", Json::Text(from.topic.to_owned())),
        ("partition", Json::Number(from.partition.into())),
        ("offset", Json::Number(record.offset)),
        ("tstype", Json::Text(if record.appended { "logappend" } else { "create" }.to_owned())),
        ("ts", Json::Number(record.timestamp)),
        ("broker", Json::Number(from.broker.into())),
    ];
    if !record.headers.is_empty() {
        fields.push(("headers", Json::List(record.headers.iter().flat_map(pair).collect())));
    }
    fields.extend([("key", text(&record.key)), ("payload", text(&record.value))]);
    out.extend_from_slice(Json::Object(fields).to_string().as_bytes());
    out.push(b'\n');
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
        let (key, value) = (key.map(Into::into), value.map(Into::into));
        Record { offset: 7, timestamp: 1_000, appended: false, key, value, headers }
    }

    fn shown(format: &str, escape: bool, record: &Record) -> String {
        let mut out = Vec::new();
        Format { escape, ..Format::parse(format).unwrap() }.write(&PLACE, record, b"", &mut out);
        String::from_utf8(out).unwrap()
    }

    const PLACE: Place<'_> = Place { topic: "t", partition: 3, broker: 9 };

    #[test]
    fn json_is_kcats() {
        let json = |record: &Record| {
            let mut out = Vec::new();
            Format::json().write(&PLACE, record, b"", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            json(&record(None, Some(b"q\"\\\x01\xff"))),
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"tstype\":\"create\",\"ts\":1000,\"broker\":9,\
             \"headers\":[\"h\",\"1\",\"n\",null],\"key\":null,\"payload\":\"q\\\"\\\\\\u0001\u{fffd}\"}\n"
        );
        let stamped = Record { appended: true, headers: Vec::new(), ..record(Some(b""), None) };
        assert_eq!(
            json(&stamped),
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"tstype\":\"logappend\",\"ts\":1000,\"broker\":9,\
             \"key\":\"\",\"payload\":null}\n"
        );
    }

    #[test]
    fn formats_are_kcats() {
        let full = record(Some(b"key"), Some(b"value"));
        assert_eq!(
            shown(r"%t [%p] at %o: %k(%K)=%s(%S) %h %T%%\n", false, &full),
            "t [3] at 7: key(3)=value(5) h=1,n=NULL 1000%\n"
        );
        assert_eq!(shown("%k%K%s%S", false, &record(None, None)), "-1-1");
        assert_eq!(shown("%R", false, &record(None, Some(b"four"))), "\0\0\0\x04");
        assert_eq!(shown("%s", true, &record(None, Some(b"a\x1b[31m\xffb\n"))), "a\\x1b[31m\\xffb\n");
        for bad in ["%", "%q", "\\q", "\\x1"] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(unescaped(r"a\x00\t\\é").unwrap(), "a\0\t\\é".as_bytes());
    }
}
