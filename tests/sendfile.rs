//! A slow reader, real sockets and `sendfile`, while the log that is being sent is cut and written again, trimmed or
//! removed: the reader gets the bytes that were leased, or a closed connection; never other bytes.
//!
//! `sendfile` queues pages by reference. So not only what is still to be sent may change under the reader, but also what
//! was sent and not yet received: batches here end in the middle of a page, where a log that is cut in place would write
//! its next bytes into a page that is still queued.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use klamm::crc32c;
use klamm::disk::logs::{Lease, Logs, Options, Piece};
use klamm::disk::{AnyDisk, Driver, File, Uring};
use klamm::host::{Disk, Net, send};
use klamm::net::{SystemClock, TcpNet, TcpWriter, bind};
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LeaderEpoch, LogId, Offset, Seq, ShardIndex, Timestamp, Uuid};
use klamm_core::log::Checkpoint;
use klamm_core::record::{Batch, Builder};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

const LOG: LogId = LogId { topic: Uuid([7; 16]), partition: 0 };
/// No multiple of a page, header included.
const VALUE_BYTES: usize = 50_001;
/// Long enough that most of it is still to be sent when the reader pauses.
const LONG: i64 = 400;
/// Short enough to lie in the socket as a whole.
const SHORT: i64 = 4;
/// What a socket holds here, in either direction.
const SOCKET_BYTES: usize = 400 << 10;
const OPEN: Seq = Seq(0);

/// A shard's store with one log, and how far the log got.
struct Store {
    disk: AnyDisk,
    logs: Logs<AnyDisk>,
    seq: Seq,
    state: Checkpoint,
    ended: Rc<RefCell<VecDeque<Input>>>,
}

impl Store {
    async fn with_a_log(directory: PathBuf, driver: Driver) -> Store {
        let disk = AnyDisk::choose(directory, driver).unwrap();
        let ended = Rc::new(RefCell::new(VecDeque::new()));
        let events = {
            let ended = Rc::clone(&ended);
            Rc::new(move |input| ended.borrow_mut().push_back(input))
        };
        // Without a tail in memory everything is leased from files.
        let options = Options { log_tail_bytes: 0, shard_tail_bytes: 0, ..Options::new(crc32c) };
        let logs = Logs::recover(disk.clone(), options, ShardIndex(0), 1, events).await.unwrap();
        let mut store = Store { disk, logs, seq: OPEN, state: Checkpoint::empty(), ended };
        store.change(Effect::Open { log: LOG, seq: OPEN, name: "t".to_owned() }).await;
        store
    }

    /// Makes a change and waits for its end.
    async fn change(&mut self, effect: Effect) {
        self.logs.change(effect);
        loop {
            let event = self.ended.borrow_mut().pop_front();
            match event {
                Some(Input::Done { seq, .. }) if seq == self.seq => break,
                Some(other) => panic!("not the end of change {}: {other:?}", self.seq),
                None => sleep(Duration::from_micros(100)).await,
            }
        }
        self.seq = Seq(self.seq.0 + 1);
    }

    /// Appends one batch whose bytes say `salt`.
    async fn append(&mut self, salt: u8, roll: bool) {
        let mut builder = Builder::new();
        builder.push(Timestamp(1), None, Some(&[salt; VALUE_BYTES]));
        let batch = Batch::stored(builder.build(crc32c), crc32c).unwrap();
        let (offset, leader_epoch) = (self.state.at, LeaderEpoch(1));
        let before = roll.then(|| Box::new(self.state.clone()));
        self.state.fold(&batch.stamped_header(offset, leader_epoch), roll);
        let seq = self.seq;
        self.change(Effect::Append { log: LOG, seq, offset, leader_epoch, batch, sync: true, roll: before }).await;
    }

    /// Appends `count` batches, the first two thirds of them in a first segment.
    async fn fill(&mut self, count: i64, salt: u8) {
        for at in 0..count {
            self.append(salt, at > 0 && at == count * 2 / 3).await;
        }
    }

    async fn lease(&self, from: i64) -> Lease<File> {
        let lease = self.logs.lease(LOG, Offset(from), Offset(i64::MAX), u32::MAX).await.unwrap();
        assert!(lease.pieces.iter().all(|piece| matches!(piece, Piece::File { .. })), "nothing comes from memory");
        lease
    }

    /// What a lease says now.
    async fn read(&self, lease: &Lease<File>) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in &lease.pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::File { file, at, len } => {
                    all.extend_from_slice(&self.disk.read(file, *at, *len as usize).await.unwrap());
                }
            }
        }
        all
    }
}

