"""Checks rendered Compose files without an engine: check_compose.py FOLDER_OF_THE_PROGRAMS FOLDER_OF_SECRETS PLAIN SECURE.

PLAIN is docker-compose.yml, SECURE has deploy/secure/compose.yml too, both as `docker compose config` prints them; the secrets
are what deploy/secure/make made. Each setting has to exist in its program, and each file that a setting names in its container.
"""

import pathlib
import re
import sys

import yaml

from settings import ROOT, files_in, settings

PROGRAMS, SECRETS = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
SERVERS = ["postgres", "kafka"]
WRITERS = {"wallet.events": {"wallet_relay", "connect"}, "bill.events": {"bill_relay", "connect"}, "wallet.commands": set()}

errors = []


def expect(is_right, error):
    if not is_right:
        errors.append(error)


def load(file):
    return yaml.safe_load(pathlib.Path(file).read_text())["services"]


def environment(service):
    """The variables that are set. Compose passes one without a value on from its own environment."""
    return {name: str(value) for name, value in (service.get("environment") or {}).items() if value is not None}


def program(service):
    """A program of ours with its subcommands, and none for a server's container."""
    if not service["image"].startswith("wallet-"):
        return None
    command = service.get("command") or ["lab", "up"]
    if command[0] == "bash":
        command = re.search(r"until ([\w -]+);", command[2])[1].split()
    return [PROGRAMS / command[0], *(word for word in command[1:] if not word.startswith("-"))]


def check_settings(name, service):
    variables = environment(service)
    command = program(service)
    if command:
        unknown = set(variables) - settings(*command)
        expect(not unknown, f"{name}: {command[0].name} has no setting {', '.join(sorted(unknown))}")
        if service["restart"] != "no":
            # Fails if the program has no such command.
            _, asked, *subcommands = service["healthcheck"]["test"]
            settings(PROGRAMS / asked, *subcommands)
    for port in service.get("ports", []):
        address = port if isinstance(port, str) else port.get("host_ip", "")
        expect(address.startswith("127.0.0.1"), f"{name}: a port is published beyond loopback: {port}")


def check_files(name, service):
    folders = [
        SECRETS / pathlib.Path(volume["source"]).name
        for volume in service.get("volumes", [])
        if isinstance(volume, dict) and volume["target"].startswith("/secrets")
    ]
    files = {file.name for folder in folders for file in folder.iterdir()}
    words = [*environment(service).values(), *(service.get("command") or []), *(service.get("entrypoint") or [])]
    used = files_in(words) - {folder.name for folder in folders}
    expect(used <= files, f"{name}: uses the files {sorted(used)}, and has {sorted(files)}")
    if program(service):
        expect(used == files, f"{name}: has files that it does not use: {sorted(files - used)}")
        for setting, value in environment(service).items():
            if setting.endswith("DATABASE_URL"):
                expect("?sslmode=verify-full&" in value, f"{name}: {setting} does not verify the server")


def check_networks(services):
    networks = {name: set(service["networks"]) for name, service in services.items()}
    for one, others in [("mock-provider", SERVERS), ("connect", ["wallet-api", "bill-payer", "mock-provider"])]:
        for other in others:
            expect(not networks[one] & networks[other], f"{one} and {other} are in one network")
    for name, needed in [("bill-payer", ["mock-provider", *SERVERS]), ("relay-bill", ["connect", *SERVERS])]:
        for other in needed:
            expect(networks[name] & networks[other], f"{name} can't reach {other}")


def check_acls():
    lines = (ROOT / "deploy/secure/acls.txt").read_text().splitlines()
    acls = [line.split() for line in lines if not line.startswith("#")]
    for topic, allowed in WRITERS.items():
        writers = {
            user
            for user, operations, *resources in acls
            if f"topic={topic}" in resources and {"Write", "All"} & set(operations.split(","))
        }
        expect(writers == allowed, f"{topic}: {sorted(writers)} may write, and should be {sorted(allowed)}")


def main():
    plain, secure = load(sys.argv[3]), load(sys.argv[4])
    for services in [plain, secure]:
        check_networks(services)
        for name, service in services.items():
            check_settings(name, service)
    for name, service in secure.items():
        check_files(name, service)
    check_acls()
    for error in errors:
        print(error)
    print(f"{len(plain)} and {len(secure)} services, {len(errors)} errors")
    sys.exit(1 if errors else 0)


main()
