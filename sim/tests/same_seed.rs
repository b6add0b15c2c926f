//! A run is a function of its seed, whatever process it is in: no clock, no address, no hash order, no thread of this
//! machine gets into it.

use klamm_sim::decisions::{self, Book, File};
use klamm_sim::report::Report;
use std::fs;
use std::process::{Command, Output};
use std::rc::Rc;

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

/// What a run of either engine decided, as a file.
fn recorded(engine: &str, seed: u64, by: fn(u64, bool, Rc<Book>) -> Report) -> String {
    let (report, decisions) = decisions::recorded(|book| by(seed, false, book));
    let mut file = File::new(engine, seed, decisions);
    file.digest = format!("{:016x}", report.digest);
    let path = format!("{}/{engine}-{seed}.json", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, file.text()).expect("a folder for tests");
    path
}

#[test]
fn a_file_of_decisions_is_the_run_in_another_process_too() {
    for path in [recorded("world", 5, klamm_sim::world::by), recorded("direct", 5, klamm_sim::direct::by)] {
        let output = klamm_sim(&["replay", &path]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{path}: {said}");
        assert!(said.starts_with("clean") && said.contains(&format!("replay {path}")), "{path}: {said}");
        // It says so where the digest is another one.
        assert!(!said.contains("recorded at commit"), "{path}: {said}");
        let shrunk = klamm_sim(&["shrink", &path]);
        assert_eq!(shrunk.status.code(), Some(2), "what does not fail cannot be shrunk: {shrunk:?}");
    }
    let strange = format!("{}/strange.json", env!("CARGO_TARGET_TMPDIR"));
    let text = fs::read_to_string(recorded("world", 6, klamm_sim::world::by)).unwrap();
    fs::write(&strange, text.replace("\"engine\": \"world\"", "\"engine\": \"worlds\"")).unwrap();
    let output = klamm_sim(&["replay", &strange]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no engine \"worlds\""), "{output:?}");
}
