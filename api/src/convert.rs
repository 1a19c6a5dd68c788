//! Wire <-> core. Whatever comes from the wire is validated here, once; what leaves is infallible.

mod assignment;
mod group;
mod ids;
mod replication;
mod topic;

pub use group::{delivery, out_of_range, start_from};
pub use ids::{
    acks, cluster_id, epoch_to_wire, known_epoch, offset_from_wire, offset_to_wire, topic_partition,
};
pub use replication::{Answered, fetch_answer, fetch_request, position};
