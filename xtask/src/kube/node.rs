//! A node: containerd, kubelet and kube-proxy in a network namespace.

use std::{
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use super::{
    daemon, network,
    tools::{PAUSE_IMAGE, Tools},
};
use crate::shell;

/// One node of the cluster whose files are in `home`.
pub(super) struct Node<'a> {
    pub(super) tools: &'a Tools,
    pub(super) home: &'a Path,
    pub(super) number: u8,
}

impl Node<'_> {
    /// Starts it; it is Ready some seconds later.
    pub(super) fn start(&self) -> Result<()> {
        self.write_files()?;
        let dir = self.dir();
        daemon::start(
            self.home,
            &self.named("containerd"),
            self.enter("containerd")
                .env("PATH", self.path())
                .arg("--config")
                .arg(dir.join("containerd.toml")),
        )?;
        daemon::wait_for("containerd's socket", Duration::from_secs(20), || {
            fs::metadata(self.socket()).is_ok_and(|m| m.file_type().is_socket())
                && shell::succeeds(self.ctr().arg("version"))
        })?;
        self.import(&self.tools.pause_archive())?;
        daemon::start(self.home, &self.named("kubelet"), &mut self.kubelet())?;
        daemon::start(self.home, &self.named("kube-proxy"), &mut self.kube_proxy())
    }

    /// Makes an image known to it.
    pub(super) fn import(&self, archive: &Path) -> Result<()> {
        shell::output(self.ctr().args(["images", "import"]).arg(archive)).map(|_| ())
    }

    /// Ends its pods and programs, and removes what they mounted.
    pub(super) fn stop(&self) -> Result<()> {
        daemon::stop(self.home, &self.named("kubelet"), Duration::from_secs(5))?;
        daemon::stop(self.home, &self.named("kube-proxy"), Duration::from_secs(5))?;
        for task in self.tasks() {
            shell::succeeds(
                self.ctr()
                    .args(["tasks", "kill", "-s", "KILL", "-a", &task]),
            );
        }
        let _ = daemon::wait_for("the end of the pods", Duration::from_secs(5), || {
            for task in self.tasks() {
                shell::succeeds(self.ctr().args(["tasks", "rm", "-f", &task]));
            }
            self.tasks().is_empty()
        });
        daemon::stop(self.home, &self.named("containerd"), Duration::from_secs(5))?;
        self.unmount()?;
        // What is left is the containers' state in memory.
        let _ = fs::remove_dir_all(self.run_dir());
        Ok(())
    }

    fn write_files(&self) -> Result<()> {
        let dir = self.dir();
        fs::create_dir_all(dir.join("cni"))?;
        fs::create_dir_all(self.run_dir())?;
        fs::write(dir.join("cni/10-pods.conflist"), self.cni())?;
        fs::write(dir.join("containerd.toml"), self.containerd_config())?;
        fs::write(dir.join("kubelet.yaml"), self.kubelet_config())?;
        Ok(())
    }

    fn cni(&self) -> String {
        let (subnet, ipam) = (network::pod_subnet(self.number), self.dir().join("ipam"));
        format!(
            r#"{{"cniVersion":"1.0.0","name":"pods","plugins":[
  {{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
    "ipam":{{"type":"host-local","dataDir":"{}","ranges":[[{{"subnet":"{subnet}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},
  {{"type":"loopback"}}]}}
"#,
            ipam.display()
        )
    }

    fn containerd_config(&self) -> String {
        format!(
            r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"#,
            root = self.dir().join("containerd").display(),
            state = self.run_dir().display(),
            socket = self.socket().display(),
            cni = self.dir().join("cni").display(),
            runc = self.tools.dir().join("runc").display(),
        )
    }

    fn kubelet_config(&self) -> String {
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: unix://{socket}
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
clusterDNS: [{dns}]
clusterDomain: cluster.local
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 4s
cpuManagerPolicy: none
podLogsDir: {logs}
",
            socket = self.socket().display(),
            dns = network::CONTROL_PLANE,
            logs = self.dir().join("pod-logs").display(),
        )
    }

    fn kubelet(&self) -> Command {
        let mut kubelet = self.enter("kubernetes");
        kubelet
            .env("PATH", self.path())
            .arg("kubelet")
            .arg("--config")
            .arg(self.dir().join("kubelet.yaml"))
            .arg("--kubeconfig")
            .arg(self.home.join("kubeconfig"))
            .arg("--root-dir")
            .arg(self.dir().join("kubelet"))
            .arg(format!("--hostname-override=node-{}", self.number))
            .arg(format!("--node-ip={}", network::node_address(self.number)))
            .arg(format!(
                "--node-labels=topology.kubernetes.io/zone=zone-{}",
                self.number
            ))
            .arg("--v=1");
        kubelet
    }

    /// It may not set the limits of connection tracking, hence the zeros.
    fn kube_proxy(&self) -> Command {
        let mut proxy = self.enter("kubernetes");
        proxy
            .arg("kube-proxy")
            .arg("--kubeconfig")
            .arg(self.home.join("kubeconfig"))
            .arg(format!("--hostname-override=node-{}", self.number))
            .args(["--proxy-mode=nftables", "--cluster-cidr=10.244.0.0/16"])
            .args(["--conntrack-max-per-core=0", "--conntrack-min=0"])
            .args([
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ])
            .arg("--healthz-bind-address=127.0.0.1:10256");
        proxy
    }

    fn tasks(&self) -> Vec<String> {
        shell::output(self.ctr().args(["tasks", "ls", "-q"]))
            .map(|tasks| tasks.lines().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// Pods' volumes and root file systems. One that has just gone is fine; one that stays would keep the folder from being removed.
    fn unmount(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut ours: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|mount| {
                Path::new(mount).starts_with(self.dir())
                    || Path::new(mount).starts_with(self.run_dir())
            })
            .collect();
        ours.sort_unstable();
        for mount in ours.iter().rev() {
            shell::succeeds(Command::new("umount").args(["-l", mount]));
        }
        Ok(())
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new(self.tools.dir().join("ctr"));
        ctr.arg("-a").arg(self.socket()).args(["-n", "k8s.io"]);
        ctr
    }

    fn enter(&self, program: &str) -> Command {
        network::enter(
            &network::node_namespace(self.number),
            &self.tools.dir().join(program),
        )
    }

    /// containerd looks for its shim, and kubelet for helpers, on the PATH.
    fn path(&self) -> String {
        let inherited = std::env::var("PATH").unwrap_or_default();
        format!("{}:{inherited}", self.tools.dir().display())
    }

    fn named(&self, program: &str) -> String {
        format!("{program}-{}", self.number)
    }

    fn dir(&self) -> PathBuf {
        self.home.join(format!("node-{}", self.number))
    }

    /// Short, for a socket's path may have 108 bytes.
    fn run_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/taffrail-n{}", self.number))
    }

    fn socket(&self) -> PathBuf {
        self.run_dir().join("c.sock")
    }
}
