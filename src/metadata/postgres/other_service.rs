//! Another service than PostgreSQL on the port: what it says to a request for TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect_error::ConnectError;

/// SSLRequest (PostgreSQL manual 55.7).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// How long the answer may take. Connecting just succeeded.
const LIMIT: Duration = Duration::from_secs(1);
/// The bytes of an answer that are looked at.
const LOOK: usize = 64;

/// Whether another service is behind an address where logging in failed without a message of PostgreSQL: one
/// that says something else, or nothing before it closes the connection. PostgreSQL answers with one byte, or
/// with an error message where it is too busy.
pub(super) async fn found(address: SocketAddr) -> Option<ConnectError> {
    let answer = timeout(LIMIT, answer(address)).await.ok()?.ok()?;
    match &answer[..] {
        b"S" | b"N" | [b'E', ..] => None,
        [] => Some(ConnectError::passing(
            "the service on that port closed the connection without an answer: it may not be PostgreSQL; \
             check host and port",
        )),
        other => Some(ConnectError::lasting(format!(
            "the service on that port is not PostgreSQL: it answers \"{}\"; check host and port",
            other.escape_ascii()
        ))),
    }
}

async fn answer(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&SSL_REQUEST).await?;
    let mut answer = vec![0; LOOK];
    let length = match stream.read(&mut answer).await {
        // It closes with the request unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
        read => read?,
    };
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is found where a service answers a connection with this and closes it.
    async fn of(answer: &'static [u8]) -> Option<ConnectError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; SSL_REQUEST.len()]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(found(address), service).0
    }

    #[tokio::test]
    async fn other_services_are_told_from_postgresql_by_their_answer() {
        for answer in [&b"S"[..], b"N", b"E\0\0\0\x09SFATAL\0"] {
            assert_eq!(of(answer).await, None, "{answer:?}");
        }
        for (answer, shown) in [
            (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "\"SSH-2.0-OpenSSH_9.2\\r\\n\""),
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400"),
            (b"\x15\x03\x01\0\x02\x02\x46", "\\x15\\x03"),
            (b"NO", "\"NO\""),
        ] {
            let found = of(answer).await.unwrap();
            assert!(found.lasting && found.text.contains("is not PostgreSQL"), "{found:?}");
            assert!(found.text.contains(shown), "{found:?}");
        }
        let silent = of(b"").await.unwrap();
        assert!(!silent.lasting && silent.text.contains("may not be PostgreSQL"), "{silent:?}");
    }

    #[tokio::test]
    async fn where_no_service_is_none_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(found(address).await, None);
    }
}
