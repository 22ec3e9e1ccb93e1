# The server in a small image: docs/operations.md says how it is used. Untried: it was written where no container
# engine is at hand; tests/packaging checks what can be checked without one.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY migrations migrations
# docker build --build-arg TRUNKFS_COMMIT=$(git rev-parse --short=12 HEAD): the first line of the log has it.
ARG TRUNKFS_COMMIT
RUN cargo build --release --locked --bin trunkfs \
    && install -d -m 0700 /image/var/lib/trunkfs

FROM debian:12-slim
# The certificates of public authorities, for TLS to databases and object stores.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=12049:12049 /image/var/lib/trunkfs /var/lib/trunkfs
COPY --from=build /build/target/release/trunkfs /usr/local/bin/trunkfs
# By number, so that an orchestrator can see that it is not root; nothing looks the name up.
USER 12049:12049
WORKDIR /var/lib/trunkfs
VOLUME /var/lib/trunkfs
EXPOSE 12049
# The program drains on it.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=12s --start-period=60s --retries=3 CMD ["trunkfs", "status"]
ENTRYPOINT ["trunkfs"]
CMD ["serve"]
