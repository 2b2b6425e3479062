# Two images: the lab, which is `./dev up` in a container; and, without `--target`, the four services (wallet-api, bill-payer,
# mock-provider, relay) with the audit. docker-compose.yml says what runs.

# The version is rust-toolchain.toml's. Not the slim image: librdkafka needs a C++ compiler and make.
FROM rust:1.95.0-bookworm AS rust
WORKDIR /src

# The manifests with empty sources. This stage is rebuilt with every change, but what it holds stays the same until a
# dependency changes; so the layer that builds the dependencies, which takes minutes, is kept.
FROM rust AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
    && find . -type d -empty -delete \
    && for crate in */ lab/*/; do mkdir "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' > "$crate/src/main.rs"; done

FROM rust AS build
ARG BUILD="cargo build --release --locked -p wallet-api -p bill-payer -p mock-provider -p relay -p audit"
COPY --from=manifests /src .
RUN $BUILD
COPY . .
# Cargo goes by time: a source that is older than the build of its empty stand-in would count as built.
RUN touch */src/*.rs lab/*/src/*.rs && $BUILD

FROM node:20-bookworm-slim AS page
WORKDIR /src
COPY lab/web/package.json lab/web/package-lock.json lab/web/
RUN npm --prefix lab/web ci --no-audit --no-fund
COPY . .
RUN npm --prefix lab/web run build

FROM build AS build-lab
RUN cargo build --release --locked -p lab

FROM debian:bookworm-slim AS lab
LABEL org.opencontainers.image.title="wallet-lab" \
    org.opencontainers.image.description="The dual-write problem and the outbox to try: all services, PostgreSQL and Kafka, and a page" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="0.1.0"
# Maven, for the jars of Kafka and Debezium: the first start fetches them.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl default-jre-headless maven postgresql \
    && rm -rf /var/lib/apt/lists/*
# PostgreSQL does not run as root.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/lab --create-home lab
COPY --from=build-lab /src/target/release/lab /src/target/release/wallet-api /src/target/release/bill-payer \
    /src/target/release/mock-provider /src/target/release/relay /src/target/release/audit /usr/local/bin/
# The lab serves /src/lab/page/../web/dist/index.html, which needs the folder `page`, too.
RUN mkdir --parents /src/lab/page
COPY --from=page /src/lab/web/dist/index.html /src/lab/web/dist/
USER 10001:10001
CMD ["lab", "up"]

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="wallet-services" \
    org.opencontainers.image.description="Wallets whose bills are paid through a transactional outbox: wallet-api, bill-payer, relay, mock-provider, audit" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="0.1.0"
# OpenSSL, for TLS, and the authorities that it trusts.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/*
# A number of its own that does not change: it owns the files of the volume.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin service \
    && install --directory --owner service --group service /var/lib/mock-provider
COPY --from=build /src/target/release/wallet-api /src/target/release/bill-payer \
    /src/target/release/mock-provider /src/target/release/relay /src/target/release/audit /usr/local/bin/
USER 10001:10001
