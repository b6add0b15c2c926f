//! The floors: what a broker cannot leave out, and nothing else. One thread (and one for the flush), one file.
//!
//! * `write`: receive a frame, CRC-32C of its batch, pwrite, answer.
//! * `group-commit`: the same, but all frames at hand are written and synced together by a flush thread, then answered.
//! * `sync`: receive, checksum, write and sync at once, answer: for one request at a time.
//! * `sendfile-64k`, `sendfile-1m`: answer each request with a header and so much of the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use klamm_core::wire::{PartitionProduceResponse, ProduceResponse, Response, TopicProduceResponse, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Bytes of the file that are there beforehand, for the floors that do not let it grow: a growing file syncs slower,
/// and what is to be read must be there.
const PREPARED: u64 = 256 << 20;
/// They are written in steps of a batch, as a log grows: the size of writes decides that of the page cache's folios,
/// and so the cost of sending them.
const STEP: usize = 64 << 10;
/// Slices of one vectored write.
const IOV_MAX: usize = 1024;
/// More than the load ever has in flight, in bytes.
const MOST_IN_FLIGHT: u64 = 8 << 20;
/// Where a produce frame of the load has its batch: after headers and names.
const BATCH_TAIL: usize = 64;

/// Which floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorKind {
    /// Receive, checksum, write, answer.
    Write,
    /// Receive, checksum, write and sync in groups, answer.
    GroupCommit,
    /// Receive, checksum, write, sync, answer.
    Sync,
    /// Answer with 64 KiB of a file.
    SendFile64K,
    /// Answer with 1 MiB of a file.
    SendFile1M,
}

impl FloorKind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FloorKind::Write => "write",
            FloorKind::GroupCommit => "group-commit",
            FloorKind::Sync => "sync",
            FloorKind::SendFile64K => "sendfile-64k",
            FloorKind::SendFile1M => "sendfile-1m",
        }
    }

    const ALL: [FloorKind; 5] =
        [FloorKind::Write, FloorKind::GroupCommit, FloorKind::Sync, FloorKind::SendFile64K, FloorKind::SendFile1M];

    /// From its name on the command line.
    #[must_use]
    pub fn of(name: &str) -> Option<FloorKind> {
        FloorKind::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// Serves a floor until it is killed; prints its address first.
///
/// # Errors
/// When the file cannot be made or the port not be listened on.
pub fn serve(kind: FloorKind, path: &Path) -> io::Result<()> {
    let file = Arc::new(File::options().create(true).truncate(true).read(true).write(true).open(path)?);
    let zeros = vec![0; STEP];
    let fill = match kind {
        FloorKind::Write => 0,
        FloorKind::GroupCommit | FloorKind::Sync | FloorKind::SendFile64K | FloorKind::SendFile1M => PREPARED,
    };
    for at in (0..fill).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("floor {} serves on {}", kind.name(), listener.local_addr()?);
        let flusher = Rc::new(start_flusher(Arc::clone(&file)));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (file, flusher) = (Arc::clone(&file), Rc::clone(&flusher));
            tokio::task::spawn_local(async move {
                // A load that is over ends its connections: an error is the end like any other.
                let _ = match kind {
                    FloorKind::Write => write(stream, &file, false).await,
                    FloorKind::Sync => write(stream, &file, true).await,
                    FloorKind::GroupCommit => group_commit(stream, &flusher).await,
                    FloorKind::SendFile64K => send_file(stream, &file, 64 << 10).await,
                    FloorKind::SendFile1M => send_file(stream, &file, 1 << 20).await,
                };
            });
        }
    }))
}

/// The answer to a produce, but for its correlation id.
fn produce_answer() -> Bytes {
    let partition = PartitionProduceResponse::default();
    let topic = TopicProduceResponse {
        name: "bench".into(),
        partition_responses: vec![partition],
        ..TopicProduceResponse::default()
    };
    let response = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
    encode_response(9, 0, &Response::Produce(response), &[]).bytes
}

/// Takes the next whole frame out of what was read.
fn take_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    let len = 4 + u32::from_be_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    if buffer.len() < len {
        buffer.reserve(len - buffer.len());
        return None;
    }
    Some(buffer.split_to(len).freeze())
}

async fn write(mut stream: TcpStream, file: &File, sync: bool) -> io::Result<()> {
    let answer = produce_answer();
    let mut buffer = BytesMut::with_capacity(256 << 10);
    let mut at = 0;
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut answers = Vec::new();
        while let Some(frame) = take_frame(&mut buffer) {
            std::hint::black_box(crate::crc32c(&frame[BATCH_TAIL..]));
            file.write_all_at(&frame[BATCH_TAIL..], at)?;
            at += frame.len() as u64;
            if sync {
                file.sync_data()?;
                at %= PREPARED - MOST_IN_FLIGHT;
            }
            answers.extend_from_slice(&answer);
        }
        stream.write_all(&answers).await?;
        buffer.reserve(128 << 10);
    }
}

/// A frame to be made durable; the answer goes back to its connection.
struct Flush {
    frames: Vec<Bytes>,
    done: mpsc::UnboundedSender<usize>,
}

fn start_flusher(file: Arc<File>) -> std::sync::mpsc::Sender<Flush> {
    let (sender, receiver) = std::sync::mpsc::channel::<Flush>();
    std::thread::spawn(move || {
        let mut at = 0;
        while let Ok(first) = receiver.recv() {
            let group: Vec<Flush> = std::iter::once(first).chain(receiver.try_iter()).collect();
            let slices: Vec<io::IoSlice<'_>> =
                group.iter().flat_map(|f| &f.frames).map(|frame| io::IoSlice::new(&frame[BATCH_TAIL..])).collect();
            for some in slices.chunks(IOV_MAX) {
                rustix::io::pwritev(&*file, some, at).expect("the floor's file takes writes");
                at += some.iter().map(|slice| slice.len() as u64).sum::<u64>();
            }
            rustix::fs::fdatasync(&*file).expect("the floor's file can be synced");
            if at > PREPARED - MOST_IN_FLIGHT {
                at = 0;
            }
            for flush in group {
                let _ = flush.done.send(flush.frames.len());
            }
        }
    });
    sender
}

async fn group_commit(stream: TcpStream, flusher: &std::sync::mpsc::Sender<Flush>) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (done, mut answered) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        let answer = produce_answer();
        while let Some(n) = answered.recv().await {
            if writer.write_all(&answer.repeat(n)).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let frames: Vec<Bytes> = std::iter::from_fn(|| take_frame(&mut buffer)).collect();
        for frame in &frames {
            std::hint::black_box(crate::crc32c(&frame[BATCH_TAIL..]));
        }
        if !frames.is_empty() && flusher.send(Flush { frames, done: done.clone() }).is_err() {
            return Ok(());
        }
        buffer.reserve(32 << 10);
    }
}

async fn send_file(mut stream: TcpStream, file: &File, bytes: usize) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(4 << 10);
    let mut at = 0;
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while take_frame(&mut buffer).is_some() {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&((60 + bytes) as u32).to_be_bytes());
            stream.write_all(&header).await?;
            let mut position = at;
            while position < at + bytes as u64 {
                let left = (at + bytes as u64 - position) as usize;
                stream.writable().await?;
                let sent = stream
                    .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(&stream, file, Some(&mut position), left)?));
                match sent {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    other => {
                        other?;
                    }
                }
            }
            at = (at + bytes as u64) % (PREPARED - bytes as u64);
        }
    }
}
