//! The control plane on Kubernetes.
#![forbid(unsafe_code)]
