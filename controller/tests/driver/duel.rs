//! Two controllers on one store.

use std::time::Duration;

use taffrail_controller::{Environment, MemoryStore, start};
use taffrail_core::ErrorCode;
use tokio::time::timeout;

use crate::{DEADLINE, config, controller, spec};

#[tokio::test]
async fn of_two_controllers_the_later_stays_in_office() {
    let store = MemoryStore::default();
    let first = controller(store.clone(), 1).await;
    let second = controller(store.clone(), 1).await;
    let refused = first.apply_topic("flights", spec(1), false).await;
    assert_eq!(refused.expect_err("deposed").code(), ErrorCode::NotActive);
    timeout(DEADLINE, first.deposed()).await.expect("it knows");
    assert!(!first.is_active());

    second
        .apply_topic("flights", spec(1), false)
        .await
        .expect("in office");
    assert!(second.is_active());
    assert!(
        timeout(Duration::from_millis(50), second.deposed())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn of_many_controllers_that_start_together_one_stays_in_office() {
    let store = MemoryStore::default();
    let starts = (0..5).map(|_| start(store.clone(), config(1), Environment::system()));
    let started = futures::future::join_all(starts).await;
    // Whoever was deposed before it was in office says so.
    let handles: Vec<_> = started.into_iter().filter_map(Result::ok).collect();
    let mut accepted = 0;
    for handle in &handles {
        accepted += usize::from(handle.apply_topic("flights", spec(1), false).await.is_ok());
    }
    assert_eq!(accepted, 1);
    let active = handles.iter().filter(|handle| handle.is_active());
    assert_eq!(active.count(), 1);
}
