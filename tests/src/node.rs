//! A cluster that runs pods: the one that KUBECONFIG names, otherwise one of our own on this machine.

use std::{path::PathBuf, process::Command};

use taffrail_xtask::{
    kube::{cluster::Cluster, tools::Tools},
    workspace_root,
};

use crate::{
    image,
    programs::{self, Answer},
    scratch::Scratch,
};

/// What a person looks at when something does not become ready.
const SYMPTOMS: [&[&str]; 4] = [
    &[
        "get",
        "all,pvc,brokerclusters,topics",
        "--all-namespaces",
        "--output",
        "wide",
    ],
    &[
        "get",
        "events",
        "--all-namespaces",
        "--sort-by",
        ".lastTimestamp",
    ],
    &[
        "get",
        "brokerclusters,topics",
        "--all-namespaces",
        "--output",
        "yaml",
    ],
    &["describe", "pods", "--all-namespaces"],
];

/// A cluster with our image.
pub struct NodeCluster {
    cluster: Cluster,
    scratch: Scratch,
}

impl NodeCluster {
    /// Starts one node, or takes the cluster that is there, and makes the image known.
    ///
    /// # Panics
    /// If the cluster does not start. In a cluster named by KUBECONFIG the image must be there already.
    pub fn start() -> Self {
        let tools = Tools::locate().expect("the cache can be made");
        let scratch = Scratch::new("node");
        if std::env::var_os("KUBECONFIG").is_some() {
            let cluster = Cluster::current(tools).expect("KUBECONFIG names a cluster");
            return Self { cluster, scratch };
        }
        let archive = image::build(&scratch);
        let cluster = Cluster::up(tools, 1).expect("the cluster starts");
        let started = Self { cluster, scratch };
        started
            .cluster
            .load(&archive)
            .expect("the image can be imported");
        started
    }

    /// kubectl with these arguments.
    pub fn kubectl(&self, args: &[&str]) -> Answer {
        programs::answer(self.kubectl_command().args(args))
    }

    /// `kubectl apply` of one of the files in examples/.
    pub fn apply_example(&self, namespace: &str, name: &str) -> Answer {
        let file = example(name);
        self.kubectl(&[
            "apply",
            "--namespace",
            namespace,
            "--filename",
            &file.to_string_lossy(),
        ])
    }

    /// Helm with these arguments.
    pub fn helm(&self, args: &[&str]) -> Answer {
        programs::answer(
            self.cluster
                .helm()
                .env("HELM_CACHE_HOME", self.scratch.path().join("helm"))
                .args(args),
        )
    }

    fn kubectl_command(&self) -> Command {
        self.cluster.kubectl()
    }

    fn print_symptoms(&self) {
        for symptom in SYMPTOMS {
            let answer = self.kubectl(symptom);
            eprintln!(
                "kubectl {}\n{}{}",
                symptom.join(" "),
                answer.stdout,
                answer.stderr
            );
        }
        let pods = self.kubectl(&[
            "get",
            "pods",
            "--all-namespaces",
            "--output",
            "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}\n{end}",
        ]);
        for (namespace, pod) in pods.stdout.lines().filter_map(|line| line.split_once(' ')) {
            let logs = self.kubectl(&[
                "logs",
                "--namespace",
                namespace,
                pod,
                "--tail=40",
                "--all-containers",
            ]);
            eprintln!("logs of {namespace}/{pod}\n{}{}", logs.stdout, logs.stderr);
        }
    }
}

impl Drop for NodeCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_symptoms();
        }
        if self.cluster.is_ours() {
            let ended = self.cluster.down();
            if !std::thread::panicking() {
                ended.expect("the cluster ends and leaves nothing behind");
            }
        }
    }
}

/// A file in examples/.
pub fn example(name: &str) -> PathBuf {
    workspace_root().join("examples").join(name)
}