/// What happens to the log while it is being read.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Cut in the middle of its first segment and filled again with other bytes.
    Rewrite,
    /// Cut to nothing and filled again with other bytes.
    StartOver,
    /// The first segment goes.
    Trim,
    /// All of it goes.
    Remove,
}

impl Change {
    async fn happen(self, store: &mut Store, count: i64) {
        let seq = store.seq;
        match self {
            Change::Rewrite | Change::StartOver => {
                let to = if matches!(self, Change::Rewrite) { count / 3 } else { 0 };
                store.change(Effect::Truncate { log: LOG, seq, to: Offset(to) }).await;
                (store.state.at, store.state.epochs) = (Offset(to), Vec::new());
                for _ in to..count {
                    store.append(0xbb, false).await;
                }
                let rewritten = store.lease(to).await;
                let rewritten = store.read(&rewritten).await;
                let says = |salt: u8| rewritten.windows(64).any(|bytes| bytes == [salt; 64]);
                assert!(says(0xbb) && !says(0xaa), "the log was written again");
            }
            Change::Trim => {
                store.change(Effect::Trim { log: LOG, seq, to: Offset(count * 2 / 3), roll: None }).await;
                assert_eq!(store.lease(0).await.bytes, 0, "the first segment is gone");
            }
            Change::Remove => {
                store.change(Effect::Remove { log: LOG, seq }).await;
                let gone = store.logs.lease(LOG, Offset(0), Offset(i64::MAX), u32::MAX).await;
                assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound, "the log is gone");
            }
        }
    }
}

/// A connection with small buffers: the broker's end, the client's end.
async fn connection() -> (TcpWriter, TcpStream) {
    let listener = bind("127.0.0.1:0".parse().unwrap(), 1, 16).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&listener, SOCKET_BYTES).unwrap();
    let net = TcpNet::new(listener).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(u32::try_from(SOCKET_BYTES).unwrap()).unwrap();
    let client = socket.connect(address).await.unwrap();
    let (_reader, writer, _) = net.accept().await.unwrap();
    (writer, client)
}

/// Sends a whole log of `count` batches to a client that pauses until the change is done.
async fn read_while(change: Change, count: i64, directory: PathBuf, driver: Driver) {
    let mut store = Store::with_a_log(directory, driver).await;
    store.fill(count, 0xaa).await;
    let lease = store.lease(0).await;
    let want = store.read(&lease).await;
    assert_eq!(want.len(), lease.bytes as usize);

    let (mut writer, mut client) = connection().await;
    let disk = store.disk.clone();
    let sending = spawn_local(async move {
        let mut pieces = VecDeque::from(lease.pieces);
        pieces.push_front(Piece::Bytes(Bytes::from_static(b"header")));
        send(&mut writer, &disk, &SystemClock::start(), &mut pieces).await
    });
    let mut got = vec![0; 6];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, b"header");
    // Until the socket is full, or all is in it.
    sleep(Duration::from_millis(50)).await;
    assert_eq!(sending.is_finished(), count == SHORT, "the reader pauses in the middle of the sending, or after it");

    change.happen(&mut store, count).await;
    got.clear();
    let end = client.read_to_end(&mut got).await;
    let sent = sending.await.unwrap();
    assert!(got.len() <= want.len(), "{change:?}: more than was leased");
    let differs = got.iter().zip(&want).position(|(got, want)| got != want);
    assert_eq!(differs, None, "{change:?}: the reader got other bytes, of {} in all", want.len());
    if got.len() < want.len() {
        assert!(sent.is_err() || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset), "{change:?}: cut short");
    }
}

fn under(driver: Driver, name: &str) {
    for (at, change) in [Change::Rewrite, Change::StartOver, Change::Trim, Change::Remove].into_iter().enumerate() {
        for count in [LONG, SHORT] {
            let name = format!("sendfile-{name}-{at}-{count}");
            let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(&directory).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, read_while(change, count, directory.clone(), driver));
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }
}

#[test]
fn a_slow_reader_gets_what_was_leased_with_threads() {
    under(Driver::Blocking, "threads");
}

#[test]
fn a_slow_reader_gets_what_was_leased_with_the_ring() {
    match Uring::probe() {
        Ok(()) => under(Driver::Uring, "ring"),
        Err(error) => println!("skipped: no io_uring here: {error}"),
    }
}
