//! The records of fetched bytes that a reader of committed ones is shown: opened, from an offset on, without control
//! records and without those of aborted transactions.

use super::connection::Error;
use super::opened;
use bytes::Bytes;
use klamm_core::record::{self, ControlType, batches, records};
use klamm_core::wire::AbortedTransaction;
use std::collections::BTreeSet;

/// A record, with bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds, or -1.
    pub timestamp: i64,
    /// Whether that is the broker's (LogAppendTime).
    pub appended: bool,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What one partition's part of a fetch answer came to.
#[derive(Debug, Default)]
pub struct Batches {
    /// What is shown.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: i64,
}

impl Batches {
    /// Reads fetched bytes from an offset on. A batch that is cut at the end is for the next fetch.
    ///
    /// # Errors
    /// When the bytes are no batches.
    pub fn read(bytes: &Bytes, from: i64, aborted: &[AbortedTransaction]) -> Result<Batches, Error> {
        let mut all = Batches { records: Vec::new(), next: from };
        let mut aborted: Vec<_> = aborted.iter().collect();
        aborted.sort_by_key(|transaction| transaction.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut aborting = BTreeSet::new();
        for batch in batches(bytes.clone()) {
            let Ok(batch) = batch else { break };
            let header = batch.header;
            while let Some(transaction) = aborted.next_if(|t| t.first_offset <= header.last_offset().0) {
                aborting.insert(transaction.producer_id);
            }
            all.next = all.next.max(header.next_offset().0);
            if header.is_transactional() && !header.is_control() && aborting.contains(&header.producer_id.0) {
                continue;
            }
            let bad = |what: &str| Error::Malformed(format!("the batch at offset {}: {what}", header.base_offset));
            let open = opened(&batch.bytes().clone()).map_err(|error| bad(&error.to_string()))?;
            for record in records(&open) {
                let record = record.map_err(|corrupt| bad(corrupt.0))?;
                if header.is_control() {
                    if record.control_type() == Some(ControlType::Abort) {
                        aborting.remove(&header.producer_id.0);
                    }
                } else if record.offset.0 >= from {
                    all.records.push(Record::of(&open, &record, header.is_log_append_time()));
                }
            }
        }
        Ok(all)
    }
}

impl Record {
    fn of(batch: &Bytes, record: &record::Record<'_>, appended: bool) -> Record {
        let own = |bytes: &[u8]| batch.slice_ref(bytes);
        Record {
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            appended,
            key: record.key.map(own),
            value: record.value.map(own),
            headers: record.headers.clone().map(|(key, value)| (own(key), value.map(own))).collect(),
        }
    }
}
