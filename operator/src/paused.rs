//! `taffrail.dev/paused: "true"`: hands off.

use kube::{Resource, ResourceExt as _};
use taffrail_crds::PAUSED_ANNOTATION;

/// Did somebody ask the operator to leave this alone?
pub(crate) fn is_paused<K: Resource>(object: &K) -> bool {
    object
        .annotations()
        .get(PAUSED_ANNOTATION)
        .is_some_and(|value| value == "true")
}
