# One image with the three programs, static, for a user without a name, and no shell to be had.
#   docker build -t taffrail:0.1.0 .

FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev gcc make
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist -p taffrail -p taffrail-broker -p taffrail-operator \
    && mkdir -p /out/data && cp target/dist/taffrail target/dist/taffrail-broker target/dist/taffrail-operator /out/

FROM scratch
COPY --from=build /out/taffrail /out/taffrail-broker /out/taffrail-operator /usr/bin/
COPY --from=build --chown=65532:65532 /out/data /var/lib/taffrail
ENV PATH=/usr/bin
USER 65532:65532
# clients, replication, controller, metrics and health
EXPOSE 9640 9641 9642 9644
ENTRYPOINT ["/usr/bin/taffrail"]
