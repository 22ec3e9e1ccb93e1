//! The S3 server of the tests as a program: `s3-server FOLDER` serves a bucket in a folder on a free port of
//! 127.0.0.1, prints its URL, and runs until it is killed.

use std::path::Path;
use std::process::ExitCode;

#[allow(clippy::unwrap_used, reason = "it is shared with tests, where what fails may panic")]
#[path = "../../tests/support/s3/mod.rs"]
mod s3;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: s3-server FOLDER");
        return ExitCode::from(2);
    };
    let listener = match tokio::net::TcpListener::bind("127.0.0.1:0").await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("s3-server: {error}");
            return ExitCode::FAILURE;
        }
    };
    let server = s3::S3Server::serve(listener, Path::new(&folder));
    println!("{}", server.endpoint());
    std::future::pending().await
}
