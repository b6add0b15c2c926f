//! Whole frames: headers, which API a frame belongs to, and the list of what is spoken.
//!
//! Request header 2 and response header 1 where the API is flexible, else 1 and 0; the client id is never compact, and
//! ApiVersions always answers with header 0, because its asker does not know yet what it may send.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

use super::codec::{Field, Form, Malformed, Reader, Text, Writer};
use super::schema;
use super::table::Message;
use super::{
    AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeQuorumRequest, DescribeQuorumResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, FetchRequest, FetchResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, InitProducerIdRequest, InitProducerIdResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
};

/// An API that is spoken.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Which.
    pub key: ApiKey,
    /// The lowest version that ApiVersions advertises.
    pub min: i16,
    /// The lowest version that is served. Produce is advertised from 0 because old clients derive codecs from it.
    pub served: i16,
    /// The highest version.
    pub max: i16,
    /// The first version in the flexible encoding.
    pub first_flexible: i16,
    /// The fields of its request.
    pub request: &'static [schema::Field],
    /// The fields of its response.
    pub response: &'static [schema::Field],
}

macro_rules! apis {
    // By far the largest one: it makes no room in all others.
    (@held FetchRequest) => { Box<FetchRequest> };
    (@held $request:tt) => { $request };
    ($($(#[$doc:meta])* $name:ident = $key:literal, advertised $min:literal, served $served:literal..=$max:literal,
        flexible $flexible:literal, $request:tt, $response:ident;)*) => {
        /// Names an API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$doc])* $name = $key,)*
        }

        /// A request.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $($(#[$doc])* $name(apis!(@held $request)),)*
            /// ApiVersions in a version that is not spoken: error UNSUPPORTED_VERSION and the entry of ApiVersions
            /// answer it, in version 0.
            UnsupportedApiVersions,
        }

        /// A response.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response {
            $($(#[$doc])* $name($response),)*
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Request {
                    Request::$name(request.into())
                }
            }
            impl From<$response> for Response {
                fn from(response: $response) -> Response {
                    Response::$name(response)
                }
            }
        )*

        /// What is spoken: the one list, and what ApiVersions advertises.
        pub const SUPPORTED: &[Api] = &[$(Api {
            key: ApiKey::$name,
            min: $min,
            served: $served,
            max: $max,
            first_flexible: $flexible,
            request: $request::SCHEMA,
            response: $response::SCHEMA,
        }),*];

        impl ApiKey {
            /// The API of a key on the wire.
            #[must_use]
            pub fn of(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Its entry in [`SUPPORTED`].
            #[must_use]
            pub fn api(self) -> &'static Api {
                let at = SUPPORTED.iter().position(|api| api.key == self);
                &SUPPORTED[at.expect("every key stands in the list that it comes from")]
            }
        }

        impl Request {
            /// Its API.
            #[must_use]
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Request::$name(_) => ApiKey::$name,)*
                    Request::UnsupportedApiVersions => ApiKey::ApiVersions,
                }
            }

            fn decode(key: ApiKey, r: &mut Reader, form: Form) -> Result<Request, Malformed> {
                match key {
                    $(ApiKey::$name => decode::<$request>(r, form).map(Request::from),)*
                }
            }

            fn encode(&self, w: &mut Writer, form: Form) {
                match self {
                    $(Request::$name(message) => message.in_terms_of(form.version).encode(w, form),)*
                    Request::UnsupportedApiVersions => {}
                }
            }
        }

        impl Response {
            /// Its API.
            #[must_use]
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Response::$name(_) => ApiKey::$name,)*
                }
            }

            /// Shows every error code in it, of the request and of its parts; 0 is none.
            pub fn errors(&self, seen: &mut dyn FnMut(i16)) {
                match self {
                    $(Response::$name(message) => Field::errors(message, "", seen),)*
                }
            }

            fn decode(key: ApiKey, r: &mut Reader, form: Form) -> Result<Response, Malformed> {
                match key {
                    $(ApiKey::$name => decode::<$response>(r, form).map(Response::$name),)*
                }
            }

            fn encode(&self, w: &mut Writer, form: Form) {
                match self {
                    $(Response::$name(message) => message.in_terms_of(form.version).encode(w, form),)*
                }
            }
        }
    };
}

