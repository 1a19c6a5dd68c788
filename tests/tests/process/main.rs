//! The programs as people run them: real processes, real files, real signals.
#![forbid(unsafe_code)]

mod acks;
mod crash;
mod damage;
mod data_folder;
mod delete_if_empty;
mod errors;
mod from_outside;
mod internal;
mod main_job;
mod manifests;
mod topics;
