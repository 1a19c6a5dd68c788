//! The configurations that have names.

use super::Config;

/// The named configurations and what each looks at.
pub const NAMES: [(&str, &str); 24] = [
    ("crashes", "three crashes"),
    ("crashes-delayed", "two crashes, fetches delayed"),
    ("duel", "live leaders deposed, two controllers"),
    ("suspicion-delayed", "live leaders deposed, fetches delayed"),
    ("isr", "ISR changes from {0,1,2}"),
    ("isr-grow", "ISR changes from {0,1}, no crash"),
    ("isr-duel", "ISR changes and two controllers"),
    ("isr-two", "ISR changes from {0,1}, one crash"),
    ("wiped-volume", "a volume is wiped"),
    ("old-volume", "an older copy of a volume comes back"),
    ("old-volume-duel", "the same with two controllers"),
    (
        "store-rollback",
        "the store goes back to before an ISR shrink",
    ),
    ("store-rollback-crash", "the same with a crash"),
    (
        "answers",
        "fetches and their answers delayed; an answer may come twice",
    ),
    (
        "answers-deposed",
        "the same from where a leader was deposed",
    ),
    (
        "confirmation",
        "an older volume comes back; the leader confirms restarted members",
    ),
    ("confirmation-shrink", "the same, or the ISR changes"),
    ("confirmation-duel", "the same with two controllers"),
    ("creation", "two controllers create the topic"),
    (
        "creation-rollback",
        "the store goes back to before the topic was created",
    ),
    ("deletion", "the topic is deleted while a broker is away"),
    (
        "deletion-moved",
        "the same where the broker that is away held a replica before",
    ),
    (
        "page-cache",
        "records count before they are synced; nodes crash",
    ),
    ("idempotence", "producers send again"),
];

impl Config {
    /// One of [`NAMES`].
    pub(super) fn named(name: &str) -> Option<Self> {
        let base = Self::base();
        Some(match name {
            "crashes" => Self { crashes: 3, ..base },
            "crashes-delayed" => Self {
                delayed_fetches: true,
                ..base
            },
            "duel" => Self {
                suspicion: true,
                controller_epochs: 2,
                crashes: 1,
                ..base
            },
            "suspicion-delayed" => Self {
                suspicion: true,
                crashes: 1,
                delayed_fetches: true,
                ..base
            },
            "isr" => Self {
                suspicion: true,
                crashes: 1,
                ..base.with_isr_requests()
            },
            "isr-grow" => Self {
                isr: 0b011,
                suspicion: true,
                crashes: 0,
                leader_epochs: 3,
                partition_epochs: 7,
                ..base.with_isr_requests()
            },
            "isr-duel" => Self {
                suspicion: true,
                controller_epochs: 2,
                crashes: 0,
                election_drops: true,
                ..base.with_isr_requests()
            },
            "isr-two" => Self {
                isr: 0b011,
                crashes: 1,
                election_drops: true,
                ..base.with_isr_requests()
            },
            "wiped-volume" => Self {
                wipes: 1,
                isr_requests: 1,
                partition_epochs: 7,
                records: 1,
                ..base
            },
            "old-volume" => Self {
                restores: 1,
                records: 1,
                ..base
            },
            "old-volume-duel" => Self {
                isr: 0b011,
                restores: 1,
                records: 1,
                controller_epochs: 2,
                ..base
            },
            "store-rollback" => Self {
                crashes: 0,
                leader_epochs: 2,
                ..base.with_rollback()
            },
            "store-rollback-crash" => Self {
                crashes: 1,
                ..base.with_rollback()
            },
            "answers" => Self {
                crashes: 1,
                delayed_fetches: true,
                delayed_answers: true,
                ..base
            },
            "answers-deposed" => Self {
                records: 1,
                crashes: 0,
                suspicion: true,
                delayed_fetches: true,
                delayed_answers: true,
                deposed: true,
                ..base
            },
            "confirmation" => Self {
                only_confirmations: true,
                ..base.with_confirmations()
            },
            "confirmation-shrink" => base.with_confirmations(),
            "confirmation-duel" => Self {
                isr_requests: 0,
                controller_epochs: 2,
                ..base.with_confirmations()
            },
            "creation" => Self {
                crashes: 1,
                suspicion: true,
                controller_epochs: 2,
                leader_epochs: 2,
                creation: true,
                ..base
            },
            "creation-rollback" => Self {
                crashes: 0,
                leader_epochs: 2,
                creation: true,
                ..base.with_rollback()
            },
            "deletion" => Self {
                crashes: 1,
                records: 1,
                controller_epochs: 2,
                deletion: true,
                ..base
            },
            "deletion-moved" => Self {
                crashes: 1,
                controller_epochs: 2,
                deletion: true,
                former_holder: true,
                ..base
            },
            "page-cache" => Self {
                crashes: 1,
                node_crashes: 3,
                records: 1,
                leader_epochs: 4,
                page_cache: true,
                ..base
            },
            "idempotence" => Self {
                crashes: 2,
                retries: 1,
                ..base
            },
            _ => return None,
        })
    }

    fn with_isr_requests(self) -> Self {
        Self {
            isr_requests: 2,
            leader_epochs: 2,
            partition_epochs: 6,
            ..self
        }
    }

    fn with_confirmations(self) -> Self {
        Self {
            isr: 0b011,
            restores: 1,
            records: 1,
            isr_requests: 1,
            leader_epochs: 3,
            confirmations: true,
            old_copy: true,
            ..self
        }
    }

    fn with_rollback(self) -> Self {
        Self {
            suspicion: true,
            records: 1,
            controller_epochs: 3,
            rollback: true,
            partition_epochs: 8,
            ..self
        }
    }
}
