//! Order across retries: when a pipelined request fails retriably, those behind it must not overtake it before it is sent again.

use std::sync::{Arc, Mutex, PoisonError};

use taffrail_api::WireError;

/// The requests of one stream to one partition. Once one has failed retriably, all that carry its number or a lower one are refused.
#[derive(Debug, Default)]
pub(crate) struct Chain(Mutex<Option<(u32, WireError)>>);

/// One request's place in a chain; the default one is in none.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChainLink {
    chain: Option<Arc<Chain>>,
    number: u32,
}

impl ChainLink {
    pub(crate) fn new(chain: &Arc<Chain>, number: u32) -> Self {
        Self {
            chain: Some(Arc::clone(chain)),
            number,
        }
    }

    /// The failure because of which this request must be refused.
    pub(crate) fn broken(&self) -> Option<WireError> {
        let broken = self
            .chain
            .as_ref()?
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        broken
            .as_ref()
            .filter(|(number, _)| *number >= self.number)
            .map(|(_, error)| error.clone())
    }

    /// This request failed. What will never succeed is not sent again, and breaks nothing.
    pub(crate) fn break_off(&self, error: &WireError) {
        let Some(chain) = self.chain.as_ref().filter(|_| error.retriable) else {
            return;
        };
        let mut broken = chain.0.lock().unwrap_or_else(PoisonError::into_inner);
        if broken
            .as_ref()
            .is_none_or(|(number, _)| *number < self.number)
        {
            *broken = Some((self.number, error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_core::ErrorCode;

    use super::*;

    #[test]
    fn those_behind_a_failure_are_refused_until_the_next_chain() {
        let chain = Arc::default();
        let link = |number| ChainLink::new(&chain, number);
        link(1).break_off(&WireError::new(ErrorCode::CorruptBatch, "never succeeds"));
        assert_eq!(link(1).broken(), None);
        link(1).break_off(&WireError::new(ErrorCode::DiskFull, "later"));
        assert_eq!(link(1).broken().expect("broken").code, ErrorCode::DiskFull);
        assert_eq!(link(2).broken(), None);
    }

    #[test]
    fn a_request_without_a_chain_waits_for_nobody() {
        let link = ChainLink::default();
        link.break_off(&WireError::new(ErrorCode::DiskFull, "later"));
        assert_eq!(link.broken(), None);
    }
}
