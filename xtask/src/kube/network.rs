//! Network namespaces: one for the control plane, with a bridge, and one per node, with a cable to it.
//!
//! ```text
//! taffrail-cp  10.99.0.1 on bridge tkbr      taffrail-n1  10.99.0.11, pods 10.244.1.0/24      taffrail-n2 ...
//! ```

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::shell;

/// Where the API server and the DNS server listen.
pub const CONTROL_PLANE: &str = "10.99.0.1";
/// The namespace of the control plane.
pub const CONTROL_PLANE_NAMESPACE: &str = "taffrail-cp";

/// A node's namespace.
pub fn node_namespace(node: u8) -> String {
    format!("taffrail-n{node}")
}

/// A node's address.
pub fn node_address(node: u8) -> String {
    format!("10.99.0.{}", 10 + node)
}

/// The addresses of a node's pods.
pub fn pod_subnet(node: u8) -> String {
    format!("10.244.{node}.0/24")
}

/// A program that will run in a namespace. The mounts stay the host's, or the cgroups would be hidden.
pub fn enter(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/var/run/netns/{namespace}"))
        .arg(program);
    command
}

/// Lays everything for `nodes` nodes.
///
/// # Errors
/// If `ip` or `sysctl` fails, for instance because a namespace of an earlier cluster is still there.
pub fn create(nodes: u8) -> Result<()> {
    let control = CONTROL_PLANE_NAMESPACE;
    ip(&format!("netns add {control}"))?;
    ip(&format!("-n {control} link set lo up"))?;
    ip(&format!("-n {control} link add tkbr type bridge"))?;
    ip(&format!(
        "-n {control} addr add {CONTROL_PLANE}/24 dev tkbr"
    ))?;
    ip(&format!("-n {control} link set tkbr up"))?;
    forward(control)?;
    for node in 1..=nodes {
        connect(node)?;
    }
    for node in 1..=nodes {
        for other in (1..=nodes).filter(|other| *other != node) {
            let (subnet, via) = (pod_subnet(other), node_address(other));
            ip(&format!(
                "-n {} route add {subnet} via {via}",
                node_namespace(node)
            ))?;
        }
    }
    Ok(())
}

/// The namespaces that the CNI plugins made for pods, of this cluster or of another.
pub fn pod_namespaces() -> Vec<String> {
    shell::output(Command::new("ip").args(["netns", "list"]))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("cni-"))
        .map(str::to_owned)
        .collect()
}

/// Takes the namespaces away, and with them all that is in them. Not there is fine. Pods' namespaces in `not_ours` were there before.
pub fn remove(nodes: u8, not_ours: &str) {
    for namespace in pod_namespaces() {
        if !not_ours.lines().any(|other| other == namespace) {
            shell::succeeds(Command::new("ip").args(["netns", "del", &namespace]));
        }
    }
    for node in 1..=nodes {
        shell::succeeds(Command::new("ip").args(["netns", "del", &node_namespace(node)]));
    }
    shell::succeeds(Command::new("ip").args(["netns", "del", CONTROL_PLANE_NAMESPACE]));
}

fn connect(node: u8) -> Result<()> {
    let (control, namespace) = (CONTROL_PLANE_NAMESPACE, node_namespace(node));
    let (subnet, address) = (pod_subnet(node), node_address(node));
    ip(&format!("netns add {namespace}"))?;
    ip(&format!("-n {namespace} link set lo up"))?;
    ip(&format!(
        "-n {control} link add tkv{node} type veth peer name tkw{node}"
    ))?;
    ip(&format!(
        "-n {control} link set tkw{node} netns {namespace}"
    ))?;
    ip(&format!("-n {control} link set tkv{node} master tkbr up"))?;
    ip(&format!("-n {namespace} link set tkw{node} name eth0"))?;
    ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
    ip(&format!("-n {namespace} link set eth0 up"))?;
    ip(&format!(
        "-n {namespace} route add default via {CONTROL_PLANE}"
    ))?;
    ip(&format!("-n {control} route add {subnet} via {address}"))?;
    forward(&namespace)
}

fn forward(namespace: &str) -> Result<()> {
    shell::run(enter(namespace, Path::new("sysctl")).args(["-qw", "net.ipv4.ip_forward=1"]))
}

fn ip(line: &str) -> Result<()> {
    shell::output(Command::new("ip").args(line.split(' '))).map(|_| ())
}
