"""OpenTelemetry spans of runs, phases and trials, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set (docs/telemetry.md)."""
