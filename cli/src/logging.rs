//! Logs go to standard error, so that standard output is data.

use clap::{Args, ValueEnum as _};
use taffrail_broker::logging::{self, LogControl, LogFormat};

use crate::failure::{Failure, Outcome};

/// What is logged, and how.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as info,taffrail_log=debug [default: info for dev, warn otherwise]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logging")]
    log_level: Option<String>,
    /// How a log line looks: text or json
    #[arg(
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

/// How this process logs, and how its children shall.
pub(crate) struct Logging {
    /// Changes the level at run time.
    pub(crate) control: LogControl,
    /// The level it started with.
    pub(crate) level: String,
    format: LogFormat,
}

impl LogArgs {
    /// Starts logging. `serving`: this process runs a cluster, and its state changes are of interest.
    ///
    /// # Errors
    /// If the level is no filter.
    pub(crate) fn install(self, serving: bool) -> Outcome<Logging> {
        let default = if serving { "info" } else { "warn" };
        let level = self.log_level.unwrap_or_else(|| default.to_owned());
        let control = logging::init(self.log_format, &level)
            .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
        Ok(Logging {
            control,
            level,
            format: self.log_format,
        })
    }
}

impl Logging {
    /// The format as it is written on a command line.
    pub(crate) fn format_name(&self) -> String {
        let value = self.format.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
