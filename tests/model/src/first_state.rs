//! Where a configuration begins: a healthy cluster, or one that saves the checker some steps.

use crate::{
    state::{
        Acknowledgement, Assignment, Broker, Controller, Members, Number, Observer, Record, Report,
        SLOTS, Spent, State, Store, Topic, Volume,
    },
    system::System,
};

impl System {
    pub(crate) fn first_state(&self) -> State {
        let healthy = self.healthy();
        match (self.config.creation, self.config.rollback) {
            (true, false) => before_creation(healthy),
            (true, true) => State {
                backup: Some(before_creation(healthy.clone()).store),
                ..healthy
            },
            (false, true) => after_shrink(healthy),
            (false, false) if self.config.former_holder => after_move(healthy),
            (false, false) if self.config.old_copy => after_copy(healthy),
            (false, false) if self.config.deposed => after_deposition(healthy),
            (false, false) => healthy,
        }
    }

    fn healthy(&self) -> State {
        let map = Assignment {
            controller_epoch: 1,
            partition_epoch: 1,
            leader_epoch: 1,
            leader: Some(Number(0)),
            leader_incarnation: 1,
            isr: Members::of_mask(self.config.isr),
            replicas: Members::of_mask(0b111),
            ..Assignment::default()
        };
        let broker = |slot: u8| Broker {
            up: true,
            registered: true,
            current: true,
            leads: slot == 0,
            volume: Volume {
                number: Number(slot),
                candidates: 1 << 1,
                incarnation: 1,
                map,
                stamp: map.stamp(),
                ..Volume::default()
            },
            ..Broker::default()
        };
        let in_office = Controller {
            epoch: 1,
            claimed: true,
            map,
            stamp_found: map.stamp(),
            heard: Members::of_mask(0b111),
            best: map,
            ..Controller::default()
        };
        State {
            brokers: [broker(0), broker(1), broker(2)],
            volume_copies: [None; SLOTS],
            starts: [1; SLOTS],
            controllers: [in_office, Controller::default()],
            store: Store {
                controller_epoch: 1,
                holder: 0,
                topic: Topic::Listed,
                map,
                incarnations: [1, 1, 1, 0],
            },
            backup: None,
            sent: vec![map],
            isr_requests: Vec::new(),
            fetches: [None; SLOTS],
            answers: [[None; 2]; SLOTS],
            spent: Spent::default(),
            observer: Observer::default(),
        }
    }
}

/// Brokers are registered; there is no topic.
fn before_creation(mut state: State) -> State {
    let none = Assignment::default();
    state.store.topic = Topic::Unlisted;
    state.store.map = none;
    let controller = &mut state.controllers[0];
    controller.topic = Topic::Unlisted;
    controller.map = none;
    controller.best = none;
    controller.stamp_found = none.stamp();
    state.sent.clear();
    for broker in &mut state.brokers {
        broker.leads = false;
        broker.volume.map = none;
        broker.volume.stamp = (1, 0);
    }
    state
}

/// The ISR has just been shrunk to {0,1}, which brokers 0 and 1 know; the backup is from before. Saves eight steps of depth.
fn after_shrink(mut state: State) -> State {
    state.backup = Some(state.store);
    let shrunk = Assignment {
        partition_epoch: 2,
        isr: Members::of_mask(0b011),
        ..state.store.map
    };
    set_map(&mut state, shrunk);
    state
}

/// The replica of broker 2, which is down with an acknowledged record, was moved away: {0,1} are left.
fn after_move(mut state: State) -> State {
    acknowledge_first_record(&mut state);
    state.brokers[2] = Broker::down(state.brokers[2].volume, 1);
    let moved = Assignment {
        partition_epoch: 2,
        isr: Members::of_mask(0b011),
        replicas: Members::of_mask(0b011),
        ..state.store.map
    };
    set_map(&mut state, moved);
    state
}

/// Broker 1's volume was copied before a record was acknowledged. Saves seven steps of depth.
fn after_copy(mut state: State) -> State {
    state.volume_copies[1] = Some(state.brokers[1].volume);
    acknowledge_first_record(&mut state);
    state
}

/// Leader 0 appended a record that only follower 2 took; then leader 1 was elected, which the two do not know yet.
fn after_deposition(mut state: State) -> State {
    for holder in [0, 2] {
        let broker = &mut state.brokers[holder];
        broker.volume.append(Record { epoch: 1, id: 1 });
        broker.durable_end = 1;
    }
    state.spent.records = 1;
    state.observer.saw_leading(1, 0, 1);
    let mut map = state.store.map;
    map.partition_epoch = 2;
    map.set_leader(Number(1), 1);
    state.store.map = map;
    state.controllers[0].map = map;
    state.controllers[0].best = map;
    state.sent = vec![map];
    let elected = &mut state.brokers[1];
    elected.leads = true;
    elected.volume.map = map;
    elected.volume.stamp = map.stamp();
    state
}

fn acknowledge_first_record(state: &mut State) {
    let record = Record { epoch: 1, id: 1 };
    for broker in &mut state.brokers {
        broker.volume.append(record);
        broker.volume.high_watermark = 1;
        broker.durable_end = 1;
    }
    for follower in [1, 2] {
        state.brokers[0].reports[follower] = Some(Report {
            durable_end: 1,
            incarnation: 1,
        });
    }
    let log = state.brokers[0].volume.log;
    state.spent.records = 1;
    state.observer.saw_leading(1, 0, 1);
    state.observer.saw_acknowledged(
        0,
        Acknowledgement {
            record,
            under_epoch: 1,
        },
    );
    state.observer.saw_exposed(&log, 1);
}

/// As written by the controller in office and received by brokers 0 and 1.
fn set_map(state: &mut State, map: Assignment) {
    state.store.map = map;
    let controller = &mut state.controllers[0];
    controller.map = map;
    controller.best = map;
    controller.stamp_found = map.stamp();
    state.sent = vec![map];
    for broker in &mut state.brokers[..2] {
        broker.volume.map = map;
        broker.volume.stamp = map.stamp();
    }
}
