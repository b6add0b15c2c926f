//! Less of a run that fails: what can be left out, so that the same property still fails.
//!
//! Every subset of a book of decisions is a run, so this is delta debugging (Zeller, Hildebrandt 2002) over faults, then
//! turns of clients, then fates; after each cut only what the run asked for is kept, since what lies behind its failure
//! does not matter. Knows no engine: it is given one that runs a book.

use std::collections::BTreeSet;

use crate::decisions::{DISK_FAULTS, Decisions, Item, OUTCOMES};

/// What a run of some decisions came to: the property that failed, and all that it asked for.
pub type Ran = (Option<String>, Decisions);

/// What is left, and how it was come by.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// It still fails.
    pub decisions: Decisions,
    /// So many runs were tried.
    pub runs: u64,
}

struct Shrinker<'a> {
    run: &'a mut dyn FnMut(&Decisions) -> Ran,
    property: &'a str,
    best: Decisions,
    runs: u64,
    most: u64,
}

/// Shrinks decisions that make `property` fail, with so many runs at most. `run` runs some; nothing comes of it if the
/// decisions do not fail that way to begin with.
#[must_use]
pub fn shrink(
    decisions: &Decisions,
    property: &str,
    most: u64,
    run: &mut dyn FnMut(&Decisions) -> Ran,
) -> Option<Shrunk> {
    let mut it = Shrinker { run, property, best: decisions.clone(), runs: 0, most };
    if !it.fails(decisions) {
        return None;
    }
    loop {
        let before = it.best.items().count();
        it.pass();
        if it.best.items().count() == before || it.runs >= it.most {
            return Some(Shrunk { decisions: it.best, runs: it.runs });
        }
    }
}

impl Shrinker<'_> {
    /// Keeps what the run asked for of some decisions, if they fail.
    fn fails(&mut self, decisions: &Decisions) -> bool {
        if self.runs >= self.most {
            return false;
        }
        self.runs += 1;
        let (property, used) = (self.run)(decisions);
        let same = property.as_deref() == Some(self.property);
        if same {
            self.best = used;
        }
        same
    }

    fn drop_all(&mut self, gone: impl Fn(&Item) -> bool) -> bool {
        let gone: BTreeSet<Item> = self.best.items().filter(gone).collect();
        !gone.is_empty() && self.fails(&self.best.without(&gone))
    }

    fn pass(&mut self) {
        let is_fault = |site: &str| DISK_FAULTS.contains(&site);
        let is_outcome = |site: &str| OUTCOMES.contains(&site);
        // Most of a book: what was early or late for no reason.
        self.drop_all(|item| matches!(item, Item::Fate(site, _) if !is_fault(site) && !is_outcome(site)));
        if !self.drop_all(|item| matches!(item, Item::Fate(site, _) if !is_fault(site))) {
            let sites: Vec<String> = self.best.fates.keys().cloned().collect();
            for site in &sites {
                self.drop_all(|item| matches!(item, Item::Fate(of, _) if of == site));
            }
        }
        for site in DISK_FAULTS {
            self.drop_all(|item| matches!(item, Item::Fate(of, _) if of == site));
        }
        let kinds: BTreeSet<_> = self.best.faults.iter().map(|fault| fault.kind).collect();
        for kind in kinds {
            self.drop_all(|item| matches!(item, Item::Fault(fault) if fault.kind == kind));
        }
        self.ddmin(|item| matches!(item, Item::Fault(_)) || matches!(item, Item::Fate(site, _) if is_fault(site)));
        let clients: Vec<u64> = self.best.turns.keys().copied().collect();
        for client in clients {
            self.drop_all(|item| matches!(item, Item::Turn(of, _) if *of == client));
        }
        self.ddmin(|item| matches!(item, Item::Turn(..)));
        self.ddmin(|item| matches!(item, Item::Fate(site, _) if !is_fault(site)));
    }

    /// Leaves out ever smaller parts of some items.
    fn ddmin(&mut self, of: impl Fn(&Item) -> bool) {
        let mut parts = 2;
        loop {
            let mut items: Vec<Item> = self.best.items().filter(&of).collect();
            // What happened together goes together.
            items.sort_by_key(|item| match item {
                Item::Fault(fault) => fault.at,
                Item::Turn(client, n) => self.best.turns[client][n],
                Item::Fate(..) => 0,
            });
            if items.is_empty() || self.runs >= self.most {
                return;
            }
            let size = items.len().div_ceil(parts);
            let mut dropped = false;
            for part in items.chunks(size) {
                let gone: BTreeSet<Item> = part.iter().cloned().collect();
                dropped |= self.fails(&self.best.without(&gone));
            }
            match dropped {
                true => parts = (parts - 1).max(2),
                false if size == 1 => return,
                false => parts = (2 * parts).min(items.len()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let mut decisions = Decisions::default();
        for key in 0..500 {
            decisions.fates.entry("late".into()).or_default().insert(key, 7);
            decisions.turns.entry(key % 5).or_default().insert(key, key);
        }
        // Fails with turn 13 of client 3, turn 21 of client 1, and one late message.
        let mut run = |d: &Decisions| {
            let turn = |client, n| {
                d.turns.get(&client).is_some_and(|of: &std::collections::BTreeMap<u64, u64>| of.contains_key(&n))
            };
            let late = d.fates.get("late").is_some_and(|of| of.contains_key(&77));
            ((turn(3, 13) && turn(1, 21) && late).then(|| "p".to_owned()), d.clone())
        };
        let shrunk = shrink(&decisions, "p", 10_000, &mut run).unwrap();
        let left: Vec<Item> = shrunk.decisions.items().collect();
        assert_eq!(left, [Item::Fate("late".into(), 77), Item::Turn(1, 21), Item::Turn(3, 13)]);
        assert!(shrunk.runs < 150, "{}", shrunk.runs);
        assert!(shrink(&decisions, "another", 10_000, &mut run).is_none());
        let few = shrink(&decisions, "p", 5, &mut run).unwrap();
        assert!(few.runs <= 5 && few.decisions.items().count() > 3);
    }
}
