//! The verbs of the command line against a running broker: what they do, what they print, and how they fail.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fails, klamm};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `klamm ARGS… -b BROKER` with this on stdin.
fn with(broker: &Broker, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.args(args).args(["-b", &broker.address]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(stdin));
    child.wait_with_output().unwrap()
}

/// What it printed, when it went well.
fn does(broker: &Broker, args: &[&str], stdin: &[u8]) -> String {
    let output = with(broker, args, stdin);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn dev(scratch: &Scratch) -> Broker {
    Broker::dev(&scratch.join("data"), &["--http", "off"])
}

#[test]
fn topics_live_and_die() {
    let scratch = Scratch::new("topics");
    let broker = dev(&scratch);
    does(&broker, &["topic", "create", "born", "-p", "3", "--config", "flush.messages=1"], b"");
    fails(&with(&broker, &["topic", "create", "born"], b""), 4, &["born", "TOPIC_ALREADY_EXISTS"]);
    does(&broker, &["topic", "create", "born", "--if-not-exists"], b"");
    fails(&with(&broker, &["topic", "create", "a/b"], b""), 4, &["INVALID_TOPIC_EXCEPTION"]);
    fails(&with(&broker, &["topic", "create", "c", "--config", "nonsense=1"], b""), 4, &["nonsense"]);
    fails(&with(&broker, &["topic", "create", "c", "-p", "0"], b""), 2, &["partitions"]);
    fails(&with(&broker, &["topic", "create", "c", "-r", "3"], b""), 4, &["INVALID_REPLICATION_FACTOR"]);
    let listed = does(&broker, &["topic", "list"], b"");
    assert_eq!(listed, "TOPIC  PARTITIONS  REPLICAS\nborn   3           1\n");
    let listed = does(&broker, &["topic", "list", "--output", "json"], b"");
    assert_eq!(listed, "[{\"topic\":\"born\",\"partitions\":3,\"replicas\":1}]\n");
    does(&broker, &["topic", "add-partitions", "born", "-p", "5"], b"");
    fails(&with(&broker, &["topic", "add-partitions", "born", "-p", "4"], b""), 4, &["INVALID_PARTITIONS"]);
    does(&broker, &["produce", "-t", "born", "-p", "4"], b"a\nb\nc\n");
    let described = does(&broker, &["topic", "describe", "born"], b"");
    let lines: Vec<Vec<&str>> = described.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[5], ["born", "4", "1", "0", "1", "1", "0", "3"], "{described}");
    assert_eq!(
        lines[6..],
        [vec![], vec!["TOPIC", "CONFIG", "VALUE", "ORIGIN"], vec!["born", "flush.messages", "1", "topic"]]
    );
    does(&broker, &["topic", "trim", "born", "-p", "4", "-o", "2", "--yes"], b"");
    let described = does(&broker, &["topic", "describe", "born", "--output", "json"], b"");
    assert!(described.contains("\"startOffset\":2,\"endOffset\":3"), "{described}");
    fails(&with(&broker, &["topic", "trim", "born", "-p", "4", "-o", "9", "--yes"], b""), 4, &["OFFSET_OUT_OF_RANGE"]);
    fails(&with(&broker, &["topic", "delete", "born"], b""), 2, &["--yes"]);
    does(&broker, &["topic", "delete", "born", "--yes"], b"");
    fails(&with(&broker, &["topic", "describe", "born"], b""), 3, &["UNKNOWN_TOPIC_OR_PARTITION"]);
    fails(&with(&broker, &["topic", "delete", "born", "--yes"], b""), 3, &["born"]);
    broker.stop();
}

#[test]
fn configs_of_a_topic_are_altered_and_told_with_their_origin() {
    let scratch = Scratch::new("alter");
    let broker = Broker::dev(&scratch.join("data"), &["--http", "off", "--override", "log.retention.ms=7200000"]);
    does(&broker, &["topic", "create", "t"], b"");
    let configs = || {
        let described = does(&broker, &["topic", "describe", "t", "--output", "json"], b"");
        described.trim_end().rsplit_once("\"configs\":").unwrap().1.to_owned()
    };
    let file = "{\"name\":\"retention.ms\",\"value\":\"7200000\",\"origin\":\"file\"}";
    assert_eq!(configs(), format!("[{file}]}}]"));
    let alter = |args: &[&str]| with(&broker, &[&["topic", "alter", "t"], args].concat(), b"");
    let output = alter(&["--config", "retention.ms=5000", "--config", "segment.bytes=2000000"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b"altered t\n"[..]));
    let set = "{\"name\":\"segment.bytes\",\"value\":\"2000000\",\"origin\":\"topic\"}";
    let both = format!("[{},{set}]}}]", file.replace("7200000", "5000").replace("file", "topic"));
    assert_eq!(configs(), both);
    fails(&alter(&["--config", "retention.ms=7", "--config", "retention.bytes=much"]), 4, &["INVALID_CONFIG", "much"]);
    fails(&alter(&["--config", "nonsense=1"]), 4, &["nonsense"]);
    let output = alter(&["--config", "retention.ms=7", "--validate-only"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b"could alter t\n"[..]));
    assert_eq!(configs(), both, "all of it or nothing, and nothing when it is only to see");
    does(&broker, &["topic", "alter", "t", "--delete-config", "retention.ms", "-d", "segment.bytes"], b"");
    assert_eq!(configs(), format!("[{file}]}}]"));
    fails(&alter(&[]), 2, &["--delete-config"]);
    fails(&with(&broker, &["topic", "alter", "none", "-d", "retention.ms"], b""), 3, &["none"]);
    broker.stop();
}

