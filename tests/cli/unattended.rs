//! What cannot be undone is not done without a confirmation.

use crate::pond::at_both;

#[test]
fn without_a_terminal_and_without_yes_nothing_is_cancelled_or_purged() {
    at_both(|pond| {
        for (words, says) in [
            (&["cancel", "1"][..], "cancel job 1"),
            (&["cancel", "1", "2"], "cancel 2 jobs"),
            (&["cancel", "--queue", "mail"], "cancel those of 4 jobs of queue mail that have not ended"),
            (&["cancel", "--all"], "cancel those of 8 jobs that have not ended"),
            (&["dead", "purge", "6"], "purge 1 dead letters"),
            (&["dead", "purge", "--queue", "crm"], "purge 3 dead jobs of queue crm"),
            (&["dead", "purge", "--error-group", "order # was refused"], "purge 2 dead letters with the error"),
            (&["dead", "purge", "--all"], "purge 3 dead jobs"),
        ] {
            pond.fails(words, 6, says);
            pond.fails(words, 6, "confirm it with `--yes`");
        }
        let stats = pond.json(&["queues"]);
        assert_eq!((&stats[0]["counts"]["dead"], &stats[1]["counts"]["pending"]), (&3.into(), &3.into()));
    });
}
