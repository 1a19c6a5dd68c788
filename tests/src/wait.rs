//! Waiting for conditions. The only place in the tests that sleeps.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine of two cores; nothing waits that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(25);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within `patience`; `what` says what was waited for.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {} s",
            patience.as_secs()
        );
        thread::sleep(PAUSE);
    }
}

/// The same, where asking takes awaiting.
///
/// # Panics
/// As [`until`].
pub async fn until_async<T, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {} s",
            patience.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// As [`until_async`], of what says why there is no answer.
///
/// # Panics
/// As [`until`], with the last reason.
pub async fn until_ok<T, E, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let why = match ask().await {
            Ok(answer) => return answer,
            Err(why) => why,
        };
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {} s: {why}",
            patience.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
}
