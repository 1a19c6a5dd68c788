//! Patterns of topics' names, as consumer groups give them.

use regex::{Error, Regex, RegexBuilder};

/// What a compiled one may take. Matching takes time in proportion to the name, whatever the pattern.
const COMPILED_BYTES_MAX: usize = 64 << 10;

/// A pattern for whole names. The error says what is wrong with it, on one line.
///
/// # Errors
/// It is no regular expression, or too large.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| what_is_wrong(&error))
}

/// The parser draws its input and marks the place; what it says comes last.
fn what_is_wrong(error: &Error) -> String {
    if matches!(error, Error::CompiledTooBig(_)) {
        return format!(
            "it takes more than {COMPILED_BYTES_MAX} bytes when compiled; repeat less in it"
        );
    }
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).expect("valid").is_match(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert!(matches("orders.*", "orders.eu"));
        assert!(!matches("orders", "orders.eu"));
        assert!(
            !matches("eu|us", "orders.eu"),
            "both ends are anchored for each side"
        );
        assert!(matches("eu|us", "us"));
    }

    #[test]
    fn a_pattern_that_would_grow_or_backtrack_without_end_does_neither() {
        assert!(compile("(a{1000}){1000}").is_err());
        let started = Instant::now();
        assert!(!matches("(a*)*b", &"a".repeat(249)));
        assert!(started.elapsed().as_secs() < 10, "linear in the name");
    }

    #[test]
    fn what_is_wrong_is_said_on_one_line() {
        let said = compile("orders(").expect_err("unclosed");
        assert_eq!(said, "unclosed group");
        let said = compile("(a{1000}){1000}").expect_err("large");
        assert!(said.contains("repeat less"), "{said}");
    }
}
