//! What a plugin can request over HTTP, and what it is refused. The hosts are servers of this test.

use std::net::IpAddr;
use std::sync::Arc;

use millpond::{Allow, FailureKind, Grant, NewJob, Plugin, PluginError, PluginLimits, Retry, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::built::{hostile, register};
use super::guest::module_with;
use super::outcomes::info;
use super::threads::{BUSY, Threads, busy_limits, computing};
use crate::support::*;

/// A host on this machine: it records its requests, and answers by the path.
#[derive(Clone)]
struct Server {
    port: u16,
    heard: Log<String>,
    asked: Arc<Notify>,
}

impl Server {
    async fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Self { port: listener.local_addr().unwrap().port(), heard: Log::new(), asked: Arc::new(Notify::new()) };
        let (own, answer) = (server.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream, answer.clone()));
            }
        });
        server
    }

    /// Leaves the connection open, as a slow host does.
    async fn serve(self, mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Vec<u8>>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = answer(&path);
        self.heard.push(head);
        self.asked.notify_one();
        let _ = stream.write_all(&answer).await;
        std::future::pending().await
    }

    /// A name that only the test's own resolver knows.
    fn url(&self, path: &str) -> String {
        format!("http://api.test:{}{path}", self.port)
    }

    fn allow(&self) -> Allow {
        Allow::http("api.test").port(self.port).private()
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

async fn hello() -> Server {
    Server::answering(|_| ok("hello")).await
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The hostile guest that requests the URL in its payload, where all names below `test` are this machine.
fn fetch(allow: Allow) -> Plugin {
    hostile("fetch").grant(Grant::http(allow)).resolver(|name| match name.ends_with(".test") {
        true => Ok(vec![LOOPBACK]),
        false => Err(std::io::ErrorKind::NotFound.into()),
    })
}

/// The result of the job, or the error of its attempt.
async fn fetched(plugin: Plugin, url: impl Into<String>) -> Result<String, String> {
    let (_, pond) = memory();
    pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::json("job", &url.into())).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    match job.state {
        State::Completed => Ok(String::from_utf8(job.result.unwrap().to_vec()).unwrap()),
        _ => Err(job.errors[0].message.clone()),
    }
}

const DENIED: &str = "this handler may not send requests there";

fn limits() -> PluginLimits {
    PluginLimits::default()
}

#[test]
fn a_plugin_without_a_grant_is_refused_at_registration() {
    let import = "millpond:jobs/outbound-http@0.1.3".to_owned();
    let grant = r#"Grant::http(Allow::https("..."))"#;
    let other = hostile("fetch").grant(Grant::enqueue("job"));
    assert_eq!(register(Ok(other)), Err(PluginError::MissingGrant { import, grant }));
    assert_eq!(register(Ok(hostile("fetch").grant(Grant::http(Allow::https("example.org"))))), Ok(()));
}

#[test]
fn a_grant_that_cannot_work_is_refused() {
    for grant in [Grant::http(Allow::https("*")), Grant::http(Allow::https("https://x")), Grant::http(Allow::http(""))]
    {
        let reason = register(Ok(hostile("fetch").grant(grant))).unwrap_err();
        assert!(matches!(reason, PluginError::Misconfigured { what: "grant `http`", .. }), "{reason:?}");
    }
    let narrow = hostile("fetch").limits(limits().http_header_bytes(8_191));
    assert!(matches!(register(Ok(narrow)), Err(PluginError::Misconfigured { what: "limit `http_header_bytes`", .. })));
}

#[tokio::test]
async fn a_request_to_a_granted_host_is_answered() {
    let server = hello().await;
    assert_eq!(fetched(fetch(server.allow()), server.url("/a?b")).await, Ok("[200,5]".into()));
    let heard = server.heard.take();
    assert_eq!(heard, [format!("GET /a?b HTTP/1.1\r\nhost: api.test:{}\r\n\r\n", server.port)]);
}

#[tokio::test]
async fn requests_outside_the_granted_scheme_host_and_port_are_not_sent() {
    let server = hello().await;
    let port = server.port;
    let others = [
        Allow::https("api.test").port(port).private(),
        Allow::http("other.test").port(port).private(),
        Allow::http("*.api.test").port(port).private(),
        Allow::http("api.test").private(),
    ];
    for allow in others {
        assert_eq!(fetched(fetch(allow.clone()), server.url("/")).await, Err(DENIED.into()), "{allow:?}");
    }
    assert_eq!(server.heard.len(), 0);
    let below = Allow::http("*.test").port(port).private();
    assert_eq!(fetched(fetch(below), server.url("/")).await, Ok("[200,5]".into()));
}

#[tokio::test]
async fn a_name_with_a_private_address_is_refused_unless_that_is_granted() {
    let server = hello().await;
    let public = Allow::http("api.test").port(server.port);
    assert_eq!(fetched(fetch(public.clone()), server.url("/")).await, Err(DENIED.into()));
    let literal = Allow::http("127.0.0.1").port(server.port);
    let url = format!("http://127.0.0.1:{}/", server.port);
    assert_eq!(fetched(fetch(literal.clone()), url.clone()).await, Err(DENIED.into()));
    assert_eq!(server.heard.len(), 0);
    assert_eq!(fetched(fetch(literal.private()), url).await, Ok("[200,5]".into()));
    assert_eq!(fetched(fetch(public.private()), server.url("/")).await, Ok("[200,5]".into()));
}

#[tokio::test]
async fn addresses_of_the_systems_own_resolver_are_checked_against_the_grants() {
    let server = hello().await;
    let url = format!("http://localhost:{}/", server.port);
    let allow = Allow::http("localhost").port(server.port);
    let plugin = |allow| hostile("fetch").grant(Grant::http(allow));
    assert_eq!(fetched(plugin(allow.clone()), url.clone()).await, Err(DENIED.into()));
    assert_eq!(fetched(plugin(allow.private()), url).await, Ok("[200,5]".into()));
}

/// This machine under an address that looks like another.
#[tokio::test]
async fn a_disguised_address_is_refused_even_where_private_addresses_are_granted() {
    let server = hello().await;
    let disguised = |_: &str| Ok(vec!["::ffff:127.0.0.1".parse().unwrap()]);
    assert_eq!(fetched(fetch(server.allow()).resolver(disguised), server.url("/")).await, Err(DENIED.into()));
    assert_eq!(server.heard.len(), 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_that_address_is_connected_to() {
    let server = hello().await;
    let resolved = Log::new();
    let noted = resolved.clone();
    let rebound = fetch(server.allow()).resolver(move |name| {
        noted.push(name.to_owned());
        let address = if noted.len() == 1 { "127.0.0.1" } else { "169.254.169.254" };
        Ok(vec![address.parse().unwrap()])
    });
    assert_eq!(fetched(rebound, server.url("/")).await, Ok("[200,5]".into()));
    assert_eq!(resolved.all(), ["api.test"]);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error() {
    let allow = Allow::http("nowhere.example");
    let told = fetched(fetch(allow), "http://nowhere.example/").await.unwrap_err();
    assert!(told.starts_with("the connection failed: "), "{told}");
}

#[tokio::test]
async fn a_redirect_is_followed_to_granted_hosts() {
    let second = hello().await;
    let to = format!("http://other.test:{}/next", second.port);
    let first = Server::answering(move |_| redirect(&to)).await;
    let granted = fetch(first.allow()).grant(Grant::http(Allow::http("other.test").port(second.port).private()));
    assert_eq!(fetched(granted, first.url("/")).await, Ok("[200,5]".into()));
    assert!(second.heard.all()[0].starts_with("GET /next HTTP/1.1\r\nhost: other.test:"), "{:?}", second.heard.all());

    second.heard.take();
    assert_eq!(fetched(fetch(first.allow()), first.url("/")).await, Err(DENIED.into()));
    let inside = Allow::http("other.test").port(second.port);
    let private_elsewhere = fetch(first.allow()).grant(Grant::http(inside));
    assert_eq!(fetched(private_elsewhere, first.url("/")).await, Err(DENIED.into()), "it leads inside");
    assert_eq!(second.heard.len(), 0);
}

#[tokio::test]
async fn the_number_of_redirects_is_limited() {
    let round = Server::answering(|_| redirect("/again")).await;
    for redirects in [0, 3] {
        let plugin = fetch(round.allow()).limits(limits().http_redirects(redirects));
        let told = fetched(plugin, round.url("/")).await;
        assert_eq!(told, Err(format!("the request failed: it was redirected more than {redirects} times")));
        assert_eq!(round.heard.take().len(), redirects as usize + 1);
    }
    let few = fetch(round.allow()).limits(limits().http_requests(2));
    let told = fetched(few, round.url("/")).await;
    assert_eq!(told, Err("the request failed: the attempt has sent as many requests as it can".into()));
    assert_eq!(round.heard.len(), 2, "each redirect is a request");
}

#[tokio::test]
async fn a_response_that_is_too_large_is_refused() {
    let large = Server::answering(|path| match path {
        "/head" => format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(40_000)).into_bytes(),
        "/chunks" => {
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}", "x".repeat(1_001)).into()
        }
        "/promised" => b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".to_vec(),
        _ => ok(&"x".repeat(1_000)),
    })
    .await;
    let plugin = || fetch(large.allow()).limits(limits().http_response_bytes(1_000));
    for path in ["/head", "/chunks", "/promised"] {
        let told = fetched(plugin(), large.url(path)).await;
        assert_eq!(told, Err("the response is longer than the host allows".into()), "{path}");
    }
    assert_eq!(fetched(plugin(), large.url("/just")).await, Ok("[200,1000]".into()));
    let wide = fetch(large.allow()).limits(limits().http_header_bytes(64 << 10));
    assert_eq!(fetched(wide, large.url("/head")).await, Ok("[200,0]".into()));
}

#[tokio::test]
async fn a_response_that_is_not_http_is_an_error() {
    let other = Server::answering(|_| b"220 mail.example ESMTP\r\n".to_vec()).await;
    let told = fetched(fetch(other.allow()), other.url("/")).await.unwrap_err();
    assert!(told.starts_with("the connection failed: "), "{told}");
}

/// The guest asks with a timeout of a year.
#[tokio::test]
async fn a_slow_host_hits_the_time_limit_of_the_request() {
    let slow = Server::answering(|path| match path {
        "/body" => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe".to_vec(),
        _ => Vec::new(),
    })
    .await;
    for path in ["/", "/body"] {
        let plugin = fetch(slow.allow()).limits(limits().http_time(std::time::Duration::from_millis(50)));
        assert_eq!(fetched(plugin, slow.url(path)).await, Err("the request took too long".into()), "{path}");
    }
}

#[tokio::test]
async fn an_attempt_that_waits_for_a_host_ends_at_its_own_time_limit() {
    let slow = Server::answering(|_| Vec::new()).await;
    let (clock, pond) = memory();
    let plugin = fetch(slow.allow()).limits(limits().time(SECOND * 60).http_time(HOUR));
    pond.worker("q").no_timeout().retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::json("job", &slow.url("/"))).await.unwrap();
    slow.asked.notified().await;
    clock.advance(SECOND * 60);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Timeout));
}

