//! `cargo run -p taffrail-crds --example write_crds`: writes the CustomResourceDefinitions into crds/yaml and the chart, as `cargo xtask crds` does.

use std::path::Path;

fn main() -> Result<(), taffrail_crds::generate::WriteYamlError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    taffrail_crds::write_yaml(&root.join("crds/yaml"))?;
    taffrail_crds::write_yaml(&root.join("charts/taffrail/files/crds"))
}
