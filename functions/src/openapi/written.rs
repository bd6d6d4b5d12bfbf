//! Documents that are made of the types and committed.

use std::path::Path;

use serde_json::Value;

/// That `docs/NAME` is the document. `WRITE_OPENAPI=1` writes it anew.
#[track_caller]
pub(crate) fn assert_committed(name: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let text = format!("{document:#}\n");
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/{name} is not what the types say: run `WRITE_OPENAPI=1 cargo test -p functions committed` and commit it"
    );
}
