"""The settings of the programs, for the checks of the Compose files and of kubernetes/."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def settings(program, *subcommands):
    """The variables that a program knows, with those that name a file."""
    shown = ""
    for count in range(len(subcommands) + 1):
        command = [program, *subcommands[:count], "--help"]
        shown += subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    variables = set(re.findall(r"\[env: (\w+)", shown))
    # The value of a secret is not shown.
    secrets = set(re.findall(r"\[env: (\w+)\]", shown))
    # Any other setting of OpenTelemetry and of Kafka's client; operations.md names those that matter here.
    kinds = "OTEL|KAFKA" if "KAFKA_BROKERS" in variables else "OTEL"
    others = set(re.findall(rf"(?:{kinds})_\w+", (ROOT / "docs/operations.md").read_text()))
    others -= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
    files = secrets | {name for name in others if name.startswith("KAFKA")}
    return variables | others | {f"{name}_FILE" for name in files}


def files_in(texts):
    """The files in /secrets that settings name."""
    return set(re.findall(r"/secrets/([\w.-]+)", " ".join(text or "" for text in texts)))
