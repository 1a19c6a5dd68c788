//! Reading slowly on purpose: whoever reads old data beside others leaves disk and network to them.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::ConsumerConfig;

/// When the next batch may be handed out.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s_max: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) const fn new(config: &ConsumerConfig) -> Self {
        Self {
            bytes_per_s_max: config.bytes_per_s_max,
            timer: None,
        }
    }

    /// May the next batch be handed out?
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Ready(());
        };
        let due = timer.as_mut().poll(cx);
        if due.is_ready() {
            self.timer = None;
        }
        due
    }

    /// A batch was handed out: the next one has to wait for as long as this one takes.
    pub(super) fn handed_out(&mut self, bytes: usize) {
        if let Some(rate) = self.bytes_per_s_max {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.timer = Some(Box::pin(sleep_until(Instant::now() + takes)));
        }
    }
}

/// What is asked for at once is no more than is handed out in a second: an answer that waits is memory, and was read in a rush.
pub(super) fn paced(mut config: ConsumerConfig) -> ConsumerConfig {
    if let Some(rate) = config.bytes_per_s_max {
        let second = u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        config.max_bytes = config.max_bytes.min(second);
        config.partition_max_bytes = config.partition_max_bytes.min(second);
    }
    config
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn at(bytes_per_s: u64) -> ConsumerConfig {
        ConsumerConfig {
            bytes_per_s_max: Some(bytes_per_s),
            ..ConsumerConfig::default()
        }
    }

    #[tokio::test]
    async fn a_batch_is_followed_by_the_time_that_it_takes() {
        let mut pace = Pace::new(&at(1_000));
        poll_fn(|cx| pace.poll_due(cx)).await;
        let before = Instant::now();
        pace.handed_out(2_500);
        let after = Instant::now();
        let takes = Duration::from_millis(2_500);
        let due = pace.timer.as_ref().map(|timer| timer.deadline());
        assert!(due.is_some_and(|due| (before + takes..=after + takes).contains(&due)));
        let polled = poll_fn(|cx| Poll::Ready(pace.poll_due(cx))).await;
        assert!(polled.is_pending());
        pace.handed_out(0);
        poll_fn(|cx| pace.poll_due(cx)).await;
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(&ConsumerConfig::default());
        pace.handed_out(usize::MAX);
        let polled = poll_fn(|cx| Poll::Ready(pace.poll_due(cx))).await;
        assert!(polled.is_ready());
    }

    #[test]
    fn no_more_than_a_second_s_worth_is_asked_for() {
        let config = paced(at(4_096));
        assert_eq!(
            (config.max_bytes, config.partition_max_bytes),
            (4_096, 4_096)
        );
        let fast = paced(at(u64::MAX));
        assert_eq!(fast.max_bytes, ConsumerConfig::default().max_bytes);
    }
}
