//! A cluster's metadata in the Kubernetes API: ClusterMetadata, PartitionMap and Broker resources, replaced whole by PUT with the
//! resourceVersion that was read. Reads leave resourceVersion unset, which makes them reads with quorum.

mod codec;

use std::{fmt::Debug, path::PathBuf, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use taffrail_api::v1;
use taffrail_controller::{
    Snapshot, Store, StoreError, Version, Versioned,
    store::{Cause, ObjectName},
};
use taffrail_crds::{Broker, ClusterMetadata, PartitionMap};
use tokio::time::timeout;

use crate::writes::FIELD_MANAGER;
use codec::DecodeError;

/// On every machine resource: the BrokerCluster's name. For people who select by it; what counts is the name in the spec.
pub const CLUSTER_LABEL: &str = "taffrail.dev/cluster";
/// After this the outcome of a call is not known.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata of one BrokerCluster.
#[derive(Clone)]
pub struct KubeStore {
    cluster: String,
    roots: Api<ClusterMetadata>,
    maps: Api<PartitionMap>,
    brokers: Api<Broker>,
}

impl Debug for KubeStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeStore")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl KubeStore {
    /// The metadata of BrokerCluster `cluster` in `namespace`.
    pub fn new(client: Client, namespace: &str, cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            roots: Api::namespaced(client.clone(), namespace),
            maps: Api::namespaced(client.clone(), namespace),
            brokers: Api::namespaced(client, namespace),
        }
    }

    async fn read(&self) -> Result<Snapshot, StoreError> {
        // Not by label: a map that lost its label has not vanished, and its name is taken.
        let all = ListParams::default();
        let root = answer(self.roots.get_opt(&self.cluster)).await?;
        let maps = answer(self.maps.list(&all)).await?;
        let brokers = answer(self.brokers.list(&all)).await?;
        let maps = maps.iter().filter(|map| map.spec.cluster == self.cluster);
        let brokers = brokers.iter();
        let brokers = brokers.filter(|broker| broker.spec.cluster == self.cluster);
        Ok(Snapshot {
            root: root
                .map(|root| decoded(&root, |r| codec::root(&r.spec)))
                .transpose()?,
            maps: maps
                .map(|map| decoded(map, |m| codec::map(&m.spec)))
                .collect::<Result<_, _>>()?,
            brokers: brokers
                .map(|broker| decoded(broker, |b| codec::broker(&b.spec)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Creates or replaces. Nothing but what we write stands in these objects, so replacing them whole loses nothing.
    async fn put<K>(
        &self,
        api: &Api<K>,
        mut resource: K,
        expected: Option<&Version>,
        object: ObjectName,
    ) -> Result<Version, StoreError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let labels = resource.labels_mut();
        labels.insert(CLUSTER_LABEL.to_owned(), self.cluster.clone());
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            FIELD_MANAGER.to_owned(),
        );
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let name = resource.name_any();
        let call = async {
            match expected {
                Some(version) => {
                    resource.meta_mut().resource_version = Some(version.0.clone());
                    api.replace(&name, &params, &resource).await
                }
                None => api.create(&params, &resource).await,
            }
        };
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(written)) => Ok(version(&written)),
            Ok(Err(error)) => Err(put_failed(error, object)),
            Err(elapsed) => Err(StoreError::Unknown {
                object,
                cause: Box::new(elapsed),
            }),
        }
    }
}

impl Store for KubeStore {
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.read().boxed()
    }

    fn put_root<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::ClusterMetadata,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let resource = ClusterMetadata::new(&self.cluster, codec::root_spec(value));
        self.put(&self.roots, resource, expected, ObjectName::Root)
            .boxed()
    }

    fn put_map<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::PartitionMap,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let name = format!("{}-{}", self.cluster, value.name);
        let resource = PartitionMap::new(&name, codec::map_spec(&self.cluster, value));
        self.put(
            &self.maps,
            resource,
            expected,
            ObjectName::Map(value.name.clone()),
        )
        .boxed()
    }

    fn put_broker<'a>(
        &'a self,
        expected: Option<&'a Version>,
        value: &'a v1::StoredBroker,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let name = broker_resource_name(&self.cluster, value.number);
        let resource = Broker::new(&name, codec::broker_spec(&self.cluster, value));
        self.put(
            &self.brokers,
            resource,
            expected,
            ObjectName::Broker(value.number),
        )
        .boxed()
    }
}

/// The name of a broker's resource: by number, for a number is never used again and a pod's name is.
pub fn broker_resource_name(cluster: &str, number: u32) -> String {
    format!("{cluster}-broker-{number}")
}

fn version<K: Resource>(resource: &K) -> Version {
    Version(resource.resource_version().unwrap_or_default())
}

fn decoded<K, V>(
    resource: &K,
    decode: impl FnOnce(&K) -> Result<V, DecodeError>,
) -> Result<Versioned<V>, StoreError>
where
    K: Resource<DynamicType = ()>,
{
    let value = decode(resource).map_err(|error| StoreError::Unreadable {
        path: PathBuf::from(format!(
            "{}/{}/{}",
            K::plural(&()),
            resource.namespace().unwrap_or_default(),
            resource.name_any()
        )),
        reason: error.to_string(),
    })?;
    Ok(Versioned {
        version: version(resource),
        value,
    })
}

async fn answer<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, StoreError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| StoreError::Unavailable(Box::new(error))),
        Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
    }
}

/// What a failed write means. Whatever is not known for sure to have changed nothing is `Unknown`.
fn put_failed(error: kube::Error, object: ObjectName) -> StoreError {
    let code = match &error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    let cause: Cause = Box::new(error);
    match code {
        // Gone is a change by somebody else, too.
        404 | 409 => StoreError::Conflict { object },
        400 | 401 | 403 | 413 | 422 => StoreError::Refused { object, cause },
        429 => StoreError::Unavailable(cause),
        _ => StoreError::Unknown { object, cause },
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> StoreError {
        let status = Status {
            code,
            ..Status::default()
        };
        put_failed(kube::Error::Api(Box::new(status)), ObjectName::Root)
    }

    #[test]
    fn only_an_answer_that_says_so_means_that_nothing_was_written() {
        assert!(matches!(refused(409), StoreError::Conflict { .. }));
        assert!(matches!(refused(404), StoreError::Conflict { .. }));
        assert!(matches!(refused(422), StoreError::Refused { .. }));
        assert!(matches!(refused(429), StoreError::Unavailable(_)));
        for unsure in [500, 503, 504] {
            assert!(
                matches!(refused(unsure), StoreError::Unknown { .. }),
                "{unsure}"
            );
        }
        let broken = kube::Error::Service("connection reset".into());
        assert!(matches!(
            put_failed(broken, ObjectName::Root),
            StoreError::Unknown { .. }
        ));
    }
}
