//! `taffrail delete`: ends topics.

use std::{io::Write as _, path::PathBuf};

use clap::Args;

use crate::{
    cli::ServerArgs,
    connect::{self, Admin, topic_names},
    failure::{Failure, Outcome},
    manifest,
};

/// Delete topics; their deletionPolicy says what becomes of the data
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct DeleteArgs {
    /// Which topics
    #[arg(group = "what", value_name = "TOPIC")]
    topics: Vec<String>,
    /// The topics of these manifests: a file, a directory, or - for standard input
    #[arg(long, short, group = "what", value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// A topic that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Ends them, one after the other.
pub(crate) async fn run(args: DeleteArgs) -> Outcome {
    let mut names = topic_names(&args.topics);
    let manifests = manifest::read(&args.filename)?;
    names.extend(manifests.topics.into_iter().map(|topic| topic.name));
    let admin = connect::admin(&args.server).await?;
    for name in &names {
        delete(&admin, name, args.ignore_not_found)
            .await
            .map_err(|failure| in_kubernetes(failure, name, &args.filename))?;
    }
    Ok(())
}

async fn delete(admin: &Admin, name: &str, ignore_not_found: bool) -> Outcome {
    match admin.topics(&[name.to_owned()]).await {
        Ok(_) => {}
        Err(failure) if ignore_not_found && failure.code() == "UNKNOWN_TOPIC" => return Ok(()),
        Err(failure) => return Err(failure),
    }
    let data_deleted = admin.delete_topic(name).await?;
    let data = if data_deleted {
        "its data is gone"
    } else {
        "its data is kept; a topic of this name with adoption: ByName continues it"
    };
    writeln!(std::io::stdout(), "topic/{name} deleted: {data}")?;
    Ok(())
}

fn in_kubernetes(failure: Failure, name: &str, files: &[PathBuf]) -> Failure {
    if failure.code() != "MANAGED_BY_KUBERNETES" {
        return failure;
    }
    let line = match files {
        [] => format!("kubectl delete topic {name}"),
        files => format!("kubectl delete{}", connect::file_flags(files)),
    };
    failure.hint(line)
}