apis! {
    /// Append.
    Produce = 0, advertised 0, served 3..=13, flexible 9, ProduceRequest, ProduceResponse;
    /// Read.
    Fetch = 1, advertised 4, served 4..=18, flexible 12, FetchRequest, FetchResponse;
    /// Look up offsets.
    ListOffsets = 2, advertised 1, served 1..=11, flexible 6, ListOffsetsRequest, ListOffsetsResponse;
    /// Who leads what.
    Metadata = 3, advertised 0, served 0..=13, flexible 9, MetadataRequest, MetadataResponse;
    /// What is spoken.
    ApiVersions = 18, advertised 0, served 0..=4, flexible 3, ApiVersionsRequest, ApiVersionsResponse;
    /// Create topics.
    CreateTopics = 19, advertised 2, served 2..=7, flexible 5, CreateTopicsRequest, CreateTopicsResponse;
    /// Delete topics.
    DeleteTopics = 20, advertised 1, served 1..=6, flexible 4, DeleteTopicsRequest, DeleteTopicsResponse;
    /// Delete records.
    DeleteRecords = 21, advertised 0, served 0..=2, flexible 2, DeleteRecordsRequest, DeleteRecordsResponse;
    /// A producer id.
    InitProducerId = 22, advertised 0, served 0..=5, flexible 2, InitProducerIdRequest, InitProducerIdResponse;
    /// Where leader epochs end.
    OffsetForLeaderEpoch = 23, advertised 2, served 2..=4, flexible 4, OffsetForLeaderEpochRequest,
        OffsetForLeaderEpochResponse;
    /// Read configs.
    DescribeConfigs = 32, advertised 1, served 1..=4, flexible 4, DescribeConfigsRequest, DescribeConfigsResponse;
    /// Set all configs.
    AlterConfigs = 33, advertised 0, served 0..=2, flexible 2, AlterConfigsRequest, AlterConfigsResponse;
    /// How large logs are.
    DescribeLogDirs = 35, advertised 1, served 1..=5, flexible 2, DescribeLogDirsRequest, DescribeLogDirsResponse;
    /// Give topics more partitions.
    CreatePartitions = 37, advertised 0, served 0..=3, flexible 2, CreatePartitionsRequest, CreatePartitionsResponse;
    /// Change some configs.
    IncrementalAlterConfigs = 44, advertised 0, served 0..=1, flexible 1,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    /// The metadata quorum.
    DescribeQuorum = 55, advertised 0, served 0..=2, flexible 0, DescribeQuorumRequest, DescribeQuorumResponse;
    /// Who is there.
    DescribeCluster = 60, advertised 0, served 0..=2, flexible 0, DescribeClusterRequest, DescribeClusterResponse;
    /// Which producers logs know.
    DescribeProducers = 61, advertised 0, served 0..=0, flexible 0, DescribeProducersRequest,
        DescribeProducersResponse;
    /// What has configs.
    ListConfigResources = 74, advertised 0, served 0..=1, flexible 0,
        ListConfigResourcesRequest, ListConfigResourcesResponse;
    /// Partitions, page by page.
    DescribeTopicPartitions = 75, advertised 0, served 0..=0, flexible 0,
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Its API.
    pub key: ApiKey,
    /// The version to answer in.
    pub version: i16,
    /// The client's name for it, echoed in the answer.
    pub correlation: i32,
    /// What the client calls itself.
    pub client_id: Option<Text>,
    /// The request.
    pub request: Request,
}

/// Why a connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no request.
    Malformed(&'static str),
    /// An API or version that is not served.
    UnknownApi {
        /// Its key.
        key: i16,
        /// Its version.
        version: i16,
    },
}

impl From<Malformed> for Refusal {
    fn from(Malformed(what): Malformed) -> Refusal {
        Refusal::Malformed(what)
    }
}

/// Bytes to send, with places where byte ranges are to be put in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What was written; begins with the length of the frame, holes included.
    pub bytes: Bytes,
    /// What is left out, in rising order of `at`.
    pub holes: Vec<Hole>,
}

/// A place where a byte range belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// After so many bytes of [`Encoded::bytes`].
    pub at: usize,
    /// Which range.
    pub range: u32,
}

/// Bytes that most answers fit in.
const MOST_ANSWERS: usize = 192;
const PLAIN: Form = Form { version: 0, flexible: false, nullable: false };

