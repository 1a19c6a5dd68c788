//! What a controller may do with the topic as a whole.

use crate::{
    action::Action,
    state::{Number, SLOTS, State},
    system::System,
};

impl System {
    pub(crate) fn topic_actions(
        &self,
        state: &State,
        controller: usize,
        actions: &mut Vec<Action>,
    ) {
        if self.may_create_map(state, controller) {
            let leaders = (0..SLOTS as u8 - 1).map(Number);
            actions.extend(leaders.map(|leader| Action::CreateMap { controller, leader }));
        }
        let steps = [
            (
                Self::may_reread_map(state, controller),
                Action::RereadMap(controller),
            ),
            (
                Self::may_list_map(state, controller),
                Action::ListMap(controller),
            ),
            (
                self.may_delete_topic(state, controller),
                Action::DeleteTopic(controller),
            ),
            (
                self.may_drop_tombstone(state, controller),
                Action::DropTombstone(controller),
            ),
        ];
        actions.extend(
            steps
                .into_iter()
                .filter_map(|(may, action)| may.then_some(action)),
        );
        for slot in 0..SLOTS {
            if self.may_delete_replica(state, controller, slot) {
                actions.push(Action::DeleteReplica { controller, slot });
            }
            if Self::may_adopt(state, controller, slot) {
                actions.push(Action::Adopt { controller, slot });
            }
        }
    }
}
