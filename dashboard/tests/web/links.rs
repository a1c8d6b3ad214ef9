//! The page of links, and the badge on the page of a queue.

use crate::support::get;

#[tokio::test]
async fn a_link_that_is_down_says_since_when_and_what_it_has_lost() {
    let page = get("/links").await.text;
    let since = "mail has not answered since <time datetime=\"1970-01-01T00:00:00.002Z\"";
    for shown in [since, ">down<", "href=\"/queues/mail\"", ">1,234, the latest ", ">not known<"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for (name, count) in
        [("in doubt", 5), ("held by leases", 7), ("the engine went back", 1), ("batches lost", 3), ("leases lost", 8)]
    {
        let shown = format!("<dt>{name}</dt><dd>{count}</dd>");
        assert!(page.contains(&shown), "{shown}: {page}");
    }
    assert!(page.contains("id=\"links\" data-live"), "{page}");
    assert!(page.contains("href=\"/links\" aria-current=\"page\""), "{page}");
}

#[tokio::test]
async fn each_page_of_a_queue_has_the_badge_of_its_link() {
    for path in ["/queues/mail", "/queues/mail/groups", "/queues/mail/limits"] {
        let page = get(path).await.text;
        assert!(
            page.contains("<a href=\"/links\" title=\"mail\">mail <span class=\"badge dead\">down</span></a>"),
            "{page}"
        );
    }
}
