//! InitProducerId (22): KIP-98, KIP-360 (resuming an id), KIP-588 (PRODUCER_FENCED).

use alloc::borrow::Cow;
use alloc::string::String;

use super::error;
use super::table::{Message, message};

message! {
    /// Asks for a producer id.
    InitProducerIdRequest {
        transactional_id: Option<String> [0..] null [0..];
        transaction_timeout_ms: i32 [0..];
        producer_id: i64 [3..] = -1;
        producer_epoch: i16 [3..] = -1;
    }

    /// A producer id.
    InitProducerIdResponse {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        producer_id: i64 [0..] = -1;
        producer_epoch: i16 [0..];
    }
}

impl Message for InitProducerIdRequest {}

impl Message for InitProducerIdResponse {
    /// Before version 4 there is no PRODUCER_FENCED.
    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        if version >= 4 || self.error_code != error::PRODUCER_FENCED {
            return Cow::Borrowed(self);
        }
        Cow::Owned(InitProducerIdResponse { error_code: error::INVALID_PRODUCER_EPOCH, ..self.clone() })
    }
}
