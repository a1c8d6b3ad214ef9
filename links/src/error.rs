//! Why a link does not start.

/// Why a link does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a mailbox or of a shared queue is not valid.
    #[error(
        "{name:?} is not a valid name of a mailbox or shared queue: it has 1 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The name of a node is not valid.
    #[error("{name:?} is not a valid name of a node: it has 1 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`")]
    InvalidNodeName {
        /// The name.
        name: String,
    },
    /// A number of partitions that is not valid, or partitions that the mailbox does not have.
    #[error("a mailbox has 1 to {max} partitions, and a receiver reads at least one of them", max = crate::Mailbox::PARTITIONS_MAX)]
    InvalidPartitions,
    /// A setting of a link is not valid.
    #[error("the setting `{setting}` of the link is not valid: it is {allowed}")]
    InvalidSetting {
        /// The setting.
        setting: &'static str,
        /// What it can be.
        allowed: &'static str,
    },
    /// The queue, its file or its worker.
    #[error(transparent)]
    Queue(#[from] millpond::Error),
    /// What a link keeps in the file cannot be read.
    #[error("the row of link {link:?} in the file cannot be read: {detail}")]
    Damaged {
        /// The link: the name of its queue or mailbox.
        link: String,
        /// What is wrong with it.
        detail: String,
    },
}
