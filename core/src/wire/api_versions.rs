//! ApiVersions (18): KIP-35, KIP-511 (client names, fallback to version 0), KIP-584 (features).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks what the broker speaks. Versions before 3 have no names: `None`.
    ApiVersionsRequest {
        client_software_name: Option<String> [3..];
        client_software_version: Option<String> [3..];
    }

    /// What the broker speaks.
    ApiVersionsResponse {
        error_code: i16 [0..];
        api_keys: Vec<ApiVersion> [0..];
        throttle_time_ms: i32 [1..];
        supported_features: Vec<SupportedFeatureKey> [3..] tag 0;
        finalized_features_epoch: i64 [3..] tag 1 = -1;
        finalized_features: Vec<FinalizedFeatureKey> [3..] tag 2;
        zk_migration_ready: bool [3..] tag 3;
    }

    /// The versions of one API.
    ApiVersion {
        api_key: i16 [0..];
        min_version: i16 [0..];
        max_version: i16 [0..];
    }

    /// The levels of a feature that this broker can run at.
    SupportedFeatureKey {
        name: String [3..];
        min_version: i16 [3..];
        max_version: i16 [3..];
    }

    /// The level of a feature that the cluster runs at.
    FinalizedFeatureKey {
        name: String [3..];
        max_version_level: i16 [3..];
        min_version_level: i16 [3..];
    }
}

impl Message for ApiVersionsRequest {}

impl Message for ApiVersionsResponse {
    /// Clients of version 3 take a supported feature with minimum 0 for broken: it is left out (KIP-584).
    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        if version != 3 || self.supported_features.iter().all(|f| f.min_version != 0) {
            return Cow::Borrowed(self);
        }
        let mut message = self.clone();
        message.supported_features.retain(|f| f.min_version != 0);
        Cow::Owned(message)
    }
}
