//! One partition's segmented log on one disk.
