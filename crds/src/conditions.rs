//! `metav1.Condition`: what a resource's status says is so, since when, and why.

use std::borrow::Cow;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// What a reconciler found out about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `Ready`, `Accepted` ...
    pub type_: &'static str,
    /// Holds; `None`: not known.
    pub status: Option<bool>,
    /// One CamelCase word. API.
    pub reason: Cow<'static, str>,
    /// For a person. Holds no counters or times, or it would change with every look.
    pub message: String,
}

impl Finding {
    /// The condition holds.
    pub fn yes(
        type_: &'static str,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(type_, Some(true), reason, message)
    }

    /// The condition does not hold.
    pub fn no(
        type_: &'static str,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(type_, Some(false), reason, message)
    }

    /// Nobody can say.
    pub fn unknown(
        type_: &'static str,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(type_, None, reason, message)
    }

    fn new(
        type_: &'static str,
        status: Option<bool>,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// The conditions for `findings`: a transition time is kept where the status stayed what it was in `before`.
pub fn next(
    before: &[Condition],
    findings: &[Finding],
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let status = match finding.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = find(before, finding.type_)
                .filter(|c| c.status == status)
                .map_or(now, |c| c.last_transition_time.0);
            Condition {
                type_: finding.type_.to_owned(),
                status: status.to_owned(),
                reason: finding.reason.clone().into_owned(),
                message: finding.message.clone(),
                observed_generation,
                last_transition_time: Time(since),
            }
        })
        .collect()
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Is the condition there, and true?
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_transition_time_moves_only_when_the_status_does() {
        let first = next(
            &[],
            &[Finding::no("Ready", "Creating", "")],
            Some(1),
            at(10),
        );
        let same = next(
            &first,
            &[Finding::no("Ready", "PartitionsOffline", "")],
            Some(2),
            at(20),
        );
        assert_eq!(same[0].last_transition_time.0, at(10));
        assert_eq!(same[0].observed_generation, Some(2));
        let ready = next(
            &same,
            &[Finding::yes("Ready", "AllPartitionsOnline", "")],
            Some(2),
            at(30),
        );
        assert_eq!(ready[0].last_transition_time.0, at(30));
        assert!(is_true(&ready, "Ready"));
        assert!(!is_true(&same, "Ready"));
    }
}
