//! The network and the clocks as a host sees them.

use klamm_core::ids::{Instant, Now};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where one shard's connections come from.
pub trait Net: 'static {
    /// The receiving half of a connection.
    type Reader: Reader;
    /// The sending half of a connection.
    type Writer: Writer;

    /// The next connection of this shard.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, SocketAddr)>>;
}

/// The receiving half.
pub trait Reader: AsyncRead + Unpin + 'static {}
impl<T: AsyncRead + Unpin + 'static> Reader for T {}

/// The sending half; dropping it closes the connection.
pub trait Writer: AsyncWrite + Unpin + 'static {
    /// Whether [`Writer::send_file`] works.
    const SENDFILE: bool;

    /// Sends up to `len` bytes of a file without copying them through this process; gives how many left (0 at its end).
    fn send_file(&mut self, file: BorrowedFd<'_>, at: u64, len: usize) -> impl Future<Output = io::Result<usize>>;

    /// Whether what is sent from here on may wait for what follows, so that a header leaves together with the bytes of a
    /// file. What has waited leaves when it may not any more, or with [`Writer::push`].
    fn hold(&mut self, _more: bool) {}

    /// Sends what has waited.
    fn push(&mut self) {}

    /// Ends the connection at once: what was not delivered yet is dropped (RST where there is one).
    fn abort(&mut self);
}

/// The clocks of one node.
pub trait Clock: Clone + 'static {
    /// Both clocks.
    fn now(&self) -> Now;

    /// Sleeps until the monotonic clock reads `at`.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;
}
