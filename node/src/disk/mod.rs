//! Bytes on disk: segments, indexes, group commit, recovery; and the two real drivers of the `Disk` trait.