#[test]
fn what_is_produced_is_consumed() {
    let scratch = Scratch::new("produce-consume");
    let broker = dev(&scratch);
    does(&broker, &["topic", "create", "t", "-p", "2"], b"");
    does(&broker, &["produce", "-t", "t", "-p", "0", "-K", ":", "-H", "h=1"], b"ada:1815\ngrace:1906\n:empty\nnone\n");
    let all = |args: &[&str]| does(&broker, &[&["consume", "-t", "t", "-e", "-q"], args].concat(), b"");
    assert_eq!(all(&[]), "1815\n1906\nempty\nnone\n");
    assert_eq!(all(&["-p", "1"]), "");
    assert_eq!(all(&["-K", "="]), "ada=1815\ngrace=1906\n=empty\n=none\n");
    assert_eq!(
        all(&["-f", r"%t [%p] %o %k(%K) %s %h\n", "-c", "2"]),
        "t [0] 0 ada(3) 1815 h=1\nt [0] 1 grace(5) 1906 h=1\n"
    );
    assert_eq!(all(&["-o", "-1"]), "none\n");
    assert_eq!(all(&["-o", "end"]), "");
    assert_eq!(all(&["-o", "2", "-p", "0", "-D", ";", "-u"]), "empty;none;");
    assert_eq!(all(&["-o", "s@0", "-n", "1"]), "1815\n");
    assert_eq!(all(&["-o", "s@99999999999999"]), "");
    assert_eq!(all(&["-o", "e@99999999999999"]), "1815\n1906\nempty\nnone\n", "a time to come stops nothing");
    assert_eq!(all(&["-o", "e@0"]), "");
    let json = all(&["-J", "-n", "1"]);
    let (before, after) = json.split_once("\"ts\":").unwrap();
    assert_eq!(before, "{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"tstype\":\"create\",");
    assert_eq!(
        after.split_once(',').unwrap().1,
        "\"broker\":1,\"headers\":[\"h\",\"1\"],\"key\":\"ada\",\"payload\":\"1815\"}\n"
    );
    for value in [b"early", b"later"] {
        does(&broker, &["produce", "-t", "times", "-p", "0"], value);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let later = does(&broker, &["consume", "-t", "times", "-e", "-q", "-o", "1", "-f", "%T"], b"");
    assert_eq!(does(&broker, &["consume", "-t", "times", "-o", &format!("e@{later}")], b""), "early\n", "and it ends");
    assert_eq!(does(&broker, &["consume", "-t", "times", "-e", "-q", "-o", &format!("s@{later}")], b""), "later\n");
    fails(&with(&broker, &["consume", "-t", "t", "-o", "end", "-o", "0"], b""), 2, &["once"]);
    fails(&with(&broker, &["consume", "-t", "t", "-o", "s@-1"], b""), 2, &["s@-1"]);
    fails(&with(&broker, &["consume", "-t", "t", "-e", "-p", "0", "-o", "5"], b""), 4, &["0 to 4"]);
    fails(&with(&broker, &["consume", "-t", "t", "-e", "-p", "7"], b""), 3, &["no partition 7"]);
    fails(&with(&broker, &["produce", "-t", "t", "-p", "7"], b"x"), 3, &["no partition 7"]);
    fails(&with(&broker, &["consume", "-t", "none", "-e"], b""), 3, &["none"]);
    fails(&with(&broker, &["consume", "-t", "t", "-f", "%q"], b""), 2, &["%q"]);
    fails(&with(&broker, &["consume", "-t", "t", "-o", "never"], b""), 2, &["never"]);
    let said = with(&broker, &["consume", "-t", "t", "-e", "-p", "0"], b"").stderr;
    assert_eq!(String::from_utf8(said).unwrap(), "% Reached end of topic t [0] at offset 4\n");
    broker.stop();
}

#[test]
fn bytes_come_back_as_they_went() {
    let scratch = Scratch::new("bytes");
    let broker = dev(&scratch);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\n').collect();
    let lines: Vec<u8> = sent.chunks(4_000).flat_map(|line| [line, b"\n"].concat()).collect();
    does(&broker, &["produce", "-t", "made", "-p", "0"], &lines);
    let output = with(&broker, &["consume", "-t", "made", "-e", "-q"], b"");
    assert!(output.stdout == lines, "control characters too, where nobody looks on");
    does(&broker, &["produce", "-t", "file", scratch_file(&scratch, &bytes).to_str().unwrap()], b"");
    let output = with(&broker, &["consume", "-t", "file", "-e", "-q", "-f", "%s"], b"");
    assert!(output.stdout == bytes[..1_000_000]);
    broker.stop();
}

fn scratch_file(scratch: &Scratch, bytes: &[u8]) -> std::path::PathBuf {
    let path = scratch.join("file");
    std::fs::write(&path, &bytes[..1_000_000]).unwrap();
    path
}

#[test]
fn a_tombstone_is_null_and_a_key_has_its_partition() {
    let scratch = Scratch::new("keys");
    let broker = dev(&scratch);
    does(&broker, &["topic", "create", "t", "-p", "4"], b"");
    does(&broker, &["produce", "-t", "t", "-K", ":", "-Z"], b"foobar:\n21:x\nabc:y\n");
    let all = does(&broker, &["consume", "-t", "t", "-e", "-q", "-Z", "-f", "%p %k %s %S\\n"], b"");
    let mut all: Vec<&str> = all.lines().collect();
    all.sort_unstable();
    // As the Java client's hash has it.
    assert_eq!(all, ["0 21 x 1", "2 foobar NULL -1", "3 abc y 1"]);
    broker.stop();
}

#[test]
fn nobody_there_is_said() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fails(&klamm(&["topic", "list", "-b", &closed]), 5, &[&closed, "no broker answers"]);
    fails(&klamm(&["topic", "list", "-b", ""]), 5, &["names no broker"]);
    fails(&klamm(&["consume", "-t", "t", "-b", "no such host:1"]), 5, &["no broker answers"]);
    let version = klamm(&["version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("klamm "));
}

fn dump(args: &[&str], file: &Path) -> Output {
    klamm(&[&["dump-log"], args, &[file.to_str().unwrap()]].concat())
}

#[test]
fn logs_are_dumped_and_their_damage_is_found() {
    let scratch = Scratch::new("dump-log");
    let broker = dev(&scratch);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    for i in 0..60 {
        client.produce("t", 0, &[&format!("value {i}"), &"x".repeat(1_000)]);
    }
    let log = scratch.join("data/t-0/00000000000000000000.log");
    let running = dump(&[], &log);
    assert_eq!(running.status.code(), Some(0), "{}", String::from_utf8_lossy(&running.stderr));
    broker.stop();
    let text = String::from_utf8(dump(&["--print-data-log"], &log).stdout).unwrap();
    assert!(text.contains("baseOffset: 118 lastOffset: 119 count: 2 "), "{text}");
    assert_eq!(text.matches("isvalid: true").count(), 60);
    assert!(text.contains(
        "| offset: 118 CreateTime: 1000 keySize: -1 valueSize: 8 sequence: -1 headerKeys: [] payload: value 59"
    ));
    let index = String::from_utf8(dump(&[], &log.with_extension("index")).stdout).unwrap();
    assert!(index.lines().count() > 5 && index.contains("offset: ") && index.contains(" position: "), "{index}");
    let times = String::from_utf8(dump(&[], &log.with_extension("timeindex")).stdout).unwrap();
    assert!(times.contains("timestamp: 1000 offset: "), "{times}");
    let verified = dump(&["--verify"], &log);
    assert_eq!((verified.status.code(), verified.stdout.len()), (Some(0), 0));

    let whole = std::fs::read(&log).unwrap();
    let damaged = scratch.join("00000000000000000000.log");
    let becomes = |bytes: &[u8], code: i32, words: &[&str]| {
        std::fs::write(&damaged, bytes).unwrap();
        let output = dump(&["--verify"], &damaged);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    };
    becomes(&whole[..whole.len() - 10], 0, &["torn"]);
    becomes(&whole[..whole.len() - 1_060], 0, &["torn"]);
    becomes(&[&whole[..], &[0; 5_000]].concat(), 0, &["5000 zeros"]);
    becomes(&[&whole[..], &[7; 100]].concat(), 1, &["100 invalid bytes"]);
    let mut flipped = whole.clone();
    flipped[200] ^= 1;
    becomes(&flipped, 1, &["position 0", "checksum"]);
    becomes(&[&whole[..], &whole[..]].concat(), 1, &["120 was next"]);
    fails(&dump(&[], &scratch.join("nothing.log")), 2, &["20 digits"]);
    fails(&dump(&[], &scratch.join("00000000000000000001.log")), 3, &["no such file"]);
    fails(&dump(&[], &scratch.join("00000000000000000001.txt")), 2, &["not a .log"]);
}
