//! Habits of the source that no compiler lint knows.

use taffrail_xtask::workspace_root;

use crate::tree::{Text, assert_none, texts, texts_ending};

/// One noun per file: what is longer is two.
const LINES_MAX: usize = 600;

/// A program's `main.rs` fits one screen, a tall one.
const MAIN_LINES_MAX: usize = 100;

/// The only crate that may use `unsafe`, each block with its SAFETY comment.
const MAY_BE_UNSAFE: &str = "log/";

/// The places that wait for conditions, with a deadline.
const MAY_SLEEP: [&str; 3] = [
    "tests/src/wait.rs",
    "broker/tests/broker/fixture.rs",
    "cli/tests/embedded/dev.rs",
];

/// What lies at the top of the tree, and nothing else.
const TOP_LEVEL: [&str; 30] = [
    ".cargo",
    ".ci",
    ".dockerignore",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "api",
    "bench",
    "broker",
    "charts",
    "cli",
    "client",
    "controller",
    "core",
    "crds",
    "docs",
    "examples",
    "log",
    "operator",
    "record",
    "taffrail-data",
    "target",
    "tests",
    "xtask",
];

/// The part of a source file that only tests run.
fn test_code(text: &Text) -> impl Iterator<Item = (usize, &str)> {
    let in_tests = text.path.contains("/tests/") || text.path.starts_with("tests/");
    let from = if in_tests {
        0
    } else {
        text.content
            .lines()
            .position(|line| line.trim() == "#[cfg(test)]")
            .unwrap_or(usize::MAX)
    };
    text.content
        .lines()
        .enumerate()
        .skip_while(move |(index, _)| *index < from)
}

fn find(texts: &[Text], needles: &[&str], what: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for text in texts {
        for (index, line) in text.content.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(**needle)) {
                findings.push(text.at(index, &format!("{needle}: {what}")));
            }
        }
    }
    findings
}

/// This file names what it forbids.
fn sources_but_this(suffix: &str) -> Vec<Text> {
    let mut texts = texts_ending(suffix);
    texts.retain(|text| !text.path.ends_with("tidy/sources.rs"));
    texts
}

#[test]
fn no_source_file_is_longer_than_a_reader_bears() {
    let findings: Vec<String> = texts_ending(".rs")
        .iter()
        .filter(|text| text.content.lines().count() > LINES_MAX)
        .map(|text| {
            format!(
                "{}: {} lines, cut it in two",
                text.path,
                text.content.lines().count()
            )
        })
        .collect();
    assert_none(&findings);
}

#[test]
fn the_main_of_a_program_fits_one_screen() {
    let mut findings = Vec::new();
    for text in texts_ending("src/main.rs") {
        let lines = text.content.lines().count();
        if lines > MAIN_LINES_MAX {
            findings.push(format!("{}: {lines} lines", text.path));
        }
    }
    assert_none(&findings);
}

#[test]
fn a_module_is_a_file_beside_its_folder() {
    let findings: Vec<String> = texts_ending("/mod.rs")
        .iter()
        .map(|text| format!("{}: name it after its folder", text.path))
        .collect();
    assert_none(&findings);
}

