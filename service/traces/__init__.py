"""Traces: spans of requests and statements, sent to an OpenTelemetry collector. An extra, loaded only when it is on."""
