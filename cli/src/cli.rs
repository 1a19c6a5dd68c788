//! The command line: what there is to type, and where each command lives.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    apply, bench, consume, delete, demo, describe, dev, failure::Outcome, get, groups, log_command,
    logging::LogArgs, move_replicas, plan, produce,
};

/// A partitioned log for events, on Kubernetes and on your laptop
///
/// New here? `taffrail demo` starts a cluster in this process, sends it 27,004 flights, reads them back and says what to type next.
#[derive(Parser)]
#[command(
    name = "taffrail",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong command line, 3 refused input, 4 not found, 5 unavailable, 6 conflict, 7 damage found, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See it work: an embedded cluster, real data in and out, and what to type next
    Demo(demo::DemoArgs),
    /// Run an embedded cluster for development
    Dev(dev::DevArgs),
    /// Create or change the topics of a manifest, the same YAML as on Kubernetes
    Apply(apply::ApplyArgs),
    /// List topics, partitions or brokers
    Get(get::GetArgs),
    /// Show all about one topic
    Describe(describe::DescribeArgs),
    /// Delete topics; their deletionPolicy says what becomes of the data
    Delete(delete::DeleteArgs),
    /// Move replicas between brokers: copy, catch up, swap
    Move(move_replicas::MoveArgs),
    /// See what a placement or an assignment would be, and change nothing
    Plan(plan::PlanArgs),
    /// Send the records of a file or of standard input
    Produce(produce::ProduceArgs),
    /// Print the records of a topic
    Consume(consume::ConsumeArgs),
    /// Consumer groups: who is in, how far they have read, and where they go on
    Groups(groups::GroupsArgs),
    /// Measure throughput and latency
    Bench(bench::BenchArgs),
    /// Look into the files of a partition, offline
    Log(log_command::LogCommandArgs),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The address of any broker.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServerArgs {
    /// Address of any broker of the cluster, with or without http://; or several, with commas: the first one that answers is asked
    #[arg(
        long,
        short = 's',
        env = "TAFFRAIL_SERVER",
        default_value = "127.0.0.1:9640",
        value_delimiter = ',',
        num_args = 1,
        value_name = "HOST:PORT,..."
    )]
    pub(crate) server: Vec<String>,
}

impl Cli {
    /// Is there a broker in this process, or are there some that it starts?
    pub(crate) const fn runs_a_broker(&self) -> bool {
        matches!(self.command, Command::Demo(_) | Command::Dev(_))
    }

    /// Does what was asked for.
    pub(crate) async fn run(self) -> Outcome {
        let log = self.log.install(matches!(self.command, Command::Dev(_)))?;
        match self.command {
            Command::Demo(args) => demo::run(args, log).await,
            Command::Dev(args) => dev::run(args, log).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Describe(args) => describe::run(args).await,
            Command::Delete(args) => delete::run(args).await,
            Command::Move(args) => move_replicas::run(args).await,
            Command::Plan(args) => plan::run(args).await,
            Command::Produce(args) => produce::run(args).await,
            Command::Consume(args) => consume::run(args).await,
            Command::Groups(args) => groups::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Log(args) => log_command::run(args),
            Command::Completions { shell } => completions(shell),
        }
    }
}

fn completions(shell: Shell) -> Outcome {
    use clap::CommandFactory as _;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "taffrail", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What is typed after `taffrail` in the code blocks of a document. Remarks stand behind a `#` or two blanks.
    fn commands(text: &str) -> Vec<&str> {
        let mut fenced = false;
        let lines = text.lines().filter(|line| {
            fenced ^= line.starts_with("```");
            fenced
        });
        let parts = lines.flat_map(|line| line.split(" | "));
        parts
            .filter_map(|part| part.trim().strip_prefix("taffrail "))
            .map(|command| command.split("  ").next().unwrap_or_default())
            .map(|command| command.split(" #").next().unwrap_or_default())
            .map(|command| command.trim_end_matches(" &"))
            .collect()
    }

    #[test]
    fn every_command_of_the_documents_can_be_typed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = fs::read_dir(root.join("docs")).expect("readable");
        let mut files: Vec<PathBuf> = docs.map(|entry| entry.expect("readable").path()).collect();
        files.push(root.join("README.md"));
        files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
        let mut found = 0;
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            for command in commands(&text) {
                let words = ["taffrail"].into_iter().chain(command.split(' '));
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{}: taffrail {command}: {error}", file.display());
                }
                found += 1;
            }
        }
        assert!(found > 15, "only {found} commands");
    }
}
