//! `millpond topics`: topics are listed, bound, tried, published to and removed.

use crate::pond::{at_both, empty};

#[test]
fn a_topic_is_bound_tried_and_published_to() {
    at_both(|pond| {
        let bind = ["topics", "bind", "orders", "crm", "--key", "order.#"];
        assert_eq!(pond.json(&bind)["changed"], 1);
        assert_eq!(pond.json(&bind)["changed"], 0);
        pond.does(&[
            "topics",
            "bind",
            "orders",
            "print",
            "--all",
            "format=pdf",
            "--any",
            "lang=de",
            "--any",
            "lang=fr",
        ]);
        assert_eq!(pond.json(&["topics", "list"])[0]["bindings"], 2);
        assert!(pond.does(&["topics", "list"]).out.contains("orders"));
        let out = pond.does(&["topics", "bindings", "orders"]).out;
        assert!(out.contains("order.#") && out.contains("format=pdf") && out.contains("lang=de lang=fr"), "{out}");

        let matched =
            pond.json(&["topics", "match", "orders", "order.paid", "--header", "format=pdf", "--header", "lang=fr"]);
        assert_eq!(matched["queues"], serde_json::json!(["crm", "print"]));
        assert_eq!(pond.does(&["topics", "match", "orders", "invoice"]).out, "nobody gets this message\n");

        let jobs = || pond.json(&["jobs", "--count", "--queue", "crm"])["count"].as_u64().unwrap();
        let before = jobs();
        let done = pond.json(&["topics", "publish", "orders", "order.paid", "paid", "{\"order\":7}"]);
        assert_eq!(done["changed"], 1);
        assert_eq!(jobs(), before + 1);
        assert_eq!(pond.json(&["topics", "publish", "orders", "invoice", "paid"])["changed"], 0);

        pond.does(&["topics", "configure", "orders", "--alternate", "lost"]);
        assert!(pond.does(&["topics", "match", "orders", "invoice"]).out.contains("lost (alternate)"));
        pond.does(&["topics", "configure", "orders", "--mandatory"]);
        pond.fails(&["topics", "publish", "orders", "invoice", "paid"], 4, "no binding of topic \"orders\" matches");

        let history = ["topics", "bind", "orders", "--stream", "history", "--key", "order.#"];
        assert_eq!(pond.json(&history)["changed"], 1);
        assert!(pond.does(&["topics", "bindings", "orders"]).out.contains("stream history"));
        assert!(pond.does(&["topics", "match", "orders", "order.paid"]).out.contains("stream history"));
        let published = pond.json(&["topics", "publish", "orders", "order.paid", "paid", "{\"order\":7}"]);
        assert_eq!(published["changed"], 2);
        assert!(published["message"].as_str().unwrap().ends_with(", entry 0 of stream history"), "{published}");
        let unbound = pond.json(&["topics", "unbind", "orders", "--stream", "history", "--key", "order.#"]);
        assert_eq!(unbound["changed"], 1);

        assert_eq!(pond.json(&["topics", "unbind", "orders", "crm", "--key", "order.#"])["changed"], 1);
        pond.fails(&["topics", "unbind", "orders", "crm", "--key", "order.#"], 3, "no such binding");
        pond.fails(&["topics", "remove", "orders"], 6, "--yes");
        assert_eq!(pond.json(&["topics", "remove", "orders", "--yes"])["changed"], 1);
    });
}

#[test]
fn what_is_not_there_or_not_accepted_is_said() {
    let pond = empty();
    assert_eq!(pond.does(&["topics", "list"]).out, "there are no topics\n");
    pond.fails(&["topics", "bindings", "never"], 3, "there is no topic");
    pond.fails(&["topics", "publish", "never", "key", "kind"], 3, "there is no topic");
    pond.fails(&["topics", "bind", "t", "q", "--key", "a.>.b"], 2, "must be the last word");
    pond.fails(&["topics", "bind", "t"], 2, "QUEUE");
    pond.fails(&["topics", "bind", "t", "q", "--stream", "s"], 2, "cannot be used with");
    pond.fails(&["topics", "bind", "t", "q", "--all", "name"], 2, "NAME=VALUE");
    pond.fails(&["topics"], 2, "");
}
