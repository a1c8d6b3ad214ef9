//! The web part alone, with a source whose every text is hostile. The dashboard over a real queue is tested beside the queue.

#![allow(missing_docs, reason = "tests")]

mod access;
mod changes;
mod escaping;
mod flows;
mod links;
mod live;
mod nodes;
mod pages;
mod served;
mod streams;
mod support;
mod topics;
