//! A cluster that runs pods: one of our own on this machine, or the one that TAFFRAIL_TEST_KUBECONFIG names.

mod symptoms;

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process::Command,
};

use taffrail_xtask::{
    kube::{
        cluster::{Cluster, FOREIGN_CLUSTER},
        tools::Tools,
    },
    workspace_root,
};

use crate::{
    image, kube_api,
    programs::{self, Answer},
    scratch::Scratch,
    wait,
};

/// Long enough for an image to be pulled and a volume to be made.
const WAIT: &str = "--timeout=180s";

/// A cluster with our image, and what a test has made in it.
pub struct NodeCluster {
    cluster: Cluster,
    scratch: Scratch,
    namespaces: RefCell<Vec<String>>,
    /// Of the release `taffrail`.
    installed_in: RefCell<Option<String>>,
}

/// Runs a scenario in a cluster. What it made is taken away afterwards. If it fails, what a person would look at is printed, then why it failed.
///
/// # Panics
/// If the scenario does, or the cluster does not start, or cannot be left as it was.
pub fn run(scenario: impl FnOnce(&NodeCluster)) {
    let cluster = NodeCluster::start();
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&cluster)));
    if outcome.is_err() {
        symptoms::print(&cluster);
    }
    let left = catch_unwind(AssertUnwindSafe(|| cluster.leave()));
    if let Err(panic) = outcome.and(left) {
        eprintln!("the test failed: {}", words(panic.as_ref()));
        resume_unwind(panic);
    }
}

impl NodeCluster {
    /// Starts one node, or takes the cluster that is there, and makes the image known. Somebody else's must have it, and nothing else of ours.
    fn start() -> Self {
        let tools = Tools::locate().expect("the cache can be made");
        let scratch = Scratch::new("node");
        let with = |cluster, scratch| Self {
            cluster,
            scratch,
            namespaces: RefCell::default(),
            installed_in: RefCell::default(),
        };
        if let Some(kubeconfig) = std::env::var_os(FOREIGN_CLUSTER) {
            let foreign = Cluster::foreign(tools, PathBuf::from(kubeconfig));
            let foreign = with(foreign, scratch);
            let ours = foreign.our_definitions();
            assert!(
                ours.is_empty(),
                "refused: the cluster that {FOREIGN_CLUSTER} names has {}; its end would take resources along that are not of this test",
                ours.join(", ")
            );
            return foreign;
        }
        let archive = image::build(&scratch);
        let started = with(Cluster::up(tools, 1).expect("the cluster starts"), scratch);
        let loaded = started.cluster.load(&archive);
        if loaded.is_err() {
            started.leave();
        }
        loaded.expect("the image can be imported");
        started
    }

    /// Did we start it, so that we know its node?
    pub fn is_ours(&self) -> bool {
        self.cluster.is_ours()
    }

