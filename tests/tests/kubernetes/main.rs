//! The control plane against a real API server: etcd and kube-apiserver in processes of their own. Nothing runs pods here.
#![forbid(unsafe_code)]

mod chart;
mod children;
mod operator;
mod rules;
mod topics;
