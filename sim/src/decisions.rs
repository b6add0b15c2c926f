//! What was decided in a run beyond the default, by meaning: so that it can be kept, replayed and shrunk.
//!
//! A decision is drawn from the seed by site and key, and only its departure from the default counts: a fault that
//! happens, a message that is late, a turn that a client takes. On replay what is not in the book takes the default, so
//! every subset of a book is a run, too. What a replay never asked for is counted: the code has drifted from the book.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// The version of the file.
const VERSION: u32 = 1;

/// Something that goes wrong at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// Nanoseconds from the start.
    pub at: u64,
    /// The how manieth one was drawn: the key of what it draws itself.
    pub n: u64,
    /// What happens.
    pub kind: Kind,
    /// So long it lasts, or the broker is down.
    #[serde(default)]
    pub down: u64,
    /// So long after its next start it dies again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// What is hit: a file or a folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How much, or where in it: see [`Kind`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amount: i64,
    /// Records may be lost by it, those that the atlas names, after all was read back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub declared: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_false(b: &bool) -> bool {
    !b
}

impl Fault {
    /// One that says no more than when and what.
    #[must_use]
    pub fn new(at: u64, n: u64, kind: Kind) -> Fault {
        Fault { at, n, kind, down: 0, again: None, target: String::new(), amount: 0, declared: false }
    }
}

/// What kind of a thing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The process dies; the page cache survives.
    Kill,
    /// The page cache dies, too.
    PowerLoss,
    /// A connection breaks; in `world` all of them: what is under way is lost.
    Cut,
    /// Links stand still.
    Hold,
    /// The broker is told to stop.
    Stop,
    /// What some clients send is lost; what they are sent is not.
    CutUp,
    /// What some clients are sent is lost; what they send is not.
    CutDown,
    /// The disk has room for no more than `amount` bytes.
    Full,
    /// It has room again, sooner than it would have.
    Room,
    /// Clean pages leave the cache.
    Evict,
    /// A bit of `target` flips: number `amount`.
    Rot,
    /// The sector of the byte `amount` of `target` cannot be read.
    Unreadable,
    /// The machine stands still.
    Pause,
    /// Some clients stand still.
    PauseClients,
    /// The wall clock is set: from now on it is `amount` milliseconds off.
    ClockStep,
    /// The disk is slow.
    Slow,
    /// The next write to `target` is lost, and acknowledged.
    LoseWrite,
    /// The next write to `target` goes to the byte `amount` instead.
    Misdirect,
    /// The folder `target` is removed.
    LoseFolder,
    /// Everything is gone.
    Wipe,
    /// The files of an earlier moment come back.
    OldCopy,
}

impl Kind {
    /// What it is called where it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::PowerLoss => "power loss",
            Kind::Cut => "cut",
            Kind::Hold => "hold",
            Kind::CutUp => "cut upwards",
            Kind::CutDown => "cut downwards",
            Kind::PauseClients => "pause of clients",
            Kind::Slow => "slow disk",
            Kind::Stop => "stop",
            Kind::Full => "full disk",
            Kind::Room => "room again",
            Kind::Evict => "eviction",
            Kind::Rot => "rot",
            Kind::Unreadable => "unreadable sector",
            Kind::Pause => "pause",
            Kind::ClockStep => "step of the wall clock",
            Kind::LoseWrite => "lost write",
            Kind::Misdirect => "misdirected write",
            Kind::LoseFolder => "lost folder",
            Kind::Wipe => "wipe",
            Kind::OldCopy => "old copy",
        }
    }
}

/// By site and key, what departed from the default.
pub type Fates = BTreeMap<String, BTreeMap<u64, u64>>;

/// All that departs from the default in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// What the run is made of: sizes, speeds, which faults there are.
    pub parameters: BTreeMap<String, u64>,
    /// By time.
    pub faults: Vec<Fault>,
    /// When each client took which of its turns.
    pub turns: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// What became of messages, and of what was on its way to the disk.
    pub fates: Fates,
}