/// Reads a request: `frame` is a whole one, without the length before it. What follows its last field is not read, as in
/// Kafka: librdkafka sends such bytes.
///
/// # Errors
/// What closes the connection.
pub fn decode_request(frame: Bytes) -> Result<Incoming, Refusal> {
    let mut r = Reader::new(frame);
    let (raw_key, version) = (i16::decode(&mut r, PLAIN)?, i16::decode(&mut r, PLAIN)?);
    let unknown = Refusal::UnknownApi { key: raw_key, version };
    let key = ApiKey::of(raw_key).ok_or(unknown)?;
    let api = key.api();
    let unsupported = key == ApiKey::ApiVersions && version > api.max;
    if !unsupported && !(api.served..=api.max).contains(&version) {
        return Err(unknown);
    }
    let correlation = i32::decode(&mut r, PLAIN)?;
    let client_id = Option::<Text>::decode(&mut r, PLAIN.nullable(true))?;
    let form = api.form(version);
    if form.flexible {
        r.tags(|_, _| Ok(false))?;
    }
    if unsupported {
        return Ok(Incoming { key, version: 0, correlation, client_id, request: Request::UnsupportedApiVersions });
    }
    let request = Request::decode(key, &mut r, form)?;
    Ok(Incoming { key, version, correlation, client_id, request })
}

/// Writes a response, with the length of the frame before it. `Records::Range(i)` in it leaves a hole of `lengths[i]`
/// bytes.
///
/// # Panics
/// When a range has no length, or the frame is 2 GiB long: the limits of a fetch are far below.
#[must_use]
pub fn encode_response(version: i16, correlation: i32, response: &Response, lengths: &[u32]) -> Encoded {
    let mut w = Writer { out: Vec::with_capacity(MOST_ANSWERS), lengths: lengths.to_vec(), ..Writer::default() };
    put_response(&mut w, version, correlation, response);
    finish(w)
}

/// Writes a response without ranges behind what is in `out`, as [`encode_response`] does.
///
/// # Panics
/// When it has a range, or the frame is 2 GiB long.
pub fn append_response(out: &mut Vec<u8>, version: i16, correlation: i32, response: &Response) {
    let start = out.len();
    let mut w = Writer { out: mem::take(out), ..Writer::default() };
    put_response(&mut w, version, correlation, response);
    assert!(w.holes.is_empty(), "an answer with ranges does not stand behind another one");
    *out = w.out;
    put_length(&mut out[start..], 0);
}

fn put_response(w: &mut Writer, version: i16, correlation: i32, response: &Response) {
    let api = response.key().api();
    let form = api.form(version);
    0i32.encode(w, PLAIN);
    correlation.encode(w, PLAIN);
    if form.flexible && api.key != ApiKey::ApiVersions {
        w.unsigned(0);
    }
    response.encode(w, form);
}

/// Writes a request, with the length of the frame before it.
///
/// # Panics
/// When the frame is 2 GiB long.
#[must_use]
pub fn encode_request(version: i16, correlation: i32, client_id: Option<&str>, request: &Request) -> Bytes {
    let key = request.key();
    let form = key.api().form(version);
    let mut w = Writer::default();
    0i32.encode(&mut w, PLAIN);
    (key as i16).encode(&mut w, PLAIN);
    version.encode(&mut w, PLAIN);
    correlation.encode(&mut w, PLAIN);
    client_id.map(String::from).encode(&mut w, PLAIN.nullable(true));
    if form.flexible {
        w.unsigned(0);
    }
    request.encode(&mut w, form);
    finish(w).bytes
}

/// Reads the response to a request of this API and version: the request's correlation id, and the response. `frame` is
/// a whole one, without the length before it.
///
/// # Errors
/// When it is not one such response.
pub fn decode_response(key: ApiKey, version: i16, frame: Bytes) -> Result<(i32, Response), Malformed> {
    let mut r = Reader::new(frame);
    let correlation = i32::decode(&mut r, PLAIN)?;
    let form = key.api().form(version);
    if form.flexible && key != ApiKey::ApiVersions {
        r.tags(|_, _| Ok(false))?;
    }
    let response = Response::decode(key, &mut r, form)?;
    r.end()?;
    Ok((correlation, response))
}

impl Api {
    fn form(&self, version: i16) -> Form {
        Form { version, flexible: version >= self.first_flexible, nullable: false }
    }
}

fn decode<M: Message>(r: &mut Reader, form: Form) -> Result<M, Malformed> {
    let mut message = M::decode(r, form)?;
    message.normalise(form.version)?;
    Ok(message)
}

/// Ends the one frame that was written.
fn finish(w: Writer) -> Encoded {
    let Writer { mut out, lengths, holes } = w;
    let left_out = holes.iter().map(|hole| lengths[hole.range as usize] as usize).sum();
    put_length(&mut out, left_out);
    Encoded { bytes: Bytes::from(out), holes }
}

/// Puts the length of a frame before it.
fn put_length(frame: &mut [u8], left_out: usize) {
    let len = i32::try_from(frame.len() - 4 + left_out).expect("a frame is shorter than 2 GiB");
    frame[..4].copy_from_slice(&len.to_be_bytes());
}