    /// Makes a namespace in which every pod must pass the restricted standard.
    ///
    /// # Panics
    /// If it is there already.
    #[track_caller]
    pub fn make_restricted_namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name])
            .expect_success();
        self.namespaces.borrow_mut().push(name.to_owned());
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", name, restricted])
            .expect_success();
    }

    /// Installs our chart as the release `taffrail` and waits until the operator is ready.
    ///
    /// # Panics
    /// If it does not become so.
    #[track_caller]
    pub fn install(&self, namespace: &str) {
        *self.installed_in.borrow_mut() = Some(namespace.to_owned());
        let chart = kube_api::chart();
        let install = ["install", "taffrail", &chart, "--namespace", namespace];
        self.helm(&[&install[..], &["--wait", "--timeout=3m"]].concat())
            .expect_success();
    }

    /// Uninstalls it and waits until its pods are gone.
    ///
    /// # Panics
    /// If Helm fails.
    #[track_caller]
    pub fn uninstall(&self, namespace: &str) {
        self.helm(&[
            "uninstall",
            "taffrail",
            "--namespace",
            namespace,
            "--wait",
            "--timeout=3m",
        ])
        .expect_success();
        *self.installed_in.borrow_mut() = None;
    }

    /// Waits for the condition of a resource, as `topic/flights`, that is about its present generation.
    ///
    /// # Panics
    /// If it does not hold in time.
    #[track_caller]
    pub fn wait_for(&self, namespace: &str, condition: &str, resource: &str) {
        let condition = format!("--for=condition={condition}");
        let wait = ["wait", "--namespace", namespace, &condition, resource, WAIT];
        self.kubectl(&wait).expect_success();
    }

    /// Applies one of the files in examples/, with a Job, waits for the Job's end, and gives the log of the pod that did it.
    ///
    /// # Panics
    /// If the Job fails.
    #[track_caller]
    pub fn run_job(&self, namespace: &str, file: &str, job: &str) -> String {
        self.apply_example(namespace, file);
        let conditions = r"jsonpath={range .status.conditions[?(@.status=='True')]}{.type} {end}";
        let read = ["get", "job", job, "--namespace", namespace, "--output"];
        let done = wait::until(job, wait::PATIENCE * 3, || {
            let conditions = self.kubectl(&[&read[..], &[conditions]].concat()).stdout;
            let ended = |condition| conditions.split(' ').any(|found| found == condition);
            (ended("Complete") || ended("Failed")).then(|| ended("Complete"))
        });
        assert!(done, "the Job {job} failed");
        // A pod of an earlier try may be there too.
        let of_job = format!("--selector=batch.kubernetes.io/job-name={job}");
        let pod = self.kubectl(&[
            "get",
            "pods",
            "--namespace",
            namespace,
            &of_job,
            "--field-selector=status.phase=Succeeded",
            "--output=name",
        ]);
        let pod = pod.expect_success();
        let log = ["logs", "--namespace", namespace, pod.trim(), "--tail=5"];
        self.kubectl(&log).expect_success()
    }

    /// kubectl with these arguments.
    pub fn kubectl(&self, args: &[&str]) -> Answer {
        programs::answer(self.with_caches(self.cluster.kubectl()).args(args))
    }

    /// `kubectl apply` of one of the files in examples/.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn apply_example(&self, namespace: &str, name: &str) {
        let file = workspace_root().join("examples").join(name);
        let file = file.to_string_lossy();
        self.kubectl(&["apply", "--namespace", namespace, "--filename", &file])
            .expect_success();
    }

    /// Helm with these arguments.
    pub fn helm(&self, args: &[&str]) -> Answer {
        programs::answer(self.with_caches(self.cluster.helm()).args(args))
    }

    /// Ends the cluster, or takes away what the test made in it.
    fn leave(&self) {
        if self.cluster.is_ours() {
            let ended = self.cluster.down();
            ended.expect("the cluster ends and leaves nothing behind");
            return;
        }
        let mut left = Vec::new();
        let mut note = |answer: Answer| left.extend((answer.code != Some(0)).then_some(answer));
        let definitions = self.our_definitions();
        // While the operator is there: it takes finalizers away.
        for namespace in self.namespaces.borrow().iter() {
            if !definitions.is_empty() {
                let ours = "topics.taffrail.dev,brokerclusters.taffrail.dev";
                note(self.kubectl(&["delete", ours, "--all", "--namespace", namespace, WAIT]));
            }
        }
        if let Some(namespace) = self.installed_in.borrow().as_deref() {
            let release = ["uninstall", "taffrail", "--namespace", namespace];
            let wait = ["--ignore-not-found", "--wait", "--timeout=3m"];
            note(self.helm(&[&release[..], &wait].concat()));
        }
        for namespace in self.namespaces.borrow().iter() {
            note(self.kubectl(&["delete", "namespace", namespace, WAIT]));
        }
        for definition in &definitions {
            note(self.kubectl(&["delete", "crd", definition, WAIT]));
        }
        assert!(left.is_empty(), "something was left behind: {left:#?}");
    }

    /// The custom resources of our group that the cluster knows.
    fn our_definitions(&self) -> Vec<String> {
        let names = "jsonpath={range .items[*]}{.metadata.name} {end}";
        let listed = self.kubectl(&["get", "crd", "--output", names]);
        let listed = listed.expect_success();
        let ours = listed
            .split_whitespace()
            .filter(|name| name.ends_with(".taffrail.dev"));
        ours.map(str::to_owned).collect()
    }

    fn with_caches(&self, mut command: Command) -> Command {
        command
            .env("HELM_CACHE_HOME", self.scratch.path().join("helm"))
            .env("KUBECACHEDIR", self.scratch.path().join("kubectl"));
        command
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}
