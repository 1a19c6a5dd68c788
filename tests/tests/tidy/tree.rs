//! The files of the working tree, as the checks read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use taffrail_xtask::workspace_root;

/// What nobody wrote here. In a linked working tree `.git` is a file.
const NOT_OURS: [&str; 4] = ["target", ".git", "taffrail-data", "__pycache__"];

/// A text file.
pub(crate) struct Text {
    /// Its path from the root of the tree, with slashes.
    pub(crate) path: String,
    pub(crate) content: String,
}

impl Text {
    /// Does its name end with one of these?
    pub(crate) fn ends_with(&self, suffixes: &[&str]) -> bool {
        suffixes.iter().any(|suffix| self.path.ends_with(suffix))
    }

    /// `path:line: what`, for the list that a failing check prints.
    pub(crate) fn at(&self, line_index: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_index + 1)
    }
}

/// All text files, by path.
pub(crate) fn texts() -> Vec<Text> {
    let root = workspace_root();
    let mut texts = Vec::new();
    collect(&root, &root, &mut texts);
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
}

/// All text files whose names end so.
pub(crate) fn texts_ending(suffix: &str) -> Vec<Text> {
    let mut texts = texts();
    texts.retain(|text| text.path.ends_with(suffix));
    texts
}

/// Fails with the whole list, so that one run shows all there is to do.
pub(crate) fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn collect(root: &Path, dir: &Path, texts: &mut Vec<Text>) {
    for entry in fs::read_dir(dir).expect("the tree is readable") {
        let path: PathBuf = entry.expect("the entry is readable").path();
        let name = path.file_name().expect("an entry has a name");
        if NOT_OURS.iter().any(|other| name == *other) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, texts);
        } else if let Ok(content) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("it lies in the tree");
            texts.push(Text {
                path: path.to_string_lossy().into_owned(),
                content,
            });
        }
    }
}
