# docker build --build-arg RELEASE=v1.2.3 -t mediagate .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG RELEASE=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$RELEASE" -o /out/mediagate . \
    && mkdir -m 0700 /out/data

# Certificates for fetching and exporting over TLS, and nothing to run but mediagate.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/LICENSE /LICENSE
COPY --from=build /out/mediagate /mediagate
# A new volume takes its owner from here.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# Other machines reach a container, so there must be a key.
ENV MEDIAGATE_LISTEN=0.0.0.0:5100 \
    MEDIAGATE_API_KEY_FILE=/run/secrets/mediagate_api_key \
    MEDIAGATE_DATABASE_URL=sqlite:/data/mediagate.db
VOLUME /data
EXPOSE 5100
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 CMD ["/mediagate", "healthcheck"]
ENTRYPOINT ["/mediagate"]
