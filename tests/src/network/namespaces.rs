//! A network namespace for each end, linked with every other one and with this process's. A cut is an end of a link that sends nothing: what is behind it does not
//! notice, and TCP sends again.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use super::End;
use crate::ports;

/// Names of ours begin so, and go on with the process that made them.
const PREFIX: &str = "taffrail-test-";

/// Namespaces and what links them, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    nodes: Mutex<BTreeMap<End, Node>>,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    /// What its interfaces are called on the other side.
    number: u16,
    address: Ipv4Addr,
}

impl Namespaces {
    /// `None`: this user may not make any here, which is said.
    pub(super) fn available() -> Option<Self> {
        match probe() {
            Ok(()) => Some(Self::default()),
            Err(why) => {
                eprintln!("no network namespaces, proxies instead: {why}");
                None
            }
        }
    }

    /// Where this end listens.
    ///
    /// # Panics
    /// If the system refuses what it allowed before.
    pub(super) fn address(&self, end: End) -> Ipv4Addr {
        self.node(end).address
    }

    /// Runs a program where this end is.
    pub(super) fn command(&self, end: End, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--net={}", place(&self.node(end).name).display());
        // It becomes the program: the process is the same.
        command.arg(namespace).arg("--").arg(program);
        command
    }

    /// Nothing that `from` sends arrives at `to` any more.
    pub(super) fn cut(&self, from: End, to: End) {
        let way = match (from, to) {
            (End::Clients, to) => self.node(to).way_in(),
            (from, End::Clients) => self.node(from).way_out(),
            (from, to) => self.node(from).way_to(&self.node(to)),
        };
        way.close().expect("it was allowed before");
    }

    /// All arrives again.
    pub(super) fn heal(&self) {
        let nodes = self.nodes.lock().expect("nobody panicked with it");
        for from in nodes.values() {
            let others = nodes.values().filter(|to| to.number != from.number);
            let ways = others.map(|to| from.way_to(to));
            for way in ways.chain([from.way_in(), from.way_out()]) {
                way.open();
            }
        }
    }

    fn node(&self, end: End) -> Node {
        self.node_or_new(end).expect("it was allowed before")
    }

    fn node_or_new(&self, end: End) -> Result<Node, String> {
        let mut nodes = self.nodes.lock().expect("nobody panicked with it");
        if let Some(node) = nodes.get(&end) {
            return Ok(node.clone());
        }
        // Of all tests of this machine nobody else has it.
        let number = ports::free().port();
        let node = Node {
            name: format!("{PREFIX}{}-{number}", std::process::id()),
            number,
            address: of_benchmarks(18, number),
        };
        let made = make(&node);
        let linked = nodes.values().try_for_each(|other| link(&node, other));
        nodes.insert(end, node.clone());
        made.and(linked).map(|()| node)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let nodes = self.nodes.get_mut();
        for node in nodes.unwrap_or_else(PoisonError::into_inner).values() {
            remove(&node.name);
        }
    }
}

/// What stays is removed by a later test. A process that still runs there keeps the namespace, but no link to it.
fn remove(name: &str) {
    if let Some(number) = name.rsplit('-').next() {
        let _ = ip(&format!("link del tf{number}\n"));
    }
    let _ = ip(&format!("netns del {name}\n"));
}

/// What one end sends over a link.
#[derive(Debug)]
struct Way {
    /// `None`: this process's.
    namespace: Option<String>,
    interface: String,
}

impl Way {
    fn close(&self) -> Result<(), String> {
        self.tc("replace", "root blackhole")
    }

    /// One that is not closed has nothing to be taken away.
    fn open(&self) {
        let _ = self.tc("del", "root");
    }

    fn tc(&self, verb: &str, what: &str) -> Result<(), String> {
        let mut command = Command::new("tc");
        if let Some(namespace) = &self.namespace {
            command.args(["-n", namespace]);
        }
        let line = format!("qdisc {verb} dev {} {what}\n", self.interface);
        run(command.args(["-batch", "-"]), &line)
    }
}

impl Node {
    fn way_to(&self, other: &Self) -> Way {
        Way {
            namespace: Some(self.name.clone()),
            interface: format!("to{}", other.number),
        }
    }

    fn way_out(&self) -> Way {
        Way {
            namespace: Some(self.name.clone()),
            interface: "here".to_owned(),
        }
    }

    fn way_in(&self) -> Way {
        Way {
            namespace: None,
            interface: format!("tf{}", self.number),
        }
    }
}

/// Of 198.18.0.0/15, which is for tests of networks (RFC 2544) and nowhere else.
fn of_benchmarks(second: u8, number: u16) -> Ipv4Addr {
    let [third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(198, second, third, fourth)
}

fn place(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// A namespace that this process reaches.
fn make(node: &Node) -> Result<(), String> {
    let Node {
        name,
        number,
        address,
    } = node;
    let here = of_benchmarks(19, *number);
    ip(&format!(
        "netns add {name}
link add name tf{number} type veth peer name here netns {name}
address add {here}/32 dev tf{number}
link set tf{number} up
route add {address}/32 dev tf{number} src {here}
"
    ))?;
    ip_in(
        name,
        &format!(
            "link set lo up
address add {address}/32 dev lo
link set here up
route add {here}/32 dev here src {address}
"
        ),
    )
}

fn link(one: &Node, other: &Node) -> Result<(), String> {
    ip(&format!(
        "link add name to{} netns {} type veth peer name to{} netns {}\n",
        other.number, one.name, one.number, other.name
    ))?;
    for (from, to) in [(one, other), (other, one)] {
        ip_in(
            &from.name,
            &format!(
                "link set to{number} up\nroute add {to}/32 dev to{number} src {from}\n",
                number = to.number,
                to = to.address,
                from = from.address,
            ),
        )?;
    }
    Ok(())
}

/// Does all of it work here?
fn probe() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    remove_left_behind();
    let namespaces = Namespaces::default();
    let from = namespaces.node_or_new(End::Controller)?;
    let to = namespaces.node_or_new(End::Broker(0))?;
    from.way_to(&to).close()?;
    let mut command = namespaces.command(End::Controller, Path::new("true"));
    run(&mut command, "")
}

/// Namespaces of tests that were killed.
fn remove_left_behind() {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    for name in entries.flatten().map(|entry| entry.file_name()) {
        let name = name.to_string_lossy();
        let pid = name.strip_prefix(PREFIX).and_then(|n| n.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test may be as fast.
            remove(&name);
        }
    }
}

fn ip(lines: &str) -> Result<(), String> {
    run(Command::new("ip").args(["-batch", "-"]), lines)
}

fn ip_in(name: &str, lines: &str) -> Result<(), String> {
    run(Command::new("ip").args(["-n", name, "-batch", "-"]), lines)
}

fn run(command: &mut Command, lines: &str) -> Result<(), String> {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().expect("it is piped");
    // One that ended before says why.
    let _ = input.write_all(lines.as_bytes());
    drop(input);
    let ended = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(format!("{command:?}: {}: {}", lines.trim(), said.trim()))
}
