//! Logs as text or JSON, with a level that changes at run time.

use std::io;

use tracing_subscriber::{
    EnvFilter, Registry, filter::ParseError, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// Changes the level.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Applies a directive such as `info` or `taffrail_operator=debug,info`.
    ///
    /// # Errors
    /// The directive makes no sense.
    pub fn set(&self, directive: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::builder().parse(directive)?;
        // An error means that the subscriber is gone, and with it everything that could log.
        let _ = self.0.reload(filter);
        Ok(())
    }

    /// Of a subscriber that is gone.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self(reload::Layer::new(EnvFilter::new("info")).1)
    }
}

/// Starts to log to stderr.
///
/// # Errors
/// The level makes no sense.
pub fn start(format: LogFormat, level: &str) -> Result<LogLevel, ParseError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse(level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Ok(LogLevel(handle))
}
