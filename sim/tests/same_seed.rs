//! A run is a function of its seed, whatever process it is in: no clock, no address, no hash order, no thread of this
//! machine gets into it.

use std::process::{Command, Output};

fn klamm_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klamm-sim")).args(arguments).output().expect("the binary of this package")
}

#[test]
fn two_processes_trace_the_same() {
    for (engine, seed) in [("world", "3"), ("world", "44"), ("world", "505"), ("direct", "3"), ("direct", "44")] {
        let arguments = ["run", "--engine", engine, "--seed", seed, "--trace"];
        let (one, other) = (klamm_sim(&arguments), klamm_sim(&arguments));
        let lines = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
        let (one, other) = (lines(&one), lines(&other));
        assert!(one.lines().count() > 200, "{engine} seed {seed} does next to nothing:\n{one}");
        let differ = one.lines().zip(other.lines()).find(|(a, b)| a != b);
        assert_eq!(differ, None, "{engine} seed {seed}");
        assert_eq!(one, other, "{engine} seed {seed}: one trace is longer");
    }
}

#[test]
fn exit_codes_tell() {
    assert_eq!(klamm_sim(&["run", "--seed", "1"]).status.code(), Some(0));
    assert_eq!(klamm_sim(&["run"]).status.code(), Some(2));
    assert_eq!(klamm_sim(&["campaign", "--seeds", "2", "--twice"]).status.code(), Some(0));
    let unknown = klamm_sim(&["mutants", "no-such-bug"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no-such-bug.patch"), "{unknown:?}");
}
