//! Logs as text or JSON, with a level that changes at run time.

use std::io::{IsTerminal as _, stderr};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: the same shape as the brokers'.
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
    tracing_subscriber::registry()
        .with(filter)
        .with(lines(format, stderr))
        .init();
    Ok(LogLevel(handle))
}

fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Colours are for people: a file or a log collector would keep their codes.
    let lines = fmt::layer()
        .with_ansi(stderr().is_terminal())
        .with_writer(writer);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, BufRead as _, BufReader},
        sync::Arc,
    };

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_line_of_json_has_time_level_message_and_fields_side_by_side() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let lines = lines(LogFormat::Json, Arc::new(writer));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(topic = "flights", "applied");
        });
        let mut text = String::new();
        let read = BufReader::new(reader).read_line(&mut text);
        read.expect("a line");
        let line: Value = serde_json::from_str(&text).expect("one JSON object");
        assert!(line["timestamp"].is_string(), "{line}");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "applied");
        assert_eq!(line["topic"], "flights");
    }
}
