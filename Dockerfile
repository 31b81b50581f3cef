# docker build -t tabpo . && docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" tabpo run tabpo.toml
FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/*
RUN rustup target add x86_64-unknown-linux-musl
WORKDIR /source
COPY . .
RUN packaging/static.sh

FROM scratch
COPY --from=build /source/target/x86_64-unknown-linux-musl/release/tabpo /usr/local/bin/tabpo
# With these, `predict --endpoint https://...` knows whom to trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/LICENSE /usr/share/doc/tabpo/LICENSE
# Files beside those that are written have the same file system, so that they can be replaced at once.
WORKDIR /work
ENTRYPOINT ["/usr/local/bin/tabpo"]