/// A file of decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Of the file: others are refused.
    pub klamm_decisions: u32,
    /// The engine.
    pub engine: String,
    /// Whatever no decision is about is drawn from it.
    pub seed: u64,
    /// Of the sources that made the file.
    pub commit: String,
    /// What the run broke; empty if nothing.
    pub property: String,
    /// Of the whole run, as hexadecimal digits.
    pub digest: String,
    /// How much there was before it was shrunk.
    pub of: Sizes,
    /// What was decided.
    pub decisions: Decisions,
}

/// How many decisions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Things that go wrong: those with a time, and errors of the disk.
    pub faults: usize,
    /// Turns that clients take.
    pub turns: usize,
    /// All else.
    pub fates: usize,
}

/// Sites whose fates are faults of the disk.
pub const DISK_FAULTS: &[&str] =
    &["write error", "sync error", "disk stall", "no room", "recovery error", "harm", "last harm"];

/// Sites whose fates are what a crash or a cut left, not how long something took.
pub const OUTCOMES: &[&str] = &[
    "ballot kept",
    "batches kept",
    "cut downwards",
    "cut is silent",
    "cut upwards",
    "dies while it starts",
    "evicted",
    "full at sync",
    "half open",
    "harmed in use",
    "in flight",
    "last is a stop",
    "last is power",
    "last restart",
    "length",
    "lost with the broker",
    "mood",
    "name",
    "names' mood",
    "opened",
    "part",
    "power after an exit",
    "reached",
    "refused in silence",
    "removed",
    "sector",
    "segment begun",
    "shards of a life",
    "stopped by a kill",
    "stopped by power",
    "stopped in order",
    "trimmed",
    "written",
];

impl Decisions {
    /// How many of each.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let is_fault = |site: &str| DISK_FAULTS.contains(&site);
        let count = |faults: bool| {
            self.fates.iter().filter(|(site, _)| is_fault(site) == faults).map(|(_, of)| of.len()).sum::<usize>()
        };
        let turns = self.turns.values().map(BTreeMap::len).sum();
        Sizes { faults: self.faults.len() + count(true), turns, fates: count(false) }
    }
}

impl File {
    /// A file of this version.
    #[must_use]
    pub fn new(engine: &str, seed: u64, decisions: Decisions) -> File {
        let of = decisions.sizes();
        let (engine, commit) = (engine.to_owned(), String::new());
        let (property, digest) = (String::new(), String::new());
        File { klamm_decisions: VERSION, engine, seed, commit, property, digest, of, decisions }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn parse(text: &str) -> Result<File, String> {
        #[derive(Deserialize)]
        struct Head {
            klamm_decisions: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| format!("no file of decisions: {error}"))?;
        if head.klamm_decisions != VERSION {
            return Err(format!("a file of version {}, and this is {VERSION}", head.klamm_decisions));
        }
        serde_json::from_str(text).map_err(|error| format!("damaged: {error}"))
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("maps whose keys are names and numbers")
    }
}

/// When a client takes its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now: it is the n-th.
    Now(u64),
    /// Not before this time.
    At(u64),
    /// It took its last one.
    Never,
}

/// What a run by a book came to, and what it decided.
pub fn recorded(run: impl FnOnce(Rc<Book>) -> Report) -> (Report, Decisions) {
    let book = Rc::new(Book::writing());
    (run(book.clone()), book.used())
}

/// What a run came to for which this was decided; what of it was asked for, and how much was not, of how much.
pub fn replayed(decisions: &Decisions, run: impl FnOnce(Rc<Book>) -> Report) -> (Report, Decisions, (usize, usize)) {
    let book = Rc::new(Book::reading(decisions.clone()));
    (run(book.clone()), book.used(), book.unused())
}