#[test]
fn every_crate_but_the_log_forbids_unsafe_code() {
    let mut findings = Vec::new();
    for root in ["src/lib.rs", "src/main.rs"] {
        for text in texts_ending(root) {
            let forbids = text.content.contains("#![forbid(unsafe_code)]");
            if !forbids && !text.path.starts_with(MAY_BE_UNSAFE) {
                findings.push(format!("{} lacks #![forbid(unsafe_code)]", text.path));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn nothing_is_left_to_be_done() {
    let needles = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
    let mut texts = sources_but_this("");
    // Hashes may spell anything.
    texts.retain(|text| !text.ends_with(&[".lock", ".sum"]));
    assert_none(&find(&texts, &needles, "do it, or open an issue"));
}

#[test]
fn exceptions_from_lints_are_expected_with_a_reason() {
    let needles = ["#[allow(", "#![allow("];
    let mut texts = sources_but_this(".rs");
    // Generated code: which lints it breaks changes with its generator.
    texts.retain(|text| text.path != "api/src/lib.rs");
    assert_none(&find(
        &texts,
        &needles,
        "use #[expect(lint, reason = \"...\")]",
    ));
}

#[test]
fn no_state_is_global() {
    let needles = [
        "lazy_static!",
        "static mut ",
        "thread_local!",
        ": LazyLock<",
    ];
    let mut texts = sources_but_this(".rs");
    // A rule that a simulation breaks on purpose is not handed through the code under test; only built with the feature.
    texts.retain(|text| text.path != "core/src/replica/mutant.rs");
    assert_none(&find(&texts, &needles, "pass it through a constructor"));
    let mut findings = Vec::new();
    for text in &texts {
        for (index, line) in text.content.lines().enumerate() {
            if changes(line) {
                findings.push(text.at(index, "pass it through a constructor"));
            }
        }
    }
    assert_none(&findings);
}

/// Does it declare a static of a type that can change?
fn changes(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        rest.trim_start_matches(|c| c != ' ').trim_start()
    });
    let declared = line.strip_prefix("static ");
    let kind = declared.and_then(|rest| rest.split_once(": "));
    let may_change = ["Lock<", "Mutex<", "Cell<", "OnceCell", "Once ", "Atomic"];
    kind.is_some_and(|(_, kind)| may_change.iter().any(|name| kind.contains(name)))
}

#[test]
fn a_static_that_can_change_is_told_from_a_constant() {
    for line in [
        "static SEEN: OnceLock<u8> = OnceLock::new();",
        "    pub static COUNT: AtomicU64 = AtomicU64::new(0);",
        "pub(crate) static ALL: std::sync::Mutex<Vec<u8>> = todo();",
    ] {
        assert!(changes(line), "{line}");
    }
    for line in [
        "static ZEROS: [u8; 4] = [0; 4];",
        "    name: &'static str,",
        "static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;",
    ] {
        assert!(!changes(line), "{line}");
    }
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let mut findings = Vec::new();
    for text in sources_but_this(".rs") {
        if MAY_SLEEP.contains(&text.path.as_str()) {
            continue;
        }
        for (index, line) in test_code(&text) {
            if line.contains("sleep(") {
                findings.push(text.at(index, "wait for a condition with a deadline"));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn no_path_or_host_of_one_machine_is_in_the_tree() {
    let needles = [
        "/root/",
        "/home/",
        "/work/",
        "proxy.golang.org",
        "pypi.org",
        "index.crates.io",
        "static.crates.io",
        "registry.npmjs.org",
        "deb.debian.org",
        "repo.maven",
    ];
    let mut texts = sources_but_this("");
    texts.retain(|text| !text.ends_with(&[".lock", ".sum"]));
    assert_none(&find(&texts, &needles, "it is of one machine"));
}

#[test]
fn the_top_level_holds_what_it_should() {
    let findings: Vec<String> = std::fs::read_dir(workspace_root())
        .expect("the tree is readable")
        .map(|entry| entry.expect("the entry is readable").file_name())
        .filter(|name| !TOP_LEVEL.iter().any(|known| name == *known))
        .map(|name| format!("{} does not belong there", name.to_string_lossy()))
        .collect();
    assert_none(&findings);
}

#[test]
fn every_text_ends_with_a_line_break_and_no_line_with_a_blank() {
    let mut findings = Vec::new();
    let mut texts = texts();
    texts.retain(|text| text.ends_with(&[".rs", ".md", ".proto"]));
    for text in &texts {
        if !text.content.ends_with('\n') {
            findings.push(format!("{} does not end with a line break", text.path));
        }
        for (index, line) in text.content.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                findings.push(text.at(index, "blank at the end of the line"));
            }
        }
    }
    assert_none(&findings);
}
