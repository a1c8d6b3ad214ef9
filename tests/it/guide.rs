//! The pages of the guide and of the reference: `SUMMARY.md` lists each page of the guide, every link of a page leads to a
//! file or a heading that exists, and every page of the guide is in the rustdoc, so that its blocks are compiled. The book
//! that is made of the pages has tests of its own, in `book.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages_in(directory: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    pages
}

/// The names of the guide's pages, such as `retries.md`.
pub fn pages_of_the_guide() -> BTreeSet<String> {
    let names =
        pages_in("docs/guide/src").into_iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name != "SUMMARY.md").collect()
}

/// The pages that make a file of `docs/` a page of the book, such as `reference/logging.md`.
pub fn pages_of_the_reference() -> BTreeSet<String> {
    let name = |page: PathBuf| format!("reference/{}", page.file_name().unwrap().to_str().unwrap());
    pages_in("docs/guide/src/reference").into_iter().map(name).collect()
}

fn all_pages() -> Vec<PathBuf> {
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page));
    others.into_iter().chain(pages_in("docs")).chain(pages_in("docs/guide/src")).collect()
}

/// The text without its fenced blocks, in which brackets are code.
pub fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The targets of `[text](target)` and of `[label]: target`.
pub fn targets(prose: &str) -> Vec<&str> {
    let inline = prose.match_indices("](").map(|(at, found)| {
        let target = &prose[at + found.len()..];
        &target[..target.find(')').unwrap()]
    });
    inline.chain(definitions(prose).map(|(_, target)| target)).collect()
}

pub fn definitions(prose: &str) -> impl Iterator<Item = (&str, &str)> {
    let defined = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    defined.filter(|(label, _)| !label.contains(']'))
}

/// The fragments of a page's headings, as mdBook and code hosts make them: lower case, without punctuation, with hyphens for
/// spaces.
fn headings(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let kept = |letter: char| letter.is_alphanumeric() || "- _".contains(letter);
    headings
        .map(|heading| {
            heading.to_lowercase().chars().filter(|letter| kept(*letter)).collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// A page of the book as mdBook reads it: with the files that it includes.
pub fn with_included(source: &Path, page: &str) -> String {
    let page = source.join(page);
    let text = read(&page);
    let mut parts = text.split("{{#include ");
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let (file, rest) = part.split_once("}}").unwrap();
        whole += &read(page.parent().unwrap().join(file));
        whole += rest;
    }
    whole
}

#[test]
fn the_summary_lists_every_page_of_the_guide_once() {
    let summary = read("docs/guide/src/SUMMARY.md");
    let listed = targets(&summary);
    let once: BTreeSet<String> = listed.iter().map(|page| (*page).to_owned()).collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice");
    assert_eq!(once, &pages_of_the_guide() | &pages_of_the_reference());
}

#[test]
fn the_title_of_a_page_is_the_one_in_the_summary() {
    let summary = read("docs/guide/src/SUMMARY.md");
    for page in &pages_of_the_guide() | &pages_of_the_reference() {
        let text = with_included(Path::new("docs/guide/src"), &page);
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap();
        assert!(summary.contains(&format!("[{title}]({page})")), "{page}: {title}");
    }
}

#[test]
fn the_book_has_a_title_and_a_folder_of_pages() {
    let book = read("docs/guide/book.toml");
    let mut section = "";
    let mut settings = Vec::new();
    for line in book.lines().filter(|line| !line.trim().is_empty()) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => {
                let (key, value) =
                    line.split_once(" = ").unwrap_or_else(|| panic!("neither a section nor a setting: {line}"));
                let value: serde_json::Value = serde_json::from_str(value).expect("a text or a truth value");
                settings.push((section, key, value));
            }
        }
    }
    let of = |section: &str, key: &str| {
        settings.iter().find(|(s, k, _)| (*s, *k) == (section, key)).and_then(|(_, _, value)| value.as_str())
    };
    assert!(of("book", "title").is_some());
    assert_eq!(of("book", "src"), Some("src"));
    assert_eq!(of("rust", "edition"), Some("2024"));
}

