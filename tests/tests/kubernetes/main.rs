//! The control plane against a real API server: etcd and kube-apiserver in processes of their own. Nothing runs pods here.
#![forbid(unsafe_code)]

mod alerts;
mod chart;
mod children;
mod columns;
mod controllers;
mod duel;
mod events;
mod groups;
mod operator;
mod owned;
mod pod_template;
mod racks;
mod replicated;
mod rights;
mod rules;
mod scale;
mod topics;
mod unreadable;
mod values;
mod volumes;
