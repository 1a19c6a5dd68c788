//! Every error that crosses a process boundary has one of these codes. Numbers and names are API and never reused.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, retriable: $retriable:literal;)*) => {
        /// What went wrong, stable across releases.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ErrorCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name users see and scripts match on.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// May the same request succeed later, after refreshing metadata and waiting a little?
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => $retriable,)*
                }
            }
        }
    };
}

codes! {
    /// A bug: please report it with the log line.
    Internal = 1, "INTERNAL", retriable: false;
    /// A field is missing, malformed or contradicts another.
    InvalidRequest = 2, "INVALID_REQUEST", retriable: false;
    /// No topic of this name or id. Retriable, for it may just have been created.
    UnknownTopic = 3, "UNKNOWN_TOPIC", retriable: true;
    /// The topic has fewer partitions, or this broker holds no replica of it yet.
    UnknownPartition = 4, "UNKNOWN_PARTITION", retriable: true;
    /// This broker does not lead the partition.
    NotLeader = 5, "NOT_LEADER", retriable: true;
    /// The request carries a lower leader epoch than the partition's.
    StaleLeaderEpoch = 6, "STALE_LEADER_EPOCH", retriable: true;
    /// The request carries an epoch, or asks for a state, that this broker has not heard of yet.
    NotYetKnown = 7, "NOT_YET_KNOWN", retriable: true;
    /// The offset is below the log start or beyond the end.
    OffsetOutOfRange = 8, "OFFSET_OUT_OF_RANGE", retriable: false;
    /// A batch whose CRC, length, magic or count is wrong.
    CorruptBatch = 9, "CORRUPT_BATCH", retriable: false;
    /// A batch above the topic's limit.
    BatchTooLarge = 10, "BATCH_TOO_LARGE", retriable: false;
    /// A compression type that does not exist.
    UnsupportedCompression = 11, "UNSUPPORTED_COMPRESSION", retriable: false;
    /// The broker's disk is full: reads go on, writes are refused until there is room.
    DiskFull = 12, "DISK_FULL", retriable: true;
    /// The partition is offline on this broker; the message says why.
    PartitionOffline = 13, "PARTITION_OFFLINE", retriable: true;
    /// Fewer in-sync replicas than minInSync.
    NotEnoughReplicas = 14, "NOT_ENOUGH_REPLICAS", retriable: true;
    /// The answer did not come in time; the outcome is not known.
    TimedOut = 15, "TIMED_OUT", retriable: true;
    /// A rate or quota was exceeded.
    Throttled = 16, "THROTTLED", retriable: true;
    /// The broker is stopping.
    ShuttingDown = 17, "SHUTTING_DOWN", retriable: true;
    /// This controller is a standby.
    NotActive = 18, "NOT_ACTIVE", retriable: true;
    /// The volume or the session belongs to another cluster.
    ForeignCluster = 19, "FOREIGN_CLUSTER", retriable: false;
    /// No protocol or format version that both sides speak.
    UnsupportedVersion = 20, "UNSUPPORTED_VERSION", retriable: false;
    /// A message of a controller that is no longer in office.
    StaleController = 21, "STALE_CONTROLLER", retriable: true;
    /// Topics of this cluster are Kubernetes resources: use kubectl.
    ManagedByKubernetes = 22, "MANAGED_BY_KUBERNETES", retriable: false;
    /// A resource breaks a validation rule.
    InvalidSpec = 23, "INVALID_SPEC", retriable: false;
    /// Another resource already owns the topic name.
    NameConflict = 24, "NAME_CONFLICT", retriable: false;
    /// The name has retained data: choose an adoption.
    RetainedDataExists = 25, "RETAINED_DATA_EXISTS", retriable: false;
    /// More replicas wanted than there are brokers.
    NotEnoughBrokers = 26, "NOT_ENOUGH_BROKERS", retriable: true;
    /// No active controller can be reached.
    ControllerUnavailable = 27, "CONTROLLER_UNAVAILABLE", retriable: true;
    /// The broker asked to route cannot reach the leader.
    LeaderUnreachable = 28, "LEADER_UNREACHABLE", retriable: true;
    /// One record alone exceeds the topic's batch limit.
    RecordTooLarge = 29, "RECORD_TOO_LARGE", retriable: false;
    /// A limit on connections, streams or memory was reached.
    ResourceExhausted = 30, "RESOURCE_EXHAUSTED", retriable: true;
    /// This broker was replaced by a newer incarnation of its volume.
    BrokerFenced = 31, "BROKER_FENCED", retriable: true;
    /// A batch of an idempotent producer came before one that precedes it, or is older than what is remembered. Nothing was stored.
    OutOfOrderSequence = 32, "OUT_OF_ORDER_SEQUENCE", retriable: false;
    /// Nothing is known of the idempotent producer any more, and the batch is not its first one. Nothing was stored.
    UnknownProducer = 33, "UNKNOWN_PRODUCER", retriable: false;
    /// The producer id is used with a higher epoch. Nothing was stored.
    ProducerFenced = 34, "PRODUCER_FENCED", retriable: false;
    /// The topic is the cluster's own: clients do not write to it, and nobody deletes it.
    InternalTopic = 35, "INTERNAL_TOPIC", retriable: false;
    /// This broker does not coordinate the group, or not yet, or cannot be sure of it just now.
    NotCoordinator = 36, "NOT_COORDINATOR", retriable: true;
    /// The group does not know the member, or gave it up: it processes nothing any more and joins anew.
    UnknownMember = 37, "UNKNOWN_MEMBER", retriable: false;
    /// The partition is not the member's, or was not in the assignment that the commit is from. Nothing was committed.
    NotAssigned = 38, "NOT_ASSIGNED", retriable: false;
    /// Another member of the group has the instance id and is connected.
    InstanceIdInUse = 39, "INSTANCE_ID_IN_USE", retriable: true;
    /// No group of this name has members or offsets.
    UnknownGroup = 40, "UNKNOWN_GROUP", retriable: false;
    /// The group has members.
    GroupNotEmpty = 41, "GROUP_NOT_EMPTY", retriable: false;
    /// Records of the group in `__offsets` are nonsense. Other groups are served.
    UnreadableGroup = 42, "UNREADABLE_GROUP", retriable: false;
    /// A file that a broker or controller keeps cannot be read or written, or is not what was written.
    StorageError = 43, "STORAGE_ERROR", retriable: false;
    /// Another process listens on the address.
    AddressInUse = 44, "ADDRESS_IN_USE", retriable: false;
    /// Another process uses the data directory.
    DataInUse = 45, "DATA_IN_USE", retriable: false;
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.number() == number)
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_code() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), i + 1, "numbers are consecutive");
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
