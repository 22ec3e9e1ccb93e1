# The server in a small image. Untried: it was written where no container engine is at hand.
FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations migrations
RUN cargo build --release --locked --bin trunkfs

FROM debian:bookworm-slim
RUN useradd --system --uid 12049 --no-create-home trunkfs \
    && install -d -o trunkfs -g trunkfs /var/lib/trunkfs
COPY --from=build /build/target/release/trunkfs /usr/local/bin/trunkfs
USER trunkfs
VOLUME /var/lib/trunkfs
EXPOSE 12049
ENV TRUNKFS_CONFIG=/etc/trunkfs.yaml
ENTRYPOINT ["trunkfs"]
CMD ["serve"]
