//! The server for the dashboard alone.

use std::net::SocketAddr;
use std::time::Duration;

use millpond_dashboard::{Listen, Options, ServeError, Server, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::Hostile;

const LONG: Duration = Duration::from_secs(30);

async fn serve_at(listen: impl Into<Listen>, options: Options) -> Result<Server, ServeError> {
    serve(Hostile::new("mail"), options, listen).await
}

async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = vec![0; 512];
    let len = stream.read(&mut start).await.unwrap();
    String::from_utf8_lossy(&start[..len]).into_owned()
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token() {
    let public: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = serve_at(public, Options::new()).await.unwrap_err();
    assert!(matches!(refused, ServeError::Public(_)), "{refused}");
    assert!(serve_at(public, Options::new().behind_own_auth()).await.is_err(), "nothing is before the server");
    serve_at(public, Options::new().token("a-token-of-26-characters-x")).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_stop_ends_live_updates_and_frees_the_address() {
    let server = serve_at(SocketAddr::from(([127, 0, 0, 1], 0)), Options::new()).await.unwrap();
    let address = server.address().unwrap();
    let mut page = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut page, "/live").await.starts_with("HTTP/1.1 200"));
    tokio::time::timeout(LONG, server.stop()).await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(LONG, page.read_to_end(&mut rest)).await.expect("the connection is closed").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_for_this_user_only_and_goes_with_its_server() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.sock");
    let server = serve_at(Listen::Unix(path.clone()), Options::new()).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ask(&mut UnixStream::connect(&path).await.unwrap(), "/").await.starts_with("HTTP/1.1 200"));
    let second = serve_at(Listen::Unix(path.clone()), Options::new()).await.unwrap_err();
    assert!(matches!(second, ServeError::InUse(_)), "{second}");
    assert!(ask(&mut UnixStream::connect(&path).await.unwrap(), "/").await.starts_with("HTTP/1.1 200"));
    server.stop().await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_that_is_left_over_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.sock");
    drop(tokio::net::UnixListener::bind(&path).unwrap());
    let server = serve_at(Listen::Unix(path.clone()), Options::new()).await.unwrap();
    // Another one has taken the place: it stays.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "a file").unwrap();
    server.stop().await;
    let refused = serve_at(Listen::Unix(path.clone()), Options::new()).await.unwrap_err();
    assert!(matches!(refused, ServeError::Io(..)), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}
