//! Connections with delays, cuts in one direction, and noise. A connection is a stream: what is sent comes in order, or the connection ends. On noisy ones
//! between brokers messages come twice, late, in another order or not at all; such a connection ends soon, for a stream would never do that.

use std::collections::{BTreeMap, VecDeque};

use taffrail_api::{WireError, v1};
use taffrail_broker::sim::Input;
use taffrail_controller::sim as controller;
use taffrail_core::{BrokerNumber, Incarnation};

use super::{BROKERS, CLIENTS, MS, NODES, SECOND, Step, World};

pub(super) type ConnectionId = u64;

/// What goes over a connection.
#[derive(Debug, Clone)]
pub(super) enum Wire {
    Broker(Box<v1::BrokerMessage>),
    Controller(Box<v1::ControllerMessage>),
    Follower(Box<v1::FollowerMessage>),
    Leader(Box<v1::LeaderMessage>),
    Member(Box<v1::MemberRequest>),
    Coordinator(Box<v1::MemberResponse>),
    /// Why a coordinator is about to close it.
    Refused(WireError),
    /// The sender has closed it.
    End,
}

/// The dialling end, and the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Dialled = 0,
    Listened = 1,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Listened,
            Self::Listened => Self::Dialled,
        }
    }
}

/// A process on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: usize,
    pub(super) run: u64,
}

#[derive(Debug)]
struct Connection {
    peers: [Peer; 2],
    /// Of a broker that is followed; `None`: with a controller.
    leader: Option<BrokerNumber>,
    closed: [bool; 2],
    last_us: [u64; 2],
    stalled: [VecDeque<Wire>; 2],
    is_noisy: bool,
    /// The follower that dialled, as it said itself.
    follower: Option<(BrokerNumber, Incarnation)>,
}

/// All connections, and what is wrong with the network.
#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    /// On which node who dialled is, or was: what was said on a connection that is gone may wait for a process that is paused.
    diallers: BTreeMap<ConnectionId, usize>,
    made: u64,
    /// From, to.
    pub(super) cut: [[bool; NODES]; NODES],
    pub(super) is_slow: bool,
    pub(super) is_noisy: bool,
}

impl World {
    pub(super) fn delay(&mut self) -> u64 {
        let usual = self.chance.between(100, 3 * MS);
        match self.chance.below(1000) {
            0 => usual + self.chance.between(0, 2 * SECOND),
            1..10 => usual + self.chance.between(0, 100 * MS),
            _ if self.network.is_slow => usual + self.chance.between(0, 300 * MS),
            _ => usual,
        }
    }

    pub(super) fn connect(
        &mut self,
        from: Peer,
        to: Peer,
        leader: Option<BrokerNumber>,
    ) -> ConnectionId {
        self.network.made += 1;
        let is_noisy = leader.is_some() && self.network.is_noisy;
        let connection = Connection {
            peers: [from, to],
            leader,
            closed: [false; 2],
            last_us: [0; 2],
            stalled: [VecDeque::new(), VecDeque::new()],
            is_noisy,
            follower: None,
        };
        let id = self.network.made;
        self.network.connections.insert(id, connection);
        self.network.diallers.insert(id, from.node);
        if is_noisy {
            let ends = self.chance.between(SECOND, 5 * SECOND);
            self.plan(ends, move |w| {
                w.break_connection(id);
                Ok(())
            });
        }
        id
    }

    /// On which node is the one who dialled?
    pub(super) fn node_of_dialler(&self, id: ConnectionId) -> Option<usize> {
        self.network.diallers.get(&id).copied()
    }

    /// Who follows by this connection?
    pub(super) fn follower_of(&self, id: ConnectionId) -> Option<(BrokerNumber, Incarnation)> {
        self.network.connections.get(&id)?.follower
    }

