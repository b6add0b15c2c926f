//! One log of the model disk: its batches, how far they got, what is under way; and all that a crash may leave of it
//! ([`Left`]), so that a run can draw one way of it, and what a real store found can be held against every way.

use std::collections::VecDeque;

use bytes::Bytes;
use klamm_core::ids::{Offset, Seq};
use klamm_core::log::{Ballot, Checkpoint, Found, Segment};
use klamm_core::record::Header;

use super::harm::Harm;

/// A batch as stamped.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    /// Whether it opened a segment.
    pub(super) opens: bool,
    pub(super) harm: Option<Harm>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Open,
    Append {
        sync: bool,
    },
    Flush,
    Trim(Offset),
    Persist(Ballot),
    Remove,
    /// The end of a life in order: no change of the core's.
    Close,
}

/// How far a name or a small file got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Nowhere,
    Cache,
    Device,
}

#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) name: String,
    pub(super) exists: Reach,
    /// All appended ones: beyond `written` they are in memory only.
    pub(super) batches: Vec<Stored>,
    /// So many are in the page cache.
    pub(super) written: usize,
    /// So many are on the device.
    pub(super) durable: usize,
    /// So many were, by what it says of itself.
    pub(super) marked: usize,
    /// From this one on what was written did not come to the device.
    pub(super) astray: Option<usize>,
    /// In the page cache, and on the device.
    pub(super) ballot: (Option<Ballot>, Option<Ballot>),
    /// Where it starts, in the page cache and on the device.
    pub(super) start: (Offset, Offset),
    /// A segment without a batch yet, and how far it got: a trim of everything began it, or a roll that a crash cut short.
    pub(super) begun: Option<(Offset, Reach)>,
    pub(super) queue: VecDeque<(Seq, Change)>,
    /// The group that is under way; its first ones of `queue`.
    pub(super) underway: usize,
    pub(super) dead: Option<&'static str>,
    /// A recovery of it failed: what that wrote again may be lost.
    pub(super) doubtful: bool,
    /// This life could not have it.
    pub(super) refused: bool,
    /// What is under way takes very long.
    pub(super) stalled: bool,
    /// Stands for its name and the how manieth it is of that: with the operations so far the key of their draws.
    pub(super) named: u64,
    pub(super) operations: u64,
}

/// What a crash may leave of a log, each apart from the others; what comes first is what it was.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) there: bool,
    pub(super) gone: bool,
    pub(super) starts: Vec<Offset>,
    pub(super) ballots: Vec<Option<Ballot>>,
    /// At least and at most so many batches, but never fewer than begin below the start.
    pub(super) batches: (usize, usize),
}

/// One way of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) start: Offset,
    pub(super) ballot: Option<Ballot>,
    pub(super) batches: usize,
    /// A segment was begun behind them.
    pub(super) begun: bool,
}

impl Log {
    pub(super) fn new(name: String, named: u64) -> Log {
        Log {
            name,
            exists: Reach::Nowhere,
            batches: Vec::new(),
            written: 0,
            durable: 0,
            marked: 0,
            astray: None,
            ballot: (None, None),
            start: (Offset(0), Offset(0)),
            begun: None,
            queue: VecDeque::new(),
            underway: 0,
            dead: None,
            doubtful: false,
            refused: false,
            stalled: false,
            named,
            operations: 0,
        }
    }

    pub(super) fn key(&self) -> u64 {
        self.named ^ self.operations
    }

    pub(super) fn group(&self) -> impl Iterator<Item = Change> {
        self.queue.iter().take(self.underway).map(|(_, change)| *change)
    }

    /// All appends that wait at the front together, or one other change, are under way from now on.
    pub(super) fn begin(&mut self) {
        let appends = self.queue.iter().take_while(|(_, c)| matches!(c, Change::Append { .. })).count();
        self.underway = appends.max(1).min(self.queue.len());
    }

    /// Whether what is under way is to be on the device when it is done.
    pub(super) fn is_synced(&self) -> bool {
        self.group().any(|c| !matches!(c, Change::Append { sync: false }))
    }

    /// Appends that are under way.
    pub(super) fn appends(&self) -> usize {
        self.group().filter(|c| matches!(c, Change::Append { .. })).count()
    }

    fn is_underway(&self, is: impl Fn(&Change) -> bool) -> bool {
        self.group().any(|c| is(&c))
    }

    fn ballot_underway(&self) -> Option<Ballot> {
        self.group().find_map(|c| if let Change::Persist(ballot) = c { Some(ballot) } else { None })
    }

    fn trim_underway(&self) -> Option<Offset> {
        self.group().find_map(|c| if let Change::Trim(to) = c { Some(to) } else { None })
    }

    /// The offset after the first `n` batches.
    pub(super) fn end(&self, n: usize) -> Offset {
        n.checked_sub(1).map_or(Offset(0), |last| self.batches[last].header.next_offset())
    }