#[tokio::test]
async fn an_invalid_request_is_an_error() {
    for url in ["ftp://api.test/", "http://user@api.test/", "/", "http://"] {
        let told = fetched(fetch(Allow::http("api.test")), url).await.unwrap_err();
        assert!(told.starts_with("the request is malformed: "), "{told}");
    }
    let told =
        fetched(fetch(Allow::http("api.test")).limits(limits().http_request_bytes(10)), "http://api.test/").await;
    assert_eq!(told, Err("the request is malformed: the request has 19 bytes, the limit is 10".into()));
}

/// Sends five times the request that its payload names; returns how many were answered, and the last error.
const FIVE_TIMES: &str = r#"
    (i32.store8 (i32.const 1024) (i32.const 48))
    (i32.store8 (i32.const 1025) (i32.const 45))
    (loop $again
        (call $send (i32.const 1030) (i32.const 3) (local.get $p) (local.get $n) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 256))
        (if (i32.load8_u (i32.const 256))
            (then (i32.store8 (i32.const 1025) (i32.add (i32.const 97) (i32.load8_u (i32.const 260)))))
            (else (i32.store8 (i32.const 1024) (i32.add (i32.const 1) (i32.load8_u (i32.const 1024))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 5))))
    (call $ok (i32.const 1024) (i32.const 2))"#;

