//! A program whose data lies in a small file system in memory, which only that program sees and which ends with it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A command that starts `program`, its arguments to be added, where `folder` is such a file system. Takes no root, leaves nothing behind, and the process that is started
/// is the program's.
pub(crate) fn command(program: &Path, folder: &Path, mebibytes: u32) -> Command {
    let script =
        r#"mkdir -p "$2" && mount -t tmpfs -o "size=$1m" none "$2" && shift 2 && exec "$@""#;
    let mut command = unshared(script);
    command.arg(mebibytes.to_string()).arg(folder).arg(program);
    command
}

/// The same where the folder has a copy of `from` and no room besides.
pub(crate) fn full_command(program: &Path, folder: &Path, mebibytes: u32, from: &Path) -> Command {
    let fill = r#"mount -t tmpfs -o "size=$1m" none "$2" && cp -a --sparse=never "$3/." "$2""#;
    let script = format!(
        r#"mkdir -p "$2" && {fill} && {{ cat /dev/zero > "$2/filler" 2> /dev/null; shift 3 && exec "$@"; }}"#
    );
    let mut command = unshared(&script);
    command
        .arg(mebibytes.to_string())
        .arg(folder)
        .arg(from)
        .arg(program);
    command
}

fn unshared(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    command
}

/// The folder as that process sees it.
pub(crate) fn inside(pid: u32, folder: &Path) -> PathBuf {
    let inside = folder.strip_prefix("/").expect("the path is absolute");
    Path::new("/proc")
        .join(pid.to_string())
        .join("root")
        .join(inside)
}
