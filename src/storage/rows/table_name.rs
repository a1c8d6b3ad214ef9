//! The tables by their names, for errors, the quarantine and log lines.

use std::fmt;

macro_rules! table_names {
    ($($variant:ident => $name:literal,)*) => {
        /// One of our tables. `tables.rs` says what each has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum TableName {
            $($variant,)*
        }

        impl TableName {
            /// Its name in the file, without the prefix that our tables have.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The table of this name.
            pub fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

table_names! {
    Meta => "meta",
    Queues => "queues",
    Overrides => "overrides",
    Kinds => "kinds",
    Ready => "ready",
    Delayed => "delayed",
    Members => "members",
    Heads => "heads",
    Groups => "groups",
    Index => "index",
    Running => "running",
    DeadLetters => "dead_letters",
    Finished => "finished",
    Rates => "rates",
    Circuits => "circuits",
    Unique => "unique",
    TimedKeys => "timed_keys",
    PluginState => "plugin_state",
    PluginUsage => "plugin_usage",
    Schedules => "schedules",
    Blocked => "blocked",
    Flows => "flows",
    FlowNodes => "flow_nodes",
    FlowUntold => "flow_untold",
    Steps => "steps",
    Streams => "streams",
    Entries => "entries",
    Consumers => "consumers",
    Topics => "topics",
    Bindings => "bindings",
    Quarantine => "quarantine",
}

impl TableName {
    /// Whether it has jobs' records. What is in the others follows from those, or is about a queue, a kind or a plugin.
    pub const fn has_jobs(self) -> bool {
        matches!(self, Self::Ready | Self::Delayed | Self::Members | Self::Blocked | Self::DeadLetters | Self::Finished)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
