//! What can happen. Brokers are meant by slot, controllers by index.

use crate::state::{Assignment, IsrChange, IsrRequest, Number};

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Action {
    // Brokers.
    Produce(usize),
    Sync(usize),
    /// Asked, answered and applied in one step.
    Fetch(usize),
    SendFetch(usize),
    ServeFetch(usize),
    /// The newest or the one before.
    ReceiveAnswer {
        slot: usize,
        age: usize,
    },
    /// A producer sends this record again.
    Retry {
        slot: usize,
        id: u8,
    },
    ReceiveMap(usize, Assignment),
    RequestIsrChange {
        slot: usize,
        controller: usize,
        change: IsrChange,
        member: Number,
    },

    // What befalls brokers.
    Crash(usize),
    CrashNode(usize),
    Restart(usize),
    WipeVolume(usize),
    CopyVolume(usize),
    RestoreVolume(usize),

    // Controllers.
    TakeOffice(usize),
    Claim(usize),
    HearBroker {
        controller: usize,
        slot: usize,
    },
    /// First write of a registration; `winner` of its election, if it needs one.
    RegisterMaps {
        controller: usize,
        slot: usize,
        winner: Option<Number>,
    },
    /// Second write, and the answer.
    RegisterBroker(usize),
    /// The two writes the other way round, as one mutant has it.
    RegisterBrokerFirst {
        controller: usize,
        slot: usize,
    },
    RegisterMapsLast {
        controller: usize,
        slot: usize,
        winner: Option<Number>,
    },
    /// Of the incarnation that is stored already.
    RegisterAgain {
        controller: usize,
        slot: usize,
    },
    Elect {
        controller: usize,
        winner: Number,
        drop_old: bool,
    },
    /// The number of a wiped volume gives way to the new one.
    ReplaceWiped {
        controller: usize,
        slot: usize,
        winner: Option<Number>,
    },
    ChangeIsr(usize, IsrRequest),

    /// Nobody is in sync for sure, all have reported.
    Recover {
        controller: usize,
        winner: Number,
    },
    CreateMap {
        controller: usize,
        leader: Number,
    },
    RereadMap(usize),
    ListMap(usize),
    DeleteTopic(usize),
    DeleteReplica {
        controller: usize,
        slot: usize,
    },
    DropTombstone(usize),
    Adopt {
        controller: usize,
        slot: usize,
    },

    // What befalls the store.
    RollBackStore,
}
