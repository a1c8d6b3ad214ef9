//! Mail by SMTP.

use anyhow::{Context as _, Result};
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::PoolConfig;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use millpond::JobId;

use super::jobs::Welcome;

const FROM: &str = "The Mill <hello@mill.example>";

/// The result of sending a mail.
pub enum Answer {
    Delivered,
    /// The server refuses it permanently (5xx).
    Refused(SmtpError),
}

/// A pool of connections to the mail server, one for each mail that is being sent.
pub struct Mailer {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// `server` is `host:port`.
    pub fn new(server: &str, connections: u32) -> Result<Self> {
        let (host, port) = server.rsplit_once(':').with_context(|| format!("{server:?} is not host:port"))?;
        // This connects without TLS, which is only for a server on the same machine. A server across a network needs a
        // TLS feature of lettre, and `relay` instead of this.
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.parse()?)
            .pool_config(PoolConfig::new().max_size(connections))
            .build();
        Ok(Self { smtp, from: FROM.parse()? })
    }

    /// Sends the welcome mail. An error can be temporary: the server cannot be reached, or answers 4xx.
    pub async fn welcome(&self, job: JobId, user: &Welcome) -> Result<Answer> {
        let to = Mailbox::new(Some(user.name.clone()), user.email.parse::<Address>()?);
        let letter = Message::builder()
            // A job that runs twice sends the same Message-ID twice, so mailboxes can recognise the copy.
            .message_id(Some(format!("<welcome-{job}@mill.example>")))
            .from(self.from.clone())
            .to(to)
            .subject("Welcome to the mill")
            .body(format!("Hello {},\n\nyour account is ready.\n", user.name))?;
        match self.smtp.send(letter).await {
            Ok(_) => Ok(Answer::Delivered),
            Err(error) if error.is_permanent() => Ok(Answer::Refused(error)),
            Err(error) => Err(error.into()),
        }
    }
}
