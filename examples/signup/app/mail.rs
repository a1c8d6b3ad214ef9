//! Mail by SMTP.

use anyhow::{Context as _, Result};
use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::PoolConfig;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use millpond::JobId;

use super::jobs::Welcome;

const FROM: &str = "The Mill <hello@mill.example>";

/// How a mail was taken.
pub enum Answer {
    Delivered,
    /// The server will never take it (5xx).
    Refused(SmtpError),
}

/// Keeps connections to the mail server, one per mail under way.
pub struct Mailer {
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// `server` is `host:port`.
    pub fn new(server: &str, connections: u32) -> Result<Self> {
        let (host, port) = server.rsplit_once(':').with_context(|| format!("{server:?} is not host:port"))?;
        // Lettre's word for "without TLS", which is for a server on this machine only. One across a network
        // needs a TLS feature of lettre, and `relay` in the place of this.
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.parse()?)
            .pool_config(PoolConfig::new().max_size(connections))
            .build();
        Ok(Self { smtp, from: FROM.parse()? })
    }

    /// Sends the welcome mail. An error may pass: a server out of reach, a 4xx.
    pub async fn welcome(&self, job: JobId, user: &Welcome) -> Result<Answer> {
        let to = Mailbox::new(Some(user.name.clone()), user.email.parse::<Address>()?);
        let letter = Message::builder()
            // A job that runs twice sends the same Message-ID twice, by which mailboxes know a copy.
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
