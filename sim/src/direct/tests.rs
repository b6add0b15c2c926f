//! The engine itself: a seed is a run, decisions replay and shrink, and a disk that breaks its promise is found out.

use super::*;
use crate::decisions::{Decisions, Kind, recorded, replayed};
use crate::shrink::shrink;

#[test]
fn a_seed_twice_is_the_same_run() {
    for seed in 0..10 {
        let (one, two) = (run(seed, false), run(seed, seed == 3));
        assert_eq!((one.digest, one.counters), (two.digest, two.counters), "seed {seed}");
    }
    assert_ne!(run(1, false).digest, run(2, false).digest);
}

#[test]
fn what_was_decided_replays_to_the_same_run() {
    for seed in 0..10 {
        let (report, decisions) = recorded(|book| by(seed, false, book));
        let (again, used, (unused, of)) = replayed(&decisions, |book| by(seed, false, book));
        assert_eq!((report.digest, report.counters), (again.digest, again.counters), "seed {seed}");
        assert!(of > 100, "seed {seed} decides only {of} things");
        // Of turns that nobody came to take, and faults that were still to come, some are left.
        assert!(unused * 50 < of, "seed {seed}: {unused} of {of} are not asked for");
        assert_eq!(replayed(&used, |book| by(seed, false, book)).0.digest, report.digest, "seed {seed}");
    }
}

#[test]
fn every_subset_is_a_run_in_which_all_is_well() {
    for seed in 0..20 {
        let (_, decisions) = recorded(|book| by(seed, false, book));
        let some = decisions.items().enumerate().filter(|(n, _)| n % 3 != seed as usize % 3).map(|(_, item)| item);
        let (report, _, _) = replayed(&decisions.without(&some.collect()), |book| by(seed, false, book));
        assert!(matches!(report.verdict, Verdict::Clean | Verdict::Inconclusive(_)), "{report}");
        let nothing = Decisions { parameters: decisions.parameters.clone(), ..Decisions::default() };
        let (report, _, _) = replayed(&nothing, |book| by(seed, false, book));
        assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "nobody does anything: {report}");
    }
}

/// All is acknowledged afterwards: that says nothing of faults.
#[test]
fn a_run_without_progress_is_inconclusive() {
    let (_, mut decisions) = recorded(|book| by(2, false, book));
    // Longer than any work, and over before healing would have to be.
    decisions.faults = vec![Fault { down: 350 * SECOND, ..Fault::new(MS, 0, Kind::Pause) }];
    let (report, _, _) = replayed(&decisions, |book| by(2, false, book));
    assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "{report}");
    let acks = report.counters.get("acks").copied();
    assert_eq!((acks, report.acks_a_second(), report.exit_code()), (Some(0), 0.0, 4), "{report}");
    assert!(report.worked_ns < report.simulated_ns);
}

#[test]
fn a_broken_promise_comes_down_to_one_fault_and_a_few_turns() {
    let canary = Canary::RecoveredNotDurable;
    let property = |report: &Report| report.property().map(str::to_owned);
    let fails = |seed: &u64| property(&run_by(*seed, false, Rc::new(Book::Blank), canary)).is_some();
    let mut least = usize::MAX;
    // What one of them comes down to is a matter of luck: that of all shrinks well, and some one as far as can be.
    for seed in (0..60).filter(fails).take(3) {
        let (report, before) = recorded(|book| run_by(seed, false, book, canary));
        let mut run = |decisions: &Decisions| {
            let (report, used, _) = replayed(decisions, |book| run_by(seed, false, book, canary));
            (property(&report), used)
        };
        let shrunk = shrink(&before, "durable-before-seen", 1_000, &mut run).expect("it replays");
        assert_eq!(property(&report).as_deref(), Some("durable-before-seen"));
        let (many, few) = (before.sizes(), shrunk.decisions.sizes());
        let well = (few.faults == 1 || few.faults * 3 <= many.faults) && few.turns * 5 < many.turns;
        assert!(well, "seed {seed}: {many:?} became {few:?} in {} runs", shrunk.runs);
        least = least.min(few.faults);
    }
    assert_eq!(least, 1, "one fault is enough");
}

/// The first seed in which a broken promise of the disk is found out, and as what.
fn found(canary: Canary) -> Violation {
    let reports = (0..60).map(|seed| run_by(seed, false, Rc::new(Book::Blank), canary));
    let unsafe_ones = reports.filter_map(|report| match report.verdict {
        Verdict::Unsafe(violation) => Some(violation),
        Verdict::Clean | Verdict::Stuck(_) | Verdict::Inconclusive(_) => None,
    });
    unsafe_ones.into_iter().next().unwrap_or_else(|| panic!("{canary:?} is not found"))
}

#[test]
fn done_before_the_sync_is_found() {
    assert_eq!(found(Canary::DoneBeforeSync).property, "durable-before-seen");
}

#[test]
fn an_ignored_failure_is_found() {
    assert_eq!(found(Canary::FailureIgnored).property, "durable-before-seen");
}

#[test]
fn recovery_that_makes_nothing_durable_is_found() {
    assert_eq!(found(Canary::RecoveredNotDurable).property, "durable-before-seen");
}

#[test]
fn a_cut_of_what_was_known_to_be_on_the_device_is_found() {
    assert_eq!(found(Canary::CutSilently).property, "not-cut-silently");
}

/// Nothing else goes wrong, so whoever asked before it was told is answered.
#[test]
fn a_broker_that_is_told_to_stop_answers_what_it_has_taken() {
    let mut stopped = 0;
    for seed in 0..60 {
        let (report, mut decisions) = recorded(|book| by(seed, false, book));
        if decisions.parameters.get("calm") != Some(&1) {
            continue;
        }
        assert_eq!(report.verdict, Verdict::Clean, "{report}");
        decisions.faults =
            (1..6).map(|n| Fault { down: 700 * MS, ..Fault::new(4 * n * SECOND, n, Kind::Stop) }).collect();
        let (report, _, _) = replayed(&decisions, |book| by(seed, false, book));
        assert_eq!(report.verdict, Verdict::Clean, "{report}");
        let count = |what| report.counters.get(what).copied().unwrap_or_default();
        assert_eq!((count("clean stops"), count("stops that leave questions")), (5, 0), "{report}");
        assert!(count("logs closed") > 0, "{report}");
        stopped += 1;
    }
    assert!(stopped > 3, "{stopped} calm runs");
}
