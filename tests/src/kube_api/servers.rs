//! The processes behind an API server, which can be stopped, started again and set back.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use taffrail_xtask::kube::{pki::Pki, tools::Tools};

use crate::{
    folder, ports,
    process::Process,
    programs,
    wait::{self, PATIENCE},
};

/// etcd, kube-apiserver, and kube-controller-manager if that is there.
#[derive(Debug)]
pub(super) struct Servers {
    // In the order in which they are to end.
    controllers: Option<Process>,
    api_server: Process,
    etcd: Process,
    plan: Plan,
}

/// What they are started with.
#[derive(Debug)]
struct Plan {
    tools: Tools,
    dir: PathBuf,
    pki: Pki,
    client: SocketAddr,
    peer: SocketAddr,
    api: SocketAddr,
}

impl Servers {
    /// Starts all of them in `dir`, and waits until the API server is ready.
    pub(super) fn start(tools: Tools, dir: PathBuf) -> Self {
        let plan = Plan::new(tools, dir);
        let etcd = plan.etcd();
        let api_server = plan.api_server();
        plan.until_ready();
        Self {
            controllers: plan.controllers(),
            api_server,
            etcd,
            plan,
        }
    }

    pub(super) fn url(&self) -> String {
        self.plan.url()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.plan.kubeconfig()
    }

    /// kill -9 of the API server. etcd goes on.
    pub(super) fn kill_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts the API server again.
    pub(super) fn restart_api_server(&mut self) {
        self.api_server = self.plan.api_server();
        self.plan.until_ready();
    }

    /// Copies what etcd holds. It stands still meanwhile, so that the copy is what a kill -9 would leave.
    pub(super) fn back_up(&self, to: &Path) {
        self.etcd.stand_still();
        folder::copy(&self.plan.data(), to);
        self.etcd.go_on();
    }

    /// Ends everything, puts a copy back in the place of what etcd holds, and starts everything again.
    pub(super) fn restore(&mut self, from: &Path) {
        if let Some(controllers) = &mut self.controllers {
            controllers.kill();
        }
        self.api_server.kill();
        self.etcd.kill();
        fs::remove_dir_all(self.plan.data()).expect("etcd's data can be removed");
        folder::copy(from, &self.plan.data());
        self.etcd = self.plan.etcd();
        self.restart_api_server();
        self.controllers = self.plan.controllers();
    }
}

impl Plan {
    /// Addresses and keys. The administrator's way in is written as well.
    fn new(tools: Tools, dir: PathBuf) -> Self {
        let pki = Pki::create(&dir.join("pki"), &["127.0.0.1", "10.96.0.1"]);
        let plan = Self {
            pki: pki.expect("openssl makes keys"),
            client: ports::free(),
            peer: ports::free(),
            api: ports::free(),
            tools,
            dir,
        };
        plan.pki
            .write_kubeconfig(&plan.kubeconfig(), &plan.url())
            .expect("the folder can be written");
        plan
    }

    fn url(&self) -> String {
        format!("https://{}", self.api)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Where etcd keeps everything.
    fn data(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    fn etcd(&self) -> Process {
        let (client, peer) = (self.client, self.peer);
        Process::start(
            self.tools
                .kubernetes("etcd")
                .arg("--unsafe-no-fsync")
                .arg(format!("--data-dir={}", self.data().display()))
                .arg(format!("--listen-client-urls=http://{client}"))
                .arg(format!("--advertise-client-urls=http://{client}"))
                .arg(format!("--listen-peer-urls=http://{peer}"))
                .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
                .arg(format!("--initial-cluster=default=http://{peer}")),
            &self.dir.join("etcd.log"),
        )
    }

    fn api_server(&self) -> Process {
        Process::start(
            self.tools
                .kubernetes("kube-apiserver")
                .args(self.pki.api_server_flags())
                .arg(format!("--etcd-servers=http://{}", self.client))
                .arg(format!("--secure-port={}", self.api.port()))
                .arg("--bind-address=127.0.0.1")
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg("--authorization-mode=Node,RBAC")
                .arg("--service-cluster-ip-range=10.96.0.0/24"),
            &self.dir.join("apiserver.log"),
        )
    }

    fn until_ready(&self) {
        let ready = || {
            let mut kubectl = self.tools.kubernetes("kubectl");
            kubectl
                .arg("--kubeconfig")
                .arg(self.kubeconfig())
                .args(["get", "--raw", "/readyz"]);
            (programs::answer(&mut kubectl).code == Some(0)).then_some(())
        };
        wait::until("the API server's readiness", PATIENCE, ready);
    }

    /// They make garbage collection, StatefulSets' pods and the end of namespaces real.
    fn controllers(&self) -> Option<Process> {
        if !self.tools.has_controllers() {
            return None;
        }
        let key = self.pki.file("sa.key");
        let authority = self.pki.file("ca.crt");
        Some(Process::start(
            self.tools
                .kubernetes("kube-controller-manager")
                .arg(format!("--kubeconfig={}", self.kubeconfig().display()))
                .arg(format!(
                    "--service-account-private-key-file={}",
                    key.display()
                ))
                .arg(format!("--root-ca-file={}", authority.display()))
                .arg("--use-service-account-credentials=true")
                .arg("--leader-elect=false")
                .arg("--secure-port=0"),
            &self.dir.join("controllers.log"),
        ))
    }
}
