//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure, Outcome};

/// Waits for the signals that ask a process to end.
pub(crate) struct Interrupted {
    interrupt: Signal,
    terminate: Signal,
}

/// Catches the signals from now on.
///
/// # Errors
/// The system refuses.
pub(crate) fn interrupted() -> Outcome<Interrupted> {
    let catch = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(Exit::Failed, "IO", format!("cannot catch signals: {error}"))
        })
    };
    Ok(Interrupted {
        interrupt: catch(SignalKind::interrupt())?,
        terminate: catch(SignalKind::terminate())?,
    })
}

impl Interrupted {
    /// Resolves with the first signal. The second one ends the process at once.
    pub(crate) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(Exit::Interrupted as i32);
        });
    }

    /// Resolves with the next signal.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
