//! What a person looks at when something does not become ready: little enough to be read in CI's output.

use super::NodeCluster;

const LINES_MAX: usize = 25;
const COLUMNS_MAX: usize = 220;

/// Every condition that is not as it should be, one a line.
const CONDITIONS: &str = "jsonpath={range .items[*]}{.kind}/{.metadata.name}: {range .status.conditions[?(@.status!='True')]}{.type}={.status} {.reason} {.message}; {end}{'\\n'}{end}";

/// Prints them, for the namespaces of the test.
pub(super) fn print(cluster: &NodeCluster) {
    for namespace in cluster.namespaces.borrow().iter() {
        let of = ["--namespace", namespace];
        for look in [
            &["get", "pods,jobs", "--output=wide"][..],
            &["get", "topics,brokerclusters", "--output", CONDITIONS],
            &[
                "get",
                "events",
                "--field-selector=type!=Normal",
                "--sort-by=.lastTimestamp",
            ],
        ] {
            let answer = cluster.kubectl(&[look, &of].concat());
            let title = format!("{} in {namespace}", look[..2].join(" "));
            show(&title, &(answer.stdout + &answer.stderr));
        }
        let pods = cluster.kubectl(&[&["get", "pods", "--output=name"], &of[..]].concat());
        for pod in pods.stdout.lines() {
            let logs = ["logs", pod, "--all-containers", "--tail=10"];
            let logs = cluster.kubectl(&[&logs[..], &of].concat());
            show(&format!("logs of {pod}"), &(logs.stdout + &logs.stderr));
        }
    }
}

/// The last lines, for what happened last is told last.
fn show(title: &str, text: &str) {
    eprintln!("--- {title}");
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    for line in &lines[lines.len().saturating_sub(LINES_MAX)..] {
        eprintln!("{}", line.chars().take(COLUMNS_MAX).collect::<String>());
    }
}
