//! Batches as their users see them: built, read, damaged, compared with others' and with those of earlier releases.

mod differential;
mod garbage;
mod golden;
mod made_up;
mod retained;
mod roundtrip;
