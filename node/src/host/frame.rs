//! A byte stream cut into frames: a length in four bytes, big-endian, then so many bytes.
//!
//! Memory follows the bytes received, never the length that a peer claims: a buffer starts with at most [`UNPROVEN`]
//! bytes, or with as much as this connection has already sent as one whole frame, and doubles as it fills. A read takes
//! in all short frames that are there, into a block that the shard's connections share; a frame is a slice of it, so
//! whoever remembers a few bytes for longer than a turn copies them, lest they keep the block. A long frame is read into
//! a buffer of its own, together with the next frame's length, so that a stream of long frames costs neither copies nor
//! extra reads. A connection at rest holds no buffer. What is in a frame is `wire`'s business.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest frame taken (Kafka's `socket.request.max.bytes`).
pub const MAX_FRAME: usize = 100 << 20;
/// Bytes of the length in front.
const PREFIX: usize = 4;
/// A block that short frames are read into; longer ones have their own buffer.
const BLOCK: usize = 32 << 10;
/// A block with less room than this is not read into.
const MIN_ROOM: usize = 8 << 10;
/// After a long frame another one is expected: so much of it is read to learn its length.
const PEEK: usize = 64;
/// The most that is allocated for a long frame of a connection that has sent none yet.
const UNPROVEN: usize = 64 << 10;
/// The most that is allocated at once for a connection that has.
const PROVEN: usize = 2 << 20;

/// Why a stream of frames ended.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The socket failed, or ended inside a frame.
    Io(io::Error),
    /// These bytes are no frame; what they look like.
    Refused(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        FrameError::Io(error)
    }
}

/// How much of a long frame is there.
pub(super) enum Arrived {
    /// So many bytes.
    Part(usize),
    /// All of it.
    Whole(Bytes),
}

/// The block that the next connection with something to say reads into.
#[derive(Default)]
pub(super) struct SpareBlock(Cell<BytesMut>);

impl SpareBlock {
    /// An empty block with room for at least `room` bytes, which is at most [`BLOCK`].
    fn take(&self, room: usize) -> BytesMut {
        let mut block = self.0.take();
        if block.try_reclaim(BLOCK) || block.capacity() >= room { block } else { BytesMut::with_capacity(BLOCK) }
    }

    /// Gives the rest of a block back; of two the roomier is kept.
    fn put(&self, mut block: BytesMut) {
        block.clear();
        let kept = self.0.take();
        self.0.set(if kept.capacity() < block.capacity() { block } else { kept });
    }
}

