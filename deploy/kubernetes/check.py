"""Checks these manifests without a cluster: check.py FOLDER_OF_THE_PROGRAMS, in a Python that has kubernetes-validate.

1. Each folder renders. Each object of Kubernetes itself fits the published schema, without unknown fields.
2. Each object of an operator is of a known kind. Its fields have no schema here: README.md says how they were checked.
3. The manifests agree with the programs, with docker-compose.yml and with one another: variables, ports, topics, names.
"""

import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "deploy"))

from settings import files_in, settings  # noqa: E402

PROGRAMS = pathlib.Path(sys.argv[1]).resolve()
KUBERNETES = "1.30"
OPERATORS = {
    "postgresql.cnpg.io/v1": ["Cluster", "Database"],
    "kafka.strimzi.io/v1": ["Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"],
}
WRITERS = {"wallet.events": ["wallet-relay"], "bill.events": ["bill-relay"], "wallet.commands": []}

errors = []


def expect(is_right, error):
    if not is_right:
        errors.append(error)


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def render(folder):
    rendered = run("kubectl", "kustomize", HERE / folder)
    return [thing for thing in yaml.safe_load_all(rendered) if thing]


def name(thing):
    return thing["metadata"]["name"]


def check_schema(thing):
    group, kind = thing["apiVersion"], thing["kind"]
    if "." in group.split("/")[0] and not group.split("/")[0].endswith(".k8s.io"):
        expect(kind in OPERATORS.get(group, []), f"{group} {kind}: not a known kind of an operator")
        return
    try:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        errors.append(f"{kind} {name(thing)}: {path}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        errors.append(f"{kind} {name(thing)}: {error.message}")


def environment(container, maps):
    variables = {}
    for source in container.get("envFrom", []):
        variables.update(maps[source["configMapRef"]["name"]]["data"])
    for variable in container.get("env", []):
        variables[variable["name"]] = variable.get("value")
    return variables


def mounted_files(spec, container):
    """The files that a container sees in /secrets."""
    files = set()
    places = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    for volume in spec.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                if places.get(volume["name"]) == "/secrets":
                    files.add(item["path"])
    return files


def check_container(thing, spec, container, maps, compose):
    what = f"{name(thing)}: {container['name']}"
    security = spec["securityContext"] | container.get("securityContext", {})
    expect(
        security.get("runAsNonRoot")
        and security.get("seccompProfile") == {"type": "RuntimeDefault"}
        and security.get("readOnlyRootFilesystem")
        and security.get("allowPrivilegeEscalation") is False
        and security.get("capabilities") == {"drop": ["ALL"]},
        f"{what}: may do more than it needs: {security}",
    )
    expect("memory" in container["resources"]["limits"], f"{what}: has no limit of memory")
    if "wallet-services" not in container["image"]:
        return
    program = container["command"][0]
    variables = environment(container, maps)
    unknown = set(variables) - settings(PROGRAMS / program)
    expect(not unknown, f"{what}: {program} has no setting {', '.join(sorted(unknown))}")
    files = mounted_files(spec, container)
    used = files_in(variables.values())
    expect(used == files, f"{what}: uses the files {sorted(used)}, and has {sorted(files)}")
    if "livenessProbe" not in container:
        return
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listens = {"http": variables.get("LISTEN"), "admin": variables.get("ADMIN_LISTEN")}
    expect(
        ports == {port: int(listen.rpartition(":")[2]) for port, listen in listens.items() if listen},
        f"{what}: the ports {ports} are not where it listens: {listens}",
    )
    # Compose has the same ports; those of its relays are in a block that they share.
    for setting in ["LISTEN", "ADMIN_LISTEN"]:
        if setting in variables:
            expect(f"{setting}: {variables[setting]}\n" in compose, f"{what}: docker-compose.yml has another {setting}")
    for probe, path in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        expect(container[probe]["httpGet"] == {"path": path, "port": "admin"}, f"{what}: {probe}")
    service = (ROOT / "chassis/src/service.rs").read_text()
    stop_within = int(re.search(r"STOP_WITHIN: Duration = Duration::from_secs\((\d+)\)", service)[1])
    drain = int(variables.get("HTTP_DRAIN_MS") or 0) / 1_000
    expect(
        spec["terminationGracePeriodSeconds"] > stop_within + drain,
        f"{what}: is killed before the {stop_within} s are over that it has to stop, after {drain} s of HTTP_DRAIN_MS",
    )


def app_names(thing):
    """Each name of an app that a label or a selector has."""
    label = "app.kubernetes.io/name"
    if isinstance(thing, list):
        for part in thing:
            yield from app_names(part)
    elif isinstance(thing, dict):
        yield from [thing[label]] if label in thing else []
        yield from thing["values"] if thing.get("key") == label else []
        yield from app_names(list(thing.values()))


def check_pods(things, maps, compose):
    """Each pod, and that what selects pods finds some."""
    pods = {}
    for thing in things:
        if thing["kind"] in ["Deployment", "Job"]:
            spec = thing["spec"]["template"]["spec"]
            pods[name(thing)] = thing["spec"]["template"]["metadata"]["labels"]
            expect(spec.get("enableServiceLinks") is False, f"{name(thing)}: service links set KAFKA_ variables")
            expect(spec.get("automountServiceAccountToken") is False, f"{name(thing)}: has a token of the API server")
            for container in spec.get("initContainers", []) + spec["containers"]:
                check_container(thing, spec, container, maps, compose)
    labels = {labels["app.kubernetes.io/name"] for labels in pods.values()}
    selected = set(app_names(things))
    expect(selected == labels, f"selectors name {sorted(selected)}, and there are pods {sorted(labels)}")
    budgets = {name(thing) for thing in things if thing["kind"] == "PodDisruptionBudget"}
    deployments = {name(thing) for thing in things if thing["kind"] == "Deployment"}
    expect(budgets == deployments, f"PodDisruptionBudgets of {budgets}, Deployments {deployments}")


def check_topics(things):
    topics = {name(thing): thing["spec"] for thing in things if thing["kind"] == "KafkaTopic"}
    script = (ROOT / "deploy/kafka/topics.sh").read_text()
    in_compose = re.search(r"for topic in ([\w. ]+);", script)[1].split()
    expect(set(topics) == set(in_compose), f"the topics are {sorted(topics)}, and in deploy/kafka/topics.sh {in_compose}")
    partitions = int(re.search(r"--partitions (\d+)", script)[1])
    # The defaults of `relay doctor`.
    doctor = run(PROGRAMS / "relay", "doctor", "--help")
    defaults = dict(re.findall(r"\[env: (\w+)=.*\] \[default: (\d+)\]", doctor))
    replicas, retention_h, stop_h = (int(defaults[it]) for it in ["REPLICAS_MIN", "RETENTION_H", "CONSUMER_STOP_H_MAX"])
    for topic, spec in topics.items():
        config = spec["config"]
        expect(spec["partitions"] == partitions, f"{topic}: deploy/kafka/topics.sh has {partitions} partitions")
        expect(spec["replicas"] == replicas, f"{topic}: relay doctor asks for {replicas} replicas")
        expect(config["min.insync.replicas"] == spec["replicas"] - 1, f"{topic}: min.insync.replicas")
        expect(config["unclean.leader.election.enable"] is False, f"{topic}: elects a leader that lacks events")
        hours = config["retention.ms"] / 3_600_000
        expect(stop_h < hours < retention_h, f"{topic}: relay doctor refuses a retention of {hours} hours")
    users = [thing for thing in things if thing["kind"] == "KafkaUser"]
    for topic in topics:
        writers = []
        for user in users:
            for acl in user["spec"]["authorization"]["acls"]:
                resource = acl["resource"]
                if resource["type"] == "topic" and {"Write", "All"} & set(acl["operations"]):
                    expect("patternType" not in resource, f"{name(user)}: an ACL by prefix reaches other topics")
                    writers += [name(user)] if resource["name"] in [topic, "*"] else []
        expect(writers == WRITERS[topic], f"{topic}: {writers} may write, and should be {WRITERS[topic]}")
    return {name(user) for user in users}


def report(things):
    for error in errors:
        print(error)
    print(f"{len(things)} objects, {len(errors)} errors")
    sys.exit(1 if errors else 0)


def main():
    things = [thing for folder in ["servers", "migrations", "services"] for thing in render(folder)]
    for thing in things:
        check_schema(thing)
    if errors:
        report(things)
    maps = {name(thing): thing for thing in things if thing["kind"] == "ConfigMap"}
    compose = (ROOT / "docker-compose.yml").read_text()
    check_pods(things, maps, compose)
    users = check_topics(things)
    for thing in things:
        if thing["kind"] == "Deployment":
            expect(name(thing) in users, f"{name(thing)}: there is no KafkaUser of this name")
    report(things)


main()
