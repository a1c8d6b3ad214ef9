//! Flows and signals, on a file and on a process that has it open.

use crate::pond::{Pond, stocked};
use crate::stock::stock_flows;

/// Runs the test with a file that has flows, and with a process that has it open.
fn at_both(test: impl Fn(&Pond)) {
    let with_flows = || {
        let pond = stocked();
        pond.with(|pond| async move {
            stock_flows(&pond).await;
        });
        pond
    };
    test(&with_flows());
    #[cfg(unix)]
    {
        use millpond::dashboard::{Listen, Options};

        let mut pond = with_flows();
        let socket = pond.path("at.sock");
        pond.serve(Options::new(), Listen::Unix(socket));
        test(&pond);
    }
}

#[test]
fn flows_are_listed_and_one_is_shown_as_a_table_and_as_a_graph() {
    at_both(|pond| {
        let flows = pond.json(&["flows"]);
        assert_eq!((&flows["flows"][0]["name"], &flows["has_more"]), (&"order 7".into(), &false.into()));
        let out = pond.does(&["flows", "-n", "1"]).out;
        assert!(out.contains("order 7") && out.contains("running") && out.contains("and more"), "{out}");
        let flow = pond.json(&["flow", "order 7"]);
        assert_eq!((&flow["counts"]["dead"], flow["nodes"].as_array().unwrap().len()), (&1.into(), 5));
        let out = pond.does(&["flow", "order 7"]).out;
        for text in [
            "2 blocked, 1 active, 0 completed, 1 dead",
            "blocked, held by",
            "pack or cancel, approved or run",
            "signal",
        ] {
            assert!(out.contains(text), "no {text:?} in {out}");
        }
        assert!(pond.does(&["flow", "batch"]).out.contains("4111"));
        let dot = pond.does(&["flow", "order 7", "--dot"]).out;
        assert!(dot.starts_with("digraph \"order 7\" {\n") && dot.ends_with("}\n"), "{dot}");
        pond.fails(&["flow", "never"], 3, "never");
        pond.fails(&["flow"], 2, "FLOW");
    });
}

#[test]
fn a_flow_is_signalled_retried_cancelled_and_removed() {
    at_both(|pond| {
        assert_eq!(pond.json(&["flow", "signal", "order 7", "approved", "{\"by\":\"ada\"}"])["changed"], 1);
        assert_eq!(pond.json(&["flow", "signal", "order 7", "approved"])["changed"], 0);
        assert_eq!(pond.json(&["flow", "order 7"])["state"], "held");
        pond.fails(&["flow", "signal", "order 7", "approved", "text"], 2, "not JSON");
        pond.fails(&["flow", "signal", "order 7", "never"], 3, "never");
        assert_eq!(pond.json(&["flow", "retry", "order 7"])["changed"], 1);
        pond.fails(&["flow", "remove", "order 7", "--yes"], 4, "cancel it first");
        pond.fails(&["flow", "cancel", "order 7"], 6, "cancel the 3 jobs of flow order 7 that have not ended");
        assert_eq!(pond.json(&["flow", "cancel", "order 7", "--reason", "sold out", "--yes"])["changed"], 1);
        let flow = pond.json(&["flow", "order 7"]);
        assert_eq!((&flow["state"], &flow["cancelled"]), (&"cancelled".into(), &"sold out".into()));
        pond.fails(&["flow", "remove", "batch"], 6, "remove flow batch");
        assert!(pond.does(&["flow", "remove", "batch", "--yes"]).out.contains("is removed"));
        pond.fails(&["flow", "batch"], 3, "batch");
    });
}

#[test]
fn a_job_shows_its_flow_and_steps_and_is_signalled() {
    at_both(|pond| {
        let blocked = pond.json(&["jobs", "--state", "blocked"]);
        let id = blocked["jobs"][0]["id"].as_str().unwrap();
        let out = pond.does(&["job", id]).out;
        assert!(out.contains("order 7") && out.contains("which has failed"), "{out}");
        let queues = pond.json(&["queues", "shop"]);
        assert_eq!(queues["queue"]["queue"]["counts"]["blocked"], 3);
        let jobs = pond.json(&["jobs", "--queue", "shop", "--where", "/n=2"]);
        let id = jobs["jobs"][0]["id"].as_str().unwrap();
        let out = pond.does(&["job", id]).out;
        for text in ["charge at ", ", done", "\"receipt\": 4111", "paid at ", ", waits"] {
            assert!(out.contains(text), "no {text:?} in {out}");
        }
        assert_eq!(pond.json(&["signal", id, "paid", "{\"cents\":7}"])["changed"], 1);
        assert!(pond.does(&["job", id]).out.contains("signalled"));
        pond.fails(&["signal", "999", "paid"], 3, "999");
    });
}
