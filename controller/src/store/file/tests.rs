use tempfile::TempDir;

use super::*;

fn root(epoch: u64) -> v1::ClusterMetadata {
    v1::ClusterMetadata {
        controller_epoch: epoch,
        ..v1::ClusterMetadata::default()
    }
}

fn open() -> (TempDir, FileStore) {
    let dir = TempDir::new().expect("a temporary directory");
    let store = FileStore::open(dir.path()).expect("a new store");
    (dir, store)
}

#[tokio::test]
async fn a_put_is_found_by_whoever_opens_the_store_next() {
    let (dir, store) = open();
    let first = store.put_root(None, &root(1)).await.expect("new");
    let map = v1::PartitionMap {
        name: "map-00000".to_owned(),
        ..v1::PartitionMap::default()
    };
    store.put_map(None, &map).await.expect("new");
    let broker = v1::StoredBroker {
        number: 4,
        ..v1::StoredBroker::default()
    };
    store.put_broker(None, &broker).await.expect("new");
    let second = store
        .put_root(Some(&first), &root(2))
        .await
        .expect("expected version");
    drop(store);

    let store = FileStore::open(dir.path()).expect("lock is free");
    let snapshot = store.load().await.expect("readable");
    let found = snapshot.root.expect("written");
    assert_eq!((found.version, found.value), (second, root(2)));
    assert_eq!(snapshot.maps[0].value, map);
    assert_eq!(snapshot.brokers[0].value, broker);
}

#[tokio::test]
async fn a_put_over_another_version_conflicts_and_changes_nothing() {
    let (_dir, store) = open();
    let first = store.put_root(None, &root(1)).await.expect("new");
    store.put_root(Some(&first), &root(2)).await.expect("next");
    for expected in [None, Some(&first)] {
        let error = store
            .put_root(expected, &root(9))
            .await
            .expect_err("not the version");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
    let found = store.load().await.expect("readable").root.expect("there");
    assert_eq!(found.value, root(2));
}

#[test]
fn a_second_process_is_told_to_stop_the_first() {
    let (dir, _store) = open();
    let error = FileStore::open(dir.path()).expect_err("locked");
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains("stop that one first"));
}

#[tokio::test]
async fn a_damaged_file_is_an_error_with_its_path_and_is_left_alone() {
    let (dir, store) = open();
    store.put_root(None, &root(1)).await.expect("new");
    let path = dir.path().join(ROOT);
    let mut bytes = fs::read(&path).expect("there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).expect("writable");

    let error = store.load().await.expect_err("damaged");
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
    assert!(store.put_root(None, &root(2)).await.is_err());
    assert_eq!(fs::read(&path).expect("there"), bytes);
}

#[tokio::test]
async fn an_unfinished_put_is_removed_and_the_value_before_it_counts() {
    let (dir, store) = open();
    store.put_root(None, &root(1)).await.expect("new");
    drop(store);
    let half = dir.path().join("root.tmp");
    fs::write(&half, b"TFRL").expect("writable");

    let store = FileStore::open(dir.path()).expect("lock is free");
    let found = store.load().await.expect("readable").root.expect("there");
    assert_eq!(found.value, root(1));
    assert!(!half.exists());
}
