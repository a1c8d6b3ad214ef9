//! Connects with whatever does TLS, so that the engine's type does not name it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use crate::waits::Waits;

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// A client, and what carries its messages until the connection ends.
pub(crate) type Connected = (Client, Boxed<'static, ()>);

pub(crate) trait Connector: Send + Sync {
    /// Connects. The server's notifications go to `waits`.
    fn connect<'c>(
        &'c self,
        config: &'c Config,
        waits: Arc<Waits>,
    ) -> Boxed<'c, Result<Connected, tokio_postgres::Error>>;
}

impl<T> Connector for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect<'c>(
        &'c self,
        config: &'c Config,
        waits: Arc<Waits>,
    ) -> Boxed<'c, Result<Connected, tokio_postgres::Error>> {
        Box::pin(async move {
            let (client, mut connection) = config.connect(self.clone()).await?;
            let carry: Boxed<'static, ()> = Box::pin(async move {
                while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                    match message {
                        Ok(AsyncMessage::Notification(hint)) => waits.wake(hint.payload()),
                        Ok(AsyncMessage::Notice(notice)) => tracing::debug!("PostgreSQL says: {notice}"),
                        Ok(_) => {}
                        // Each call that waits for an answer gets an error too.
                        Err(_) => return,
                    }
                }
            });
            Ok((client, carry))
        })
    }
}
