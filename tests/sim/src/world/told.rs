//! What happens, in a line: for the trace.

use std::fmt::Write as _;

use taffrail_api::v1::{
    self, answer::Outcome, controller_message, follower_message, leader_message,
};
use taffrail_broker::sim::Input;

pub(super) fn input(input: &Input) -> String {
    match input {
        Input::ControllerSays(message) => controller(message),
        Input::LeaderSays(leader, message) => format!("leader {leader}: {}", answers(message)),
        Input::FollowerSays(connection, message) => {
            format!("follower #{connection}: {}", positions(message))
        }
        Input::Produce {
            id,
            partition,
            epoch,
            acks,
            batches,
        } => {
            let epoch = epoch.map(|e| e.0);
            let p = partition.partition;
            format!(
                "produce {id} to {} {p} epoch {epoch:?} {acks:?} {} bytes",
                short(partition.topic.as_bytes()),
                batches.len()
            )
        }
        other => format!("{other:?}"),
    }
}

fn short(topic: &[u8]) -> String {
    topic[..2].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn controller(message: &v1::ControllerMessage) -> String {
    let Some(message) = &message.message else {
        return "controller: nothing".to_owned();
    };
    match message {
        controller_message::Message::Update(update) => {
            let stamp = update.stamp.unwrap_or_default();
            let mut text = format!(
                "update {}.{}{}",
                stamp.controller_epoch,
                stamp.sequence,
                if update.full { " full" } else { "" }
            );
            for record in &update.partitions {
                let _ = write!(text, " [{} {}", short(&record.topic_id), record.partition);
                if let Some(assignment) = &record.assignment {
                    let _ = write!(text, " {}", assigned(assignment));
                }
                text.push(']');
            }
            if !update.deletes.is_empty() {
                let _ = write!(text, " deletes {}", update.deletes.len());
            }
            text
        }
        controller_message::Message::Registered(registered) => {
            format!("registered as {}", registered.broker_number)
        }
        other => format!("controller: {other:?}"),
    }
}

pub(super) fn assigned(a: &v1::Assignment) -> String {
    let unconfirmed: Vec<_> = a.unconfirmed.iter().map(|run| run.broker).collect();
    let run = a.leader_incarnation.unwrap_or_default().generation;
    format!(
        "v{}.{} leader {:?} run {run} isr {:?} unconfirmed {unconfirmed:?}",
        a.leader_epoch, a.partition_epoch, a.leader, a.isr
    )
}

fn answers(message: &v1::LeaderMessage) -> String {
    let Some(leader_message::Message::Answers(answers)) = &message.message else {
        return "hello".to_owned();
    };
    let mut text = format!("answers at {}", answers.clock_ms);
    for answer in &answers.answers {
        let _ = write!(
            text,
            " [{} {} epoch {} at {}/{} hw {} from {} ",
            short(&answer.topic_id),
            answer.partition,
            answer.leader_epoch,
            answer.asked_offset,
            answer.asked_last_epoch,
            answer.high_watermark,
            answer.log_start_offset,
        );
        let _ = match &answer.outcome {
            Some(Outcome::Batches(batches)) => write!(text, "{} bytes]", batches.batches.len()),
            other => write!(text, "{other:?}]"),
        };
    }
    text
}

fn positions(message: &v1::FollowerMessage) -> String {
    let Some(follower_message::Message::Positions(positions)) = &message.message else {
        return "hello".to_owned();
    };
    let mut text = format!("stands at {}", positions.clock_ms);
    for position in &positions.positions {
        let _ = write!(
            text,
            " [{} {} epoch {} at {}/{} durable {}{}]",
            short(&position.topic_id),
            position.partition,
            position.leader_epoch,
            position.fetch_offset,
            position.last_epoch,
            position.durable_end_offset,
            if position.asks { " asks" } else { "" },
        );
    }
    text
}

pub(super) fn broker(message: &v1::BrokerMessage) -> String {
    use v1::broker_message::Message;
    match &message.message {
        Some(Message::Register(register)) => {
            let runs: Vec<_> = register.candidates.iter().map(|c| c.generation).collect();
            let mut text = format!("{} registers, runs {runs:?}", register.name);
            for stored in &register.stored {
                let _ = write!(
                    text,
                    " [{} {} to {}/{} {}]",
                    short(&stored.topic_id),
                    stored.partition,
                    stored.durable_end_offset,
                    stored.last_epoch,
                    stored.assignment.as_ref().map(assigned).unwrap_or_default()
                );
            }
            text
        }
        Some(Message::Heartbeat(heartbeat)) => {
            let mut text = String::from("heartbeat");
            for report in &heartbeat.partitions {
                let _ = write!(
                    text,
                    " [{} {} epoch {} to {}/{} hw {}{}]",
                    short(&report.topic_id),
                    report.partition,
                    report.leader_epoch,
                    report.durable_end_offset,
                    report.last_epoch,
                    report.high_watermark,
                    if report.leading { " leads" } else { "" },
                );
            }
            for doubt in &heartbeat.doubts {
                let _ = write!(text, " doubts {}", doubt.broker);
            }
            text
        }
        other => format!("{other:?}"),
    }
}
