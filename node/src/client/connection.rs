//! One connection to one broker: frames out and in, in versions that both sides speak.

use bytes::Bytes;
use klamm_core::wire::{
    ApiKey, ApiVersionsRequest, Malformed, Request, Response, decode_response, encode_request, error,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a broker may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take to answer, beside the time that it was given.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest answer taken.
const LONGEST: usize = 512 << 20;
/// What is read of an answer at once: memory follows the bytes that came.
const STEP: u64 = 1 << 20;
const NAME: &str = "klamm";

/// Why something could not be had of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No connection, or none any more.
    Unreachable(String),
    /// It does not speak what is needed.
    Unsupported(String),
    /// It said something that is not Kafka's protocol.
    Malformed(String),
    /// It said no: Kafka's code, and the sentence for a person.
    Code(i16, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(text) | Error::Unsupported(text) | Error::Malformed(text) | Error::Code(_, text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Malformed> for Error {
    fn from(Malformed(what): Malformed) -> Error {
        Error::Malformed(format!("the broker's answer is not Kafka's: {what}"))
    }
}

impl Error {
    /// An answer to something else.
    pub(super) fn odd() -> Error {
        Error::Malformed("the broker answered something else".to_owned())
    }

    /// What a code means for something.
    #[must_use]
    pub fn code(code: i16, message: Option<&str>, what: impl fmt::Display) -> Error {
        let name = error::name(code);
        Error::Code(code, message.map_or_else(|| format!("{what}: {name}"), |m| format!("{what}: {name}: {m}")))
    }

    /// That a code is none.
    ///
    /// # Errors
    /// When it is one.
    pub fn check<W: fmt::Display>(code: i16, message: Option<&str>, what: impl FnOnce() -> W) -> Result<(), Error> {
        if code == error::NONE { Ok(()) } else { Err(Error::code(code, message, what())) }
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    /// Lowest and highest version, by API.
    versions: BTreeMap<i16, (i16, i16)>,
    next: i32,
}

impl Connection {
    /// Connects, and asks what is spoken there.
    ///
    /// # Errors
    /// When nothing answers, or not in Kafka's protocol.
    pub async fn open(address: &str) -> Result<Connection, Error> {
        let cannot = |why: String| Error::Unreachable(format!("no broker answers at {address}: {why}"));
        let stream = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| cannot("it takes too long".to_owned()))?;
        let stream = stream.map_err(|error| cannot(error.to_string()))?;
        drop(stream.set_nodelay(true));
        let mut connection = Connection { stream, address: address.to_owned(), versions: BTreeMap::new(), next: 0 };
        // In version 0, which every broker answers.
        let answer = connection.exchange(0, &ApiVersionsRequest::default().into()).await?;
        let Response::ApiVersions(answer) = answer else { return Err(Error::odd()) };
        Error::check(answer.error_code, None, || address.to_owned())?;
        connection.versions = answer.api_keys.iter().map(|v| (v.api_key, (v.min_version, v.max_version))).collect();
        Ok(connection)
    }

    /// The newest version of an API that both sides speak.
    fn version(&self, key: ApiKey) -> Result<i16, Error> {
        let api = key.api();
        // What is named by id from there on is named by name here.
        let most = match key {
            ApiKey::Produce | ApiKey::Fetch => api.max.min(12),
            _ => api.max,
        };
        let (low, high) = self.versions.get(&(key as i16)).copied().unwrap_or((0, -1));
        let version = high.min(most);
        if version < low.max(api.served) {
            return Err(Error::Unsupported(format!("{} does not serve {key:?} as it is needed", self.address)));
        }
        Ok(version)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the API is not served, the connection fails, or the answer is none.
    pub async fn ask(&mut self, request: Request) -> Result<Response, Error> {
        let version = self.version(request.key())?;
        self.exchange(version, &request).await
    }

    async fn exchange(&mut self, version: i16, request: &Request) -> Result<Response, Error> {
        self.next = self.next.wrapping_add(1);
        let frame = encode_request(version, self.next, Some(NAME), request);
        let answer = timeout(ANSWER, self.round_trip(&frame)).await;
        let address = &self.address;
        let lost = |why: String| Error::Unreachable(format!("the connection to {address} is lost: {why}"));
        let answer = answer.map_err(|_| lost("no answer in time".to_owned()))?;
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Error::Malformed(format!("{address}: {error}")),
            io::ErrorKind::UnexpectedEof => lost("the broker closed it".to_owned()),
            _ => lost(error.to_string()),
        })?;
        let (correlation, response) = decode_response(request.key(), version, answer)?;
        if correlation == self.next { Ok(response) } else { Err(Error::odd()) }
    }

    async fn round_trip(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|len| *len <= LONGEST);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak Kafka"))?;
        let mut answer = Vec::new();
        while answer.len() < length {
            let step = STEP.min((length - answer.len()) as u64);
            if (&mut self.stream).take(step).read_to_end(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answer.into())
    }
}