#[tokio::test]
async fn the_requests_of_an_attempt_are_limited() {
    let server = hello().await;
    let url: &'static str = format!("http://127.0.0.1:{}/", server.port).leak();
    let module = module_with(FIVE_TIMES, r#"(data (i32.const 1030) "GET")"#);
    let allow = Allow::http("127.0.0.1").port(server.port).private();
    for (requests, said) in [(3, "3f"), (5, "5-"), (0, "0f")] {
        let plugin = Plugin::from_bytes("guest", module.clone()).unwrap().limits(limits().http_requests(requests));
        let job = info(plugin.grant(Grant::http(allow.clone())), url).await;
        assert_eq!(job.result.as_deref(), Some(said.as_bytes()), "{requests}: {job:?}");
        assert_eq!(server.heard.take().len(), requests as usize);
    }
}

#[tokio::test]
async fn each_attempt_of_a_reused_instance_has_its_own_limit_of_requests() {
    let server = hello().await;
    let (_, pond) = memory();
    let plugin = fetch(server.allow()).limits(limits().http_requests(1)).reuse(10);
    pond.worker("q").concurrency(1).retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    pond.enqueue_many("q", [0; 3].map(|_| NewJob::json("job", &server.url("/")))).await.unwrap();
    drained(&pond).await;
    assert_eq!((server.heard.len(), pond.queue("q").unwrap().counts().dead_total), (3, 0));
}

#[tokio::test]
async fn a_guest_on_a_guest_thread_sends_requests_through_the_applications_runtime() {
    let server = hello().await;
    let url: &'static str = format!("http://127.0.0.1:{}/", server.port).leak();
    let module = module_with(&format!("{BUSY} {FIVE_TIMES}"), r#"(data (i32.const 1030) "GET")"#);
    let allow = Allow::http("127.0.0.1").port(server.port).private();
    let plugin = Plugin::from_bytes("guest", module).unwrap().limits(busy_limits()).grant(Grant::http(allow));
    let (clock, pond) = memory();
    let threads = Threads::default();
    let _listening = threads.listen();
    pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = computing(&pond, &threads, url).await;
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"5-"[..]));
    assert_eq!(server.heard.len(), 5);
}

#[tokio::test]
async fn a_guest_on_a_guest_thread_that_waits_for_a_host_ends_at_its_own_time_limit() {
    let slow = Server::answering(|_| Vec::new()).await;
    let url: &'static str = format!("http://127.0.0.1:{}/", slow.port).leak();
    let module = module_with(&format!("{BUSY} {FIVE_TIMES}"), r#"(data (i32.const 1030) "GET")"#);
    let allow = Allow::http("127.0.0.1").port(slow.port).private();
    let plugin = Plugin::from_bytes("guest", module).unwrap().grant(Grant::http(allow));
    let (clock, pond) = memory();
    let threads = Threads::default();
    let _listening = threads.listen();
    let limits = busy_limits().http_time(HOUR);
    pond.worker("q").no_timeout().retry(Retry::none()).handle_wasm("job", plugin.limits(limits)).start().unwrap();
    let id = computing(&pond, &threads, url).await;
    clock.advance(SECOND);
    slow.asked.notified().await;
    clock.advance(SECOND * 60);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Timeout));
}
