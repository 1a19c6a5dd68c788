//! When the chart's alerts fire, and what they say, as Prometheus evaluates them.

use std::process::Command;

use taffrail_tests::{
    kube_api::{chart, helm},
    programs,
    scratch::Scratch,
};

/// The rules of the chart, as a file of Prometheus.
fn rules() -> String {
    let template = "templates/prometheusrule.yaml";
    let asked_for = "prometheusRule.enabled=true";
    let chart = chart();
    let rendered = helm(&[
        "template",
        "taffrail",
        &chart,
        "--set",
        asked_for,
        "--show-only",
        template,
    ]);
    let rendered = rendered.expect_success();
    let (_, groups) = rendered.split_once("\nspec:\n").expect("a spec");
    groups
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n")
        .collect()
}

/// A group whose deadline is 25,000 s after the beginning in one partition and later in another, and one that has lost three records after 10 minutes.
const TESTS: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: taffrail_operator_group_data_loss_timestamp_seconds{cluster="main",group="billing",topic="orders",partition="0"}
        values: 25000x500
      - series: taffrail_operator_group_data_loss_timestamp_seconds{cluster="main",group="billing",topic="orders",partition="1"}
        values: 90000x500
      - series: taffrail_operator_group_lost_records{cluster="main",group="audit",topic="orders",partition="0"}
        values: 0x9 3x20 0x200
    alert_rule_test:
      # More than six hours are left.
      - {eval_time: 56m, alertname: TaffrailConsumerGroupMayLoseData, exp_alerts: []}
      # Fewer, but not for five minutes.
      - {eval_time: 60m, alertname: TaffrailConsumerGroupMayLoseData, exp_alerts: []}
      - eval_time: 70m
        alertname: TaffrailConsumerGroupMayLoseData
        exp_alerts:
          - exp_labels: {severity: warning, cluster: main, group: billing, topic: orders}
            exp_annotations:
              summary: Consumer group billing of main will lose records of orders in 5h 46m 40s
              description: Retention deletes them before the group reads them, at today's rates. Make the group faster, add members, or raise the topic's retention. See kubectl get cg -A.
      - {eval_time: 70m, alertname: TaffrailConsumerGroupLosesDataSoon, exp_alerts: []}
      - {eval_time: 358m, alertname: TaffrailConsumerGroupLosesDataSoon, exp_alerts: []}
      - eval_time: 400m
        alertname: TaffrailConsumerGroupLosesDataSoon
        exp_alerts:
          - exp_labels: {severity: critical, cluster: main, group: billing, topic: orders}
            exp_annotations:
              summary: Consumer group billing of main loses records of orders in 16m 40s
              description: Retention deletes them before the group reads them, at today's rates. Raise the topic's retention now, then make the group faster or add members. See kubectl get cg -A.
      # One alert is enough.
      - {eval_time: 400m, alertname: TaffrailConsumerGroupMayLoseData, exp_alerts: []}
      - {eval_time: 8m, alertname: TaffrailConsumerGroupLostData, exp_alerts: []}
      - eval_time: 11m
        alertname: TaffrailConsumerGroupLostData
        exp_alerts: &lost
          - exp_labels: {severity: critical, cluster: main, group: audit, topic: orders}
            exp_annotations:
              summary: Consumer group audit of main lost records of orders
              description: Retention deleted records before the group read them. Their partitions are in the metric taffrail_operator_group_lost_records, and with their offsets in status.lost of the ConsumerGroup if there is one.
      # Still after the operator that saw it has gone, and not for ever.
      - {eval_time: 80m, alertname: TaffrailConsumerGroupLostData, exp_alerts: *lost}
      - {eval_time: 100m, alertname: TaffrailConsumerGroupLostData, exp_alerts: []}
"#;

#[test]
#[ignore = "needs helm and promtool: cargo xtask ci"]
fn alerts_fire_on_the_time_that_is_left_and_on_losses() {
    let promtool = std::env::var_os("PROMTOOL").expect("cargo xtask ci says where it is");
    let folder = Scratch::new("alerts");
    folder.write("rules.yaml", &rules());
    let tests = folder.write("tests.yaml", TESTS);
    let mut command = Command::new(promtool);
    let checked = programs::answer(command.args(["test", "rules"]).arg(tests));
    checked.expect_success();
}
