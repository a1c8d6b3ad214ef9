//! The mail server: it is slow, refuses the first mail from unknown senders for some mailboxes, and has one mailbox
//! that does not exist.
//!
//! `mailin` implements the protocol; this file has the I/O, and the decisions about recipients.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use mailin::response::{NO_MAILBOX, OK};
use mailin::{Action, Handler, Response, SessionBuilder};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::Ledger;

/// The address that never works: answered with 550.
pub const NEVER: &str = "nobody@nowhere.example";

/// Mailboxes of this domain refuse the first mail from an unknown sender with a 451, as many real servers do.
pub const GREYLISTING_DOMAIN: &str = "@greylisting.example";

/// The time from the end of a mail to the server's answer.
const FILING: Duration = Duration::from_millis(50);

/// The reply to DATA: a mail follows.
const SEND_THE_MAIL: u16 = 354;

type Acquaintances = Arc<Mutex<HashSet<String>>>;

pub async fn start() -> Result<(String, Arc<Ledger>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let ledger = Arc::new(Ledger::default());
    tokio::spawn(accept(listener, ledger.clone()));
    Ok((address, ledger))
}

async fn accept(listener: TcpListener, ledger: Arc<Ledger>) {
    let known = Acquaintances::default();
    while let Ok((stream, client)) = listener.accept().await {
        let desk = Desk { ledger: ledger.clone(), known: known.clone(), recipient: String::new() };
        // A client that disconnects during a session, because it was killed, is not an error of the server.
        tokio::spawn(async move { converse(stream, client.ip(), desk).await.ok() });
    }
}

async fn converse(stream: TcpStream, client: IpAddr, desk: Desk) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let ledger = desk.ledger.clone();
    let mut session = SessionBuilder::new("loopback").build(client, desk);
    stream.write_all(&session.greeting().buffer()?).await?;
    let mut line = Vec::new();
    let mut mail = None;
    while stream.read_until(b'\n', &mut line).await? > 0 {
        let reply = session.process(&line);
        line.clear();
        if reply.action == Action::NoReply {
            continue;
        }
        if mail.is_some() {
            tokio::time::sleep(FILING).await;
        }
        mail = (reply.code == SEND_THE_MAIL).then(|| ledger.arrival());
        stream.write_all(&reply.buffer()?).await?;
        if reply.action == Action::Close {
            break;
        }
    }
    Ok(())
}

/// Decides about one session's mails.
struct Desk {
    ledger: Arc<Ledger>,
    known: Acquaintances,
    recipient: String,
}

impl Handler for Desk {
    fn rcpt(&mut self, to: &str) -> Response {
        if to == NEVER {
            return NO_MAILBOX;
        }
        let mut known = self.known.lock().expect("no code panics while it holds the list");
        if to.ends_with(GREYLISTING_DOMAIN) && known.insert(to.to_owned()) {
            self.ledger.put_off();
            return Response::custom(451, "Greylisted, please try again later".to_owned());
        }
        to.clone_into(&mut self.recipient);
        OK
    }

    fn data_end(&mut self) -> Response {
        self.ledger.accept(&self.recipient);
        OK
    }
}
