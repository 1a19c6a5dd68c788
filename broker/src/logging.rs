//! Log lines as text or JSON, with a level that can change at run time.

use std::{
    fmt,
    io::{IsTerminal as _, stderr},
    sync::Arc,
};

use clap::ValueEnum;
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Changes what is logged.
#[derive(Clone)]
pub struct LogControl(Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogControl {
    /// Logs by `directives` from now on, such as `info` or `taffrail_broker=debug,info`.
    ///
    /// # Errors
    /// The directives make no sense.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        let filter = parse(directives)?;
        (self.0)(filter).map_err(|e| e.to_string())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogControl")
    }
}

/// Logs to standard error from now on, for the whole process.
///
/// # Errors
/// The directives make no sense, or logging was set up already.
pub fn init(format: LogFormat, directives: &str) -> Result<LogControl, String> {
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    // Colours are for people: a file or a log collector would keep their codes.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|e| e.to_string())?;
    Ok(LogControl(Arc::new(move |filter| handle.reload(filter))))
}

fn parse(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives.trim()).map_err(|e| {
        format!(
            "{directives:?} is no log level ({e}); try info, debug or taffrail_broker=debug,info"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_an_example() {
        let error = parse("=x=,").expect_err("nonsense");
        assert!(error.contains("taffrail_broker=debug"), "{error}");
        parse("taffrail_broker=debug,info").expect("valid");
    }
}
