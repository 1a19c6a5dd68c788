//! Topics that the cluster makes for itself: their names, and what they are made with. No resource stands for them, and no client writes to them.

/// What the names of internal topics begin with. Users' names do not.
pub const PREFIX: &str = "__";
/// Where consumer groups keep their committed offsets, each group in one partition.
pub const OFFSETS: &str = "__offsets";

/// Is it the name of an internal topic?
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}
