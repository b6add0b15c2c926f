//! `klamm dump-log`: what is in a log's files, read without a broker and believed in nothing. Its lines are those of Kafka's
//! own tool, so that what reads that reads this.
//!
//! A file that ends in the middle of a batch, or in zeros, is torn as a crash or a running broker leaves it: said, and no
//! failure. Anything else that is wrong is one.

use super::Failure;
use super::format::escaped;
use super::output;
use crate::client::opened;
use bytes::Bytes;
use klamm_core::record::{Codec, ControlType, HEADER_BYTES, Header, records};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest batch that is read: as long as a frame can be.
const LONGEST: usize = 1 << 30;
const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

#[derive(clap::Args)]
pub(super) struct Args {
    /// .log, .index and .timeindex files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the records too.
    #[arg(long, visible_alias = "deep-iteration")]
    print_data_log: bool,
    /// Check sums, counts and order; print only what is wrong.
    #[arg(long)]
    verify: bool,
}

/// What was wrong with a file.
#[derive(Default)]
struct Findings(Vec<String>);

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut wrong = 0;
    for file in &args.files {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(format!("{}: there is no such file", file.display())),
            _ => Failure::data_dir(format!("{}: {error}", file.display())),
        };
        let base = base(file)?;
        if !args.verify {
            output::print(format!("Dumping {}\nLog starting offset: {base}\n", file.display()).as_bytes())?;
        }
        let mut findings = Findings::default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("log") => log(args, file, base, &mut findings, &failed)?,
            Some("index") => index(args, &fs::read(file).map_err(failed)?, base, &mut findings)?,
            Some("timeindex") => time_index(args, &fs::read(file).map_err(failed)?, base, &mut findings)?,
            _ => return Err(Failure::usage(format!("{}: not a .log, .index or .timeindex", file.display()))),
        }
        for finding in &findings.0 {
            eprintln!("{}: {finding}", file.display());
        }
        wrong += findings.0.len();
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::failed("one thing is wrong with these files")),
        _ => Err(Failure::failed(format!("{wrong} things are wrong with these files"))),
    }
}

/// The offset that a file is named by.
fn base(file: &Path) -> Result<i64, Failure> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit());
    let offset = if digits { stem.parse().ok() } else { None };
    offset.ok_or_else(|| Failure::usage(format!("{}: not named by an offset of 20 digits", file.display())))
}

/// Reads up to so many bytes; fewer at the end only.
fn take(input: &mut impl Read, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn log(
    args: &Args,
    file: &Path,
    base: i64,
    findings: &mut Findings,
    failed: &dyn Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut input = BufReader::new(fs::File::open(file).map_err(failed)?);
    let (mut position, mut expected) = (0u64, base);
    loop {
        let head = take(&mut input, HEADER_BYTES).map_err(failed)?;
        if head.is_empty() {
            return Ok(());
        }
        let header = match Header::parse(&head) {
            Ok(header) if header.size() <= LONGEST => header,
            unread => {
                let why = unread.err().map_or("a batch longer than any", |corrupt| corrupt.0);
                return rest(&mut input, &head, position, why, findings, failed);
            }
        };
        let body = take(&mut input, header.size() - HEADER_BYTES).map_err(failed)?;
        let batch = Bytes::from([head, body].concat());
        if batch.len() < header.size() {
            eprintln!("torn: a batch at position {position} is cut after {} of {} bytes", batch.len(), header.size());
            return Ok(());
        }
        let valid = crate::crc32c(&batch[21..]) == header.crc;
        if !args.verify {
            output::print(summary(&header, position, valid).as_bytes())?;
        }
        if !valid {
            findings.0.push(format!("the batch at position {position} has another checksum than it says"));
        }
        if header.base_offset.0 < expected {
            let offset = header.base_offset;
            findings.0.push(format!("the batch at position {position} begins at {offset}, but {expected} was next"));
        }
        expected = header.next_offset().0;
        if args.print_data_log || args.verify {
            let mut text = String::new();
            if let Err(why) = each(&header, &batch, &mut text) {
                findings.0.push(format!("the batch at position {position}: {why}"));
            }
            if args.print_data_log && !args.verify {
                output::print(text.as_bytes())?;
            }
        }
        position += header.size() as u64;
    }
}

/// What follows the last batch: zeros ahead of it, a torn one, or what should not be there.
fn rest(
    input: &mut impl Read,
    head: &[u8],
    position: u64,
    why: &str,
    findings: &mut Findings,
    failed: &dyn Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut zero = head.iter().all(|byte| *byte == 0);
    let mut bytes = head.len() as u64;
    loop {
        let more = take(input, 1 << 20).map_err(failed)?;
        if more.is_empty() {
            break;
        }
        zero &= more.iter().all(|byte| *byte == 0);
        bytes += more.len() as u64;
    }
    if zero {
        eprintln!("{bytes} zeros ahead, from position {position} on");
    } else if head.len() < HEADER_BYTES {
        eprintln!("torn: {bytes} bytes from position {position} on, less than a batch's header");
    } else {
        findings.0.push(format!("{bytes} invalid bytes from position {position} on: {why}"));
    }
    Ok(())
}

fn codec(header: &Header) -> &'static str {
    match header.codec() {
        Some(Codec::None) => "none",
        Some(Codec::Gzip) => "gzip",
        Some(Codec::Snappy) => "snappy",
        Some(Codec::Lz4) => "lz4",
        Some(Codec::Zstd) => "zstd",
        None => "unknown",
    }
}

