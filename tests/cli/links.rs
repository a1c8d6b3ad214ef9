//! Links of a process, and of a file that no process has open.

use crate::pond::empty;

#[test]
fn links_of_a_file_that_nobody_has_open_are_not_known() {
    let pond = empty();
    let said = pond.does(&["links"]);
    assert!(said.out.is_empty() && said.err.contains("no process has this file open"), "{said:?}");
    assert_eq!(pond.json(&["links"]), serde_json::json!([]));
}

#[cfg(unix)]
#[test]
fn links_of_a_process_are_listed_with_their_errors() {
    use millpond::dashboard::{Listen, Options};
    use millpond::{LinkDirection, LinkInfo};

    let mut pond = empty();
    let socket = pond.path("at.sock");
    pond.serve(Options::new(), Listen::Unix(socket));
    assert_eq!(pond.does(&["links"]).out, "the process has no links\n");
    let open = pond.served();
    let info = |queue, direction| LinkInfo::new(queue, direction, "hub", "an engine").unwrap();
    let sends = open.register_link(info("readings", LinkDirection::Forward)).unwrap();
    let receives = open.register_link(info("orders", LinkDirection::Receive)).unwrap();
    sends.handle().update(|state| (state.connected, state.jobs) = (true, 1_234));
    receives.handle().update(|state| (state.engine_went_back, state.unreadable) = (2, 1));
    receives.handle().failed("no \u{1b}[31mroute");

    let said = pond.does(&["links"]).out;
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(&lines[1][..7], ["readings", "->", "hub", "forward", "an", "engine", "connected"], "{said}");
    assert!(lines[1].contains(&"1,234") && lines[2].contains(&"down") && lines[2].contains(&"?"), "{said}");
    assert!(said.contains("engine went back: 2, unreadable: 1\n"), "{said}");
    assert!(said.ends_with("hub -> orders: no \\u{1b}[31mroute\n"), "{said}");
    let links = pond.json(&["links"]);
    assert_eq!(
        (&links[0]["jobs"], &links[0]["lag"], &links[1]["direction"]),
        (&1_234.into(), &0.into(), &"receive".into())
    );
    assert_eq!(links[1]["last_error"], "no \u{1b}[31mroute");
}
