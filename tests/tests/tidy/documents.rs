//! Documents are short and true: what can be checked of the second.

use std::{collections::BTreeSet, fs, path::Path};

use taffrail_core::ErrorCode;
use taffrail_xtask::workspace_root;

use crate::tree::{Text, assert_none, texts_ending};

/// The lines outside fenced code.
fn prose(text: &Text) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.content.lines().enumerate().filter(move |(_, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return false;
        }
        !fenced
    })
}

/// What stands between single backticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A path from the root of the tree, as documents name it: it begins with a folder of sources and holds nothing to be filled in.
fn as_path(span: &str) -> Option<&str> {
    let (first, _) = span.split_once('/')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let is_folder = first != "target" && !first.is_empty() && workspace_root().join(first).is_dir();
    (is_folder && span.chars().all(plain)).then_some(span)
}

/// What documents call by capitals that is no code: variables of the environment, and values of our API.
const NO_CODES: [&str; 4] = ["TAFFRAIL_", "KUBEBUILDER_", "PROPTEST_", "ACKS_"];

/// The name of an error code, as documents give it: several words in capitals. One word may be anything.
fn as_code(span: &str) -> Option<&str> {
    let has_form = span.trim_matches('_').contains('_')
        && span.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let is_other = NO_CODES.iter().any(|prefix| span.starts_with(prefix));
    (has_form && !is_other).then_some(span)
}

#[test]
fn every_code_that_a_document_names_exists() {
    let sources = texts_ending(".rs");
    // The command line has some of its own, as literals.
    let cli = sources
        .iter()
        .filter(|text| text.path.starts_with("cli/src/"));
    let literals = cli.flat_map(|text| text.content.split('"').skip(1));
    let mut codes: BTreeSet<&str> = literals.filter_map(as_code).collect();
    codes.extend(ErrorCode::ALL.iter().map(|code| code.name()));
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        for (index, line) in prose(&text) {
            for code in code_spans(line).filter_map(as_code) {
                if !codes.contains(code) {
                    findings.push(text.at(index, &format!("there is no code {code}")));
                }
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn every_document_has_one_title() {
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        let titles = prose(&text)
            .filter(|(_, line)| line.starts_with("# "))
            .count();
        if titles != 1 {
            findings.push(format!("{}: {titles} titles", text.path));
        }
    }
    assert_none(&findings);
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        for (index, line) in prose(&text) {
            for path in code_spans(line).filter_map(as_path) {
                if !workspace_root().join(path).exists() {
                    findings.push(text.at(index, &format!("{path} does not exist")));
                }
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        let path = workspace_root().join(&text.path);
        let folder = path.parent().expect("a file has a folder");
        for (index, line) in prose(&text) {
            for link in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                if !link.contains("://") && !leads_somewhere(link, folder, &text.content) {
                    findings.push(text.at(index, &format!("{link} leads nowhere")));
                }
            }
        }
    }
    assert_none(&findings);
}

/// There is such a file, and such a heading in it. `own`: the document with the link.
fn leads_somewhere(link: &str, folder: &Path, own: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = folder.join(file);
    let has_headings = file.is_empty() || path.extension().is_some_and(|e| e == "md");
    if anchor.is_empty() || !has_headings {
        return path.exists();
    }
    let other = fs::read_to_string(path);
    let document = if file.is_empty() {
        own
    } else {
        other.as_deref().unwrap_or_default()
    };
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings.map(anchor_of).any(|heading| heading == anchor)
}

/// As those who show Markdown make it: `## Lag and the loss deadline` is `lag-and-the-loss-deadline`.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The name of a test, as documents give it: a sentence without blanks.
fn as_test(span: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_sentence = span.chars().all(plain) && span.matches('_').count() > 3;
    (is_sentence && !span.starts_with("taffrail_")).then_some(span)
}

/// Functions of a source that run as tests.
fn tests_of(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let after = line.split_once("fn ")?.1;
        let name = after.split(['(', '<']).next();
        name.filter(|_| std::mem::take(&mut is_test))
    })
}

#[test]
fn only_what_runs_as_a_test_is_one() {
    let source = "#[test]\n#[ignore = \"x\"]\nfn one() {}\nfn helper() {}\n  #[tokio::test]\n  async fn two() {}";
    assert_eq!(tests_of(source).collect::<Vec<_>>(), ["one", "two"]);
}

/// Rows of tables whose last column says by which test something is shown, and that name none.
fn untested_rows(text: &Text) -> Vec<(usize, &str)> {
    let mut is_of_tests = false;
    let mut rows = Vec::new();
    for (index, line) in prose(text) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let last = cells.last().copied().unwrap_or_default();
        if !line.starts_with('|') {
            is_of_tests = false;
        } else if last == "test" {
            is_of_tests = true;
        } else if is_of_tests && last != "---" && code_spans(last).all(|s| as_test(s).is_none()) {
            rows.push((index, line));
        }
    }
    rows
}

#[test]
fn a_row_is_untested_if_its_last_cell_names_no_test() {
    let table = "| a | test |\n| --- | --- |\n| b | `a_b_c_d_e` in `x.rs` |\n| c | |\n| d | as of b |\n\n| e | |\n";
    let text = Text {
        path: String::new(),
        content: table.to_owned(),
    };
    assert_eq!(
        untested_rows(&text),
        [(3, "| c | |"), (4, "| d | as of b |")]
    );
}

#[test]
fn every_row_of_a_table_of_tests_names_one() {
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        for (index, row) in untested_rows(&text) {
            findings.push(text.at(index, &format!("no test is named: {row}")));
        }
    }
    assert_none(&findings);
}

/// Tests of which a line says where they are: "`test` in `file`".
fn placed_tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    // Every other part is in backquotes.
    let parts: Vec<&str> = line.split('`').collect();
    let mut placed = Vec::new();
    for at in (1..parts.len().saturating_sub(2)).step_by(2) {
        if let (Some(test), " in ") = (as_test(parts[at]), parts[at + 1]) {
            placed.push((test, parts[at + 2]));
        }
    }
    placed.into_iter()
}

#[test]
fn the_place_of_a_test_is_what_follows_it() {
    let line = "`a_b_c_d_e`; `f_g_h_i_j` in `x/y.rs`, and `k_l_m_n_o` of `z.rs`";
    let placed: Vec<_> = placed_tests(line).collect();
    assert_eq!(placed, [("f_g_h_i_j", "x/y.rs")]);
}

#[test]
fn every_test_that_a_document_names_exists_where_it_says() {
    let mut functions: BTreeSet<(String, String)> = BTreeSet::new();
    for text in texts_ending(".rs") {
        let of_file = tests_of(&text.content).map(|test| (test.to_owned(), text.path.clone()));
        functions.extend(of_file);
    }
    let places = |test: &str| {
        let from = (test.to_owned(), String::new());
        let those = functions
            .range(from..)
            .take_while(move |(name, _)| name == test);
        those.map(|(_, path)| path.as_str()).collect::<Vec<_>>()
    };
    let mut findings = Vec::new();
    for text in texts_ending(".md") {
        for (index, line) in prose(&text) {
            for test in code_spans(line).filter_map(as_test) {
                if places(test).is_empty() {
                    findings.push(text.at(index, &format!("there is no test {test}")));
                }
            }
            for (test, place) in placed_tests(line) {
                if !places(test).iter().any(|path| path.starts_with(place)) {
                    findings.push(text.at(index, &format!("{test} is not in {place}")));
                }
            }
        }
    }
    assert_none(&findings);
}
