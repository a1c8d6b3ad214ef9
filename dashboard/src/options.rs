//! How a dashboard is set up.

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::api::{Action, Nodes, Problem};

/// Bytes of the body of a request, at most.
pub(crate) const BODY_BYTES_MAX: usize = 2 << 20;

/// Characters of a token, at least.
const TOKEN_LEN_MIN: usize = 16;

type Permit = Arc<dyn Fn(&Actor, &Action) -> bool + Send + Sync>;
type Audit = Arc<dyn Fn(&Audited<'_>) + Send + Sync>;
/// The signal of an application that it shuts its server down.
pub(crate) type Until = Shared<BoxFuture<'static, ()>>;
/// Asks the nodes of a fleet.
pub(crate) type AskNodes = Arc<dyn Fn() -> BoxFuture<'static, Nodes> + Send + Sync>;
type Who = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// How a dashboard is set up: who may use it, and what they may do.
///
/// By default it answers only requests from the same machine, and permits everything to them.
///
/// ```
/// use millpond_dashboard::Options;
///
/// let options = Options::new().title("Shop").read_only(true);
/// # let _ = options;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) title: String,
    pub(crate) access: Access,
    pub(crate) read_only: bool,
    pub(crate) public_path: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) until: Option<Until>,
    pub(crate) nodes: Option<AskNodes>,
    permit: Option<Permit>,
    audit: Option<Audit>,
    who: Option<Who>,
}

/// Who may use the dashboard.
#[derive(Clone)]
pub(crate) enum Access {
    /// Whoever is on the same machine.
    Loopback,
    /// Whoever has the token.
    Token(String),
    /// Whoever the application's own layer lets through.
    App,
}

/// Who asks for something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Actor {
    /// The name that [`Options::who`] has found, if it was set and found one.
    pub name: Option<String>,
    /// Where the request comes from: an address, or `local` for a Unix socket. `None` if the server does not say.
    pub address: Option<String>,
    /// Whether the request comes from the same machine, and through no proxy.
    pub is_local: bool,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.address) {
            (Some(name), _) => f.write_str(name),
            (None, Some(address)) => f.write_str(address),
            (None, None) => f.write_str("unknown"),
        }
    }
}

/// A change that was asked for, and what came of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Audited<'a> {
    /// Who has asked for it.
    pub actor: &'a Actor,
    /// What was asked for.
    pub action: &'a Action,
    /// The sentence that says what was done, or why it was not.
    pub outcome: Result<&'a str, &'a Problem>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("title", &self.title)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            title: "Millpond".to_owned(),
            access: Access::Loopback,
            read_only: false,
            public_path: None,
            hosts: Vec::new(),
            until: None,
            nodes: None,
            permit: None,
            audit: None,
            who: None,
        }
    }

    /// The name that the pages show. Default: `Millpond`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Lets everybody in who has this token: programs send it as `Authorization: Bearer <token>`, and people enter it once.
    /// It has at least 16 characters. Default: no token, and only requests from the same machine are answered.
    ///
    /// # Panics
    /// If the token is shorter, so that a dashboard is never open by mistake.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        let token = token.into();
        assert!(
            token.chars().count() >= TOKEN_LEN_MIN,
            "a token of a dashboard has at least {TOKEN_LEN_MIN} characters"
        );
        self.access = Access::Token(token);
        self
    }

    /// Says that a layer of the application lets only those through who may use the dashboard. Then the dashboard does not
    /// look where a request comes from.
    pub fn behind_own_auth(mut self) -> Self {
        self.access = Access::App;
        self
    }

    /// Whether nothing can be changed. Default: false.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Says how the nodes of a fleet are asked what their queues are like. Then there is a page that shows them, and `api/v1/nodes`. The
    /// crate `millpond-links` has such a function, `Watch::for_dashboard`. It is called for each request, and should answer within
    /// a second.
    ///
    /// ```
    /// use millpond_dashboard::{Options, api::Nodes};
    ///
    /// let options = Options::new().nodes(|| async { Nodes::default() });
    /// # let _ = options;
    /// ```
    pub fn nodes<A>(mut self, ask: impl Fn() -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Nodes> + Send + 'static,
    {
        self.nodes = Some(Arc::new(move || ask().boxed()));
        self
    }

    /// Decides for each action whether it is permitted. Default: every action is.
    ///
    /// ```
    /// use millpond_dashboard::{Options, api::Action};
    ///
    /// let options = Options::new().permit(|actor, action| match action {
    ///     Action::ObliterateQueue { .. } => actor.name.as_deref() == Some("ada"),
    ///     _ => true,
    /// });
    /// # let _ = options;
    /// ```
    pub fn permit(mut self, permit: impl Fn(&Actor, &Action) -> bool + Send + Sync + 'static) -> Self {
        self.permit = Some(Arc::new(permit));
        self
    }

    /// Is told of each action, also of those that fail or are not permitted. A log line with the target `millpond::audit`,
    /// without payloads, is written in any case.
    pub fn audit(mut self, audit: impl Fn(&Audited<'_>) + Send + Sync + 'static) -> Self {
        self.audit = Some(Arc::new(audit));
        self
    }

    /// Finds the name of the person in what the application's own layer has left in the request: a header or an extension.
    pub fn who(mut self, who: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.who = Some(Arc::new(who));
        self
    }

    /// The path under which people see the dashboard, if a proxy has another one than the application: `/ops/queues`.
    /// Default: the path at which the router is nested.
    pub fn public_path(mut self, path: impl Into<String>) -> Self {
        self.public_path = Some(path.into().trim_end_matches('/').to_owned());
        self
    }

    /// Accepts requests for this host too, without its port. Without a token or an own layer, `localhost`, `127.0.0.1` and
    /// `::1` are accepted; otherwise any host is, unless one is named here.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into().to_ascii_lowercase());
        self
    }

    /// Ends live updates and streams of events as soon as `stop` is ready: give it the signal with which the application's
    /// server shuts down gracefully, because such a server waits for its connections. Without it each of these connections
    /// ends after 30 seconds, and the page connects again. [`serve`](crate::serve) has a signal of its own.
    ///
    /// ```
    /// use millpond_dashboard::Options;
    ///
    /// let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    /// let options = Options::new().until(async { drop(stopping.await) });
    /// # drop((stop, options));
    /// ```
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(stop.boxed().shared());
        self
    }

    pub(crate) fn permits(&self, actor: &Actor, action: &Action) -> Result<(), Problem> {
        use crate::api::Code::Forbidden;
        if self.read_only && !action.is_read_only() {
            return Err(Problem::new(Forbidden, "this dashboard is read-only"));
        }
        if self.permit.as_ref().is_some_and(|permit| !permit(actor, action)) {
            return Err(Problem::new(Forbidden, format!("{actor} is not permitted to do this: {}", action.name())));
        }
        if action.is_local_only() && !actor.is_local {
            let detail = format!("only somebody on the same machine may do this: {}", action.name());
            return Err(Problem::new(Forbidden, detail));
        }
        Ok(())
    }

    pub(crate) fn tell(&self, audited: &Audited<'_>) {
        let Audited { actor, action, outcome } = audited;
        let action_text = action.to_log();
        match outcome {
            Ok(done) => tracing::info!(target: "millpond::audit", %actor, action = action_text, "{done}"),
            Err(problem) => tracing::warn!(target: "millpond::audit", %actor, action = action_text, "{problem}"),
        }
        if let Some(audit) = &self.audit {
            audit(audited);
        }
    }

    pub(crate) fn name_of(&self, parts: &Parts) -> Option<String> {
        self.who.as_ref().and_then(|who| who(parts))
    }
}
