//! The guide and the reference of `docs/`, for readers of this documentation. The module exists in rustdoc only. Its
//! blocks of Rust are tests: `cargo test --doc guide`.

/// A page of the guide, with the links of all pages as rustdoc needs them. Of two definitions of a link, markdown takes
/// the first.
macro_rules! page {
    ($name:ident, $file:literal) => {
        #[doc = "[building]: building"]
        #[doc = "[cancelling]: cancelling"]
        #[doc = "[codecs]: codecs"]
        #[doc = "[coming-from]: coming_from"]
        #[doc = "[command-line]: command_line"]
        #[doc = "[dashboard]: dashboard"]
        #[doc = "[deployment]: deployment"]
        #[doc = "[finding]: finding"]
        #[doc = "[first-job]: first_job"]
        #[doc = "[flows]: flows"]
        #[doc = "[guarantees]: guarantees"]
        #[doc = "[kinds]: kinds"]
        #[doc = "[limits]: limits"]
        #[doc = "[logging]: logging"]
        #[doc = "[machines]: machines"]
        #[doc = "[metrics]: metrics"]
        #[doc = "[order]: order"]
        #[doc = "[plugins]: plugins"]
        #[doc = "[rates]: rates"]
        #[doc = "[retries]: retries"]
        #[doc = "[schedules]: schedules"]
        #[doc = "[storage-format]: storage_format"]
        #[doc = "[streams]: streams"]
        #[doc = "[testing]: testing"]
        #[doc = "[topics]: topics"]
        #[doc = "[transactions]: transactions"]
        #[doc = "[transform]: streams#a-transform"]
        #[doc = "[unique]: unique"]
        #[doc = "[avatars]: https://docs.rs/crate/millpond/latest/source/examples/signup/app/avatars.rs"]
        #[doc = "[guest-examples]: https://docs.rs/millpond-guest"]
        #[doc = "[guest-sdk]: https://docs.rs/millpond-guest"]
        #[doc = "[jobs.wit]: https://docs.rs/crate/millpond/latest/source/wit/jobs.wit"]
        #[doc = "[picture-of-flow]: https://docs.rs/crate/millpond/latest/source/docs/guide/src/dashboard/flow-wide-light.png"]
        #[doc = "[picture-of-job]: https://docs.rs/crate/millpond/latest/source/docs/guide/src/dashboard/dead_job-wide-light.png"]
        #[doc = "[picture-of-queues]: https://docs.rs/crate/millpond/latest/source/docs/guide/src/dashboard/overview-wide-light.png"]
        #[doc = "[performance]: https://docs.rs/crate/millpond/latest/source/docs/performance.md"]
        #[doc = "[wit]: https://docs.rs/crate/millpond/latest/source/wit/README.md"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/guide/src/", $file))]
        pub mod $name {}
    };
}

page!(introduction, "README.md");
page!(first_job, "first-job.md");
page!(transactions, "transactions.md");
page!(retries, "retries.md");
page!(order, "order.md");
page!(rates, "rates.md");
page!(flows, "flows.md");
page!(streams, "streams.md");
page!(schedules, "schedules.md");
page!(topics, "topics.md");
page!(unique, "unique.md");
page!(finding, "finding.md");
page!(cancelling, "cancelling.md");
page!(kinds, "kinds.md");
page!(codecs, "codecs.md");
page!(testing, "testing.md");
page!(deployment, "deployment.md");
page!(machines, "machines.md");
page!(dashboard, "dashboard.md");
page!(command_line, "command-line.md");
page!(plugins, "plugins.md");
page!(coming_from, "coming-from.md");
page!(limits, "limits.md");
page!(building, "building.md");

#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("../docs/logging.md")]
pub mod logging {}

#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}

#[doc = include_str!("../docs/storage-format.md")]
pub mod storage_format {}
