//! The whole: control plane and nodes, up and down.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{daemon, network, node::Node, pki::Pki, tools::Tools};
use crate::shell;

/// Local volumes, for those take a pod's fsGroup, as real ones do.
const STORAGE_CLASS: &str = "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
";
/// A volume whose claim was deleted is not used again.
const VOLUMES_PER_NODE: u8 = 8;

/// The pods' network namespaces that were there before.
const NAMESPACES_BEFORE: &str = "namespaces-before";

/// Names the kubeconfig of a cluster of somebody else's in which the node's test may run. Not KUBECONFIG: nothing is installed anywhere unasked.
pub const FOREIGN_CLUSTER: &str = "TAFFRAIL_TEST_KUBECONFIG";

/// A cluster: one that `up` started, or any that KUBECONFIG names.
#[derive(Debug)]
pub struct Cluster {
    tools: Tools,
    home: PathBuf,
    /// Somebody else's: its kubeconfig.
    foreign: Option<PathBuf>,
}

impl Cluster {
    /// The one that KUBECONFIG names, otherwise the one that `up` started.
    ///
    /// # Errors
    /// If there is neither.
    pub fn current(tools: Tools) -> Result<Self> {
        let home = home();
        let named = std::env::var_os("KUBECONFIG").map(PathBuf::from);
        if let Some(foreign) = named.filter(|path| *path != home.join("kubeconfig")) {
            return Ok(Self::foreign(tools, foreign));
        }
        if !home.join("nodes").exists() {
            bail!("no cluster runs here: start one with `cargo xtask kube up`, or set KUBECONFIG");
        }
        Ok(Self {
            tools,
            home,
            foreign: None,
        })
    }

    /// Somebody else's.
    pub fn foreign(tools: Tools, kubeconfig: PathBuf) -> Self {
        Self {
            tools,
            home: home(),
            foreign: Some(kubeconfig),
        }
    }

    /// Starts a control plane and nodes.
    ///
    /// # Errors
    /// If one runs already, or something does not start; what was started is ended then.
    pub fn up(tools: Tools, nodes: u8) -> Result<Self> {
        let home = home();
        if home.exists() {
            bail!(
                "{} is there: end that cluster with `cargo xtask kube down`",
                home.display()
            );
        }
        if !tools.has_node() {
            bail!(
                "containerd, runc, CoreDNS or the pause image is not built: see `cargo xtask kube build`; it takes root, Go and buildah"
            );
        }
        fs::create_dir_all(&home)?;
        fs::write(home.join("nodes"), nodes.to_string())?;
        fs::write(
            home.join(NAMESPACES_BEFORE),
            network::pod_namespaces().join("\n"),
        )?;
        let cluster = Self {
            tools,
            home,
            foreign: None,
        };
        match cluster.start(nodes) {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.down().context("after a failed start")?;
                Err(error)
            }
        }
    }

    /// Ends everything by pid and removes namespaces, mounts and files.
    ///
    /// # Errors
    /// If the cluster is somebody else's, or a file cannot be removed.
    pub fn down(&self) -> Result<()> {
        if let Some(kubeconfig) = &self.foreign {
            bail!("the cluster of {} is not ours to end", kubeconfig.display());
        }
        let nodes = self.nodes()?;
        for number in 1..=nodes {
            self.node(number).stop()?;
        }
        for name in ["coredns", "scheduler", "controllers", "apiserver", "etcd"] {
            daemon::stop(&self.home, name, Duration::from_secs(5))?;
        }
        let not_ours = fs::read_to_string(self.home.join(NAMESPACES_BEFORE))?;
        network::remove(nodes, &not_ours);
        fs::remove_dir_all(&self.home)
            .with_context(|| format!("cannot remove {}", self.home.display()))
    }

    /// Is it one that `up` started?
    pub fn is_ours(&self) -> bool {
        self.foreign.is_none()
    }

    /// The administrator's way in.
    pub fn kubeconfig(&self) -> PathBuf {
        self.foreign
            .clone()
            .unwrap_or_else(|| self.home.join("kubeconfig"))
    }

    /// Where the programs log.
    pub fn logs(&self) -> PathBuf {
        self.home.join("log")
    }

    /// kubectl, in the cluster's network.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = self.enter(&self.tools.kubernetes("kubectl"));
        kubectl.env("KUBECONFIG", self.kubeconfig());
        kubectl
    }

    /// Helm, in the cluster's network.
    pub fn helm(&self) -> Command {
        let mut helm = self.enter(&self.tools.helm());
        helm.env("KUBECONFIG", self.kubeconfig());
        helm
    }

    /// Makes an image known to every node.
    ///
    /// # Errors
    /// If it is somebody else's cluster, or a node does not take it.
    pub fn load(&self, archive: &Path) -> Result<()> {
        if self.foreign.is_some() {
            bail!("images of a cluster named by KUBECONFIG come from its registry");
        }
        (1..=self.nodes()?).try_for_each(|number| self.node(number).import(archive))
    }

    fn start(&self, nodes: u8) -> Result<()> {
        let api = network::CONTROL_PLANE;
        let pki = Pki::create(&self.home.join("pki"), &["127.0.0.1", "10.96.0.1", api])?;
        pki.write_kubeconfig(&self.kubeconfig(), &format!("https://{api}:16443"))?;
        network::create(nodes)?;
        self.start_control_plane(&pki)?;
        for number in 1..=nodes {
            self.node(number).start()?;
        }
        self.apply(STORAGE_CLASS)?;
        for number in 1..=nodes {
            for index in 0..VOLUMES_PER_NODE {
                self.apply(&self.volume(number, index)?)?;
            }
        }
        daemon::wait_for("all nodes' readiness", Duration::from_mins(2), || {
            shell::output(self.kubectl().args(["get", "nodes", "--no-headers"]))
                .is_ok_and(|list| list.matches(" Ready").count() == usize::from(nodes))
        })
    }

    fn volume(&self, node: u8, index: u8) -> Result<String> {
        let path = self.home.join(format!("volumes/node-{node}/{index}"));
        fs::create_dir_all(&path)?;
        Ok(format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: node-{node}-{index}}}