#[test]
fn every_relative_link_of_a_page_leads_to_a_file_and_a_heading_that_exist() {
    for page in all_pages() {
        let whole = read(&page);
        let text = prose(&whole);
        for target in targets(&text) {
            if target.contains("://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(leads_to.exists(), "{}: {target}", page.display());
            assert!(
                fragment.is_empty() || headings(&read(&leads_to)).contains(fragment),
                "{}: {target}",
                page.display()
            );
        }
    }
}

/// Where rustdoc includes a page, and what is before it.
fn includers() -> Vec<(PathBuf, String)> {
    let mut includers = vec![(root().join("README.md"), read("src/lib.rs"))];
    let guide = read("src/guide.rs");
    for page in pages_of_the_guide() {
        assert!(guide.contains(&format!("\"{page}\");")), "src/guide.rs does not include {page}");
        includers.push((root().join("docs/guide/src").join(page), guide.clone()));
    }
    includers
}

/// Paths of the repository do not exist in rustdoc, and paths of items do not exist on a code host: each such link is
/// defined twice, in the page and before the place where it is included.
#[test]
fn every_link_of_a_page_that_rustdoc_includes_is_defined_for_rustdoc_too() {
    for (page, includer) in includers() {
        let text = prose(&read(&page));
        for (label, _) in definitions(&text) {
            assert!(includer.contains(&format!("doc = \"[{label}]: ")), "{}: [{label}] is not defined", page.display());
        }
        for target in targets(&text) {
            let works_in_both = target.starts_with('#') || target.contains("://");
            let is_defined = definitions(&text).any(|(_, defined)| defined == target);
            assert!(works_in_both || is_defined, "{}: an inline link to {target}", page.display());
        }
    }
}

#[test]
fn every_label_that_a_page_uses_is_defined() {
    for page in all_pages() {
        let text = prose(&read(&page));
        let defined: BTreeSet<&str> = definitions(&text).map(|(label, _)| label).collect();
        for (at, found) in text.match_indices("][") {
            let label = &text[at + found.len()..];
            let label = &label[..label.find(']').unwrap()];
            assert!(defined.contains(label), "{}: [{label}] is not defined", page.display());
        }
    }
}

/// The tests that a row of a table of links names, such as `edge/full::behind_a_full_engine`, each with its crate's directory.
fn tests_of(row: &str) -> Vec<(&'static str, &str, &str)> {
    let cells = row.trim_matches('|').split('|').skip(1);
    let directories = ["links/tests", "nats/tests/server", "postgres/tests/server"];
    let of_cell = |(directory, cell): (&'static str, _)| {
        let names = str::split(cell, '`').skip(1).step_by(2);
        names.map(move |name| (directory, name)).collect::<Vec<_>>()
    };
    let names = directories.into_iter().zip(cells).flat_map(of_cell);
    names.filter_map(|(directory, name)| name.split_once("::").map(|(file, test)| (directory, file, test))).collect()
}

#[test]
fn every_test_that_the_tables_of_links_name_exists() {
    let text = read("docs/guarantees.md");
    let (_, section) = text.split_once("## Links to other machines").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let named: Vec<_> = section.lines().filter(|line| line.starts_with('|')).flat_map(tests_of).collect();
    assert!(named.len() > 40, "{named:?}");
    for (directory, file, test) in named {
        let source = read(format!("{directory}/{file}.rs"));
        assert!(source.contains(&format!("fn {test}() {{")), "{directory}/{file}.rs has no test {test}");
    }
}

#[test]
fn every_block_of_rust_in_the_guide_is_compiled() {
    for page in pages_in("docs/guide/src") {
        let text = read(&page);
        for opening in text.lines().filter(|line| line.starts_with("```rust")) {
            assert!(["```rust", "```rust,no_run"].contains(&opening), "{}: {opening}", page.display());
        }
    }
}
