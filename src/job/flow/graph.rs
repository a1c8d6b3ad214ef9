//! A flow as a graph: for pictures and for export.

use std::fmt::Write;

use serde::Serialize;

use super::info::{FlowNode, FlowNodeKind};
use super::node::{NodeState, OnFailure};
use crate::job::JobId;

/// The jobs and signals of a flow, and which waits for which: as [`Flows::graph`](crate::Flows::graph) reads them.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.flow("order-7", |flow| {
///     let charge = flow.job("billing", Charge { order: 7 }).named("charge");
///     let _ = flow.job("emails", NewJob::json("receipt", &7)).named("receipt").after(&charge);
/// })
/// .await?;
/// let graph = pond.flows().graph("order-7")?;
/// assert_eq!(graph.edges.len(), 1);
/// assert!(graph.to_dot().starts_with("digraph \"order-7\" {"));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowGraph {
    /// The name of the flow.
    pub name: String,
    /// The first 1,000 jobs and signals, in the order in which they were made.
    pub nodes: Vec<FlowNode>,
    /// Which of them waits for which.
    pub edges: Vec<FlowEdge>,
    /// Whether the flow has more.
    pub is_partial: bool,
}

/// That one job of a flow waits for another job, or for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowEdge {
    /// What is waited for.
    pub from: JobId,
    /// The job that waits.
    pub to: JobId,
    /// What becomes of the job if the other one fails.
    pub on_failure: OnFailure,
}

impl FlowGraph {
    /// The graph in the language DOT, which [Graphviz](https://graphviz.org/doc/info/lang.html) and other programs draw. Each node
    /// says its name or its kind, and its state.
    pub fn to_dot(&self) -> String {
        let mut dot = format!("digraph {} {{\n  rankdir=LR;\n", quoted(&self.name));
        for node in &self.nodes {
            let (shape, kind) = match &node.kind {
                FlowNodeKind::Job { kind, .. } => ("box", kind.as_str()),
                FlowNodeKind::Signal { .. } => ("hexagon", "signal"),
            };
            let what = node.name.as_deref().unwrap_or(kind);
            let style = match node.state {
                NodeState::Blocked => "dotted",
                NodeState::Active => "bold",
                NodeState::Completed => "solid",
                NodeState::Dead | NodeState::Cancelled => "dashed",
            };
            let label = quoted(&format!("{what}\n{} {}", node.id, node.state));
            let _ = writeln!(dot, "  {} [shape={shape}, style={style}, label={label}];", node.id);
        }
        for FlowEdge { from, to, on_failure } in &self.edges {
            let label = match on_failure {
                OnFailure::Hold => "",
                OnFailure::Cancel => " [label=\"or cancel\"]",
                OnFailure::Run => " [label=\"or run\"]",
            };
            let _ = writeln!(dot, "  {from} -> {to}{label};");
        }
        dot.push_str("}\n");
        dot
    }
}

/// A text as DOT writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            letter if letter.is_control() => quoted.push(' '),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_quotes() {
        assert_eq!(quoted("a\"b\\c\nd\u{7}"), "\"a\\\"b\\\\c\\nd \"");
    }
}
