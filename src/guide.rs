//! The pages of `docs/`, for readers of this documentation. The module exists in rustdoc only.

#[doc = include_str!("../docs/cancelling.md")]
pub mod cancelling {}

#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = "[storage-format]: storage_format"]
#[doc = ""]
#[doc = include_str!("../docs/kinds.md")]
pub mod kinds {}

#[doc = include_str!("../docs/logging.md")]
pub mod logging {}

#[doc = "[avatars]: https://docs.rs/crate/millpond/latest/source/examples/signup/app/avatars.rs"]
#[doc = "[guest-examples]: https://docs.rs/millpond-guest"]
#[doc = "[guest-sdk]: https://docs.rs/millpond-guest"]
#[doc = "[jobs.wit]: https://docs.rs/crate/millpond/latest/source/wit/jobs.wit"]
#[doc = "[wit]: https://docs.rs/crate/millpond/latest/source/wit/README.md"]
#[doc = ""]
#[doc = include_str!("../docs/plugins.md")]
pub mod plugins {}

#[doc = include_str!("../docs/schedules.md")]
pub mod schedules {}

#[doc = include_str!("../docs/storage-format.md")]
pub mod storage_format {}