/// The frames of one connection.
pub(super) struct Frames<R> {
    reader: R,
    /// What was read and not yet handed out: in a block, or in a long frame's own buffer.
    buffer: BytesMut,
    /// The longest frame that arrived whole, if it was long.
    longest: usize,
    /// Whether the last frame was long, and the next may be.
    expects_long: bool,
    spare: Rc<SpareBlock>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R, spare: Rc<SpareBlock>) -> Frames<R> {
        Frames { reader, buffer: BytesMut::new(), longest: 0, expects_long: false, spare }
    }

    /// Waits, without a buffer, until bytes of the next frame are there; false when the stream has ended instead.
    pub(super) async fn wait(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            self.spare.put(mem::take(&mut self.buffer));
            poll_fn(|cx| self.poll_first(cx)).await?;
        }
        Ok(!self.buffer.is_empty())
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut block = self.spare.take(MIN_ROOM);
        let limit = if self.expects_long { PEEK } else { usize::MAX };
        let polled = pin!(self.reader.read_buf(&mut (&mut block).limit(limit))).poll(cx);
        if block.is_empty() {
            self.spare.put(block);
        } else {
            self.buffer = block;
        }
        polled.map_ok(|_| ())
    }

    /// The length of the frame whose first bytes are there.
    pub(super) async fn length(&mut self) -> Result<usize, FrameError> {
        while self.buffer.len() < PREFIX {
            if self.buffer.capacity() < PREFIX {
                self.move_to(self.spare.take(MIN_ROOM));
            }
            self.read(usize::MAX).await?;
        }
        let prefix = self.buffer.first_chunk().expect("the prefix is there");
        check(*prefix).map_err(FrameError::Refused)
    }

    /// Whether a frame of this length arrives piece by piece ([`Frames::long`]), or by [`Frames::short`].
    pub(super) fn is_long(len: usize) -> bool {
        PREFIX + len > BLOCK
    }

    /// The length of the next frame, if it is a short one and all of it is there: [`Frames::take`] gives it.
    pub(super) fn at_hand(&self) -> Option<usize> {
        let len = check(*self.buffer.first_chunk()?).ok()?;
        (!Frames::<R>::is_long(len) && PREFIX + len <= self.buffer.len()).then_some(len)
    }

    /// The bytes of a short frame, whose length was given.
    pub(super) async fn short(&mut self, len: usize) -> io::Result<Bytes> {
        let whole = PREFIX + len;
        if self.buffer.capacity() < whole && !self.buffer.try_reclaim(whole - self.buffer.len()) {
            self.move_to(self.spare.take(whole));
        }
        while self.buffer.len() < whole {
            self.read(usize::MAX).await?;
        }
        Ok(self.take(len))
    }

    /// Takes a short frame that is there.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        self.expects_long = false;
        let mut frame = self.buffer.split_to(PREFIX + len).freeze();
        frame.advance(PREFIX);
        frame
    }

    /// Begins to read a long frame, whose length was given.
    pub(super) fn long(&mut self, len: usize) {
        self.expects_long = true;
        let ahead = PREFIX + len + PREFIX;
        self.move_to(BytesMut::with_capacity(ahead.min(self.longest.clamp(UNPROVEN, PROVEN))));
    }

    /// Reads on in a long frame until it is there, or `hold` is told how many bytes are and wants no more for now.
    pub(super) async fn more(&mut self, len: usize, mut hold: impl FnMut(usize) -> bool) -> io::Result<Arrived> {
        let whole = PREFIX + len;
        let ahead = whole + PREFIX;
        while self.buffer.len() < whole {
            let arrived = self.buffer.len();
            if arrived == self.buffer.capacity() {
                self.buffer.reserve(arrived.min(ahead - arrived));
            }
            self.read(ahead - arrived).await?;
            if !hold(self.buffer.len()) {
                return Ok(Arrived::Part(self.buffer.len()));
            }
        }
        self.longest = self.longest.max(ahead);
        let rest = BytesMut::from(&self.buffer[whole..]);
        let mut frame = mem::replace(&mut self.buffer, rest);
        frame.truncate(whole);
        frame.advance(PREFIX);
        Ok(Arrived::Whole(frame.freeze()))
    }

    /// Goes on in an empty buffer.
    fn move_to(&mut self, mut to: BytesMut) {
        to.extend_from_slice(&self.buffer);
        self.spare.put(mem::replace(&mut self.buffer, to));
    }

    /// Reads once, at most `limit` bytes, into the room that is there.
    async fn read(&mut self, limit: usize) -> io::Result<()> {
        assert!(self.buffer.len() < self.buffer.capacity(), "a read into a full buffer");
        match self.reader.read_buf(&mut (&mut self.buffer).limit(limit)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The length that a prefix claims, or what is wrong with it.
fn check(prefix: [u8; PREFIX]) -> Result<usize, String> {
    let claimed = i32::from_be_bytes(prefix);
    if let Ok(len @ 1..=MAX_FRAME) = usize::try_from(claimed) {
        return Ok(len);
    }
    Err(match prefix {
        [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] | [b'H', b'E', b'A', b'D'] => {
            "speaks HTTP: this port speaks Kafka".to_owned()
        }
        [0x16, 3, 0..=4, _] => "begins a TLS handshake: this port is plaintext".to_owned(),
        _ => format!("a frame of {claimed} bytes, not of 1 to {MAX_FRAME}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use tokio::io::ReadBuf;

    /// Gives each chunk as one read, then the end.
    struct Chunks(VecDeque<Bytes>);

    impl AsyncRead for Chunks {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(mut chunk) = self.0.pop_front() {
                into.put_slice(&chunk.split_to(chunk.len().min(into.remaining())));
                if !chunk.is_empty() {
                    self.0.push_front(chunk);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    fn frames_of(chunks: impl IntoIterator<Item = Bytes>) -> Frames<Chunks> {
        Frames::new(Chunks(chunks.into_iter().collect()), Rc::default())
    }

    /// A frame of `len` bytes that are told apart by position and `salt`.
    fn frame(len: usize, salt: u8) -> Vec<u8> {
        let prefix = u32::try_from(len).unwrap().to_be_bytes();
        prefix.into_iter().chain((0..len).map(|at| (at as u8) ^ (at >> 8) as u8 ^ salt)).collect()
    }

    async fn body(frames: &mut Frames<Chunks>, len: usize) -> io::Result<Bytes> {
        if let Some(at_hand) = frames.at_hand() {
            assert_eq!(at_hand, len);
            return Ok(frames.take(len));
        }
        if !Frames::<Chunks>::is_long(len) {
            return frames.short(len).await;
        }
        frames.long(len);
        // Told to stop after each read.
        loop {
            if let Arrived::Whole(frame) = frames.more(len, |_| false).await? {
                return Ok(frame);
            }
        }
    }

    async fn read_all(frames: &mut Frames<Chunks>) -> Result<Vec<Bytes>, FrameError> {
        let mut all = Vec::new();
        while frames.wait().await? {
            let len = frames.length().await?;
            all.push(body(frames, len).await?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn frames_are_the_same_wherever_the_stream_is_split() {
        let lens = [1, 9, 300, 3];
        let whole: Vec<u8> = (0u8..).zip(lens).flat_map(|(salt, len)| frame(len, salt)).collect();
        for one in 0..=whole.len() {
            for other in [one, (one + 1).min(whole.len()), (one + 7).min(whole.len()), whole.len()] {
                let chunks = [&whole[..one], &whole[one..other], &whole[other..]];
                let chunks = chunks.into_iter().filter(|c| !c.is_empty()).map(Bytes::copy_from_slice);
                let got = read_all(&mut frames_of(chunks)).await.unwrap();
                let want: Vec<_> = (0u8..).zip(lens).map(|(salt, len)| frame(len, salt).split_off(4)).collect();
                assert_eq!(got, want, "split at {one} and {other}");
            }
        }
    }

    #[tokio::test]
    async fn long_and_short_frames_mix() {
        let lens = [BLOCK - 4, BLOCK - 3, 1_000, 70_000, 70_000, 5, UNPROVEN - 4, 3 << 20, 3 << 20, 1, 2 << 20, 40_000];
        let whole: Vec<u8> = (0u8..).zip(lens).flat_map(|(salt, len)| frame(len, salt)).collect();
        for step in [997, 65_536, whole.len()] {
            let chunks = whole.chunks(step).map(Bytes::copy_from_slice);
            let got = read_all(&mut frames_of(chunks)).await.unwrap();
            assert_eq!(got.len(), lens.len());
            for ((salt, len), got) in (0u8..).zip(lens).zip(got) {
                assert_eq!(got, frame(len, salt)[4..], "frame {salt}, reads of {step}");
            }
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_an_error() {
        for cut in [1, 3, 4, 5, 103] {
            let start = Bytes::from(frame(100, 0)).slice(..cut);
            match read_all(&mut frames_of([start])).await {
                Err(FrameError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "after {cut}"),
                other => panic!("after {cut} bytes: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_stream_of_long_frames_is_not_copied() {
        let stream: Vec<u8> = (0..4).flat_map(|salt| frame(65_700, salt)).collect();
        let mut frames = frames_of([Bytes::from(stream)]);
        for salt in 0..4 {
            assert!(frames.wait().await.unwrap());
            let len = frames.length().await.unwrap();
            assert!(salt == 0 || frames.buffer.len() == PREFIX, "only the length of the next frame was read ahead");
            let body = body(&mut frames, len).await.unwrap();
            assert_eq!(body, frame(65_700, salt)[4..]);
        }
    }

    #[tokio::test]
    async fn an_announced_length_allocates_nothing_by_itself() {
        let mut start = (MAX_FRAME as u32).to_be_bytes().to_vec();
        start.extend([7; 100]);
        let mut frames = frames_of([Bytes::from(start)]);
        assert!(frames.wait().await.unwrap());
        let len = frames.length().await.unwrap();
        assert_eq!(len, MAX_FRAME);
        assert_eq!(body(&mut frames, len).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(frames.buffer.capacity() <= 2 * UNPROVEN, "{} bytes for 100", frames.buffer.capacity());
    }

    #[tokio::test]
    async fn a_connection_at_rest_holds_no_buffer() {
        let mut frames = frames_of([Bytes::from(frame(100, 0)), Bytes::from(frame(20_000, 0))]);
        for _ in 0..2 {
            assert!(frames.wait().await.unwrap());
            let len = frames.length().await.unwrap();
            body(&mut frames, len).await.unwrap();
        }
        assert!(!frames.wait().await.unwrap());
        assert_eq!(frames.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn a_block_is_used_again_once_its_frames_are_gone() {
        let stream: Vec<u8> = (0..20).flat_map(|salt| frame(1_000, salt)).collect();
        let mut frames = frames_of([Bytes::from(stream)]);
        let all = read_all(&mut frames).await.unwrap();
        let block = all[0].as_ptr().addr() - PREFIX;
        assert!(all.iter().all(|frame| (block..block + BLOCK).contains(&frame.as_ptr().addr())), "slices of one block");
        drop(all);
        assert!(frames.spare.0.take().try_reclaim(BLOCK), "the block is nobody else's");
    }

    #[test]
    fn what_is_no_frame_is_named() {
        for (prefix, word) in [
            ([0; 4], " 0 bytes"),
            ([0xff; 4], " -1 bytes"),
            ([6, 64, 0, 1], "104857601"),
            (*b"GET ", "HTTP"),
            ([0x16, 3, 1, 2], "TLS"),
        ] {
            let reason = check(prefix).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
        assert_eq!(check([6, 64, 0, 0]), Ok(MAX_FRAME));
    }
}