spec:
  capacity: {{storage: 100Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  local: {{path: {path}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [node-{node}]}}]
",
            path = path.display()
        ))
    }

    fn start_control_plane(&self, pki: &Pki) -> Result<()> {
        let etcd = "http://127.0.0.1:12379";
        self.start_daemon(
            "etcd",
            "etcd",
            &[
                "--unsafe-no-fsync".to_owned(),
                format!("--data-dir={}", self.home.join("etcd").display()),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                "--listen-peer-urls=http://127.0.0.1:12380".to_owned(),
                "--initial-advertise-peer-urls=http://127.0.0.1:12380".to_owned(),
                "--initial-cluster=default=http://127.0.0.1:12380".to_owned(),
            ],
        )?;
        let mut flags = pki.api_server_flags();
        flags.extend([
            format!("--etcd-servers={etcd}"),
            format!("--advertise-address={}", network::CONTROL_PLANE),
        ]);
        flags.extend(
            [
                "--secure-port=16443",
                "--bind-address=0.0.0.0",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--authorization-mode=Node,RBAC",
                "--service-cluster-ip-range=10.96.0.0/24",
                "--allow-privileged=true",
                "--kubelet-preferred-address-types=InternalIP",
            ]
            .map(str::to_owned),
        );
        self.start_daemon("apiserver", "kube-apiserver", &flags)?;
        daemon::wait_for("the API server's readiness", Duration::from_mins(1), || {
            shell::succeeds(self.kubectl().args(["get", "--raw", "/readyz"]))
        })?;
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        self.start_daemon(
            "controllers",
            "kube-controller-manager",
            &[
                kubeconfig.clone(),
                format!(
                    "--service-account-private-key-file={}",
                    pki.file("sa.key").display()
                ),
                format!("--root-ca-file={}", pki.file("ca.crt").display()),
                "--use-service-account-credentials=true".to_owned(),
                "--leader-elect=false".to_owned(),
                "--node-monitor-grace-period=20s".to_owned(),
            ],
        )?;
        let leader_elect = "--leader-elect=false".to_owned();
        self.start_daemon("scheduler", "kube-scheduler", &[kubeconfig, leader_elect])?;
        self.start_dns()
    }

    /// Two server blocks: in one, `template` would answer before `kubernetes`.
    fn start_dns(&self) -> Result<()> {
        let corefile = self.home.join("Corefile");
        let text = format!(
            "cluster.local:53 {{\n bind {ip}\n errors\n kubernetes cluster.local {{\n  kubeconfig {kubeconfig} k\n  pods insecure\n }}\n cache 2\n}}\n\
             .:53 {{\n bind {ip}\n template ANY ANY {{\n  rcode NXDOMAIN\n }}\n}}\n",
            ip = network::CONTROL_PLANE,
            kubeconfig = self.kubeconfig().display(),
        );
        fs::write(&corefile, text)?;
        let mut coredns = self.enter(&Command::new(self.tools.dir().join("coredns")));
        daemon::start(&self.home, "coredns", coredns.arg("-conf").arg(corefile))
    }

    fn start_daemon(&self, name: &str, command: &str, flags: &[String]) -> Result<()> {
        let mut program = self.enter(&self.tools.kubernetes(command));
        daemon::start(&self.home, name, program.args(flags))
    }

    fn apply(&self, manifest: &str) -> Result<()> {
        let mut kubectl = self
            .kubectl()
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut input = kubectl
            .stdin
            .take()
            .context("kubectl's input is not piped")?;
        input.write_all(manifest.as_bytes())?;
        drop(input);
        if !kubectl.wait()?.success() {
            bail!("kubectl apply failed");
        }
        Ok(())
    }

    /// The command, in the network of our control plane.
    fn enter(&self, command: &Command) -> Command {
        let program = Path::new(command.get_program());
        let mut entered = if self.foreign.is_some() {
            Command::new(program)
        } else {
            network::enter(network::CONTROL_PLANE_NAMESPACE, program)
        };
        entered.args(command.get_args());
        entered
    }

    fn node(&self, number: u8) -> Node<'_> {
        Node {
            tools: &self.tools,
            home: &self.home,
            number,
        }
    }

    fn nodes(&self) -> Result<u8> {
        let file = self.home.join("nodes");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        text.trim()
            .parse()
            .with_context(|| format!("{} holds no number", file.display()))
    }
}

/// One cluster a machine, unless told otherwise.
fn home() -> PathBuf {
    std::env::var_os("TAFFRAIL_KUBE_HOME")
        .map_or_else(|| std::env::temp_dir().join("taffrail-kube"), PathBuf::from)
}