/// The line of a batch.
fn summary(header: &Header, position: u64, valid: bool) -> String {
    let last_sequence = header.last_sequence().0;
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {last_sequence} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} position: {position} \
         CreateTime: {} size: {} magic: 2 compresscodec: {} crc: {} isvalid: {valid}\n",
        header.base_offset,
        header.last_offset(),
        header.count,
        header.base_sequence.0,
        header.producer_id.0,
        header.producer_epoch.0,
        header.leader_epoch.0,
        header.is_transactional(),
        header.is_control(),
        header.max_timestamp.0,
        header.size(),
        codec(header),
        header.crc,
    )
}

/// The lines of a batch's records.
fn each(header: &Header, batch: &Bytes, text: &mut String) -> Result<(), String> {
    let open = opened(batch).map_err(|error| error.to_string())?;
    let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    for (i, record) in records(&open).enumerate() {
        let record = record.map_err(|corrupt| corrupt.0.to_owned())?;
        let sequence = match header.base_sequence.0 {
            -1 => -1,
            first => i64::from(first) + i64::try_from(i).unwrap_or(i64::MAX),
        };
        let headers: Vec<_> = record.headers.clone().map(|(key, _)| escaped(key)).collect();
        let line = write!(
            text,
            "| offset: {} CreateTime: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
            record.offset,
            record.timestamp.0,
            length(record.key),
            length(record.value),
            headers.join(","),
        );
        line.expect("a string takes what is written");
        if header.is_control() {
            let kind = match record.control_type() {
                Some(ControlType::Abort) => "ABORT",
                Some(ControlType::Commit) => "COMMIT",
                Some(ControlType::LeaderChange) => "LEADER_CHANGE",
                Some(ControlType::SnapshotHeader) => "SNAPSHOT_HEADER",
                Some(ControlType::SnapshotFooter) => "SNAPSHOT_FOOTER",
                Some(ControlType::KraftVersion) => "KRAFT_VERSION",
                Some(ControlType::KraftVoters) => "KRAFT_VOTERS",
                None => "UNKNOWN",
            };
            text.push_str(" controlType: ");
            text.push_str(kind);
        } else {
            for (name, bytes) in [(" key: ", record.key), (" payload: ", record.value)] {
                if let Some(bytes) = bytes {
                    text.push_str(name);
                    text.push_str(&escaped(bytes));
                }
            }
        }
        text.push('\n');
    }
    Ok(())
}

fn index(args: &Args, bytes: &[u8], base: i64, findings: &mut Findings) -> Result<(), Failure> {
    let (entries, torn) = bytes.as_chunks::<OFFSET_ENTRY>();
    let mut text = String::new();
    let mut last: Option<(u32, u32)> = None;
    for (i, [a, b, c, d, e, f, g, h]) in entries.iter().enumerate() {
        let entry = (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
        // Kafka preallocates its active index: zeros are no entries.
        if entry == (0, 0) && i > 0 {
            break;
        }
        if last.is_some_and(|last| entry.0 <= last.0 || entry.1 <= last.1) {
            findings.0.push(format!("entry {i} is out of order"));
        }
        last = Some(entry);
        writeln!(text, "offset: {} position: {}", base + i64::from(entry.0), entry.1).expect("a string takes it");
    }
    ended(args, &text, torn.len(), findings)
}

fn time_index(args: &Args, bytes: &[u8], base: i64, findings: &mut Findings) -> Result<(), Failure> {
    let (entries, torn) = bytes.as_chunks::<TIME_ENTRY>();
    let mut text = String::new();
    let mut last: Option<(i64, u32)> = None;
    for (i, entry) in entries.iter().enumerate() {
        let (time, offset) = entry.split_at(8);
        let time = time.try_into().map_or(-1, i64::from_be_bytes);
        let offset = offset.try_into().map_or(0, u32::from_be_bytes);
        if (time, offset) == (0, 0) && i > 0 {
            break;
        }
        if last.is_some_and(|last| time <= last.0 || offset < last.1) {
            findings.0.push(format!("entry {i} is out of order"));
        }
        last = Some((time, offset));
        writeln!(text, "timestamp: {time} offset: {}", base + i64::from(offset)).expect("a string takes it");
    }
    ended(args, &text, torn.len(), findings)
}

fn ended(args: &Args, text: &str, torn: usize, findings: &mut Findings) -> Result<(), Failure> {
    if torn > 0 {
        findings.0.push(format!("{torn} bytes behind the last entry"));
    }
    if args.verify { Ok(()) } else { output::print(text.as_bytes()) }
}
