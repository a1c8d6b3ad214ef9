//! The arguments that say where the queue is.

use std::path::PathBuf;

use clap::{Arg, ValueHint, value_parser};

/// The arguments of each command that looks at a queue or steers it.
pub fn args() -> [Arg; 5] {
    let only_one =
        |arg: Arg, others: [&'static str; 2]| arg.conflicts_with_all(others).help_heading("Where the queue is");
    [
        only_one(Arg::new("file").long("file").short('f'), ["url", "socket"])
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("The file of the queue. If a process has it open and serves a socket, that process is asked"),
        only_one(Arg::new("url").long("url").short('u'), ["file", "socket"])
            .value_name("URL")
            .value_hint(ValueHint::Url)
            .help("The dashboard of the process that has the file open: http://127.0.0.1:8080/admin/queues"),
        only_one(Arg::new("socket").long("socket").short('s'), ["file", "url"])
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("The Unix socket at which that process serves the dashboard"),
        Arg::new("ca-file")
            .long("ca-file")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .conflicts_with_all(["file", "socket"])
            .help("The authorities whose certificates are trusted at an address with https://, as PEM [default: those of the system]")
            .help_heading("Where the queue is"),
        Arg::new("token")
            .long("token")
            .value_name("TOKEN")
            .help("The token of the dashboard [default: the environment variable MILLPOND_TOKEN]")
            .help_heading("Where the queue is"),
    ]
}
