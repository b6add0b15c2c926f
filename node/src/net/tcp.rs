//! TCP sockets. Each shard listens on the same address by itself (`SO_REUSEPORT`): the kernel deals connections out, and
//! the shard that accepts one keeps it.

use crate::host::{Net, Writer};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind as bind_to, listen, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Connections that wait to be accepted, per shard, unless another number is asked for.
pub const BACKLOG: i32 = 1_024;

/// Lets this process open as many files as it may: the limit of open files becomes the hard one.
///
/// # Errors
/// The system's.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// Sockets that listen on one address, one for each of `shards`; port 0 becomes one free port for all. So many
/// connections wait at each (`socket.listen.backlog.size`).
///
/// # Errors
/// When the address is taken (by another user of `SO_REUSEPORT` too) or not ours.
pub fn bind(address: SocketAddr, shards: u16, backlog: i32) -> io::Result<Vec<std::net::TcpListener>> {
    // Without this, a second broker would silently share our connections.
    let mut address = address;
    if address.port() != 0 {
        drop(socket(address, false, backlog)?);
    }
    let mut listeners = Vec::new();
    for _ in 0..shards {
        let listener = socket(address, true, backlog)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, shared: bool, backlog: i32) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    bind_to(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(socket.into())
}

/// One shard's listening socket.
#[derive(Debug)]
pub struct TcpNet {
    listener: TcpListener,
}

impl TcpNet {
    /// On the runtime of the current thread.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn new(listener: std::net::TcpListener) -> io::Result<TcpNet> {
        Ok(TcpNet { listener: TcpListener::from_std(listener)? })
    }
}

impl Net for TcpNet {
    type Reader = OwnedReadHalf;
    type Writer = TcpWriter;

    async fn accept(&self) -> io::Result<(OwnedReadHalf, TcpWriter, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, half) = stream.into_split();
        Ok((reader, TcpWriter { half, corked: false }, peer))
    }
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct TcpWriter {
    half: OwnedWriteHalf,
    /// Whether segments that are not full wait. Who reads a log is sent one held answer after another: it stays so.
    corked: bool,
}

impl Writer for TcpWriter {
    const SENDFILE: bool = true;

    async fn send_file(&mut self, file: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<usize> {
        let stream = self.half.as_ref();
        let send = || {
            let mut at = at;
            loop {
                match sendfile(stream, file, Some(&mut at), len) {
                    Err(Errno::INTR) => {}
                    sent => return sent.map_err(io::Error::from),
                }
            }
        };
        stream.async_io(Interest::WRITABLE, send).await
    }

    fn hold(&mut self, more: bool) {
        // A socket that refuses sends more, and smaller, segments.
        if self.corked != more && sockopt::set_tcp_cork(self.half.as_ref(), more).is_ok() {
            self.corked = more;
        }
    }

    fn push(&mut self) {
        // It is set already, but to set it sends what the cork holds back. Where that fails, pulling the cork does it.
        if self.corked && sockopt::set_tcp_nodelay(self.half.as_ref(), true).is_err() {
            self.hold(false);
        }
    }

    fn abort(&mut self) {
        // With a linger of zero, closing drops what is queued and resets. A socket that refuses is closed all the same.
        let _ = self.half.as_ref().set_zero_linger();
    }
}

impl AsyncWrite for TcpWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.half).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.half).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.half.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};
    use tokio::io::AsyncWriteExt;

    /// The kernel lets go of what a cork holds back after 200 ms by itself.
    const CEILING: Duration = Duration::from_millis(200);

    /// Sends a byte under a cork, pushes it: whether it was seen before that, and after how long it was.
    async fn push_a_byte(writer: &mut TcpWriter, peer: &mut std::net::TcpStream) -> (bool, Duration) {
        let begun = Instant::now();
        writer.hold(true);
        writer.write_all(&[1]).await.unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let early = peer.read(&mut [0]).is_ok();
        if !early {
            writer.push();
            peer.set_read_timeout(None).unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
        (early, begun.elapsed())
    }

    #[test]
    fn what_is_held_leaves_when_it_is_pushed_and_the_cork_stays() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_reader, mut writer, _) = TcpNet::new(listener).unwrap().accept().await.unwrap();
            // A machine that is busy may be late; a byte that leaves by itself, or with the ceiling, is so each time.
            let mut shown = 0;
            for _ in 0..20 {
                let (early, took) = push_a_byte(&mut writer, &mut peer).await;
                shown += u32::from(!early && took < CEILING);
            }
            assert!(shown > 10, "{shown} of 20 were held, and left at once");
            writer.hold(false);
            assert!(!writer.corked);
        });
    }
}
