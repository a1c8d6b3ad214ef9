//! The book that mdBook makes of `docs/guide`: every link of a page leads to a page of the book, or to an address. What is
//! outside of the book has another address in it than on a code host: `docs/guide/links.txt` has those addresses, and the
//! pages include it before their own definitions, in a comment that only mdBook reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::guide::{
    definitions, pages_of_the_guide, pages_of_the_reference, prose, read, root, targets, with_included,
};

const SOURCE: &str = "docs/guide/src";

/// Of two definitions of a link, markdown takes the first.
fn targets_in_the_book(text: &str) -> Vec<String> {
    let mut labels = BTreeMap::new();
    for (label, target) in definitions(text) {
        labels.entry(label).or_insert(target);
    }
    let of_labels: Vec<&str> = definitions(text).map(|(_, target)| target).collect();
    let inline = targets(text).into_iter().filter(|target| !of_labels.contains(target));
    inline.chain(labels.into_values()).map(str::to_owned).collect()
}

#[test]
fn every_relative_link_of_the_guide_leads_to_a_page_of_the_book() {
    let pages = &pages_of_the_guide() | &pages_of_the_reference();
    for page in &pages {
        let text = with_included(Path::new(SOURCE), page);
        for target in targets_in_the_book(&prose(&text)) {
            let (file, _) = target.split_once('#').unwrap_or((&target, ""));
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let folder = Path::new(page).parent().unwrap();
            let leads_to = folder.join(file);
            let is_page = pages.contains(leads_to.to_str().unwrap());
            let is_picture = file.ends_with(".png") && Path::new(SOURCE).join(&leads_to).is_file();
            assert!(is_page || is_picture, "{page}: {target} is not a page or a picture of the book");
        }
    }
}

/// The definitions in `links.txt` are those for which a page would leave the book, and no others.
#[test]
fn the_links_out_of_the_book_are_those_that_have_another_address_in_it() {
    let replaced = read("docs/guide/links.txt");
    let replaced: Vec<&str> = definitions(&replaced).map(|(label, _)| label).collect();
    let texts: Vec<String> = pages_of_the_guide().iter().map(|page| read(Path::new(SOURCE).join(page))).collect();
    let mut leaving: Vec<&str> = texts
        .iter()
        .flat_map(|text| definitions(text))
        .filter(|(_, target)| target.starts_with("../"))
        .map(|(label, _)| label)
        .collect();
    leaving.sort_unstable();
    leaving.dedup();
    assert_eq!(replaced, leaving);
}

fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| {
        panic!("{}: {error}. Build the book first, as .ci/run does", folder.display());
    });
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files
}

/// The values of this attribute.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let before = format!(" {attribute}=\"");
    let value = |(at, found): (usize, &str)| html[at + found.len()..].split('"').next().unwrap();
    html.match_indices(before.as_str()).map(value).collect()
}

/// The path without its `..`, as a server that has nothing outside of the book sees it.
fn within(book: &Path, path: &Path) -> Option<PathBuf> {
    let mut within = PathBuf::new();
    for part in path.strip_prefix(book).unwrap().components() {
        match part {
            Component::ParentDir if !within.pop() => return None,
            Component::Normal(name) => within.push(name),
            _ => {}
        }
    }
    Some(book.join(within))
}

#[test]
#[ignore = "needs the book, which .ci/run builds with mdBook"]
fn every_link_of_the_built_book_leads_to_a_file_and_a_heading_of_it() {
    let book = root().join("target/guide");
    let pages = files_in(&book, "html");
    for page in &pages_of_the_guide() | &pages_of_the_reference() {
        let built = if page == "README.md" { "index.html".into() } else { page.replace(".md", ".html") };
        assert!(pages.contains(&book.join(&built)), "{page} is not in the book as {built}");
    }
    // Servers show this page at any path, so its links are relative to their root.
    let elsewhere = book.join("404.html");
    for page in pages.iter().filter(|page| **page != elsewhere) {
        let html = fs::read_to_string(page).unwrap();
        assert!(!html.contains("{{#"), "{}: something was not included", page.display());
        for target in values(&html, "href").into_iter().chain(values(&html, "src")) {
            if target.contains("://") || target.starts_with("mailto:") || target.starts_with("data:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads_to = within(&book, &leads_to).filter(|path| path.exists());
            let leads_to = leads_to.unwrap_or_else(|| panic!("{}: {target} is not in the book", page.display()));
            let is_there = || values(&fs::read_to_string(&leads_to).unwrap(), "id").contains(&fragment);
            assert!(fragment.is_empty() || is_there(), "{}: {target} is not a heading", page.display());
        }
    }
}