/// Where decisions come from, and where they are written down.
#[derive(Debug)]
pub enum Book {
    /// Everything is drawn, nothing is kept.
    Blank,
    /// Everything is drawn and kept.
    Writing(RefCell<Decisions>),
    /// Nothing is drawn that a decision is about; with what was asked for so far.
    Reading(Decisions, RefCell<Decisions>),
}

impl Book {
    /// A book to be written.
    #[must_use]
    pub fn writing() -> Book {
        Book::Writing(RefCell::default())
    }

    /// A book to be read.
    #[must_use]
    pub fn reading(decisions: Decisions) -> Book {
        Book::Reading(decisions, RefCell::default())
    }

    /// A parameter of the run: one that is not in the book is drawn.
    pub fn parameter(&self, name: &str, drawn: u64) -> u64 {
        match self {
            Book::Blank => drawn,
            Book::Writing(kept) => *kept.borrow_mut().parameters.entry(name.to_owned()).or_insert(drawn),
            Book::Reading(told, asked) => {
                let value = told.parameters.get(name).copied().unwrap_or(drawn);
                asked.borrow_mut().parameters.insert(name.to_owned(), value);
                value
            }
        }
    }

    /// What becomes of something.
    pub fn fate(&self, site: &str, key: u64, default: u64, drawn: impl FnOnce() -> u64) -> u64 {
        let keep = |to: &RefCell<Decisions>, value: u64| {
            let mut to = to.borrow_mut();
            match to.fates.get_mut(site) {
                Some(of) => of.insert(key, value),
                None => to.fates.entry(site.to_owned()).or_default().insert(key, value),
            };
        };
        match self {
            Book::Blank => drawn(),
            Book::Writing(kept) => {
                let value = drawn();
                if value != default {
                    keep(kept, value);
                }
                value
            }
            Book::Reading(told, asked) => match told.fates.get(site).and_then(|of| of.get(&key)) {
                Some(value) => {
                    keep(asked, *value);
                    *value
                }
                None => default,
            },
        }
    }

    /// What goes wrong, and when.
    pub fn faults(&self, drawn: impl FnOnce() -> Vec<Fault>) -> Vec<Fault> {
        match self {
            Book::Blank => drawn(),
            Book::Writing(kept) => {
                kept.borrow_mut().faults = drawn();
                kept.borrow().faults.clone()
            }
            Book::Reading(told, _) => told.faults.clone(),
        }
    }

    /// The faults of a book that is read; none of another: they are drawn as their time comes.
    #[must_use]
    pub fn told(&self) -> Option<Vec<Fault>> {
        match self {
            Book::Blank | Book::Writing(_) => None,
            Book::Reading(told, _) => Some(told.faults.clone()),
        }
    }

    /// A fault was drawn when its time came.
    pub fn drew(&self, fault: &Fault) {
        if let Book::Writing(kept) = self {
            kept.borrow_mut().faults.push(fault.clone());
        }
    }

    /// A fault came about: others were still to come when the run ended.
    pub fn happened(&self, fault: &Fault) {
        if let Book::Reading(_, asked) = self {
            asked.borrow_mut().faults.push(fault.clone());
        }
    }

    /// A client is ready to take its n-th turn, or a later one.
    pub fn turn(&self, client: u64, n: u64, now: u64) -> Turn {
        match self {
            Book::Blank => Turn::Now(n),
            Book::Writing(kept) => {
                kept.borrow_mut().turns.entry(client).or_default().insert(n, now);
                Turn::Now(n)
            }
            Book::Reading(told, asked) => match told.turns.get(&client).and_then(|of| of.range(n..).next()) {
                Some((n, at)) if *at <= now => {
                    asked.borrow_mut().turns.entry(client).or_default().insert(*n, *at);
                    Turn::Now(*n)
                }
                Some((_, at)) => Turn::At(*at),
                None => Turn::Never,
            },
        }
    }

