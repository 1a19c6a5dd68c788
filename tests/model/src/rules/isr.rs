//! Who is in sync: the leader asks, the controller writes; a wiped volume's number is replaced.

use crate::{
    mutant::Mutant,
    state::{Assignment, Broker, IsrChange, IsrRequest, MIN_IN_SYNC, Members, Number, State},
    system::System,
};

impl System {
    /// The changes that this leader may ask for: any member out that the ISR can spare, or that has less than what is committed; whoever caught up in; a restarted member confirmed once it caught up.
    pub(crate) fn wanted_isr_changes(
        &self,
        leader: &Broker,
        member: Number,
    ) -> impl Iterator<Item = IsrChange> {
        let map = &leader.volume.map;
        let is_other = member != leader.volume.number && map.replicas.contains(member);
        let is_in = map.isr.contains(member);
        let caught_up = self.has_caught_up(leader, member);
        let confirms = map.is_unconfirmed(member)
            && (caught_up
                || self.breaks(Mutant::ConfirmedAtFirstReport)
                    && leader.reports[member.index()].is_some());
        let changes = !self.config.only_confirmations;
        let spares = self.can_spare(map);
        let has_lost = leader.reports[member.index()]
            .is_some_and(|report| report.durable_end < leader.volume.high_watermark);
        let wanted = [
            (is_in && changes && spares, IsrChange::Remove),
            (
                is_in && changes && !spares && has_lost,
                IsrChange::RemoveLost,
            ),
            (!is_in && caught_up && changes, IsrChange::Add),
            (is_in && confirms, IsrChange::Confirm),
        ];
        wanted
            .into_iter()
            .filter_map(move |(is_wanted, change)| (is_other && is_wanted).then_some(change))
    }

    pub(crate) fn request_isr_change(
        &self,
        state: &mut State,
        slot: usize,
        controller: usize,
        change: IsrChange,
        member: Number,
    ) {
        state.spent.isr_requests += 1;
        let leader = &mut state.brokers[slot];
        leader.pending = Some((change, member));
        state.isr_requests.push(IsrRequest {
            to: controller as u8,
            version: leader.volume.map.version(),
            change,
            member,
            incarnation: leader.reports[member.index()].map_or(0, |report| report.incarnation),
        });
        self.advance_high_watermark(state, slot);
    }

    /// Refused unless the assignment is still the one that the leader knew, and the newcomer still the one that reported.
    pub(crate) fn may_change_isr(&self, state: &State, index: usize, request: IsrRequest) -> bool {
        let map = &state.controllers[index].map;
        let member = request.member;
        let is_current = if self.breaks(Mutant::LateIsrRequestAccepted) {
            request.version.0 == map.leader_epoch
        } else {
            request.version == map.version()
        };
        let registered = state.store.incarnations[member.index()];
        let awaited = match map.unconfirmed[member.index()] {
            0 => registered,
            _ if self.breaks(Mutant::OldIncarnationConfirmed) => registered,
            awaited => awaited,
        };
        let is_same_life = awaited == request.incarnation;
        request.to as usize == index
            && is_current
            && match request.change {
                IsrChange::Add => {
                    is_same_life && !map.isr.contains(member) && map.replicas.contains(member)
                }
                IsrChange::Remove => {
                    map.isr.contains(member) && map.leader != Some(member) && self.can_spare(map)
                }
                IsrChange::RemoveLost => map.isr.contains(member) && map.leader != Some(member),
                IsrChange::Confirm => is_same_life && map.is_unconfirmed(member),
            }
    }

    pub(crate) fn change_isr(
        &self,
        state: &mut State,
        index: usize,
        request: IsrRequest,
    ) -> Option<()> {
        let position = state
            .isr_requests
            .iter()
            .position(|sent| *sent == request)?;
        state.isr_requests.remove(position);
        let mut map = state.controllers[index].map;
        match request.change {
            IsrChange::Add => map.isr = map.isr.with(request.member),
            IsrChange::Remove | IsrChange::RemoveLost => {
                map.isr = map.isr.without(request.member);
            }
            IsrChange::Confirm => {}
        }
        map.unconfirmed[request.member.index()] = 0;
        map.partition_epoch += 1;
        self.write(state, index, map);
        Some(())
    }

    /// The replica whose volume is gone, and who may lead without it (`None` where it did not lead).
    pub(crate) fn replacements(&self, state: &State, index: usize) -> Vec<Option<Number>> {
        let map = &state.controllers[index].map;
        let Some(gone) = gone(state, map).filter(|&gone| map.isr != Members::only(gone)) else {
            return Vec::new();
        };
        if map.leader != Some(gone) {
            return vec![None];
        }
        if map.leader_epoch >= self.config.leader_epochs {
            return Vec::new();
        }
        self.candidates(state, map, Some(gone)).map(Some).collect()
    }

    pub(crate) fn replace_wiped(
        &self,
        state: &mut State,
        index: usize,
        slot: usize,
        winner: Option<Number>,
    ) -> Option<()> {
        let mut map = state.controllers[index].map;
        let gone = gone(state, &map)?;
        map.replicas = map
            .replicas
            .without(gone)
            .with(state.brokers[slot].volume.number);
        map.isr = map.isr.without(gone);
        map.partition_epoch += 1;
        if let Some(winner) = winner {
            map.set_leader(winner, state.store.incarnations[winner.index()]);
        }
        self.write(state, index, map);
        Some(())
    }

    /// Whoever is only late or away leaves an ISR with more members than minInSync.
    pub(crate) fn can_spare(&self, map: &Assignment) -> bool {
        map.isr.len() > MIN_IN_SYNC || self.breaks(Mutant::ShrunkBelowMinInSync)
    }

    fn has_caught_up(&self, leader: &Broker, member: Number) -> bool {
        let high_watermark = leader.volume.high_watermark;
        let floor = if self.breaks(Mutant::CaughtUpByHighWatermark) {
            high_watermark
        } else {
            high_watermark.max(leader.election_end)
        };
        leader.reports[member.index()].is_some_and(|report| report.durable_end >= floor)
    }
}

fn gone(state: &State, map: &Assignment) -> Option<Number> {
    map.replicas
        .iter()
        .find(|&number| state.slot_of(number).is_none())
}
