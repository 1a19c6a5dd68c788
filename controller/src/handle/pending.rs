//! Who asked what, until it is answered.

use std::collections::HashMap;

use super::{ApplyAnswer, DeleteAnswer, MoveAnswer};
use crate::state::{Answer, RequestId};

/// Whoever waits for an answer.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    next: RequestId,
    apply: HashMap<RequestId, ApplyAnswer>,
    delete: HashMap<RequestId, DeleteAnswer>,
    moves: HashMap<RequestId, MoveAnswer>,
}

impl Pending {
    pub(crate) fn apply(&mut self, answer: ApplyAnswer) -> RequestId {
        self.next += 1;
        self.apply.insert(self.next, answer);
        self.next
    }

    pub(crate) fn delete(&mut self, answer: DeleteAnswer) -> RequestId {
        self.next += 1;
        self.delete.insert(self.next, answer);
        self.next
    }

    pub(crate) fn moves(&mut self, answer: MoveAnswer) -> RequestId {
        self.next += 1;
        self.moves.insert(self.next, answer);
        self.next
    }

    /// Whoever asked may have gone away.
    pub(crate) fn answer(&mut self, id: RequestId, answer: Answer) {
        match answer {
            Answer::Apply(answer) => {
                let _ = self.apply.remove(&id).map(|waiting| waiting.send(answer));
            }
            Answer::Delete(answer) => {
                let _ = self.delete.remove(&id).map(|waiting| waiting.send(answer));
            }
            Answer::Move(answer) => {
                let _ = self.moves.remove(&id).map(|waiting| waiting.send(answer));
            }
        }
    }
}
