//! What the controller says in its log.

use crate::state::Note;

pub(super) fn log(note: &Note) {
    match note {
        Note::MapVanished(map) => {
            tracing::error!(
                map,
                "a partition map vanished from the store; its records come back from the brokers"
            );
        }
        Note::Registered {
            broker,
            name,
            incarnation,
        } => tracing::info!(%broker, name, incarnation, "broker registered"),
        Note::Refused(error) => tracing::warn!(%error, "a broker was refused"),
        Note::OlderVolume(broker) => tracing::error!(
            %broker,
            "the broker came back with an older volume; what it led waits for the newer one"
        ),
        Note::Repaired { broker, partitions } => tracing::warn!(
            %broker,
            partitions,
            "the broker knew newer epochs than the store; they were repaired"
        ),
        Note::InDoubt { broker, partitions } => tracing::warn!(
            %broker,
            partitions,
            "partitions wait for other members of their in-sync set to report"
        ),
        Note::Strays { broker, topics } => tracing::warn!(
            %broker,
            topics,
            "the broker has partitions of topics that the store does not list; it keeps them"
        ),
        Note::MayLack(loss) => tracing::error!(
            topic = loss.topic,
            partition = loss.partition,
            from = loss.from,
            known_to = loss.known_to,
            "records from the first of these offsets on may be lost: no replica was left that surely had them"
        ),
        Note::StoreIsOld { broker_epoch } => tracing::warn!(
            broker_epoch,
            "a broker obeyed a later controller than the store knows, or another one of this epoch; taking office again"
        ),
        Note::LivenessChanged { broker, state } => tracing::info!(%broker, state, "broker changed"),
    }
}