    /// What was under way reaches the page cache, some of it where it failed, and the device where it was synced.
    pub(super) fn land(&mut self, synced: bool, failed: bool, torn: u64) {
        let reach = if synced { Reach::Device } else { Reach::Cache };
        let half = failed && torn.is_multiple_of(2);
        let appends = self.appends();
        let written = if half { torn as usize / 2 % (appends + 1) } else { appends };
        if self.is_underway(|c| matches!(c, Change::Open)) && !half {
            self.exists = reach;
        }
        if let Some(ballot) = self.ballot_underway().filter(|_| !half) {
            self.ballot = (Some(ballot), if synced { Some(ballot) } else { self.ballot.1 });
        }
        if let Some(to) = self.trim_underway().filter(|_| !half) {
            self.start.0 = self.start.0.max(to);
            if synced {
                self.begun = self.begun.map(|(at, reach)| (at, if at <= to { Reach::Device } else { reach }));
                self.start.1 = self.start.0;
                self.durable = self.durable.max(self.below(to));
                self.marked = self.marked.max(self.below(to));
            }
        }
        self.written += written;
        if synced && (appends > 0 || self.is_underway(|c| matches!(c, Change::Flush))) {
            self.durable = self.written;
        }
        if synced && self.is_underway(|c| matches!(c, Change::Close)) {
            (self.durable, self.marked) = (self.written, self.written);
        }
    }

    /// Whether something is to be done when a life ends in order. Of what was refused nothing is touched.
    pub(super) fn is_to_close(&self) -> bool {
        let removed = self.queue.iter().any(|(_, change)| matches!(change, Change::Remove));
        let kept = self.dead.is_none() && !self.refused && !removed;
        kept && (self.marked < self.batches.len() || self.durable < self.batches.len())
    }

    /// Of what was written so many batches begin below an offset. A log does not start after what a crash leaves of it.
    fn below(&self, offset: Offset) -> usize {
        self.batches[..self.written].partition_point(|b| b.header.base_offset < offset)
    }

    /// All that a crash may leave.
    pub(super) fn left(&self, power: bool) -> Left {
        // A failed write may have left its pages or not, and they are clean: what is read again may be either.
        let doubtful = power || self.dead.is_some() || self.doubtful;
        let opening = self.is_underway(|c| matches!(c, Change::Open));
        let removing = self.is_underway(|c| matches!(c, Change::Remove));
        let cached = |here: (Offset, Offset)| if doubtful { vec![here.1, here.0] } else { vec![here.0] };
        let mut starts = cached(self.start);
        starts.extend(self.trim_underway());
        let mut ballots = if doubtful { vec![self.ballot.1, self.ballot.0] } else { vec![self.ballot.0] };
        ballots.extend(self.ballot_underway().map(Some));
        starts.dedup();
        ballots.dedup();
        let (mut least, mut most) = (if doubtful { self.durable } else { self.written }, self.written + self.appends());
        if let Some(astray) = self.astray.filter(|_| power) {
            (least, most) = (least.min(astray), most.min(astray));
        }
        Left {
            there: self.exists != Reach::Nowhere || opening,
            gone: self.exists == Reach::Nowhere || removing || (power && self.exists == Reach::Cache),
            starts,
            ballots,
            batches: (least, most),
        }
    }

    /// At least so many batches are left where it starts there.
    pub(super) fn least(&self, left: &Left, start: Offset) -> usize {
        left.batches.0.max(self.below(start)).min(left.batches.1)
    }

    /// Whether a segment without a batch may be left behind so many of them: its roll came so far. With the start that a
    /// trim gave it there surely is one.
    pub(super) fn may_begin(&self, left: &Left, batches: usize) -> bool {
        self.begins(self.end(batches)).is_some() || (batches < left.batches.1 && self.batches[batches].opens)
    }

    /// How far a segment got that begins there and has no batch, if there is one.
    pub(super) fn begins(&self, at: Offset) -> Option<Reach> {
        self.begun.filter(|(begun, _)| *begun == at).map(|(_, reach)| reach)
    }

    /// It comes to this, and is as a new life finds it.
    pub(super) fn crashed(&mut self, kept: Kept, power: bool) {
        let end = self.end(kept.batches);
        // What a log starts with was begun before it could start there.
        let opens = self.batches.get(kept.batches).is_some_and(|next| next.opens);
        // And so was the segment that a write which went astray was to open, and that seals what is below.
        let astray = opens && kept.batches < self.durable;
        let begun = self.begins(end);
        let surely = astray || begun == Some(Reach::Device) || (kept.start == end && (begun.is_some() || opens));
        let reach = if power || surely { Reach::Device } else { Reach::Cache };
        self.begun = (kept.begun || surely).then_some((end, reach));
        self.start = (kept.start, if power { kept.start } else { self.start.1 });
        self.ballot = (kept.ballot, if power { kept.ballot } else { self.ballot.1 });
        self.batches.truncate(kept.batches);
        self.written = kept.batches;
        self.durable = if power { kept.batches } else { self.durable.max(self.below(kept.start)).min(kept.batches) };
        self.astray = self.astray.filter(|_| !power);
        (self.underway, self.dead, self.refused, self.stalled) = (0, None, false, false);
        self.queue.clear();
    }

    /// A new life has found it: all of it is on the device from here on.
    pub(super) fn recovered(&mut self) {
        (self.exists, self.durable) = (Reach::Device, self.written);
        (self.doubtful, self.refused) = (false, false);
        self.marked = self.written;
        self.begun = self.begun.map(|(at, _)| (at, Reach::Device));
        (self.ballot.1, self.start.1) = (self.ballot.0, self.start.0);
    }

    pub(super) fn found(&self) -> Found {
        Found { state: self.folded(), ballot: self.ballot.0, torn_bytes: 0 }
    }

    pub(super) fn folded(&self) -> Checkpoint {
        let mut state = Checkpoint::empty();
        self.batches.iter().for_each(|b| state.fold(&b.header, b.opens));
        if self.begins(state.at).is_some() && state.segments.last().is_some_and(|active| active.base < state.at) {
            state.segments.push(Segment::empty(state.at));
        }
        state.trim(self.start.0);
        state
    }
}
