//! The network of a simulated broker, over turmoil's sockets: one listener, whose connections are dealt to the shards,
//! and streams that are written and read in pieces, so that no frame can be taken for granted to come whole.

use crate::dice::Dice;
use klamm::host::{Net, Writer};
use klamm_core::rng::{self, Rng};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

/// Where the broker listens.
pub const PORT: u16 = 9092;
/// Connections that wait for one shard; more are closed.
const BACKLOG: usize = 1_024;

/// The largest pieces of a connection, in bytes. By default, and half of all times, it is left whole.
const PIECES: [usize; 5] = [usize::MAX, 8_192, 1_024, 128, 16];

/// One shard's share of the listener.
#[derive(Debug)]
pub struct SimNet {
    waiting: Rc<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    dice: Dice,
    connections: RefCell<VecDeque<(TcpStream, SocketAddr, u64)>>,
    news: Notify,
}

/// Listens on [`PORT`] for a broker of `shards`: each one's network, and the work of dealing connections out. The key is
/// that of the broker's life in what it draws.
///
/// # Errors
/// When the port is taken.
pub async fn listen(
    shards: u16,
    key: u64,
    dice: Dice,
) -> io::Result<(Vec<SimNet>, impl Future<Output = io::Result<std::convert::Infallible>>)> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let waiting = || Waiting { dice: dice.clone(), connections: RefCell::default(), news: Notify::new() };
    let nets: Vec<Rc<Waiting>> = (0..shards).map(|_| Rc::new(waiting())).collect();
    let seed = dice.bits("deal", key);
    let shares = nets.iter().map(|waiting| SimNet { waiting: waiting.clone() }).collect();
    let deal = async move {
        for turn in 0.. {
            let (stream, peer) = listener.accept().await?;
            let drawn = rng::draw(seed, "deal", turn);
            let to = &nets[usize::try_from(drawn % u64::from(shards)).expect("an index of a shard")];
            let mut waiting = to.connections.borrow_mut();
            if waiting.len() < BACKLOG {
                waiting.push_back((stream, peer, drawn));
                to.news.notify_one();
            }
        }
        unreachable!("connections are dealt without end")
    };
    Ok((shares, deal))
}

impl Net for SimNet {
    type Reader = Pieces<OwnedReadHalf>;
    type Writer = Pieces<OwnedWriteHalf>;

    async fn accept(&self) -> io::Result<(Self::Reader, Self::Writer, SocketAddr)> {
        loop {
            let next = self.waiting.connections.borrow_mut().pop_front();
            if let Some((stream, peer, drawn)) = next {
                let (reader, writer) = halves(stream, drawn, &self.waiting.dice);
                return Ok((reader, writer, peer));
            }
            self.waiting.news.notified().await;
        }
    }
}

/// The two halves of a stream, each in pieces of its own.
#[must_use]
pub fn halves(stream: TcpStream, key: u64, dice: &Dice) -> (Pieces<OwnedReadHalf>, Pieces<OwnedWriteHalf>) {
    let (reader, writer) = stream.into_split();
    (Pieces::new(reader, "read in pieces", key, dice), Pieces::new(writer, "written in pieces", key, dice))
}

/// Half a connection that reads or writes less than it is asked to.
#[derive(Debug)]
pub struct Pieces<T> {
    half: T,
    rng: Rng,
    most: usize,
    aborted: bool,
}

impl<T> Pieces<T> {
    fn new(half: T, site: &str, key: u64, dice: &Dice) -> Pieces<T> {
        let size = dice.fate(site, key, 0, || dice.below(site, key, 8).saturating_sub(3));
        let most = usize::try_from(size).ok().and_then(|size| PIECES.get(size)).copied().unwrap_or(usize::MAX);
        Pieces { half, rng: Rng::new(rng::draw(key, site, 0)), most, aborted: false }
    }

    /// How many of so many bytes go now.
    fn piece(&mut self, len: usize) -> usize {
        if self.most == usize::MAX || len == 0 {
            return len;
        }
        1 + usize::try_from(self.rng.below(len.min(self.most) as u64)).expect("below a length")
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pieces<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.most == usize::MAX {
            return Pin::new(&mut this.half).poll_read(cx, buf);
        }
        let len = this.piece(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(len));
        let poll = Pin::new(&mut this.half).poll_read(cx, &mut part);
        let read = part.filled().len();
        buf.advance(read);
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pieces<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.aborted {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len = this.piece(buf.len());
        Pin::new(&mut this.half).poll_write(cx, &buf[..len])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().half).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().half).poll_shutdown(cx)
    }
}

impl Writer for Pieces<OwnedWriteHalf> {
    const SENDFILE: bool = false;

    async fn send_file(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort(&mut self) {
        self.aborted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn every_shard_gets_connections_and_every_byte_arrives_in_order() {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        let served = Rc::new(RefCell::new([0; 2]));
        let counts = served.clone();
        sim.host("broker", move || {
            let counts = counts.clone();
            async move {
                let (nets, deal) = listen(2, 3, Dice::blank(1)).await?;
                for (shard, net) in nets.into_iter().enumerate() {
                    let counts = counts.clone();
                    tokio::task::spawn_local(async move {
                        loop {
                            let (mut reader, mut writer, _) = net.accept().await.unwrap();
                            counts.borrow_mut()[shard] += 1;
                            tokio::task::spawn_local(async move {
                                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                            });
                        }
                    });
                }
                match deal.await? {}
            }
        });
        sim.client("client", async {
            for connection in 0..16 {
                let stream = TcpStream::connect(("broker", PORT)).await?;
                let (mut reader, mut writer) = halves(stream, connection, &Dice::blank(1));
                let sent: Vec<u8> = (0..2_000).map(|i| (i % 251) as u8).collect();
                tokio::task::spawn_local({
                    let sent = sent.clone();
                    async move { writer.write_all(&sent).await.unwrap() }
                });
                let mut echo = vec![0; sent.len()];
                reader.read_exact(&mut echo).await?;
                assert_eq!(echo, sent, "connection {connection}");
            }
            Ok(())
        });
        sim.run().unwrap();
        assert!(served.borrow().iter().all(|n| *n > 0), "{served:?}");
    }
}