    /// What was kept, or asked for: of a book that is read, all that mattered.
    #[must_use]
    pub fn used(&self) -> Decisions {
        match self {
            Book::Blank => Decisions::default(),
            Book::Writing(kept) | Book::Reading(_, kept) => kept.borrow().clone(),
        }
    }

    /// Of a book that was read, how many decisions nobody asked for, of how many.
    #[must_use]
    pub fn unused(&self) -> (usize, usize) {
        let Book::Reading(told, asked) = self else { return (0, 0) };
        let all = |d: &Decisions| {
            let Sizes { faults, turns, fates } = d.sizes();
            faults + turns + fates
        };
        (all(told) - all(&asked.borrow()), all(told))
    }
}

/// One thing that can be left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A fault with a time.
    Fault(Fault),
    /// A fate: site and key.
    Fate(String, u64),
    /// A turn: client and number.
    Turn(u64, u64),
}

impl Decisions {
    /// Everything that can be left out.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let faults = self.faults.iter().map(|fault| Item::Fault(fault.clone()));
        let fates = self.fates.iter().flat_map(|(site, of)| of.keys().map(|key| Item::Fate(site.clone(), *key)));
        let turns = self.turns.iter().flat_map(|(client, of)| of.keys().map(|n| Item::Turn(*client, *n)));
        faults.chain(fates).chain(turns)
    }

    /// Without some things.
    #[must_use]
    pub fn without(&self, gone: &BTreeSet<Item>) -> Decisions {
        let mut left = self.clone();
        left.faults.retain(|fault| !gone.contains(&Item::Fault(fault.clone())));
        for item in gone {
            match item {
                Item::Fault(_) => {}
                Item::Fate(site, key) => drop(left.fates.get_mut(site).and_then(|of| of.remove(key))),
                Item::Turn(client, n) => drop(left.turns.get_mut(client).and_then(|of| of.remove(n))),
            }
        }
        left.fates.retain(|_, of| !of.is_empty());
        left.turns.retain(|_, of| !of.is_empty());
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_what_is_not_takes_the_default() {
        let book = Book::writing();
        assert_eq!((book.fate("late", 1, 10, || 30), book.fate("late", 2, 10, || 10)), (30, 10));
        assert_eq!(book.turn(5, 0, 100), Turn::Now(0));
        assert_eq!(book.turn(5, 1, 200), Turn::Now(1));
        assert_eq!(book.parameter("shards", 3), 3);
        let kept = book.used();
        assert_eq!(kept.sizes(), Sizes { faults: 0, turns: 2, fates: 1 });
        let gone = BTreeSet::from([Item::Turn(5, 0)]);
        let book = Book::reading(kept.without(&gone));
        assert_eq!((book.fate("late", 1, 10, || 99), book.fate("late", 7, 10, || 99)), (30, 10));
        assert_eq!(book.turn(5, 0, 100), Turn::At(200));
        assert_eq!(book.unused(), (1, 2));
        assert_eq!(book.turn(5, 0, 250), Turn::Now(1));
        assert_eq!((book.turn(5, 2, 300), book.unused().0), (Turn::Never, 0));
        assert_eq!((book.parameter("shards", 9), book.parameter("new", 4)), (3, 4));
    }

    #[test]
    fn a_file_reads_back_and_others_are_refused() {
        let mut decisions = Decisions::default();
        decisions.faults.push(Fault { down: 5, ..Fault::new(1, 0, Kind::PowerLoss) });
        decisions.fates.entry("late".into()).or_default().insert(3, 4);
        decisions.turns.entry(1).or_default().insert(0, 9);
        let file = File::new("direct", 7, decisions);
        assert_eq!(File::parse(&file.text()), Ok(file.clone()));
        let other = file.text().replace("\"klamm_decisions\": 1", "\"klamm_decisions\": 2");
        assert!(File::parse(&other).unwrap_err().contains("version 2"));
        assert!(File::parse("{").is_err() && File::parse("").is_err());
    }
}