    pub(super) fn send(&mut self, id: ConnectionId, from: End, wire: Wire) {
        let delay = self.delay();
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return;
        };
        if connection.closed[from as usize] {
            return;
        }
        if connection.is_noisy && !matches!(wire, Wire::End) && self.is_lost(id, from, &wire) {
            return;
        }
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return;
        };
        if let Wire::Follower(message) = &wire
            && let Some(v1::follower_message::Message::Hello(hello)) = &message.message
        {
            let run = hello.incarnation.unwrap_or_default();
            connection.follower = Some((BrokerNumber(hello.broker), run.into()));
        }
        let last_us = &mut connection.last_us[from as usize];
        *last_us = (*last_us + 1).max(self.now_us + delay);
        let delay = *last_us - self.now_us;
        self.plan(delay, move |w| w.arrive(id, from, wire));
    }

    /// Noise. True: the message is not to be sent as usual.
    fn is_lost(&mut self, id: ConnectionId, from: End, wire: &Wire) -> bool {
        let late = self.chance.between(MS, 3 * SECOND);
        let soon = self.chance.between(100, 20 * MS);
        let again = wire.clone();
        match self.chance.below(100) {
            0..5 => {
                self.count("duplicate message");
                self.plan(soon, move |w| w.arrive(id, from, again));
                false
            }
            5..8 => {
                self.count("late message");
                self.plan(late, move |w| w.arrive_late(id, from, again));
                false
            }
            8..11 => {
                self.count("message overtaken");
                self.plan(soon, move |w| w.arrive(id, from, again));
                true
            }
            11..13 => {
                self.count("message dropped");
                true
            }
            _ => false,
        }
    }

    /// By whichever connection there is between the two by then.
    pub(super) fn arrive_late(&mut self, id: ConnectionId, from: End, wire: Wire) -> Step {
        let connections = &self.network.connections;
        let nodes = |c: &Connection| [c.peers[0].node, c.peers[1].node];
        let of = connections.get(&id).map(|c| (nodes(c), c.leader));
        let Some((between, leader)) = of else {
            return Ok(());
        };
        let now = connections
            .iter()
            .rfind(|(_, c)| nodes(c) == between && c.leader == leader && c.closed == [false; 2]);
        let Some(now) = now.map(|(id, _)| *id) else {
            return Ok(());
        };
        // A stream never does this, so it does not have to live with it for long.
        let ends = self.chance.between(SECOND, 3 * SECOND);
        self.plan(ends, move |w| {
            w.break_connection(now);
            Ok(())
        });
        self.arrive(now, from, wire)
    }

    fn arrive(&mut self, id: ConnectionId, from: End, wire: Wire) -> Step {
        let Some(connection) = self.network.connections.get_mut(&id) else {
            return Ok(());
        };
        let to = from.other();
        let peers = connection.peers;
        if self.network.cut[peers[from as usize].node][peers[to as usize].node] {
            connection.stalled[from as usize].push_back(wire);
            return Ok(());
        }
        if connection.closed[to as usize] {
            return Ok(());
        }
        let (leader, peer) = (connection.leader, peers[to as usize]);
        if matches!(wire, Wire::End | Wire::Refused(_)) {
            connection.closed[to as usize] = true;
        }
        self.hand_over(id, peer, leader, to, wire)
    }

    fn hand_over(
        &mut self,
        id: ConnectionId,
        peer: Peer,
        leader: Option<BrokerNumber>,
        to: End,
        wire: Wire,
    ) -> Step {
        let Peer { node, run } = peer;
        if node == CLIENTS {
            return self.member_hears(id, wire);
        }
        let input = match (wire, leader, to) {
            (Wire::Member(request), None, End::Listened) => Input::MemberSays(id, request),
            (Wire::End, None, End::Listened) if node < BROKERS => Input::MemberClosed(id),
            (Wire::Broker(message), None, End::Listened) => {
                let says = controller::Input::BrokerSays(id, message);
                return self.controller_input(node - BROKERS, run, says);
            }
            (Wire::End, None, End::Listened) => {
                let closed = controller::Input::SessionClosed(id);
                return self.controller_input(node - BROKERS, run, closed);
            }
            (Wire::Controller(message), None, End::Dialled) => Input::ControllerSays(message),
            (Wire::End, None, End::Dialled) => {
                if !self.forget_controller(node, id) {
                    return Ok(());
                }
                Input::ControllerClosed
            }
            (Wire::Follower(message), Some(_), End::Listened) => Input::FollowerSays(id, message),
            (Wire::End, Some(_), End::Listened) => Input::FollowerClosed(id),
            (Wire::Leader(message), Some(leader), End::Dialled) => {
                if !self.is_current(node, leader, id) {
                    return Ok(());
                }
                Input::LeaderSays(leader, message)
            }
            (Wire::End, Some(leader), End::Dialled) => {
                if !self.forget_leader(node, leader, id) {
                    return Ok(());
                }
                let refused = false;
                Input::LeaderClosed { leader, refused }
            }
            (wire, ..) => return Err(format!("the simulator sent {wire:?} the wrong way")),
        };
        self.broker_input(node, run, input)
    }

    /// One end has had enough.
    pub(super) fn close(&mut self, id: ConnectionId, by: End) {
        self.send(id, by, Wire::End);
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.closed[by as usize] = true;
        }
    }

    /// The network ends it for both.
    pub(super) fn break_connection(&mut self, id: ConnectionId) {
        self.send(id, End::Dialled, Wire::End);
        self.send(id, End::Listened, Wire::End);
    }

    /// A process is gone, and its connections with it.
    pub(super) fn close_all(&mut self, peer: Peer) {
        let of =
            |c: &Connection, end: End| c.peers[end as usize] == peer && !c.closed[end as usize];
        let ends = self.network.connections.iter().flat_map(|(id, c)| {
            [End::Dialled, End::Listened]
                .into_iter()
                .filter(move |end| of(c, *end))
                .map(move |end| (*id, end))
        });
        let ends: Vec<_> = ends.collect();
        for (id, end) in ends {
            self.close(id, end);
        }
    }

    /// Some of all connections end.
    pub(super) fn break_some(&mut self) {
        let open = self.network.connections.iter();
        let open: Vec<_> = open
            .filter(|(_, c)| c.closed == [false; 2])
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            if self.chance.happens(500) {
                self.break_connection(id);
            }
        }
    }

    /// What was stalled by cuts that are over goes on.
    pub(super) fn resume_stalled(&mut self) {
        let ids: Vec<_> = self.network.connections.keys().copied().collect();
        for id in ids {
            for from in [End::Dialled, End::Listened] {
                let connections = &mut self.network.connections;
                let Some(connection) = connections.get_mut(&id) else {
                    continue;
                };
                let stalled = std::mem::take(&mut connection.stalled[from as usize]);
                // Before whatever is on its way still.
                for wire in stalled {
                    self.plan(0, move |w| w.arrive(id, from, wire));
                }
            }
        }
        self.network
            .connections
            .retain(|_, c| c.closed != [true; 2] || c.stalled.iter().any(|s| !s.is_empty()));
    }
}
