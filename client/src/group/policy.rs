//! What the group's policy says to its members. It comes before what a member is set to.

use taffrail_api::{
    WireError,
    convert::{delivery, out_of_range, start_from},
    v1,
};
use taffrail_core::group::{self, Delivery, StartFrom};

use super::{
    Group,
    settings::{DeliveryMode, OutOfRange, Settings},
};
use crate::consumer::Start;

/// `None`: as the member is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Policy {
    delivery: Option<Delivery>,
    start: Option<Start>,
    out_of_range: Option<OutOfRange>,
}

impl TryFrom<v1::MemberPolicy> for Policy {
    type Error = WireError;

    fn try_from(wire: v1::MemberPolicy) -> Result<Self, WireError> {
        let start = |start| match start {
            StartFrom::Earliest => Start::Earliest,
            StartFrom::Latest => Start::Latest,
            StartFrom::Timestamp(ms) => Start::Timestamp(ms),
        };
        let range = |range| match range {
            group::OutOfRange::Stop => OutOfRange::Stop,
            group::OutOfRange::Earliest => OutOfRange::Earliest,
            group::OutOfRange::Latest => OutOfRange::Latest,
        };
        Ok(Self {
            delivery: delivery(wire.delivery)?,
            start: start_from(wire.start)?.map(start),
            out_of_range: out_of_range(wire.out_of_range)?.map(range),
        })
    }
}

impl Settings {
    /// Can the member do what the policy says?
    ///
    /// # Errors
    /// Who commits by hand commits after processing.
    pub(super) fn check_allowed(&self, policy: Policy) -> Result<(), WireError> {
        let is_manual = self.delivery == DeliveryMode::Manual && !self.yields;
        if is_manual && policy.delivery == Some(Delivery::AtMostOnce) {
            return Err(WireError::invalid(format!(
                "the group's policy says AtMostOnce, and this member commits by hand: join group {} with AtLeastOnce or AtMostOnce, or change the policy",
                self.group
            )));
        }
        Ok(())
    }
}

impl Group {
    /// When offsets are committed: what the group's policy says, or else what the member is set to.
    pub fn delivery(&self) -> DeliveryMode {
        match (self.settings.delivery, self.policy.delivery) {
            (_, Some(Delivery::AtMostOnce)) => DeliveryMode::AtMostOnce,
            (DeliveryMode::AtMostOnce, Some(Delivery::AtLeastOnce)) => DeliveryMode::AtLeastOnce,
            (own, _) => own,
        }
    }

    pub(super) fn out_of_range(&self) -> OutOfRange {
        let policy = self.policy.out_of_range;
        policy.unwrap_or(self.settings.out_of_range)
    }

    /// It holds from now on, for what is under way too.
    pub(super) fn adopt(&mut self, policy: Policy) {
        if self.policy == policy {
            return;
        }
        tracing::info!(group = self.settings.group, ?policy, "the group's policy");
        self.policy = policy;
        if self
            .starts
            .go_by(policy.start.unwrap_or(self.settings.start))
        {
            self.starts.seek(self.held.iter());
        }
        if self.out_of_range() == OutOfRange::Stop {
            return;
        }
        // Those that wait are looked at again.
        for (at, held) in &mut self.held {
            if let Some(progress) = held.progress.filter(|_| held.is_stopped) {
                held.is_stopped = false;
                let next = progress.handed();
                self.consumer.seek(&held.topic, at.partition, next);
            }
        }
    }
}
