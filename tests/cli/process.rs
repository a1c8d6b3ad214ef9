//! The program and a process that has the file open.

use std::net::SocketAddr;

use millpond::dashboard::{Listen, Options};

use crate::pond::stocked;
use crate::tool::{millpond, say};

const ANY_PORT: &str = "127.0.0.1:0";

fn any_port() -> Listen {
    Listen::Tcp(ANY_PORT.parse::<SocketAddr>().unwrap())
}

#[test]
fn a_process_answers_at_an_address() {
    let mut pond = stocked();
    let address = pond.serve(Options::new(), any_port()).address().unwrap();
    for end in ["", "/"] {
        let said = say(&mut millpond(&["jobs", "--count", "--url", &format!("http://{address}{end}")]));
        assert_eq!((said.code, said.out.as_str()), (Some(0), "8\n"), "{said:?}");
    }
    let said = say(&mut millpond(&["stats", "--url", &format!("http://{address}/nowhere")]));
    assert!(said.code == Some(3) && said.err.contains("where the dashboard is mounted"), "{said:?}");
}

#[test]
fn a_token_is_given_as_an_argument_or_in_the_environment() {
    let mut pond = stocked();
    let token = "a token that is long enough to be one";
    let address = pond.serve(Options::new().token(token), any_port()).address().unwrap();
    let url = format!("http://{address}");
    let words = ["jobs", "--count", "--url", &url];
    let said = say(&mut millpond(&words));
    assert!(said.code == Some(6) && said.err.contains("`--token` or MILLPOND_TOKEN"), "{said:?}");
    let said = say(millpond(&words).args(["--token", "another"]));
    assert_eq!(said.code, Some(6), "{said:?}");
    assert_eq!(say(millpond(&words).args(["--token", token])).out, "8\n");
    assert_eq!(say(millpond(&words).env("MILLPOND_TOKEN", token)).out, "8\n");
    let said = say(millpond(&["pause", "mail", "--url", &url]).env("MILLPOND_TOKEN", token));
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_place_where_nobody_answers_is_told() {
    let free = std::net::TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let said = say(&mut millpond(&["stats", "--url", &format!("http://{free}")]));
    assert!(said.code == Some(5) && said.err.contains("is the process running"), "{said:?}");
    let said = say(&mut millpond(&["stats", "--url", "localhost:8080"]));
    assert!(said.code == Some(2) && said.err.contains("begins with http://"), "{said:?}");
    let said = say(&mut millpond(&["stats", "--socket", "/no/such.sock"]));
    assert!(said.code == Some(5) && said.err.contains("/no/such.sock"), "{said:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_another_process_has_open_is_told_with_that_process() {
    let mut pond = stocked();
    let open = pond.open();
    let own = format!("process {}", std::process::id());
    pond.fails(&["stats"], 5, &own);
    pond.fails(&["stats"], 5, "`--url` or `--socket`");
    pond.fails(&["compact"], 5, &own);
    drop(open);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_serves_a_socket_is_found_by_its_file() {
    for name in ["jobs.redb.sock", "elsewhere.sock"] {
        let mut pond = stocked();
        let socket = pond.path(name);
        pond.serve(Options::new(), Listen::Unix(socket));
        let file = pond.file();
        let said = say(&mut millpond(&["jobs", "--count", "--file", &file]));
        assert_eq!((said.code, said.out.as_str()), (Some(0), "8\n"), "{name}: {said:?}");
        let own = format!("process {}", std::process::id());
        assert!(said.err.starts_with(&own) && said.err.contains("is asked"), "{name}: {said:?}");
    }
}
