//! What a fetch may read of a replica (KIP-74, KIP-320, KIP-595).
//!
//! Consumers read whole batches below the high watermark. An offset up to the log's end is legal and reads as nothing.

use super::Replica;
use crate::effect::{FetchPart, FetchResult, Range};
use crate::ids::Offset;
use crate::wire::error;

/// A part of a fetch, looked at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What would be answered.
    pub result: FetchResult,
    /// Bytes readable, at most what was asked for.
    pub bytes: u32,
    /// It is worth an answer at once, whatever the bytes: an error or a divergence.
    pub urgent: bool,
}

impl Replica {
    /// Looks at one part of a fetch.
    #[must_use]
    pub fn read(&self, part: &FetchPart) -> Reading {
        let leader = match self.serves(part.current_leader_epoch) {
            Ok(leader) => leader,
            Err(code) => return refused(code),
        };
        if let Some(diverging) = self.divergence(leader, part.last_fetched_epoch, part.offset) {
            // An epoch that is still to come: there is no end to tell.
            if diverging.1.0 < 0 {
                return refused(error::OFFSET_OUT_OF_RANGE);
            }
            let result = FetchResult { diverging: Some(diverging), ..self.ends() };
            return Reading { result, bytes: 0, urgent: true };
        }
        let log = self.log();
        if part.offset < log.log_start_offset() || part.offset > log.log_end_offset() {
            return refused(error::OFFSET_OUT_OF_RANGE);
        }
        let upto = self.high_watermark();
        let readable = log.readable_bytes(part.offset, upto);
        let range = (readable > 0).then_some(Range::Local {
            log: log.id(),
            from: part.offset,
            upto,
            max_bytes: part.max_bytes,
        });
        let bytes = u32::try_from(readable).unwrap_or(u32::MAX).min(part.max_bytes.max(1));
        Reading {
            result: FetchResult { range, ..self.ends() },
            bytes: if readable > 0 { bytes } else { 0 },
            urgent: false,
        }
    }

    fn ends(&self) -> FetchResult {
        FetchResult {
            error: error::NONE,
            high_watermark: self.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: self.log().log_start_offset(),
            diverging: None,
            range: None,
        }
    }
}

/// A part that is refused.
#[must_use]
pub fn refused(error: i16) -> Reading {
    let none = Offset(-1);
    let result = FetchResult {
        error,
        high_watermark: none,
        last_stable_offset: none,
        log_start_offset: none,
        diverging: None,
        range: None,
    };
    Reading { result, bytes: 0, urgent: true }
}
