//! The recovery target over drawn edits.

use klamm_fuzz::recovery::recovery;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_logs_are_refused_or_recovered_for_good(edits in prop::collection::vec(any::<[u8; 8]>(), 0..6)) {
        recovery(&edits.concat());
    }
}
