//! An event with a name of its own: the recorder would count it as the one before, said again.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

use crate::writes::FIELD_MANAGER;

/// What the API server takes.
const NOTE_BYTES_MAX: usize = 1_024;

/// A warning about several things at once.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    /// What happened.
    pub(crate) begin: String,
    /// To what.
    pub(crate) details: Vec<String>,
    /// Where those are that there is no room for, such as `are in the operator's log`.
    pub(crate) rest: &'static str,
}

impl Notice {
    pub(crate) fn event(&self, regarding: ObjectReference, identity: &str) -> Event {
        let now = Timestamp::now();
        let name = regarding.name.as_deref().unwrap_or(FIELD_MANAGER);
        Event {
            metadata: ObjectMeta {
                namespace: regarding.namespace.clone(),
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                ..ObjectMeta::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(self.reason.to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(self.note()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(identity.to_owned()),
            ..Event::default()
        }
    }

    /// Says as many details as there is room for.
    pub(crate) fn note(&self) -> String {
        let mut note = self.begin.clone();
        let rest = |count: usize| format!("; {count} more {}", self.rest);
        let room = NOTE_BYTES_MAX - rest(self.details.len()).len();
        for (told, detail) in self.details.iter().enumerate() {
            if note.len() + 2 + detail.len() > room {
                return note + &rest(self.details.len() - told);
            }
            note += "; ";
            note += detail;
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_how_many_details_it_has_no_room_for() {
        let notice = Notice {
            reason: "DataLost",
            action: "Expire",
            begin: "records are lost".to_owned(),
            details: (0..2_000).map(|n| format!("partition {n}")).collect(),
            rest: "are in the operator's log",
        };
        let note = notice.note();
        assert!(note.len() <= NOTE_BYTES_MAX, "{}", note.len());
        let told = note.matches("partition ").count();
        let rest = format!("; {} more are in the operator's log", 2_000 - told);
        assert!(told > 5 && note.ends_with(&rest), "{note}");
    }
}
